"""Is one experiment better than another? Differences of figures on the same pairs, with 95 % intervals.

A replicate of the bootstrap draws people, as in faces/evaluation/bootstrap.py, and gives both experiments the same
people, so that how hard these are cancels out of a difference. Of n people, the interval of a difference reaches from
the q-th to the (1 - q)-th quantile of the replicates, where q = Phi(-sqrt(n / (n - 1)) * t) and t is the 97.5th
percentile of Student's distribution with n - 1 degrees of freedom: a little further than the usual 2.5th percentile,
which is too narrow for few people. (Hesterberg 2015, "What teachers should know about the bootstrap", the expanded
percentile interval.)

Experiments with several seeds are compared seed by seed. The interval of the mean difference d over S seeds is

    d +- t * sqrt(v + w),  w = max(0, s ** 2 - u) / S

where v is n / (n - 1) times the variance of d over replicates of people, and s the standard deviation of the
differences of single seeds.
u is the part of s ** 2 due to the sample of people, which v counts already: S / (S - 1) times the variance, over
replicates, of a seed's distance from the mean of the seeds. t is the 97.5th percentile of Student's distribution, with
(v + w) ** 2 / (v ** 2 / (n - 1) + w ** 2 / (S - 1)) degrees of freedom. (Satterthwaite 1946, "An approximate
distribution of estimates of variance components".)
"""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from scipy.stats import t as student

from faces.core.errors import StageError
from faces.evaluation.bootstrap import COVERAGE, accuracy_replicates, curve_replicates
from faces.evaluation.metrics import FNMR_RATES
from faces.evaluation.roc import area, equal_error, roc_curve_sorted, tar_at_far
from faces.evaluation.rule_of_30 import is_measurable
from faces.evaluation.scored_pairs import ScoredPairs, sort_descending
from faces.evaluation.verification import accuracy
from faces.tables.kept_scores import MAX_PAIRS, KeptPairs, KeptScores

BETTER, WORSE, UNDECIDED, EQUAL, NO_INTERVAL = "better", "worse", "not told apart", "equal", "no interval"
ERRORS = ("eer", "loss", "fmr", "fnmr", "cllr", "failure_to_enrol")  # parts of names of metrics of which less is better
ACCEPTED = 0.5  # between the scores of decisions: 1 if a pair was accepted, else 0
DIR = "dir_at_far_"  # begins the name of a figure; the rate follows
Replicates = dict[str, NDArray[np.float64]]


class Difference(NamedTuple):
    """A figure of two experiments on the same pairs.

    Attributes:
        set: name of the part or test set.
        figure: name of the metric.
        first: its value in the first experiment, the mean over seeds.
        second: its value in the second.
        low, high: ends of the 95 % interval of second - first; None if there is none: the set does not name its people
            or names one alone, or no replicate has the figure.
        verdict: of the second experiment: better, worse, not told apart by these data, equal, or no interval.
    """

    set: str
    figure: str
    first: float
    second: float
    low: float | None
    high: float | None
    verdict: str


class Scored(NamedTuple):
    """The figures of one experiment on some pairs, and of its replicates: name -> (replicates,)."""

    values: dict[str, float]
    replicates: Replicates


class CommonPairs(NamedTuple):
    """The pairs of images that all experiments have, and that are of one kind in all of them.

    Attributes:
        places: for each experiment, the places of its pairs, (m,), in one order.
        both_kinds: whether there are genuine pairs and impostor pairs.
        people: the number of people on their images; 0 if an experiment does not name them.
        dropped: how many other pairs are genuine in one experiment and impostor pairs in another.
    """

    places: list[NDArray[np.int64]]
    both_kinds: bool
    people: int
    dropped: int


def compare(
    first: Sequence[KeptScores], second: Sequence[KeptScores], draws: int, seed: int
) -> tuple[list[Difference], list[str]]:
    """Return the differences of all figures, and sentences on what was compared.

    Args:
        first: the scores of an experiment, one for each seed.
        second: those of another with the same seeds, in the same order.
        draws: bootstrap replicates, 1 or more.
        seed: for the draws.
    """
    everything = [*first, *second]
    names = [name for name in first[0].sets if all(name in kept.sets for kept in everything)]
    if not names:
        raise StageError("the experiments have no test set in common")
    found, said, apart = list[Difference](), list[str](), list[str]()
    if any(one.embeddings == other.embeddings for one, other in zip(first, second, strict=True)):
        said.append("the embeddings are the same, and so are all cosines; only thresholds and votes can differ")
    for name in names:
        every, drawn = ([_part(kept.sets[name][kind]) for kept in everything] for kind in (0, 1))
        if not all(len(pairs.same) for pairs in every):
            said.append(f"{name}: has no labels, so no figures")
            continue
        common = pairs_of_one_kind(every)
        if common.dropped:
            said.append(
                f"{name}: {common.dropped:,} pairs are left out: genuine pairs in one experiment, impostor pairs in "
                "another"
            )
        if not common.both_kinds:
            apart.append(name)
            continue
        said.append(f"{name}: {_how_many(common, every, 'pairs in common,')}")
        of_drawn = pairs_of_one_kind(drawn)
        if any(kept.sets[name].every is not kept.sets[name].drawn for kept in everything):
            lacking = "" if of_drawn.both_kinds else "; it is left out, since these are not of both kinds"
            said.append(f"{name}: accuracy: {_how_many(of_drawn, drawn, 'sampled pairs in common')}{lacking}")
        if of_drawn.both_kinds:
            scored = [
                _accuracy("accuracy", _take(pairs, rows), kept.threshold, draws, seed)
                for pairs, rows, kept in zip(drawn, of_drawn.places, everything, strict=True)
            ]
            found += _differences(name, scored[: len(first)], scored[len(first) :], of_drawn.people)
        scored = [
            _curve_figures(_take(pairs, rows), draws, seed) for pairs, rows in zip(every, common.places, strict=True)
        ]
        found += _differences(name, scored[: len(first)], scored[len(first) :], common.people)
    if apart:
        said.append(
            f"{', '.join(apart)}: the experiments were tested on different people or images: they have no genuine and "
            "impostor pairs in common; compare two with the same `sources`, `split` and `test_sets` in params.yaml"
        )
    of_decisions, also_said = _compare_decisions(first, second, draws, seed)
    if not found and not of_decisions:
        raise StageError("\n".join(said))
    return found + of_decisions, said + also_said


