"""Verification: are two images of one person? Scores are higher for "same"; a score equal to the threshold is "same".

Throughout, `scores` is float (n,) and `same` int or bool (n,), 1 for a genuine pair and 0 for an impostor pair.
What needs both kinds raises ValueError where only one is there.
"""

from bisect import bisect_left
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]
Labels = NDArray[np.integer] | NDArray[np.bool_]


class Roc(NamedTuple):
    """The pairs accepted at every threshold that matters, from none (threshold inf) to all: each array (m + 1,).

    Thresholds are the m distinct scores, falling, after inf; they and the counts take as many bytes as the scores and
    the number of pairs need. FMR, the false match rate, is also called FAR; TAR, the true accept rate, is 1 - FNMR.
    """

    thresholds: NDArray[np.floating]
    impostors: NDArray[np.integer]
    genuine: NDArray[np.integer]

    @property
    def fmr(self) -> NDArray[np.float64]:
        """Return the share of impostor pairs that are accepted."""
        return self.impostors / self.impostors[-1]

    @property
    def tar(self) -> NDArray[np.float64]:
        """Return the share of genuine pairs that are accepted."""
        return self.genuine / self.genuine[-1]


def falling_order(scores: Scores) -> NDArray[np.int64]:
    """Return the order of falling scores; that of equal ones, which no figure depends on, is any."""
    return np.argsort(-np.asarray(scores))


def roc(scores: Scores, same: Labels) -> Roc:
    """Return what is accepted at each threshold."""
    _check(scores, same)
    values, order = np.asarray(scores, dtype=np.result_type(scores, np.float32)), falling_order(scores)
    return roc_of_falling(values[order], np.asarray(same)[order])


def roc_of_falling(scores: Scores, same: Labels) -> Roc:
    """Return what is accepted at each threshold, of scores in falling order; ValueError if one is above that before."""
    _check(scores, same)
    if np.any(scores[1:] > scores[:-1]):
        raise ValueError("needs scores in falling order")
    last = np.append(np.flatnonzero(scores[1:] < scores[:-1]), len(scores) - 1)  # of the pairs that share a score
    few = 2 * len(scores) <= np.iinfo(np.int32).max  # twice, since `area` adds two counts
    counts: type[np.integer] = np.int32 if few else np.int64
    genuine = np.zeros(len(last) + 1, dtype=counts)
    genuine[1:] = np.cumsum(np.asarray(same, dtype=bool), dtype=counts)[last]
    impostors = np.zeros(len(last) + 1, dtype=counts)
    impostors[1:] = last + 1 - genuine[1:]
    return Roc(np.concatenate([np.array([np.inf], dtype=scores.dtype), scores[last]]), impostors, genuine)


def accepted(scores: Scores, threshold: float) -> NDArray[np.bool_]:
    """Return which pairs are called "same"; a threshold is not rounded to the precision of the scores."""
    return np.asarray(scores) >= np.float64(threshold)


def accuracy(scores: Scores, same: Labels, threshold: float) -> float:
    """Return the share of pairs for which `score >= threshold` says what `same` says."""
    return float(np.mean(accepted(scores, threshold) == np.asarray(same, dtype=bool)))


def balanced_accuracy(scores: Scores, same: Labels, threshold: float) -> float:
    """Return the mean of the accuracies on genuine and on impostor pairs; with as many of both, `accuracy`."""
    genuine = np.asarray(same, dtype=bool)
    same_said = accepted(scores, threshold)
    return float((np.mean(same_said[genuine]) + np.mean(~same_said[~genuine])) / 2)


def best_threshold(scores: Scores, same: Labels, *, balanced: bool = False) -> float:
    """Return the threshold with the highest accuracy on these pairs, or the highest balanced accuracy.

    Candidates are the midpoints between neighbouring distinct scores and one step beyond either end, so that the
    choice lies between pairs, not on one. Of several equally good, the lowest.
    """
    curve = roc(scores, same)
    genuine, impostors = curve.genuine.astype(np.int64), curve.impostors.astype(np.int64)
    weights = (impostors[-1], genuine[-1]) if balanced else (1, 1)
    correct = genuine * weights[0] + (impostors[-1] - impostors) * weights[1]
    best = len(correct) - 1 - int(np.argmax(correct[::-1]))
    return threshold_between(curve.thresholds[1:], best)


