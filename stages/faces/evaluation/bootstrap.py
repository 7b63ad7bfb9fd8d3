"""How far figures of verification would stray with other people: bootstrap intervals over identities.

Pairs are not independent: those of one person share a face, and impostor pairs share two. So identities are drawn anew
with replacement, not pairs. One that is drawn w times gives its genuine pairs the weight w; an impostor pair has the
product of its two identities' weights (Owen 2007, "The pigeonhole bootstrap", arXiv:0712.1111, which finds it mildly
conservative; for genuine pairs it is the subsets bootstrap of Bolle, Ratha, Pankanti 2004, "Error analysis of pattern
recognition systems").
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from faces.evaluation.verification import Labels, Roc, Scores, accepted, falling_order, roc_of_falling

# Replicates know scores by bins only, but of a ROC of few thresholds, whose every score is a bin. Other bins hold,
# unless pairs tie, a 500th of the genuine pairs at most, a 50th of the impostors at or above them, and a 50th of the
# genuine pairs at or below them. On the default data that moved ends of intervals by 1.5 % of their width at most.
FEW_THRESHOLDS = 4096
GENUINE_STEPS = 500
RATE_STEPS = 50
MOST_IN_BIN = 2**16  # pairs, of weights below 16 * 16: 32-bit floats count them exactly
MOST_AT_ONCE = 2**22  # pairs: 16 MB
MOST_WEIGHTS = 2**21  # of pairs of identities and of 4 to 256 replicates: 8 MB, which a processor's cache holds
COVERAGE = 0.95

Interval = tuple[float, float]


class Pairs(NamedTuple):
    """Scored pairs: score, 1 or 0 for genuine or impostor, and the identity of either image, each (n,).

    Identities are numbers from 0, not much higher than there are identities.
    """

    scores: Scores
    same: Labels
    first: NDArray[np.integer]
    second: NDArray[np.integer]


def in_falling_order(pairs: Pairs) -> Pairs:
    """Return the same pairs, the highest score first."""
    return reordered(pairs, falling_order(pairs.scores))


def reordered(pairs: Pairs, order: NDArray[np.int64]) -> Pairs:
    """Return the pairs at places `order`."""
    return Pairs(*(np.asarray(column)[order] for column in pairs))


def curve_intervals(pairs: Pairs, curve: Roc, rates: list[float], replicates: int, seed: int) -> dict[str, Interval]:
    """Return 95 % intervals, as low and high, of the AUC (`auc`), the EER (`eer`) and the TAR at each FAR.

    Args:
        pairs: of both kinds, in falling order. A replicate that draws pairs of one kind alone has no figures and is
            left out.
        curve: their ROC.
        rates: false accept rates; `tar_at_far_<rate>` is the TAR at each.
        replicates: how often identities are drawn anew.
        seed: of the drawing.

    The interval goes from the 2.5th to the 97.5th percentile of the replicates. Empty if none has figures.
    """
    figures = _curve_replicates(pairs, curve, rates, replicates, seed)
    return {name: interval for name, values in figures.items() if (interval := _interval(values))}


def auc_gain_interval(pairs: Pairs, other: Scores, replicates: int, seed: int) -> Interval | None:
    """Return the 95 % interval of how far the AUC of `other` scores (n,) of the same pairs is above that of theirs.

    Both are of the same replicates, so that what is hard about the people drawn cancels out. None if none of these has
    both kinds of pair.
    """
    areas = []
    for scored in (pairs, pairs._replace(scores=other)):
        falling = in_falling_order(scored)
        curve = roc_of_falling(falling.scores, falling.same)
        areas.append(_curve_replicates(falling, curve, [], replicates, seed)["auc"])
    return _interval(areas[1] - areas[0])


def _curve_replicates(
    pairs: Pairs, curve: Roc, rates: list[float], replicates: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Return what `curve_intervals` is of: name: the figure of every replicate (replicates,)."""
    drawn, ends, genuine = Drawn(pairs, replicates, seed), bin_ends(curve), np.asarray(pairs.same, dtype=bool)
    kinds = [(drawn.columns[genuine], curve.genuine[ends]), (drawn.columns[~genuine], curve.impostors[ends])]
    return drawn.measure(kinds, lambda counts: _of_curves(counts[0], counts[1], rates))


def bin_ends(curve: Roc) -> NDArray[np.int64]:
    """Return places of a ROC, 0 and the last among them, between which replicates take a straight line."""
    if len(curve.genuine) <= FEW_THRESHOLDS:
        return np.arange(len(curve.genuine))
    genuine, impostors = int(curve.genuine[-1]), int(curve.impostors[-1])
    of_genuine = [np.linspace(0, genuine, GENUINE_STEPS + 1), genuine - _rising(genuine)]
    of_impostors = [_rising(impostors), np.arange(0, impostors, MOST_IN_BIN)]
    places = [
        np.searchsorted(
            counts, np.concatenate(wanted).astype(counts.dtype)
        )  # of another type, it would copy all counts
        for counts, wanted in ((curve.genuine, of_genuine), (curve.impostors, of_impostors))
    ]
    return np.unique(np.concatenate([*places, [len(curve.genuine) - 1]]))


def _rising(total: int) -> NDArray[np.int64]:
    """Return whole numbers from 1 to `total`, each the next one or a 50th higher."""
    steps = int(np.ceil(np.log(total) * RATE_STEPS)) + 1
    return np.unique(np.geomspace(1, total, steps).astype(np.int64))


