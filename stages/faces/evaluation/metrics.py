"""The field's figures of a set of scored pairs, of a part of the split or of an external test set alike.

What a set is too small for is left out, and said, rather than given as noise.
"""

from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from faces.core.params import Params
from faces.evaluation.bootstrap import Interval, Pairs, accuracy_interval, curve_intervals
from faces.evaluation.verification import (
    Labels,
    Roc,
    Scores,
    accepted,
    accuracy,
    area,
    balanced_accuracy,
    d_prime,
    equal_error,
    error_rates,
    roc_of_falling,
    tar_at_far,
    threshold_between,
)

FEWEST_FALSE_MATCHES = 30
FEWEST_OF_KIND = 30  # pairs of a group
FNMR_RATE = 0.01

Rate = Annotated[float, Field(gt=0, lt=1)]


class FiguresParams(Params):
    """The section `figures:` of params.yaml."""

    false_accept_rates: list[Rate]
    folds: int = Field(ge=2, le=100)
    bootstrap: int = Field(ge=0, le=100_000)
    curve_points: int = Field(ge=10, le=10_000)
    histogram_bins: int = Field(ge=2, le=1000)
    seed: int = Field(ge=0)


class Figures(NamedTuple):
    """Figures by name, 95 % intervals of some of them, sentences on what is left out, and the ROC behind them."""

    values: dict[str, float]
    intervals: dict[str, Interval]
    left_out: list[str]
    curve: Roc

    def flat(self) -> dict[str, float]:
        """Return figures with the ends of their intervals, `<name>_low` and `<name>_high`, beside them."""
        metrics: dict[str, float] = {}
        for name, value in self.values.items():
            metrics[name] = value
            if name in self.intervals:
                metrics[f"{name}_low"], metrics[f"{name}_high"] = self.intervals[name]
        return metrics


def supported(rate: float, impostors: int) -> bool:
    """Tell whether so many impostor pairs support a rate of false matches: 30 of them or more are to be expected.

    The rule of 30 (Doddington et al. 2000, "The NIST speaker recognition evaluation"): the true rate is then within
    30 % of the one measured, with a confidence of 90 %, were the pairs independent.
    """
    return impostors * rate >= FEWEST_FALSE_MATCHES


def too_few(figure: str, rate: float, of: str, count: int) -> str:
    """Return the sentence on a figure at a rate that `count` impostor pairs, or strangers, do not support."""
    return f"{figure} needs {FEWEST_FALSE_MATCHES / rate:,.0f} {of}; there are {count:,}"


def verification_figures(
    every: Pairs,
    folds: NDArray[np.integer] | None,
    drawn: Pairs,
    threshold: float,
    params: FiguresParams,
    identities_known: bool = True,
) -> Figures:
    """Return the field's figures of one set; ValueError unless `every` is in falling order.

    Args:
        every: the pairs of both kinds that all figures but `accuracy` are of, the highest score first.
        folds: (n, 2) fold of either image of these, 0 or more; None if there are none.
        drawn: the pairs that `accuracy` is of, about as many genuine as impostor.
        threshold: at which it is taken, and FMR and FNMR, chosen elsewhere.
        params: which figures.
        identities_known: whether pairs say who is on them; if not, there are no intervals.
    """
    curve = roc_of_falling(every.scores, every.same)
    values: dict[str, float] = {"accuracy": accuracy(drawn.scores, drawn.same, threshold)}
    values |= {"auc": area(curve), "eer": equal_error(curve), "d_prime": d_prime(every.scores, every.same)}
    values["fmr_at_threshold"], values["fnmr_at_threshold"] = error_rates(curve, threshold)
    of_rates, left_out = figures_at_rates(curve, params.false_accept_rates)
    values |= of_rates
    accuracies = None if folds is None else k_fold_accuracies(every.scores, every.same, folds)
    if accuracies is None:
        left_out.append(
            "k-fold accuracy needs pairs of both kinds in each of two or more folds; fewer figures.folds may do"
        )
    else:
        values |= {"fold_accuracy": float(accuracies.mean()), "fold_accuracy_std": float(accuracies.std())}
        values["folds"] = len(accuracies)
    values |= {"genuine_pairs": int(curve.genuine[-1]), "impostor_pairs": int(curve.impostors[-1])}
    if params.bootstrap and not identities_known:
        left_out.append(
            "intervals need the subjects of all images, by which they are drawn; the set does not name them"
        )
    if not params.bootstrap or not identities_known:
        return Figures(values, {}, left_out, curve)
    rates = [rate for rate in params.false_accept_rates if f"tar_at_far_{rate:g}" in values]
    found = accuracy_interval(drawn, threshold, params.bootstrap, params.seed)
    found |= curve_intervals(every, curve, rates, params.bootstrap, params.seed)
    return Figures(values, found, left_out, curve)


