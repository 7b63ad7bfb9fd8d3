"""Verification: are two images of one person? Scores are higher for "same"; a score equal to the threshold is "same".

Throughout, `scores` is float (n,) and `same` int or bool (n,), 1 for a genuine pair and 0 for an impostor pair.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

Scores = NDArray[np.floating]
Labels = NDArray[np.integer] | NDArray[np.bool_]


def accuracy(scores: Scores, same: Labels, threshold: float) -> float:
    """Return the share of pairs for which `score >= threshold` says what `same` says."""
    return float(np.mean((np.asarray(scores) >= threshold) == np.asarray(same, dtype=bool)))


def best_threshold(scores: Scores, same: Labels) -> float:
    """Return the threshold with the highest accuracy on these pairs.

    Candidates are the midpoints between neighbouring distinct scores and one step beyond either end, so that the
    choice lies between pairs, not on one. Of several equally good, the lowest.
    """
    _check(scores, same)
    values, inverse = np.unique(np.asarray(scores, dtype=np.float64), return_inverse=True)
    genuine = np.bincount(inverse, weights=np.asarray(same, dtype=np.float64), minlength=len(values))
    impostor = np.bincount(inverse, minlength=len(values)) - genuine
    # correct[i]: accepting values[i:] and rejecting values[:i]
    accepted_genuine = genuine.sum() - np.concatenate([[0], np.cumsum(genuine)])
    rejected_impostor = np.concatenate([[0], np.cumsum(impostor)])
    best = int(np.argmax(accepted_genuine + rejected_impostor))
    padded = np.concatenate([[2 * values[0] - values[-1] - 1], values, [2 * values[-1] - values[0] + 1]])
    return float((padded[best] + padded[best + 1]) / 2)


def area_under_roc(scores: Scores, same: Labels) -> float:
    """Return the chance that a genuine pair scores above an impostor pair, ties counting half (Hanley, McNeil 1982)."""
    _check(scores, same)
    return float(roc_auc_score(same, scores))


def equal_error_rate(scores: Scores, same: Labels) -> float:
    """Return the error at the threshold where FMR and FNMR are closest: their mean there."""
    _check(scores, same)
    fmr, tar, _ = roc_curve(same, scores, drop_intermediate=False)
    fnmr = 1 - tar
    closest = int(np.argmin(np.abs(fmr - fnmr)))
    return float((fmr[closest] + fnmr[closest]) / 2)


def min_max(scores: Scores) -> NDArray[np.float64]:
    """Return the scores mapped to 0..1 over the whole set, as the notebook does; all 0 if they are all equal."""
    values = np.asarray(scores, dtype=np.float64)
    spread = values.max() - values.min()
    return (values - values.min()) / spread if spread > 0 else np.zeros_like(values)


def _check(scores: Scores, same: Labels) -> None:
    if len(scores) != len(same):
        raise ValueError(f"{len(scores)} scores but {len(same)} labels")
    if not 0 < np.count_nonzero(same) < len(same):
        raise ValueError("needs genuine and impostor pairs; found only one kind")