def threshold_between(falling: Scores, accepted: int) -> float:
    """Return the midpoint of distinct falling scores (m,) that accepts the first so many, one step beyond at an end."""
    first, last = float(falling[0]), float(falling[-1])
    above = float(falling[accepted - 1]) if accepted else first + (first - last) + 1
    below = float(falling[accepted]) if accepted < len(falling) else last - (first - last) - 1
    return (above + below) / 2


def area_under_roc(scores: Scores, same: Labels) -> float:
    """Return the chance that a genuine pair scores above an impostor pair, ties counting half (Hanley, McNeil 1982)."""
    return area(roc(scores, same))


def area(curve: Roc) -> float:
    """Return the area under a ROC."""
    new_impostors, twice_genuine = np.diff(curve.impostors), curve.genuine[1:] + curve.genuine[:-1]
    twice = np.einsum("i,i->", new_impostors, twice_genuine, dtype=np.int64)
    return float(twice / (2 * int(curve.impostors[-1]) * int(curve.genuine[-1])))


def equal_error_rate(scores: Scores, same: Labels) -> float:
    """Return the error at the threshold where FMR and FNMR are closest: their mean there."""
    return equal_error(roc(scores, same))


def equal_error(curve: Roc) -> float:
    """Return the equal error rate of a ROC."""
    genuine, impostors = int(curve.genuine[-1]), int(curve.impostors[-1])

    def excess(place: int) -> int:
        """Return FMR less FNMR, times the genuine and the impostor pairs; it rises with each threshold."""
        return int(curve.impostors[place]) * genuine + (int(curve.genuine[place]) - genuine) * impostors

    crossing = bisect_left(range(len(curve.genuine)), 0, key=excess)
    closest = min(crossing - 1, crossing, key=lambda place: abs(excess(place)))
    return float((curve.impostors[closest] / impostors + (1 - curve.genuine[closest] / genuine)) / 2)


def tar_at_far(curve: Roc, far: float) -> float:
    """Return the TAR at the lowest threshold that accepts at most a share `far` of the impostor pairs."""
    return float(curve.genuine[_place_at_far(curve, far)] / curve.genuine[-1])


def threshold_at_far(curve: Roc, far: float) -> float:
    """Return a threshold that accepts what `tar_at_far` does, halfway to the next score."""
    return threshold_between(curve.thresholds[1:], _place_at_far(curve, far))


def _place_at_far(curve: Roc, far: float) -> int:
    impostors = int(curve.impostors[-1])
    allowed = min(int(far * impostors) + 1, impostors)
    while allowed / impostors > far:  # the product may be rounded
        allowed -= 1
    return int(np.searchsorted(curve.impostors, curve.impostors.dtype.type(allowed), side="right")) - 1


def error_rates(curve: Roc, threshold: float) -> tuple[float, float]:
    """Return FMR and FNMR at a threshold: shares of impostor pairs at or above it, and of genuine pairs below it."""
    place = int(np.count_nonzero(accepted(curve.thresholds, threshold))) - 1  # inf is always among them
    return float(curve.fmr[place]), float(1 - curve.tar[place])


def d_prime(scores: Scores, same: Labels) -> float:
    """Return how far apart genuine and impostor scores are, in standard deviations (the root mean square of the two).

    (Daugman 2000, "Biometric decision landscapes", which calls it decidability.) 0 if neither kind varies.
    """
    _check(scores, same)
    is_genuine = np.asarray(same, dtype=bool)
    genuine, impostor = np.asarray(scores)[is_genuine], np.asarray(scores)[~is_genuine]
    deviation = np.sqrt((np.var(genuine, dtype=np.float64) + np.var(impostor, dtype=np.float64)) / 2)
    distance = np.mean(genuine, dtype=np.float64) - np.mean(impostor, dtype=np.float64)
    return float(distance / deviation) if deviation > 0 else 0.0


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
