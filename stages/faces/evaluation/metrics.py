"""The verification metrics of a set of scored pairs: of a part of the split (`evaluate`) or a test set (`score`).

To add a metric: compute it in roc.py, if it is read off the ROC, or in verification.py, and add it to `values` in
`verification_metrics`. Both stages then write it. If it is to have a bootstrap interval, add it to `_curve_metrics` in
bootstrap.py as well. Identification has its metrics in identification.py.

If a set is too small for a metric, the metric is left out, and `left_out` says why. Tables mark a figure at a false
match rate at which fewer than 30 false matches are expected (faces/evaluation/rule_of_30.py).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from faces.core.params import Params
from faces.evaluation.bootstrap import (
    Interval,
    accuracy_interval,
    auc_gain_interval,
    curve_intervals,
    error_rate_intervals,
    mean_cost_interval,
)
from faces.evaluation.calibration import cllr, cllr_costs, cllr_min
from faces.evaluation.k_fold import describe_folds, k_fold_accuracies
from faces.evaluation.roc import (
    Roc,
    Scores,
    area,
    area_under_roc,
    equal_error,
    error_rates,
    roc_curve_sorted,
    tar_at_far,
)
from faces.evaluation.rule_of_30 import Rate, describe_unmeasurable, is_measurable
from faces.evaluation.scored_pairs import ScoredPairs
from faces.evaluation.threshold import Calibration
from faces.evaluation.verification import accuracy, d_prime

FNMR_RATES = (0.01, 0.001, 0.0001)  # FMRs of `fnmr_at_fmr_<rate>`


class MetricsParams(Params):
    """The section `metrics:` of params.yaml."""

    false_accept_rates: list[Rate]
    folds: int = Field(ge=2, le=100)
    bootstrap: int = Field(ge=0, le=100_000)
    seed: int = Field(ge=0)


class VerificationMetrics(NamedTuple):
    """The metrics of one set.

    Attributes:
        values: metrics by name.
        intervals: 95 % intervals of some of them, by name.
        left_out: each metric that the set is too small for, with the reason in brackets.
        curve: the ROC.
    """

    values: dict[str, float]
    intervals: dict[str, Interval]
    left_out: list[str]
    curve: Roc

    def flat(self) -> dict[str, float]:
        """Return the metrics, each followed by the ends of its interval, `<name>_low` and `<name>_high`."""
        metrics: dict[str, float] = {}
        for name, value in self.values.items():
            metrics[name] = value
            if name in self.intervals:
                metrics[f"{name}_low"], metrics[f"{name}_high"] = self.intervals[name]
        return metrics


def verification_metrics(
    every: ScoredPairs,
    folds: NDArray[np.integer] | None,
    drawn: ScoredPairs,
    threshold: float,
    params: MetricsParams,
    calibration: Calibration,
    identities_known: bool = True,
    help_with_folds: str = "",
) -> VerificationMetrics:
    """Return the metrics of one set; ValueError unless `every` is sorted and has both kinds of pair.

    Args:
        every: the pairs that all metrics but `accuracy` are computed from, in descending order of score.
        folds: (n, 2), fold of each of the two images of these pairs; None if there are none.
        drawn: the pairs that `accuracy` is computed from, about as many genuine as impostor.
        threshold: for accuracy, FMR and FNMR; chosen on other pairs.
        params: which rates, and how many bootstrap replicates.
        calibration: of likelihood ratios; fitted to other pairs.
        identities_known: whether `first` and `second` of the pairs are known; if not, there are no intervals.
        help_with_folds: what the user can do if there is no k-fold accuracy.
    """
    curve = roc_curve_sorted(every.scores, every.same)
    values: dict[str, float] = {"accuracy": accuracy(drawn.scores, drawn.same, threshold)}
    values |= {"auc": area(curve), "eer": equal_error(curve), "d_prime": d_prime(every.scores, every.same)}
    values["fmr_at_threshold"], values["fnmr_at_threshold"] = error_rates(curve, threshold)
    values |= {"cllr": cllr(every, calibration), "cllr_min": cllr_min(curve)}
    at_rates, left_out = metrics_at_rates(curve, params.false_accept_rates)
    values |= at_rates
    accuracies = None if folds is None else k_fold_accuracies(every.scores, every.same, folds)
    if accuracies is None:
        found = "there are none" if folds is None else describe_folds(every.same, folds)
        advice = f"; {help_with_folds}" if help_with_folds else ""
        left_out.append(
            f"k-fold accuracy (needs two or more folds, and genuine and impostor pairs within each; {found}{advice})"
        )
    else:
        values |= {"fold_accuracy": float(accuracies.mean()), "fold_accuracy_std": float(accuracies.std())}
        values["folds"] = len(accuracies)
    values |= {"genuine_pairs": int(curve.genuine[-1]), "impostor_pairs": int(curve.impostors[-1])}
    if params.bootstrap and not identities_known:
        left_out.append("intervals (they are over people, and the set does not name the people on its images)")
    if not params.bootstrap or not identities_known:
        return VerificationMetrics(values, {}, left_out, curve)
    of_accuracy = accuracy_interval(drawn, threshold, params.bootstrap, params.seed)
    intervals = {"accuracy": of_accuracy} if of_accuracy else {}
    rates = sorted({*params.false_accept_rates, *FNMR_RATES})
    intervals |= curve_intervals(every, curve, rates, params.bootstrap, params.seed)
    for rate in FNMR_RATES:
        if ends := intervals.get(f"tar_at_far_{rate:g}"):
            intervals[f"fnmr_at_fmr_{rate:g}"] = 1 - ends[1], 1 - ends[0]
    costs = cllr_costs(every, calibration)
    if of_cllr := mean_cost_interval(every, costs, params.bootstrap, params.seed):
        intervals["cllr"] = of_cllr
    at_threshold = error_rate_intervals(every, np.array([threshold]), params.bootstrap, params.seed)
    if at_threshold:
        for name, ends_of_rate in zip(("fmr_at_threshold", "fnmr_at_threshold"), at_threshold, strict=True):
            intervals[name] = float(ends_of_rate[0, 0]), float(ends_of_rate[0, 1])
    return VerificationMetrics(values, intervals, left_out, curve)


def metrics_at_rates(curve: Roc, rates: list[float]) -> tuple[dict[str, float], list[str]]:
    """Return the TAR at each FAR and the FNMR at each of `FNMR_RATES`, and those that are left out."""
    impostors = int(curve.impostors[-1])
    wanted = {f"tar_at_far_{rate:g}": (rate, tar_at_far(curve, rate)) for rate in rates}
    wanted |= {f"fnmr_at_fmr_{rate:g}": (rate, 1 - tar_at_far(curve, rate)) for rate in FNMR_RATES}
    values = {name: value for name, (rate, value) in wanted.items() if is_measurable(rate, impostors)}
    left_out = [
        describe_unmeasurable(name, rate, "impostor pairs", impostors)
        for name, (rate, _) in wanted.items()
        if name not in values
    ]
    return values, left_out


def auc_gain(name: str, pairs: ScoredPairs, other: Scores, params: MetricsParams) -> dict[str, float]:
    """Return metric `name`: the AUC of `other` scores (n,) of the same pairs minus the AUC of their own scores.

    With bootstrap replicates, the ends of its interval over people are beside it: `<name>_low` and `<name>_high`.
    """
    gain = area_under_roc(other, pairs.same) - area_under_roc(pairs.scores, pairs.same)
    interval = auc_gain_interval(pairs, other, params.bootstrap, params.seed) if params.bootstrap else None
    ends = {f"{name}_{end}": value for end, value in zip(("low", "high"), interval or (), strict=False)}
    return {name: gain} | ends
