"""Verification ("are two images of one person?") beside the ROC: accuracy, the best threshold, d'.

The conventions of faces.evaluation.roc hold: `scores` (n,), `same` (n,), and score >= threshold counts as "same".
"""

import numpy as np

from faces.evaluation.roc import Labels, Scores, accept, check_both_kinds, roc_curve, threshold_between


def accuracy(scores: Scores, same: Labels, threshold: float) -> float:
    """Return the share of pairs for which score >= threshold agrees with `same`."""
    return float(np.mean(accept(scores, threshold) == np.asarray(same, dtype=bool)))


def balanced_accuracy(scores: Scores, same: Labels, threshold: float) -> float:
    """Return the mean of the accuracy on genuine pairs and the accuracy on impostor pairs."""
    genuine = np.asarray(same, dtype=bool)
    accepted = accept(scores, threshold)
    return float((np.mean(accepted[genuine]) + np.mean(~accepted[~genuine])) / 2)


def best_threshold(scores: Scores, same: Labels, *, balanced: bool = False) -> float:
    """Return the threshold with the highest accuracy, or balanced accuracy, on these pairs; of several, the lowest.

    Candidates are the thresholds that `threshold_between` gives for each number of accepted scores. ValueError if only
    one kind of pair is present.
    """
    curve = roc_curve(scores, same)
    genuine, impostors = curve.genuine.astype(np.int64), curve.impostors.astype(np.int64)
    weights = (impostors[-1], genuine[-1]) if balanced else (1, 1)
    correct = genuine * weights[0] + (impostors[-1] - impostors) * weights[1]
    best = len(correct) - 1 - int(np.argmax(correct[::-1]))
    return threshold_between(curve.thresholds[1:], best)


def d_prime(scores: Scores, same: Labels) -> float:
    """Return d', the distance between the means of genuine and impostor scores in standard deviations.

    The standard deviation is the root mean square of the two; 0 if neither kind varies. ValueError if only one kind of
    pair is present. (Daugman 2000, "Biometric decision landscapes", which calls it decidability.)
    """
    check_both_kinds(scores, same)
    is_genuine = np.asarray(same, dtype=bool)
    genuine, impostor = np.asarray(scores)[is_genuine], np.asarray(scores)[~is_genuine]
    deviation = np.sqrt((np.var(genuine, dtype=np.float64) + np.var(impostor, dtype=np.float64)) / 2)
    distance = np.mean(genuine, dtype=np.float64) - np.mean(impostor, dtype=np.float64)
    return float(distance / deviation) if deviation > 0 else 0.0