def _compare_decisions(
    first: Sequence[KeptScores], second: Sequence[KeptScores], draws: int, seed: int
) -> tuple[list[Difference], list[str]]:
    """Return the differences of the shares of right decisions and of DIR, and sentences on what was compared."""
    everything, found, said = [*first, *second], list[Difference](), list[str]()
    for name, figure in dict.fromkeys(key for kept in everything for key in kept.decisions):
        if any((name, figure) not in kept.decisions for kept in everything):
            said.append(f"{name}: {figure} is left out: not all experiments kept its decisions")
            continue
        sides = [kept.decisions[name, figure] for kept in everything]
        common = pairs_of_one_kind(sides)
        said.append(f"{name}: {figure}: {_how_many(common, sides, 'decisions in common')}")
        taken = [_take(pairs, rows) for pairs, rows in zip(sides, common.places, strict=True)]
        if figure.startswith(DIR):
            rate, enrolled = float(figure.removeprefix(DIR)), int(np.count_nonzero(taken[0].same))
            strangers = len(taken[0].same) - enrolled
            if not enrolled or not is_measurable(rate, strangers):
                said.append(
                    f"{name}: {figure} is left out: it needs a probe of an enrolled person and {1 / rate:,.0f} of "
                    f"strangers in common; there are {enrolled:,} and {strangers:,}"
                )
                continue
            scored = [_detection_and_identification(figure, probes, rate, draws, seed) for probes in taken]
        elif common.places[0].size:
            scored = [_accuracy(figure, pairs, ACCEPTED, draws, seed) for pairs in taken]
        else:
            continue
        found += _differences(name, scored[: len(first)], scored[len(first) :], common.people)
    return found, said


def _part(pairs: KeptPairs) -> KeptPairs:
    """Return the first `MAX_PAIRS` pairs; of FRCSyn's sets more are kept."""
    columns = {column: getattr(pairs, column)[:MAX_PAIRS] for column in ("a", "b", "same", "scores")}
    return pairs if len(pairs.a) <= MAX_PAIRS else pairs._replace(**columns)


def _how_many(common: CommonPairs, sides: Sequence[KeptPairs], what: str) -> str:
    return f"{len(common.places[0]):,} {what} of {max(len(pairs.scores) for pairs in sides):,}"


def pairs_of_one_kind(sides: Sequence[KeptPairs]) -> CommonPairs:
    """Return the pairs of images that all sides have, without those that are genuine on one side and not on another."""
    places = common_pairs(sides)
    same = np.array([pairs.same[rows] for pairs, rows in zip(sides, places, strict=True)])
    agreed = (same == same[0]).all(axis=0)
    places = [rows[agreed] for rows in places]
    genuine = int(np.count_nonzero(same[0, agreed]))
    people = count_people(sides[0], places[0]) if all(len(pairs.people) for pairs in sides) else 0
    return CommonPairs(places, 0 < genuine < len(places[0]), people, int(np.count_nonzero(~agreed)))


def common_pairs(sides: Sequence[KeptPairs]) -> list[NDArray[np.int64]]:
    """Return, for each side, the places of the pairs of images that all sides have, in one order."""
    images = reduce(np.intersect1d, [pairs.images for pairs in sides])
    keys = []
    for pairs in sides:
        number = np.searchsorted(images, pairs.images).clip(max=max(0, len(images) - 1))
        shared = images[number] == pairs.images if len(images) else np.zeros(len(number), dtype=bool)
        a, b = number[pairs.a], number[pairs.b]
        both = shared[pairs.a] & shared[pairs.b]
        keys.append(np.where(both, np.minimum(a, b) * len(images) + np.maximum(a, b), -1))
    wanted = reduce(np.intersect1d, keys)
    wanted = wanted[wanted >= 0]
    orders = [np.argsort(key, kind="stable") for key in keys]
    return [order[np.searchsorted(key, wanted, sorter=order)] for key, order in zip(keys, orders, strict=True)]


