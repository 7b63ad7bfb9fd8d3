"""Attributes of images -> groups of pairs -> error rates and accuracy by group.

An attribute, such as `glasses` or `yaw`, is text for each image, "" where unknown. Its values divide images into
groups; numbers with many different values are cut into thirds first.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faces.core.errors import StageError
from faces.core.terminal import say
from faces.evaluation.bootstrap import Interval, error_rate_intervals, rate_ratio_interval
from faces.evaluation.every_pair import EveryPair
from faces.evaluation.metrics import MetricsParams
from faces.evaluation.roc import Roc, accept, area, roc_curve_sorted, tar_at_far
from faces.evaluation.rule_of_30 import describe_unmeasurable, is_measurable
from faces.evaluation.scored_pairs import ScoredPairs, sort_descending

MIN_PAIRS = 30  # of a kind in a group, behind a rate or an accuracy
MAX_DISTINCT = 6  # numbers with more distinct values are cut into thirds
MAX_VALUES = 50  # of an attribute, in the plot
FNMR_RATE = 0.01  # the FMR at which FRCSyn gives FNMR


def errors_by_attribute(every: EveryPair, attributes: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return FNMR and FMR at a threshold for each value of each attribute, over pairs with an image of that value.

    Args:
        every: the pairs.
        attributes: text, a row for each image of the split and a column for each attribute.
        threshold: a pair is accepted if its score is at or above it.

    Returns:
        Columns attribute, value, kind (FNMR or FMR), rate and pairs. There is no row for fewer than `MIN_PAIRS` pairs
        of a kind, and of an attribute only the `MAX_VALUES` values that most images have.
    """
    seen = np.union1d(every.a, every.b)
    accepted, genuine = accept(every.pairs.scores, threshold), every.pairs.same == 1
    rows = []
    for attribute in attributes:
        values, groups = cut_into_thirds(attributes[attribute])
        for value in most_frequent(str(attribute), values.iloc[seen], groups):
            has = (values == value).to_numpy()
            either = has[every.a] | has[every.b]
            for kind, is_kind, wrong in (("FNMR", genuine, ~accepted), ("FMR", ~genuine, accepted)):
                chosen = either & is_kind
                if chosen.sum() >= MIN_PAIRS:
                    rows.append((attribute, f"{attribute}: {value}", kind, float(wrong[chosen].mean()), chosen.sum()))
    return pd.DataFrame(rows, columns=["attribute", "value", "kind", "rate", "pairs"])


def cut_into_thirds(values: pd.Series) -> tuple[pd.Series, list[str]]:
    """Return the group of each value, "" for "", and the names of the groups in order.

    Up to `MAX_DISTINCT` different values, and values that are not all finite numbers, are groups as they are. Other
    numbers are cut into thirds; a number on an edge is in the lower third. There are no groups if two edges are equal.
    """
    known = sorted(set(values) - {""})
    numbers = pd.to_numeric(values.replace("", np.nan), errors="coerce")
    if len(known) <= MAX_DISTINCT or not np.isfinite(numbers[values != ""]).all():
        return values, known
    edges = numbers.quantile([0, 1 / 3, 2 / 3, 1]).to_numpy()
    if len(np.unique(edges)) < len(edges):
        return values.where(values == "", ""), []
    names = [f"{low} to {high}" for low, high in pairwise(format_distinctly(edges))]
    third = np.searchsorted(edges[1:-1], numbers)
    return pd.Series(np.where(values == "", "", np.array(names)[third]), index=values.index), names


def format_distinctly(numbers: NDArray[np.float64]) -> list[str]:
    """Return different numbers as text with three significant digits, or as many more as make the texts differ."""
    for digits in range(3, 18):  # 17 tell any two apart
        texts = [f"{number:.{digits}g}" for number in numbers]
        if len(set(texts)) == len(texts):
            break
    return texts


