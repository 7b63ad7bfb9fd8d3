"""The field's figures of a set of scored pairs, of a part of the split or of an external test set alike.

What a set is too small for is left out, and said, rather than given as noise.
"""

from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from faces.bootstrap import Interval, Pairs, accuracy_interval, curve_intervals
from faces.stage import Params
from faces.verification import (
    Labels,
    Roc,
    Scores,
    accuracy,
    area,
    balanced_accuracy,
    best_threshold,
    d_prime,
    equal_error,
    roc,
    tar_at_far,
)

FEWEST_FALSE_MATCHES = 30
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
    """Figures by name, 95 % intervals of some of them, and sentences on what is left out."""

    values: dict[str, float]
    intervals: dict[str, Interval]
    left_out: list[str]

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


def verification_figures(
    every: Pairs, folds: NDArray[np.int64] | None, drawn: Pairs, threshold: float, params: FiguresParams
) -> Figures:
    """Return the field's figures of one set.

    Args:
        every: the pairs of both kinds that all figures but `accuracy` are of.
        folds: (n, 2) fold of either image of these, 0 or more; None if there are none.
        drawn: the pairs that `accuracy` is of, about as many genuine as impostor.
        threshold: at which it is taken, chosen elsewhere.
        params: which figures.
    """
    scores, same = np.asarray(every.scores, dtype=np.float64), np.asarray(every.same, dtype=bool)
    curve = roc(scores, same)
    values: dict[str, float] = {"accuracy": accuracy(drawn.scores, drawn.same, threshold)}
    values |= {"auc": area(curve), "eer": equal_error(curve), "d_prime": d_prime(scores, same)}
    of_rates, left_out = figures_at_rates(curve, params.false_accept_rates)
    values |= of_rates
    accuracies = None if folds is None else k_fold_accuracies(scores, same, folds)
    if accuracies is None:
        left_out.append("k-fold accuracy takes pairs of both kinds in each of two or more folds")
    else:
        values |= {"fold_accuracy": float(accuracies.mean()), "fold_accuracy_std": float(accuracies.std())}
        values["folds"] = len(accuracies)
    values |= {"genuine_pairs": int(curve.genuine[-1]), "impostor_pairs": int(curve.impostors[-1])}
    if not params.bootstrap:
        return Figures(values, {}, left_out)
    rates = [rate for rate in params.false_accept_rates if f"tar_at_far_{rate:g}" in values]
    found = accuracy_interval(drawn, threshold, params.bootstrap, params.seed)
    found |= curve_intervals(every, rates, params.bootstrap, params.seed)
    return Figures(values, found, left_out)


def figures_at_rates(curve: Roc, rates: list[float]) -> tuple[dict[str, float], list[str]]:
    """Return TAR at each FAR and FNMR at FMR 1 % as far as there are impostor pairs for it, and what there are not."""
    impostors = int(curve.impostors[-1])
    wanted = {f"tar_at_far_{rate:g}": (rate, tar_at_far(curve, rate)) for rate in rates}
    wanted[f"fnmr_at_fmr_{FNMR_RATE:g}"] = FNMR_RATE, 1 - tar_at_far(curve, FNMR_RATE)
    values = {name: value for name, (rate, value) in wanted.items() if supported(rate, impostors)}
    left_out = [
        f"{name} takes {FEWEST_FALSE_MATCHES / rate:,.0f} impostor pairs; there are {impostors:,}"
        for name, (rate, _) in wanted.items()
        if name not in values
    ]
    return values, left_out


def k_fold_accuracies(scores: Scores, same: Labels, folds: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Return the accuracy on each fold at the threshold that is best on all others; None if a fold lacks a kind.

    A pair is scored in fold k if both of its images are in k, and helps to choose k's threshold if neither is. (Huang
    et al. 2007, "Labeled Faces in the Wild", whose ten sets share no person.) Both accuracies are balanced: there, sets
    have as many genuine as impostor pairs, and it is the plain one.
    """
    order = np.argsort(scores, kind="stable")  # once: cutting keeps the order, and sorting what is sorted is cheap
    scores, same, folds = np.asarray(scores)[order], np.asarray(same, dtype=bool)[order], folds[order]
    accuracies = []
    for fold in np.unique(folds):
        inside = folds == fold
        scored, chosen_by = inside.all(axis=1), ~inside.any(axis=1)
        if not all(0 < same[rows].sum() < rows.sum() for rows in (scored, chosen_by)):
            return None
        threshold = best_threshold(scores[chosen_by], same[chosen_by], balanced=True)
        accuracies.append(balanced_accuracy(scores[scored], same[scored], threshold))
    return np.array(accuracies)


def group_figures(pairs: Pairs, groups: pd.Series, threshold: float) -> dict[str, float]:
    """Return the balanced accuracy of each group at a threshold, their mean and deviation, and the trade-off of these.

    `groups` names the group of each pair, "" for none; what has fewer than two groups with pairs of both kinds has no
    figures. The trade-off, mean less standard deviation, is FRCSyn's (Melzi et al. 2024, "FRCSyn Challenge at WACV
    2024", arXiv:2311.10476): a system for some groups alone has little of it.
    """
    of_pair, same = groups.to_numpy(dtype=str), np.asarray(pairs.same)
    accuracies = {}
    for group in sorted(set(of_pair.tolist()) - {""}):
        chosen = of_pair == group
        if 0 < same[chosen].sum() < chosen.sum():
            accuracies[group] = balanced_accuracy(np.asarray(pairs.scores)[chosen], same[chosen], threshold)
    if len(accuracies) < 2:
        return {}
    mean, deviation = float(np.mean([*accuracies.values()])), float(np.std([*accuracies.values()]))
    figures = {f"accuracy_{group}": value for group, value in accuracies.items()}
    return figures | {"group_accuracy_mean": mean, "group_accuracy_std": deviation, "trade_off": mean - deviation}


def roc_curves(sets: dict[str, Pairs], points: int) -> pd.DataFrame:
    """Return ROC and DET of each set: a row a point, with columns set, fmr, tar and fnmr.

    TAR is what share of genuine pairs is accepted at the lowest threshold that accepts at most `fmr` of the impostors;
    FNMR is the rest. Points lie evenly on a logarithmic axis, from the lowest FMR that a set has impostor pairs for.
    """
    tables = []
    for name, pairs in sets.items():
        curve = roc(pairs.scores, pairs.same)
        lowest = min(1.0, FEWEST_FALSE_MATCHES / int(curve.impostors[-1]))
        fmr = np.geomspace(lowest, 1, points)
        tar = curve.tar[np.searchsorted(curve.fmr, fmr, side="right") - 1]
        tables.append(pd.DataFrame({"set": name, "fmr": fmr, "tar": tar, "fnmr": 1 - tar}))
    return pd.concat(tables, ignore_index=True)


def score_histogram(sets: dict[str, Pairs], bins: int) -> pd.DataFrame:
    """Return how scores in -1..1 are distributed: columns set, kind, score (bin centre) and share of the set's kind."""
    edges = np.linspace(-1, 1, bins + 1)
    tables = []
    for name, pairs in sets.items():
        for kind, label in (("genuine", 1), ("impostor", 0)):
            scores = np.asarray(pairs.scores)[np.asarray(pairs.same) == label]
            share = np.histogram(scores, bins=edges)[0] / len(scores)
            tables.append(
                pd.DataFrame({"set": name, "kind": kind, "score": (edges[:-1] + edges[1:]) / 2, "share": share})
            )
    return pd.concat(tables, ignore_index=True)