def figures_at_rates(curve: Roc, rates: list[float]) -> tuple[dict[str, float], list[str]]:
    """Return TAR at each FAR and FNMR at FMR 1 % as far as there are impostor pairs for it, and what there are not."""
    impostors = int(curve.impostors[-1])
    wanted = {f"tar_at_far_{rate:g}": (rate, tar_at_far(curve, rate)) for rate in rates}
    wanted[f"fnmr_at_fmr_{FNMR_RATE:g}"] = FNMR_RATE, 1 - tar_at_far(curve, FNMR_RATE)
    values = {name: value for name, (rate, value) in wanted.items() if supported(rate, impostors)}
    left_out = [
        too_few(name, rate, "impostor pairs", impostors) for name, (rate, _) in wanted.items() if name not in values
    ]
    return values, left_out


def k_fold_accuracies(scores: Scores, same: Labels, folds: NDArray[np.integer]) -> NDArray[np.float64] | None:
    """Return the accuracy on each fold at the threshold that is best on all others; None if a fold lacks a kind.

    Scores are in falling order. A pair is scored in fold k if both of its images are in k, and helps to choose k's
    threshold if neither is. (Huang et al. 2007, "Labeled Faces in the Wild", whose ten sets share no person.) Both
    accuracies are balanced: there, sets have as many genuine as impostor pairs, and it is the plain one.
    """
    genuine = np.asarray(same, dtype=bool)
    last = np.append(np.flatnonzero(scores[1:] < scores[:-1]), len(scores) - 1)  # of the pairs that share a score
    ends = last[np.unique(np.searchsorted(last, np.flatnonzero(genuine)))]
    first, second = (np.ascontiguousarray(of_image) for of_image in folds.T)
    accuracies = []
    for fold in np.union1d(pd.unique(first), pd.unique(second)):
        a, b = first == fold, second == fold
        scored, chosen_by = np.flatnonzero(a & b), np.flatnonzero(~(a | b))
        if not all(0 < genuine[rows].sum() < len(rows) for rows in (scored, chosen_by)):
            return None
        threshold = _best_balanced_threshold(scores, genuine, chosen_by, ends)
        accuracies.append(balanced_accuracy(scores[scored], genuine[scored], threshold))
    return np.array(accuracies)


def _best_balanced_threshold(
    scores: Scores, genuine: NDArray[np.bool_], chosen: NDArray[np.int64], ends: NDArray[np.int64]
) -> float:
    """Return the `best_threshold` of the chosen pairs, which lies above all or after one of the places `ends`.

    These are the last of the pairs that share a genuine pair's score: what accepts impostors alone is no gain.
    """
    places = np.searchsorted(chosen, ends, side="right")  # how many of the chosen are accepted
    right = np.searchsorted(chosen[genuine[chosen]], ends, side="right")
    total = int(np.count_nonzero(genuine[chosen]))
    gain = right * (len(chosen) - total) - (places - right) * total
    best = len(gain) - 1 - int(np.argmax(gain[::-1]))
    return threshold_between(scores[chosen], int(places[best]) if gain[best] >= 0 else 0)