def most_frequent(attribute: str, values: pd.Series, groups: list[str]) -> list[str]:
    """Return the groups that occur among the values, in their order: only the `MAX_VALUES` most frequent ones."""
    counts = values.value_counts().reindex(groups, fill_value=0)
    counts = counts[counts > 0].sort_values(ascending=False, kind="stable")
    if len(counts) > MAX_VALUES:
        say(f"{attribute}: has {len(counts)} values; the {MAX_VALUES} of most images are shown")
    kept = set(counts.index[:MAX_VALUES])
    return [group for group in groups if group in kept]


def groups_of_pairs(every: EveryPair, attributes: pd.DataFrame, attribute: str) -> pd.Categorical:
    """Return the group of each pair, missing unless both images are in it; StageError if there is no such attribute."""
    if attribute not in attributes:
        raise StageError(
            f"params.yaml: review.group_by: {attribute!r} is no attribute of the images; "
            f"known: {', '.join(map(str, attributes)) or 'none'}"
        )
    groups = to_categories(cut_into_thirds(attributes[attribute])[0])
    codes = np.where(groups.codes[every.a] == groups.codes[every.b], groups.codes[every.a], groups.codes.dtype.type(-1))
    return pd.Categorical.from_codes(codes, dtype=groups.dtype)


def to_categories(names: pd.Series) -> pd.Categorical:
    """Return names of groups as categories, sorted; "" becomes a missing value."""
    codes, known = pd.factorize(names)
    order = np.argsort(np.asarray(known, dtype=object))  # names may be categories themselves, in any order
    unnamed = int("" in known)  # sorts first
    categories = pd.Index(known[order[unnamed:]].tolist())
    return pd.Categorical.from_codes(np.argsort(order)[codes] - unnamed, categories=categories)


class GroupMetrics(NamedTuple):
    """The metrics of groups of pairs.

    Attributes:
        values: metrics by name.
        left_out: a sentence on each group or metric that is left out.
        curves: the ROC of each group that is not.
    """

    values: dict[str, float]
    left_out: list[str]
    curves: dict[str, Roc]


def trade_off(accuracies: NDArray[np.floating]) -> tuple[float, float, float]:
    """Return the mean, the standard deviation and the mean minus the standard deviation of groups' accuracies (g,).

    FRCSyn calls them AVG, SD and TO, and ranks bias by TO: a system that is good for some groups alone has a low one.
    The standard deviation is that of these groups, with g in the denominator. (Melzi et al. 2024, "FRCSyn Challenge at
    WACV 2024", arXiv:2311.10476.)
    """
    mean, deviation = float(np.mean(accuracies)), float(np.std(accuracies))
    return mean, deviation, mean - deviation


