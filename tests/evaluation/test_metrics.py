import numpy as np
import pytest
from scipy.stats import norm

from by_hand import normal_pairs
from faces.evaluation.metrics import MetricsParams, verification_metrics
from faces.evaluation.scored_pairs import ScoredPairs, sort_descending
from faces.evaluation.threshold import Calibration

UNCHANGED = Calibration(slope=2.0, intercept=-2.0, lowest=-30.0, highest=30.0)  # of unit normals 2 apart
PARAMS = MetricsParams(false_accept_rates=[0.1, 0.01], folds=3, bootstrap=0, seed=0)


def test_metrics_of_two_normals() -> None:
    # Unit normals d apart: AUC Phi(d / sqrt 2), EER Phi(-d / 2), d' d, TAR at FAR f Phi(d - Phi^-1(1 - f)).
    pairs = normal_pairs(50_000, 50_000)
    metrics = verification_metrics(pairs, None, pairs, 1.0, PARAMS, UNCHANGED).values
    # Cllr is the mean of log2(1 + 1 / LR) over genuine pairs, whose log LR is normal, of mean 2 and deviation 2.
    places = np.linspace(-10, 10, 20_001)
    cost = np.sum(norm.pdf(places) * np.logaddexp(0, -(2 + 2 * places))) / np.log(2) * (places[1] - places[0])
    expected = {
        "accuracy": norm.cdf(1.0),
        "auc": norm.cdf(2 / np.sqrt(2)),
        "eer": norm.cdf(-1.0),
        "d_prime": 2.0,
        "tar_at_far_0.1": norm.cdf(2 - norm.isf(0.1)),
        "tar_at_far_0.01": norm.cdf(2 - norm.isf(0.01)),
        "fnmr_at_fmr_0.01": 1 - norm.cdf(2 - norm.isf(0.01)),
        "fnmr_at_fmr_0.001": 1 - norm.cdf(2 - norm.isf(0.001)),
        "fnmr_at_fmr_0.0001": 1 - norm.cdf(2 - norm.isf(0.0001)),
        "cllr": cost,
        "cllr_min": cost,
        "fmr_at_threshold": norm.sf(1.0),
        "fnmr_at_threshold": norm.cdf(1.0 - 2),
        "genuine_pairs": 50_000,
        "impostor_pairs": 50_000,
    }
    assert metrics == pytest.approx(expected, abs=0.025)  # five standard errors of the TAR at FAR 0.01


def test_what_the_pairs_cannot_support_is_left_out_and_said() -> None:
    pairs = normal_pairs(400, 99)
    metrics = verification_metrics(pairs, None, pairs, 1.0, PARAMS, UNCHANGED)
    assert [name for name in metrics.values if "far" in name or "at_fmr" in name or "fold" in name] == [
        "tar_at_far_0.1"
    ]
    assert metrics.left_out[:2] == [
        "tar_at_far_0.01 (needs 100 impostor pairs, there are 99)",
        "fnmr_at_fmr_0.01 (needs 100 impostor pairs, there are 99)",
    ]
    assert "fold" in metrics.left_out[-1]


def test_pairs_in_another_order_are_an_error() -> None:
    pairs = ScoredPairs(np.array([0.1, 0.9]), np.array([0, 1]), np.arange(2), np.arange(2))
    with pytest.raises(ValueError, match="descending order"):
        verification_metrics(pairs, None, pairs, 0.5, PARAMS, UNCHANGED)


def test_intervals_hold_the_figure_and_stand_beside_it() -> None:
    random = np.random.default_rng(2)
    person = random.integers(0, 50, (2, 4000))
    same = person[0] == person[1]
    pairs = sort_descending(ScoredPairs(random.normal(1.5 * same, 1), same.astype(np.int64), *person))
    flat = verification_metrics(
        pairs, None, pairs, 0.75, PARAMS.model_copy(update={"bootstrap": 200}), UNCHANGED
    ).flat()
    at_rates = ("tar_at_far_0.1", "fnmr_at_fmr_0.01", "fmr_at_threshold", "fnmr_at_threshold")
    for name in ("accuracy", "auc", "eer", *at_rates):
        assert flat[f"{name}_low"] < flat[name] < flat[f"{name}_high"]


def test_without_subjects_there_are_no_intervals_and_it_is_said() -> None:
    pairs, params = normal_pairs(400, 400), PARAMS.model_copy(update={"bootstrap": 20})
    known, unknown = (
        verification_metrics(pairs, None, pairs, 1.0, params, UNCHANGED, known) for known in (True, False)
    )
    assert known.intervals and not unknown.intervals and unknown.values == known.values
    assert unknown.left_out == [
        *known.left_out,
        "intervals (they are over people, and the set does not name the people on its images)",
    ]
