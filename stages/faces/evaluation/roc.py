"""The ROC of scored pairs, and what is read off it: AUC, EER, TAR at a FAR, the threshold for a FAR, FMR and FNMR.

Conventions, here and in all of faces.evaluation:

- `scores` is float (n,), higher for "same person". A pair is accepted if score >= threshold: equal counts as "same".
- `same` is int or bool (n,): 1 for a genuine pair (two images of one person), 0 for an impostor pair.
- FMR (false match rate, also FAR) is the share of impostor pairs that are accepted, TAR (true accept rate) the share of
  genuine pairs that are accepted, and FNMR (false non-match rate) is 1 - TAR. (ISO/IEC 19795-1.)
- A function that needs both kinds of pair raises ValueError if only one is present.
"""

from bisect import bisect_left
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]
Labels = NDArray[np.integer] | NDArray[np.bool_]


class Roc(NamedTuple):
    """A ROC: how many pairs are accepted at each threshold. Three arrays (m + 1,) for m distinct scores.

    Attributes:
        thresholds: descending: inf, which accepts no pair, then the distinct scores, in the dtype of the scores.
        impostors: accepted impostor pairs, ascending from 0 to all; int32, or int64 from 2**30 pairs on.
        genuine: accepted genuine pairs, likewise.
    """

    thresholds: NDArray[np.floating]
    impostors: NDArray[np.integer]
    genuine: NDArray[np.integer]

    @property
    def fmr(self) -> NDArray[np.float64]:
        """Return the false match rate at each threshold, (m + 1,), ascending from 0 to 1."""
        return self.impostors / self.impostors[-1]

    @property
    def tar(self) -> NDArray[np.float64]:
        """Return the true accept rate at each threshold, (m + 1,), ascending from 0 to 1."""
        return self.genuine / self.genuine[-1]


def accept(scores: Scores, threshold: float) -> NDArray[np.bool_]:
    """Return whether each pair is accepted: score >= threshold, (n,). The threshold is not rounded to float32."""
    return np.asarray(scores) >= np.array([threshold], dtype=np.float64)  # NumPy would round a scalar to float32


def descending_order(scores: Scores) -> NDArray[np.int64]:
    """Return the places that sort scores in descending order, (n,); the order of equal scores is arbitrary."""
    return np.argsort(-np.asarray(scores))


def roc_curve(scores: Scores, same: Labels) -> Roc:
    """Return the ROC of pairs in any order, with one point for each distinct score.

    The points are those of scikit-learn's `roc_curve` with `drop_intermediate=False`. Pairs that tie are accepted
    together. ValueError if only one kind of pair is present, or the lengths differ.
    """
    check_both_kinds(scores, same)
    values, order = np.asarray(scores, dtype=np.result_type(scores, np.float32)), descending_order(scores)
    return roc_curve_sorted(values[order], np.asarray(same)[order])


def roc_curve_sorted(scores: Scores, same: Labels) -> Roc:
    """Return `roc_curve` of scores sorted in descending order, without a copy; ValueError if they are not."""
    check_both_kinds(scores, same)
    if np.any(scores[1:] > scores[:-1]):
        raise ValueError("needs scores in descending order")
    last = last_places(scores)
    few = 2 * len(scores) <= np.iinfo(np.int32).max  # twice, since `area` adds two counts
    counts: type[np.integer] = np.int32 if few else np.int64
    genuine = np.zeros(len(last) + 1, dtype=counts)
    genuine[1:] = np.cumsum(np.asarray(same, dtype=bool), dtype=counts)[last]
    impostors = np.zeros(len(last) + 1, dtype=counts)
    impostors[1:] = last + 1 - genuine[1:]
    return Roc(np.concatenate([np.array([np.inf], dtype=scores.dtype), scores[last]]), impostors, genuine)


def last_places(scores: Scores) -> NDArray[np.int64]:
    """Return the last place of each distinct score, (m,), in descending scores (n,)."""
    return np.append(np.flatnonzero(scores[1:] < scores[:-1]), len(scores) - 1)