def categories(names: pd.Series) -> pd.Categorical:
    """Return names as categories, in their order, where "" is none."""
    codes, known = pd.factorize(names, sort=True)
    unnamed = int("" in known)  # and then it is the first
    return pd.Categorical.from_codes(codes - unnamed, categories=pd.Index(known[unnamed:]))


def group_figures(pairs: Pairs, groups: pd.Categorical, threshold: float) -> tuple[dict[str, float], list[str]]:
    """Return the balanced accuracy of each group at a threshold, their mean and deviation, and the trade-off of these.

    Beside them, sentences on what is left out: a group with fewer than 30 pairs of either kind, and all figures where
    fewer than two groups have more. The trade-off, mean less standard deviation, is FRCSyn's (Melzi et al. 2024,
    "FRCSyn Challenge at WACV 2024", arXiv:2311.10476): a system for some groups alone has little of it.

    `groups` has the group of each pair (n,), missing for none.
    """
    counts, right = _by_group(pairs, groups, threshold)
    enough = (counts >= FEWEST_OF_KIND).all(axis=1)
    left_out = [
        f"accuracy_of_group_{group} needs {FEWEST_OF_KIND} genuine and {FEWEST_OF_KIND} impostor pairs; "
        f"there are {genuine:,} and {impostors:,}"
        for group, (impostors, genuine), has_enough in zip(groups.categories, counts, enough, strict=True)
        if not has_enough
    ]
    if enough.sum() < 2:
        return {}, [*left_out, "figures of groups need two groups with pairs enough"] if len(counts) else []
    accuracies = (right[enough] / counts[enough]).mean(axis=1)
    mean, deviation = float(accuracies.mean()), float(accuracies.std())
    names = [f"accuracy_of_group_{group}" for group in groups.categories[enough]]
    figures = dict(zip(names, accuracies.tolist(), strict=True))
    figures |= {"group_accuracy_mean": mean, "group_accuracy_std": deviation, "trade_off": mean - deviation}
    return figures, left_out


def _by_group(pairs: Pairs, groups: pd.Categorical, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many impostor and genuine pairs each group has, and how many of these are told right: (groups, 2)."""
    same = np.asarray(pairs.same, dtype=bool)
    right = accepted(pairs.scores, threshold) == same
    cells = 2 * groups.codes.astype(np.int32) + same  # negative for pairs of no group
    counts, told = (
        np.bincount(cells[chosen], minlength=2 * len(groups.categories)).reshape(-1, 2)
        for chosen in (cells >= 0, (cells >= 0) & right)
    )
    return counts, told


def roc_points(name: str, curve: Roc, points: int) -> pd.DataFrame:
    """Return ROC and DET of a set: a row a point, with columns set, fmr, tar and fnmr.

    TAR is what share of genuine pairs is accepted at the lowest threshold that accepts at most `fmr` of the impostors;
    FNMR is the rest. Points lie evenly on a logarithmic axis, from the lowest FMR that the set has impostor pairs for.
    """
    lowest = min(1.0, FEWEST_FALSE_MATCHES / int(curve.impostors[-1]))
    fmr = np.geomspace(lowest, 1, points)
    tar = np.array([tar_at_far(curve, rate) for rate in fmr])
    return pd.DataFrame({"set": name, "fmr": fmr, "tar": tar, "fnmr": 1 - tar})


def score_histogram(name: str, pairs: Pairs, bins: int) -> pd.DataFrame:
    """Return how scores in -1..1 are distributed: columns set, kind, score (bin centre) and share of the set's kind."""
    edges = np.linspace(-1, 1, bins + 1)
    tables = []
    for kind, label in (("genuine", 1), ("impostor", 0)):
        scores = np.asarray(pairs.scores)[np.asarray(pairs.same) == label]
        share = np.histogram(scores, bins=edges)[0] / len(scores)
        tables.append(pd.DataFrame({"set": name, "kind": kind, "score": (edges[:-1] + edges[1:]) / 2, "share": share}))
    return pd.concat(tables, ignore_index=True)
