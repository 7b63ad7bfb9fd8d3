"""Choosing thresholds and a calibration on some people, and measuring errors at the thresholds on others."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faces.evaluation.bootstrap import error_rate_intervals
from faces.evaluation.roc import Roc, error_rates_at, threshold_at_far
from faces.evaluation.rule_of_30 import is_supported, lowest_supported_rate
from faces.evaluation.scored_pairs import ScoredPairs
from faces.evaluation.threshold import RATES, Calibration, Curve, Thresholds

COSINES = np.round(np.linspace(-1, 1, 201), 2)  # at which errors are measured too, a hundredth apart


class Choice(NamedTuple):
    """What is chosen on pairs before errors are measured on others.

    Attributes:
        threshold: the most accurate on pairs of the part `chosen_on`.
        chosen_on: that part.
        curve: ROC of every pair of the part `at_fmr_chosen_on`.
        at_fmr_chosen_on: the part on which thresholds for an FMR are chosen, and the calibration.
        calibration: of its pairs.
    """

    threshold: float
    chosen_on: str
    curve: Roc
    at_fmr_chosen_on: str
    calibration: Calibration


def measure_thresholds(
    part: str, pairs: ScoredPairs, curve: Roc, choice: Choice, rates: list[float], replicates: int, seed: int
) -> Thresholds:
    """Return thresholds with their error rates on a part of the split.

    Args:
        part: name of the part.
        pairs: every pair of the part, in descending order of score.
        curve: their ROC.
        choice: what was chosen on other pairs.
        rates: FMRs of `at_fmr`; those that the pairs of the choice do not support are left out.
        replicates: bootstrap draws behind each interval; 0: no intervals.
        seed: for the draws.
    """
    impostors = int(choice.curve.impostors[-1])
    lowest = lowest_supported_rate(impostors)
    supported = [rate for rate in rates if is_supported(rate, impostors)]
    wanted = [lowest, *supported, *(rate for rate in RATES if rate > lowest)]
    for_rates = [_nine_digits(threshold_at_far(choice.curve, rate)) for rate in wanted]
    thresholds = np.unique([*for_rates, *COSINES, choice.threshold])[::-1]
    fmr, fnmr = error_rates_at(curve, thresholds)
    intervals = error_rate_intervals(pairs, thresholds, replicates, seed) if replicates else None
    ends = [(), (), (), ()] if intervals is None else [*intervals[0].T, *intervals[1].T]
    names = ("fmr_low", "fmr_high", "fnmr_low", "fnmr_high")
    table = Curve(
        threshold=thresholds.tolist(),
        chosen_fmr=_six_digits(error_rates_at(choice.curve, thresholds)[0]),
        fmr=_six_digits(fmr),
        fnmr=_six_digits(fnmr),
        **{name: _six_digits(np.asarray(values)) for name, values in zip(names, ends, strict=True)},
    )
    at_threshold = dict(table.at(choice.threshold))
    place = int(np.flatnonzero(thresholds == choice.threshold)[0])
    at_threshold |= {"fmr": float(fmr[place]), "fnmr": float(fnmr[place])}
    return Thresholds(
        **at_threshold,
        chosen_on=choice.chosen_on,
        measured_on=part,
        genuine_pairs=int(curve.genuine[-1]),
        impostor_pairs=int(curve.impostors[-1]),
        at_fmr={f"{rate:g}": table.for_fmr(rate) for rate in supported},
        at_fmr_chosen_on=choice.at_fmr_chosen_on,
        lowest_fmr=lowest,
        calibration=choice.calibration,
        curve=table,
    )


def _nine_digits(threshold: float) -> float:
    """Round a threshold; it stays between the same two cosines, which are 32-bit floats."""
    return round(threshold, 9)


def _six_digits(rates: NDArray[np.float64]) -> list[float]:
    return [float(f"{rate:.6g}") for rate in rates]
