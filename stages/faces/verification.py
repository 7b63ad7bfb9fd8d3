"""Verification: are two images of one person? Scores are higher for "same"; a score equal to the threshold is "same".

Throughout, `scores` is float (n,) and `same` int or bool (n,), 1 for a genuine pair and 0 for an impostor pair.
What needs both kinds raises ValueError where only one is there.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]
Labels = NDArray[np.integer] | NDArray[np.bool_]


class Roc(NamedTuple):
    """The pairs accepted at every threshold that matters, from none (threshold inf) to all: each array (m + 1,).

    Thresholds are the m distinct scores, falling, after inf. FMR, the false match rate, is also called FAR; TAR, the
    true accept rate, is 1 - FNMR.
    """

    thresholds: NDArray[np.float64]
    impostors: NDArray[np.int64]
    genuine: NDArray[np.int64]

    @property
    def fmr(self) -> NDArray[np.float64]:
        """Return the share of impostor pairs that are accepted."""
        return self.impostors / self.impostors[-1]

    @property
    def tar(self) -> NDArray[np.float64]:
        """Return the share of genuine pairs that are accepted."""
        return self.genuine / self.genuine[-1]


def roc(scores: Scores, same: Labels) -> Roc:
    """Return what is accepted at each threshold."""
    _check(scores, same)
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    falling = np.asarray(scores, dtype=np.float64)[order]
    last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)  # of the pairs that share a score
    genuine = np.cumsum(np.asarray(same, dtype=bool)[order])[last]
    return Roc(
        np.concatenate([[np.inf], falling[last]]),
        np.concatenate([[0], last + 1 - genuine]),
        np.concatenate([[0], genuine]),
    )


def accuracy(scores: Scores, same: Labels, threshold: float) -> float:
    """Return the share of pairs for which `score >= threshold` says what `same` says."""
    return float(np.mean((np.asarray(scores) >= threshold) == np.asarray(same, dtype=bool)))


def balanced_accuracy(scores: Scores, same: Labels, threshold: float) -> float:
    """Return the mean of the accuracies on genuine and on impostor pairs; with as many of both, `accuracy`."""
    genuine = np.asarray(same, dtype=bool)
    accepted = np.asarray(scores) >= threshold
    return float((np.mean(accepted[genuine]) + np.mean(~accepted[~genuine])) / 2)


def best_threshold(scores: Scores, same: Labels, *, balanced: bool = False) -> float:
    """Return the threshold with the highest accuracy on these pairs, or the highest balanced accuracy.

    Candidates are the midpoints between neighbouring distinct scores and one step beyond either end, so that the
    choice lies between pairs, not on one. Of several equally good, the lowest.
    """
    curve = roc(scores, same)
    of_all = curve.genuine[-1], curve.impostors[-1]
    weights = of_all[::-1] if balanced else (1, 1)
    correct = curve.genuine * weights[0] + (of_all[1] - curve.impostors) * weights[1]
    best = len(correct) - 1 - int(np.argmax(correct[::-1]))
    values = curve.thresholds[1:]
    spread = values[0] - values[-1]
    padded = np.concatenate([[values[0] + spread + 1], values, [values[-1] - spread - 1]])
    return float((padded[best] + padded[best + 1]) / 2)


def area_under_roc(scores: Scores, same: Labels) -> float:
    """Return the chance that a genuine pair scores above an impostor pair, ties counting half (Hanley, McNeil 1982)."""
    return area(roc(scores, same))


def area(curve: Roc) -> float:
    """Return the area under a ROC."""
    twice = np.diff(curve.impostors) * (curve.genuine[1:] + curve.genuine[:-1])
    return float(twice.sum() / (2 * curve.impostors[-1] * curve.genuine[-1]))


def equal_error_rate(scores: Scores, same: Labels) -> float:
    """Return the error at the threshold where FMR and FNMR are closest: their mean there."""
    return equal_error(roc(scores, same))


def equal_error(curve: Roc) -> float:
    """Return the equal error rate of a ROC."""
    fmr, fnmr = curve.fmr, 1 - curve.tar
    closest = int(np.argmin(np.abs(fmr - fnmr)))
    return float((fmr[closest] + fnmr[closest]) / 2)


def tar_at_far(curve: Roc, far: float) -> float:
    """Return the TAR at the lowest threshold that accepts at most a share `far` of the impostor pairs."""
    return float(curve.tar[np.searchsorted(curve.fmr, far, side="right") - 1])


def d_prime(scores: Scores, same: Labels) -> float:
    """Return how far apart genuine and impostor scores are, in standard deviations (the root mean square of the two).

    (Daugman 2000, "Biometric decision landscapes", which calls it decidability.) 0 if neither kind varies.
    """
    _check(scores, same)
    is_genuine = np.asarray(same, dtype=bool)
    genuine, impostor = np.asarray(scores)[is_genuine], np.asarray(scores)[~is_genuine]
    deviation = np.sqrt((np.var(genuine) + np.var(impostor)) / 2)
    return float((np.mean(genuine) - np.mean(impostor)) / deviation) if deviation > 0 else 0.0


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