def count_people(pairs: KeptPairs, rows: NDArray[np.int64]) -> int:
    """Return the number of people on the images of some pairs."""
    return len(np.unique(pairs.people[np.union1d(pairs.a[rows], pairs.b[rows])]))


def _take(pairs: KeptPairs, rows: NDArray[np.int64]) -> ScoredPairs:
    """Return some pairs, with people numbered in the order of their hashes, which is the same for all experiments."""
    people = pairs.people if len(pairs.people) else pairs.images
    number = np.unique(people, return_inverse=True)[1].astype(np.int32)
    return ScoredPairs(pairs.scores[rows], pairs.same[rows], number[pairs.a[rows]], number[pairs.b[rows]])


def _accuracy(figure: str, pairs: ScoredPairs, threshold: float, draws: int, seed: int) -> Scored:
    """Return the share of pairs that are decided rightly at a threshold, under the name of a figure."""
    replicates = accuracy_replicates(pairs, threshold, draws, seed)
    return Scored({figure: accuracy(pairs.scores, pairs.same, threshold)}, {figure: replicates})


def _detection_and_identification(figure: str, probes: ScoredPairs, rate: float, draws: int, seed: int) -> Scored:
    """Return DIR at a FAR, under the name of a figure; a replicate has its own threshold, of the strangers it draws."""
    probes = sort_descending(probes)
    curve = roc_curve_sorted(probes.scores, probes.same)
    replicates = curve_replicates(probes, curve, [rate], draws, seed)[f"tar_at_far_{rate:g}"]
    return Scored({figure: tar_at_far(curve, rate)}, {figure: replicates})


def _curve_figures(pairs: ScoredPairs, draws: int, seed: int) -> Scored:
    """Return AUC, EER and FNMR."""
    pairs = sort_descending(pairs)
    curve = roc_curve_sorted(pairs.scores, pairs.same)
    rates = [rate for rate in FNMR_RATES if is_measurable(rate, int(curve.impostors[-1]))]
    values = {"auc": area(curve), "eer": equal_error(curve)}
    values |= {f"fnmr_at_fmr_{rate:g}": 1 - tar_at_far(curve, rate) for rate in rates}
    of_curve = curve_replicates(pairs, curve, rates, draws, seed)
    replicates = {name: of_curve[name] for name in ("auc", "eer")}
    replicates |= {f"fnmr_at_fmr_{rate:g}": 1 - of_curve[f"tar_at_far_{rate:g}"] for rate in rates}
    return Scored(values, replicates)


def _differences(name: str, first: list[Scored], second: list[Scored], people: int) -> list[Difference]:
    found = []
    for figure in first[0].values:
        values = np.array([[scored.values[figure] for scored in side] for side in (first, second)])
        ends = None
        if people > 1:
            replicates = np.array(
                [
                    after.replicates[figure] - before.replicates[figure]
                    for before, after in zip(first, second, strict=True)
                ]
            )
            ends = difference_interval(values[1] - values[0], replicates, people)
        low, high = ends or (None, None)
        verdict = _verdict(figure, low, high)
        found.append(Difference(name, figure, float(values[0].mean()), float(values[1].mean()), low, high, verdict))
    return found


def difference_interval(
    differences: NDArray[np.float64], replicates: NDArray[np.float64], people: int
) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean of some seeds' differences; None if no replicate is finite.

    Args:
        differences: of each seed, (S,).
        replicates: the same in each bootstrap replicate of people, (S, replicates).
        people: how many there are, 2 or more.
    """
    finite = replicates[:, np.isfinite(replicates).all(axis=0)]
    if not finite.size:
        return None
    seeds, mean, means = len(differences), float(differences.mean()), finite.mean(axis=0)
    if seeds == 1:
        tail = norm.cdf(-np.sqrt(people / (people - 1)) * student.ppf((1 + COVERAGE) / 2, people - 1))
        low, high = np.quantile(means, [tail, 1 - tail])
        return float(low), float(high)
    by_people = float(np.var(means)) * people / (people - 1)
    within = float(np.var(finite - means, axis=1).sum()) / (seeds - 1)
    by_seeds = max(0.0, float(np.var(differences, ddof=1)) - within) / seeds
    if by_people + by_seeds == 0:
        return mean, mean
    freedom = (by_people + by_seeds) ** 2 / (by_people**2 / (people - 1) + by_seeds**2 / (seeds - 1))
    reach = float(student.ppf((1 + COVERAGE) / 2, freedom) * np.sqrt(by_people + by_seeds))
    return mean - reach, mean + reach


def _verdict(figure: str, low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return NO_INTERVAL
    if low == high == 0:
        return EQUAL
    if low <= 0 <= high:
        return UNDECIDED
    return BETTER if (high < 0) == less_is_better(figure) else WORSE


def less_is_better(metric: str) -> bool:
    """Return whether a metric is an error or a cost, by its name."""
    return any(word in metric for word in ERRORS)