def group_metrics(
    pairs: ScoredPairs, groups: pd.Categorical, threshold: float, draws: MetricsParams, identities_known: bool = True
) -> GroupMetrics:
    """Return FMR, FNMR and balanced accuracy of each group at a threshold, and how far groups are apart.

    `fmr_worst_to_best` and `fnmr_worst_to_best` are the highest rate over the lowest (ISO/IEC 19795-10), left out if
    the lowest is 0. `<metric>_low` and `<metric>_high` are the ends of the 95 % interval over people, of a rate or of
    such a ratio. The groups of a ratio are the same in all replicates: the worst and the best of the data. Of the
    accuracies, there are mean, standard deviation and trade-off, see `trade_off`. A group has an AUC and the FNMR at an
    FMR of 0.01 too.

    Args:
        pairs: n pairs of both kinds.
        groups: group of each pair, (n,), or missing.
        threshold: a pair is accepted if its score is at or above it.
        draws: how many bootstrap replicates are behind an interval; 0: there are none.
        identities_known: whether `first` and `second` of the pairs are known; if not, there are no intervals.

    Returns:
        No group that has fewer than `MIN_PAIRS` pairs of a kind; nothing if fewer than two groups are left.
    """
    counts, right = _count_by_group(pairs, groups, threshold)
    enough = (counts >= MIN_PAIRS).all(axis=1)
    left_out = [
        f"accuracy_of_group_{group} (needs {MIN_PAIRS} genuine and {MIN_PAIRS} impostor pairs, "
        f"there are {genuine:,} and {impostors:,})"
        for group, (impostors, genuine), has_enough in zip(groups.categories, counts, enough, strict=True)
        if not has_enough
    ]
    if enough.sum() < 2:
        return GroupMetrics(
            {}, [*left_out, "metrics of groups (need two groups with enough pairs)"] if len(counts) else [], {}
        )
    accuracies = (right[enough] / counts[enough]).mean(axis=1)
    names = [f"accuracy_of_group_{group}" for group in groups.categories[enough]]
    metrics = dict(zip(names, accuracies.tolist(), strict=True))
    of_all = ("group_accuracy_mean", "group_accuracy_std", "trade_off")
    metrics |= dict(zip(of_all, trade_off(accuracies), strict=True))
    errors = dict(zip(("fmr", "fnmr"), (1 - right[enough] / counts[enough]).T, strict=True))
    for same, (kind, rates) in enumerate(errors.items()):
        metrics |= {
            f"{kind}_of_group_{group}": float(rate)
            for group, rate in zip(groups.categories[enough], rates, strict=True)
        }
        name = f"{kind}_worst_to_best"
        if rates.min() == 0:
            left_out.append(f"{name} (needs an error in each group)")
            continue
        metrics[name] = float(rates.max() / rates.min())
        if draws.bootstrap and identities_known:
            worst, best = np.flatnonzero(enough)[[np.argmax(rates), len(rates) - 1 - np.argmin(rates[::-1])]]
            if ends_of_ratio := _ratio_interval(pairs, groups, threshold, same, worst, best, draws):
                metrics[f"{name}_low"], metrics[f"{name}_high"] = ends_of_ratio
            else:
                left_out.append(f"interval of {name} (needs more errors in the best group)")
    curves = {}
    for place in np.flatnonzero(enough):
        group = str(groups.categories[place])
        own = sort_descending(pairs.take(np.flatnonzero(groups.codes == place)))
        curves[group] = curve = roc_curve_sorted(own.scores, own.same)
        metrics[f"auc_of_group_{group}"] = area(curve)
        name, impostors = f"fnmr_at_fmr_{FNMR_RATE:g}_of_group_{group}", int(curve.impostors[-1])
        if is_measurable(FNMR_RATE, impostors):
            metrics[name] = 1 - tar_at_far(curve, FNMR_RATE)
        else:
            left_out.append(describe_unmeasurable(name, FNMR_RATE, "impostor pairs", impostors))
        if draws.bootstrap and identities_known:
            ends = error_rate_intervals(own, np.array([threshold]), draws.bootstrap, draws.seed)
            for kind, interval in zip(errors, ends or (), strict=False):
                name = f"{kind}_of_group_{group}"
                metrics[f"{name}_low"], metrics[f"{name}_high"] = map(float, interval[0])
    return GroupMetrics(metrics, left_out, curves)


def _ratio_interval(
    pairs: ScoredPairs, groups: pd.Categorical, threshold: float, same: int, worst: int, best: int, draws: MetricsParams
) -> Interval | None:
    """Return the interval of the error rate of one group over that of another: FMR if `same` is 0, FNMR if it is 1."""
    chosen = np.flatnonzero((groups.codes == worst) | (groups.codes == best))
    own, codes = pairs.take(chosen), groups.codes[chosen]
    of_kind, wrong = own.same == same, accept(own.scores, threshold) != np.asarray(own.same, dtype=bool)
    in_worst, in_best = of_kind & (codes == worst), of_kind & (codes == best)
    return rate_ratio_interval(own, wrong, in_worst, in_best, draws.bootstrap, draws.seed)


def _count_by_group(
    pairs: ScoredPairs, groups: pd.Categorical, threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of impostor and of genuine pairs in each group, and of those that are right: (groups, 2)."""
    same = np.asarray(pairs.same, dtype=bool)
    right = accept(pairs.scores, threshold) == same
    cells = 2 * groups.codes.astype(np.int32) + same  # negative for pairs without a group
    counts, right_counts = (
        np.bincount(cells[chosen], minlength=2 * len(groups.categories)).reshape(-1, 2)
        for chosen in (cells >= 0, (cells >= 0) & right)
    )
    return counts, right_counts