def accuracy_interval(pairs: Pairs, threshold: float, replicates: int, seed: int) -> dict[str, Interval]:
    """Return the 95 % interval of the `accuracy` at a threshold that was chosen elsewhere, as above."""
    right = accepted(pairs.scores, threshold) == np.asarray(pairs.same, dtype=bool)
    drawn = Drawn(pairs, replicates, seed)
    kinds = [(drawn.columns[chosen], np.array([0, chosen.sum()])) for chosen in (right, ~right)]
    values = drawn.measure(kinds, lambda counts: {"accuracy": counts[0][0] / (counts[0][0] + counts[1][0])})
    interval = _interval(values["accuracy"])
    return {"accuracy": interval} if interval else {}


class Drawn:
    """How often each replicate draws each identity, and with it each pair; `columns` (n,) numbers pairs of these."""

    def __init__(self, pairs: Pairs, replicates: int, seed: int) -> None:
        """Draw as many identities as there are, with replacement, `replicates` times."""
        first, second, total = numbered(pairs.first, pairs.second)
        columns: NDArray[Any] = np.minimum(first, second).astype(np.int32 if total**2 < 2**31 else np.int64)
        columns *= total
        columns += np.maximum(first, second)
        self.columns: NDArray[np.integer] = columns
        if total**2 <= len(columns):
            combinations = np.arange(total**2, dtype=columns.dtype)
        else:  # few of all that there could be
            combinations, places = np.unique(columns, return_inverse=True)
            self.columns = places.astype(np.int32)
        self._one, self._other = np.divmod(combinations, total)
        random = np.random.default_rng(seed)
        self._times = random.multinomial(total, np.full(total, 1 / total), size=replicates).T.astype(np.float32)

    def measure(
        self,
        kinds: list[tuple[NDArray[np.integer], NDArray[np.integer]]],
        figures: Callable[[list[NDArray[np.float64]]], dict[str, NDArray[np.float64]]],
    ) -> dict[str, NDArray[np.float64]]:
        """Return the figures of every replicate, made from how many pairs it has in each bin.

        Args:
            kinds: of each kind of pair, their `columns` and the ends of bins of them: bin i is from ends[i] to
                ends[i + 1], exclusive.
            figures: of each kind, counts of pairs (bins, r) of r replicates -> name: values (r,), not finite where
                there is none.
        """
        replicates = self._times.shape[1]
        step = int(np.clip(MOST_WEIGHTS // len(self._one), 4, 256))
        parts = []
        with np.errstate(invalid="ignore", divide="ignore"):  # replicates without one kind
            for start in range(0, replicates, step):
                weights = self._weights(slice(start, start + step))
                parts.append(figures([_counts(columns, ends, weights) for columns, ends in kinds]))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _weights(self, replicates: slice) -> NDArray[np.float32]:
        times = np.ascontiguousarray(self._times[:, replicates])
        weights = times[self._other]
        weights[self._one == self._other] = 1
        weights *= times[self._one]
        return weights


def numbered(
    first: NDArray[np.integer], second: NDArray[np.integer]
) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    """Return the identities of pairs as places among those that occur, in their order, and how many these are."""
    occurs = np.zeros(int(max(first.max(), second.max())) + 1, dtype=bool)
    occurs[first] = occurs[second] = True
    place = np.cumsum(occurs, dtype=np.int32) - np.int32(1)
    return place[first], place[second], int(place[-1]) + 1


def _counts(
    columns: NDArray[np.integer], ends: NDArray[np.integer], weights: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return the weight of the pairs in each bin, (bins, r), where `weights` has a row a column."""
    parts = [_table(columns, ends[low : high + 1], len(weights)) @ weights for low, high in _blocks(ends)]
    return np.concatenate(parts).astype(np.float64)


def _table(columns: NDArray[np.integer], ends: NDArray[np.integer], width: int) -> csr_array:
    within = columns[ends[0] : ends[-1]]
    ones = np.ones(len(within), dtype=np.float32)
    return csr_array((ones, within, ends - ends[0]), shape=(len(ends) - 1, width))


def _blocks(ends: NDArray[np.integer]) -> Iterator[tuple[int, int]]:
    """Yield first and last, exclusive, of bins that hold `MOST_AT_ONCE` pairs together, or one bin that holds more."""
    low = 0
    while low < len(ends) - 1:
        high = int(np.searchsorted(ends, ends[low] + MOST_AT_ONCE, side="right")) - 1
        high = max(low + 1, high)
        yield low, high
        low = high


def _of_curves(
    genuine: NDArray[np.float64], impostors: NDArray[np.float64], rates: list[float]
) -> dict[str, NDArray[np.float64]]:
    """Return the figures of the ROC of each replicate from its genuine and impostor pairs by bin, each (bins, r)."""
    tar, fmr = _shares(genuine), _shares(impostors)
    figures = {"auc": np.sum(np.diff(fmr, axis=0) * (tar[1:] + tar[:-1]) / 2, axis=0)}
    every = np.arange(tar.shape[1])
    closest = np.argmin(np.abs(fmr + tar - 1), axis=0)
    figures["eer"] = (fmr[closest, every] + 1 - tar[closest, every]) / 2
    for rate in rates:
        at_rate = tar[np.sum(fmr <= rate, axis=0) - 1, every]
        figures[f"tar_at_far_{rate:g}"] = np.where(np.isfinite(fmr[-1]), at_rate, np.nan)
    return figures


def _shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of pairs in the first i bins, (bins + 1, r)."""
    below = np.cumsum(counts, axis=0)
    return np.concatenate([np.zeros((1, counts.shape[1])), below]) / below[-1]


def _interval(values: NDArray[np.float64]) -> Interval | None:
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return None
    low, high = np.quantile(finite, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)
