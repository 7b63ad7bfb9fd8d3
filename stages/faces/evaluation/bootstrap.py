"""Bootstrap intervals of verification metrics over people: how far a metric would stray with other people.

Pairs are not independent: those of one person share a face, and impostor pairs share two. Therefore a replicate draws
identities with replacement, not pairs. An identity that is drawn w times gives its genuine pairs the weight w, and an
impostor pair has the product of the weights of its two identities. (Owen 2007, "The pigeonhole bootstrap",
arXiv:0712.1111, which finds it mildly conservative; for genuine pairs it is the subsets bootstrap of Bolle, Ratha,
Pankanti 2004, "Error analysis of pattern recognition systems".)
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from faces.evaluation.roc import Roc, Scores, accept, roc_curve_sorted
from faces.evaluation.rule_of_30 import RULE_OF_3
from faces.evaluation.scored_pairs import ScoredPairs, number_identities, sort_descending

# A replicate knows scores only by bins. A ROC of few thresholds has a bin for each score. Otherwise, unless pairs tie,
# a bin holds at most a 500th of the genuine pairs, a 50th of the impostor pairs at or above it, and a 50th of the
# genuine pairs at or below it. On the default data that moved the ends of intervals by 1.5 % of their width at most.
FEW_THRESHOLDS = 4096
GENUINE_STEPS = 500
RATE_STEPS = 50
MAX_IN_BIN = 2**16  # pairs, of weights below 16 * 16: 32-bit floats count them exactly
MAX_AT_ONCE = 2**22  # pairs: 16 MB
MAX_WEIGHTS = 2**21  # of pairs of identities and of 4 to 256 replicates: 8 MB, which a processor's cache holds
COVERAGE = 0.95

Interval = tuple[float, float]


def curve_intervals(
    pairs: ScoredPairs, curve: Roc, rates: list[float], replicates: int, seed: int
) -> dict[str, Interval]:
    """Return the 95 % intervals, (low, high), of `auc`, `eer` and `tar_at_far_<rate>` for each rate.

    An interval reaches from the 2.5th to the 97.5th percentile of the replicates. A replicate that draws pairs of one
    kind alone is left out; the result is empty if all do.

    Args:
        pairs: of both kinds, in descending order of score.
        curve: their ROC.
        rates: false accept rates.
        replicates: how often identities are drawn.
        seed: for the draws.
    """
    metrics = curve_replicates(pairs, curve, rates, replicates, seed)
    return {name: interval for name, values in metrics.items() if (interval := _interval(values))}


def auc_gain_interval(pairs: ScoredPairs, other: Scores, replicates: int, seed: int) -> Interval | None:
    """Return the 95 % interval of the AUC of `other` scores (n,) of the same pairs minus the AUC of their own scores.

    Both AUCs are of the same replicates, so that the difficulty of the people drawn cancels out. None if no replicate
    has both kinds of pair.
    """
    areas = []
    for scored in (pairs, pairs._replace(scores=other)):
        descending = sort_descending(scored)
        curve = roc_curve_sorted(descending.scores, descending.same)
        areas.append(curve_replicates(descending, curve, [], replicates, seed)["auc"])
    return _interval(areas[1] - areas[0])


def accuracy_interval(pairs: ScoredPairs, threshold: float, replicates: int, seed: int) -> Interval | None:
    """Return the 95 % interval of the accuracy at a threshold that was chosen on other pairs; None if there is none."""
    return _interval(accuracy_replicates(pairs, threshold, replicates, seed))


def accuracy_replicates(pairs: ScoredPairs, threshold: float, replicates: int, seed: int) -> NDArray[np.float64]:
    """Return the accuracy at a threshold in every replicate, (replicates,); not finite where it has no pair."""
    right = accept(pairs.scores, threshold) == np.asarray(pairs.same, dtype=bool)
    drawn = Replicates(pairs, replicates, seed)
    groups = [PairBins(drawn.columns[chosen], np.array([0, chosen.sum()])) for chosen in (right, ~right)]
    values = drawn.measure(groups, lambda counts: {"accuracy": counts[0][0] / (counts[0][0] + counts[1][0])})
    return values["accuracy"]


def mean_cost_interval(pairs: ScoredPairs, costs: NDArray[np.floating], replicates: int, seed: int) -> Interval | None:
    """Return the 95 % interval of (mean cost of genuine pairs + mean cost of impostor pairs) / 2.

    None if no replicate has both kinds. `costs` (n,) are of the pairs.
    """
    drawn, genuine = Replicates(pairs, replicates, seed), np.asarray(pairs.same, dtype=bool)
    return _interval((drawn.means(costs, genuine) + drawn.means(costs, ~genuine)) / 2)


def rate_ratio_interval(
    pairs: ScoredPairs,
    wrong: NDArray[np.bool_],
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    replicates: int,
    seed: int,
) -> Interval | None:
    """Return the 95 % interval of the share of wrong pairs among the first over that among the second.

    A replicate draws the people of all pairs, so that a person of both groups is drawn for both. None if an end is
    infinite, since more than one in forty replicates have no wrong pair among the second.

    Args:
        pairs: n pairs.
        wrong: which are wrong, (n,).
        first: which are in one group, (n,).
        second: which are in the other, (n,).
        replicates: how often identities are drawn.
        seed: for the draws.
    """
    drawn, wrongs = Replicates(pairs, replicates, seed), wrong.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = drawn.means(wrongs, first) / drawn.means(wrongs, second)
        ratios = ratios[~np.isnan(ratios)]
        ends = np.quantile(ratios, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2]) if len(ratios) else np.full(2, np.nan)
    return (float(ends[0]), float(ends[1])) if np.isfinite(ends).all() else None


def error_rate_intervals(
    pairs: ScoredPairs, thresholds: NDArray[np.float64], replicates: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the 95 % intervals of FMR and of FNMR at fixed thresholds, each (t, 2); None if no replicate has both.

    Where no pair of n is wrong, the upper end is 3 / n (the rule of 3), and where all are, the lower end is 1 - 3 / n:
    replicates of pairs that are all right are all right. These ends alone take pairs for independent.

    Args:
        pairs: of both kinds, in descending order of score.
        thresholds: (t,), descending.
        replicates: how often identities are drawn.
        seed: for the draws.
    """
    drawn, genuine = Replicates(pairs, replicates, seed), np.asarray(pairs.same, dtype=bool)
    accepted = np.searchsorted(-pairs.scores, -thresholds, side="right")
    before = np.concatenate([[0], np.cumsum(genuine, dtype=np.int64)])
    ends = [np.concatenate([[0], count[accepted], [count[-1]]]) for count in (np.arange(len(before)) - before, before)]
    groups = [PairBins(drawn.columns[chosen], end) for chosen, end in zip((~genuine, genuine), ends, strict=True)]
    names = ("impostors", "genuine")

    def shares(counts: list[NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        return {name: _cumulative_shares(count)[1:-1].T for name, count in zip(names, counts, strict=True)}

    found = drawn.measure(groups, shares)  # name -> (replicates, t)
    usable = np.isfinite(found["impostors"]).all(axis=1) & np.isfinite(found["genuine"]).all(axis=1)
    if not usable.any():
        return None
    rates = found["impostors"][usable], 1 - found["genuine"][usable]
    wrong = ends[0][1:-1], ends[1][-1] - ends[1][1:-1]
    fmr, fnmr = (
        _with_rule_of_3(np.quantile(values, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2], axis=0).T, count, int(end[-1]))
        for values, count, end in zip(rates, wrong, ends, strict=True)
    )
    return fmr, fnmr


def _with_rule_of_3(intervals: NDArray[np.float64], wrong: NDArray[np.integer], total: int) -> NDArray[np.float64]:
    """Widen intervals (t, 2) of rates that are 0 or 1: `wrong` (t,) of `total` pairs."""
    intervals[wrong == 0, 1] = min(1.0, RULE_OF_3 / total)
    intervals[wrong == total, 0] = max(0.0, 1 - RULE_OF_3 / total)
    return intervals


def _interval(values: NDArray[np.float64]) -> Interval | None:
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return None
    low, high = np.quantile(finite, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)


def curve_replicates(
    pairs: ScoredPairs, curve: Roc, rates: list[float], replicates: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Return the metrics of `curve_intervals` for every replicate: name -> values (replicates,)."""
    drawn, ends, genuine = Replicates(pairs, replicates, seed), bin_ends(curve), np.asarray(pairs.same, dtype=bool)
    groups = [
        PairBins(drawn.columns[genuine], curve.genuine[ends]),
        PairBins(drawn.columns[~genuine], curve.impostors[ends]),
    ]
    return drawn.measure(groups, lambda counts: _curve_metrics(counts[0], counts[1], rates))


def _curve_metrics(
    genuine: NDArray[np.float64], impostors: NDArray[np.float64], rates: list[float]
) -> dict[str, NDArray[np.float64]]:
    """Return AUC, EER and TAR at each FAR of r ROCs, (r,), from the pairs of each kind in each bin, (bins, r)."""
    tar, fmr = _cumulative_shares(genuine), _cumulative_shares(impostors)
    metrics = {"auc": np.sum(np.diff(fmr, axis=0) * (tar[1:] + tar[:-1]) / 2, axis=0)}
    every = np.arange(tar.shape[1])
    closest = np.argmin(np.abs(fmr + tar - 1), axis=0)
    metrics["eer"] = (fmr[closest, every] + 1 - tar[closest, every]) / 2
    for rate in rates:
        at_rate = tar[np.sum(fmr <= rate, axis=0) - 1, every]
        metrics[f"tar_at_far_{rate:g}"] = np.where(np.isfinite(fmr[-1]), at_rate, np.nan)
    return metrics


def _cumulative_shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of pairs in the first i bins, (bins + 1, r), from counts (bins, r)."""
    below = np.cumsum(counts, axis=0)
    return np.concatenate([np.zeros((1, counts.shape[1])), below]) / below[-1]


def bin_ends(curve: Roc) -> NDArray[np.int64]:
    """Return the places of a ROC that separate bins, from 0 to the last; between them, replicates interpolate."""
    if len(curve.genuine) <= FEW_THRESHOLDS:
        return np.arange(len(curve.genuine))
    genuine, impostors = int(curve.genuine[-1]), int(curve.impostors[-1])
    genuine_ends = [np.linspace(0, genuine, GENUINE_STEPS + 1), genuine - _geometric_steps(genuine)]
    impostor_ends = [_geometric_steps(impostors), np.arange(0, impostors, MAX_IN_BIN)]
    places = []
    for counts, wanted in ((curve.genuine, genuine_ends), (curve.impostors, impostor_ends)):
        ends = np.concatenate(wanted).astype(counts.dtype)  # searchsorted would copy counts of another dtype
        places.append(np.searchsorted(counts, ends))
    return np.unique(np.concatenate([*places, [len(curve.genuine) - 1]]))


def _geometric_steps(total: int) -> NDArray[np.int64]:
    """Return whole numbers from 1 to `total`, each 1 or a 50th above the one before."""
    steps = int(np.ceil(np.log(total) * RATE_STEPS)) + 1
    return np.unique(np.geomspace(1, total, steps).astype(np.int64))


class PairBins(NamedTuple):
    """Pairs of one kind, sorted into bins.

    Attributes:
        columns: `Replicates.columns` of these pairs, (n,).
        ends: bin i holds the pairs from ends[i] to ends[i + 1], exclusive, (bins + 1,).
    """

    columns: NDArray[np.integer]
    ends: NDArray[np.integer]


class Replicates:
    """Bootstrap replicates: how often each one draws each identity, and with it each pair of identities.

    `columns` (n,) gives for each pair of images the number of its pair of identities.
    """

    def __init__(self, pairs: ScoredPairs, replicates: int, seed: int) -> None:
        """Draw, `replicates` times, as many identities as there are, with replacement."""
        first, second, total = number_identities(pairs.first, pairs.second)
        columns: NDArray[Any] = np.minimum(first, second).astype(np.int32 if total**2 < 2**31 else np.int64)
        columns *= total
        columns += np.maximum(first, second)
        self.columns: NDArray[np.integer] = columns
        if total**2 <= len(columns):
            combinations = np.arange(total**2, dtype=columns.dtype)
        else:  # few of the possible combinations occur
            combinations, places = np.unique(columns, return_inverse=True)
            self.columns = places.astype(np.int32)
        self._one, self._other = np.divmod(combinations, total)
        random = np.random.default_rng(seed)
        self._times = random.multinomial(total, np.full(total, 1 / total), size=replicates).T.astype(np.float32)

    def measure(
        self,
        groups: list[PairBins],
        metrics: Callable[[list[NDArray[np.float64]]], dict[str, NDArray[np.float64]]],
    ) -> dict[str, NDArray[np.float64]]:
        """Return metrics of every replicate, name -> values (replicates,).

        Args:
            groups: the pairs of each kind.
            metrics: function of the weighted number of pairs in each bin, an array (bins, r) for each of `groups`.
                It returns name -> values (r,), not finite where a replicate has no such metric.
        """
        with np.errstate(invalid="ignore", divide="ignore"):  # replicates with one kind alone
            parts = [metrics([_weigh_bins(pairs, weights) for pairs in groups]) for weights in self._weights_in_parts()]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def means(self, values: NDArray[np.floating], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the mean of the values (n,) of the chosen pairs in every replicate, (replicates,); NaN without any."""
        columns, combinations = self.columns[chosen], len(self._one)
        sums = np.bincount(columns, values[chosen], combinations)  # pairs of the same two identities weigh the same
        counts = np.bincount(columns, minlength=combinations).astype(np.float64)
        with np.errstate(invalid="ignore"):
            return np.concatenate([(sums @ weights) / (counts @ weights) for weights in self._weights_in_parts()])

    def _weights_in_parts(self) -> Iterator[NDArray[np.float32]]:
        """Yield the weight of each pair of identities in some replicates at a time, (combinations, r)."""
        step = int(np.clip(MAX_WEIGHTS // len(self._one), 4, 256))
        for start in range(0, self._times.shape[1], step):
            times = np.ascontiguousarray(self._times[:, start : start + step])
            weights = times[self._other]
            weights[self._one == self._other] = 1
            weights *= times[self._one]
            yield weights


def _weigh_bins(pairs: PairBins, weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the sum of the weights of the pairs in each bin, (bins, r); `weights` has a row for each column.

    A bin is summed in pieces of `MAX_IN_BIN` pairs at most, since a sum of 32-bit floats is not exact above 2 ** 24.
    """
    columns, ends = pairs
    pieces = np.maximum(1, -(-np.diff(ends) // MAX_IN_BIN))  # of each bin, one if it is empty
    first = np.cumsum(pieces) - pieces
    within = np.arange(pieces.sum()) - np.repeat(first, pieces)
    ends = np.append(np.repeat(ends[:-1], pieces) + within * MAX_IN_BIN, ends[-1])
    parts = [_membership(columns, ends[low : high + 1], len(weights)) @ weights for low, high in _blocks(ends)]
    return np.add.reduceat(np.concatenate(parts), first, axis=0, dtype=np.float64)


def _membership(columns: NDArray[np.integer], ends: NDArray[np.integer], width: int) -> csr_array:
    """Return a sparse matrix (bins, width) that counts the pairs of each column in each bin."""
    within = columns[ends[0] : ends[-1]]
    ones = np.ones(len(within), dtype=np.float32)
    return csr_array((ones, within, ends - ends[0]), shape=(len(ends) - 1, width))


def _blocks(ends: NDArray[np.integer]) -> Iterator[tuple[int, int]]:
    """Yield ranges (low, high) of bins that hold `MAX_AT_ONCE` pairs at most, or of one bin that holds more."""
    low = 0
    while low < len(ends) - 1:
        high = int(np.searchsorted(ends, ends[low] + MAX_AT_ONCE, side="right")) - 1
        high = max(low + 1, high)
        yield low, high
        low = high