def area_under_roc(scores: Scores, same: Labels) -> float:
    """Return the AUC: the probability that a genuine pair scores above an impostor pair, a tie counting half.

    (Hanley, McNeil 1982, "The meaning and use of the area under a ROC curve".)
    """
    return area(roc_curve(scores, same))


def area(curve: Roc) -> float:
    """Return the AUC by the trapezoidal rule, computed in whole numbers but for one division."""
    new_impostors, twice_genuine = np.diff(curve.impostors), curve.genuine[1:] + curve.genuine[:-1]
    twice = np.einsum("i,i->", new_impostors, twice_genuine, dtype=np.int64)
    return float(twice / (2 * int(curve.impostors[-1]) * int(curve.genuine[-1])))


def equal_error_rate(scores: Scores, same: Labels) -> float:
    """Return the EER: the mean of FMR and FNMR at the threshold where they are closest."""
    return equal_error(roc_curve(scores, same))


def equal_error(curve: Roc) -> float:
    """Return the EER of a ROC; of two thresholds where FMR and FNMR are equally close, the higher one counts."""
    genuine, impostors = int(curve.genuine[-1]), int(curve.impostors[-1])

    def excess(place: int) -> int:
        """Return FMR - FNMR, times the number of genuine and of impostor pairs; it ascends with `place`."""
        return int(curve.impostors[place]) * genuine + (int(curve.genuine[place]) - genuine) * impostors

    crossing = bisect_left(range(len(curve.genuine)), 0, key=excess)
    closest = min(crossing - 1, crossing, key=lambda place: abs(excess(place)))
    return float((curve.impostors[closest] / impostors + (1 - curve.genuine[closest] / genuine)) / 2)


def tar_at_far(curve: Roc, far: float) -> float:
    """Return the TAR at the lowest threshold that accepts at most the share `far` of impostor pairs."""
    return float(curve.genuine[_place_at_far(curve, far)] / curve.genuine[-1])


def threshold_at_far(curve: Roc, far: float) -> float:
    """Return a threshold that accepts the pairs that `tar_at_far` does, halfway to the next score."""
    return threshold_between(curve.thresholds[1:], _place_at_far(curve, far))


def _place_at_far(curve: Roc, far: float) -> int:
    impostors = int(curve.impostors[-1])
    allowed = min(int(far * impostors) + 1, impostors)
    while allowed / impostors > far:  # the product may be rounded
        allowed -= 1
    return int(np.searchsorted(curve.impostors, curve.impostors.dtype.type(allowed), side="right")) - 1


def error_rates(curve: Roc, threshold: float) -> tuple[float, float]:
    """Return FMR and FNMR at any threshold: impostor pairs at or above it, genuine pairs below it, as shares."""
    fmr, fnmr = error_rates_at(curve, np.array([threshold], dtype=np.float64))
    return float(fmr[0]), float(fnmr[0])


def error_rates_at(curve: Roc, thresholds: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return `error_rates` at each of some thresholds (t,): FMR (t,) and FNMR (t,)."""
    places = np.searchsorted(-curve.thresholds, -thresholds, side="right") - 1  # -inf is always below
    return curve.impostors[places] / curve.impostors[-1], 1 - curve.genuine[places] / curve.genuine[-1]


def threshold_between(descending: Scores, count: int) -> float:
    """Return the threshold that accepts the first `count` of distinct descending scores (m,).

    It is the midpoint of the two neighbouring scores: between pairs, not on one. For 0 and m, it lies beyond the end by
    the range of the scores plus 1.
    """
    first, last = float(descending[0]), float(descending[-1])
    above = float(descending[count - 1]) if count else first + (first - last) + 1
    below = float(descending[count]) if count < len(descending) else last - (first - last) - 1
    return (above + below) / 2


def check_both_kinds(scores: Scores, same: Labels) -> None:
    """Raise ValueError unless there are as many labels as scores, and both kinds of pair are present."""
    if len(scores) != len(same):
        raise ValueError(f"{len(scores)} scores but {len(same)} labels")
    if not 0 < np.count_nonzero(same) < len(same):
        raise ValueError("needs genuine and impostor pairs; found only one kind")
