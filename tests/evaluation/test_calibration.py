"""Likelihood ratios against `lir` 1.3.1 of PyPI, whose values stand here: it would bring half a gigabyte to install."""

import numpy as np
import pandas as pd
import pytest

from faces.evaluation.calibration import cllr, cllr_min, fit_calibration, reliability
from faces.evaluation.roc import roc_curve
from faces.evaluation.scored_pairs import ScoredPairs
from faces.evaluation.threshold import Calibration


def pairs_of(genuine: np.ndarray, impostors: np.ndarray) -> ScoredPairs:
    scores, same = np.concatenate([genuine, impostors]), np.repeat([1, 0], [len(genuine), len(impostors)])
    return ScoredPairs(scores, same, np.arange(len(same)), np.arange(len(same)))


@pytest.fixture
def pairs() -> ScoredPairs:
    """60 genuine and 300 impostor pairs, many of which tie."""
    random = np.random.default_rng(7)
    genuine, impostors = random.normal(0.5, 0.2, 60), random.normal(0.1, 0.15, 300)
    return pairs_of(*(np.round(np.clip(scores, -1, 1), 2) for scores in (genuine, impostors)))


WIDE = {"lowest": -20.0, "highest": 20.0}


def test_calibration_against_lir(pairs: ScoredPairs) -> None:
    # LogitCalibrator(C=1e6) at cosines of 0 and 1, in decimal logarithms; scores are binned 0.0005 wide here.
    found = fit_calibration(pairs).model_copy(update=WIDE).log_ratios(np.array([0.0, 1.0])) / np.log(10)
    assert found == pytest.approx([-1.64079161, 4.71956761], abs=0.005)
    assert cllr(pairs, fit_calibration(pairs).model_copy(update=WIDE)) == pytest.approx(0.4098016381807678, abs=1e-4)


def test_cllr_and_its_minimum_against_lir(pairs: ScoredPairs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faces.evaluation.calibration.PAIRS_AT_ONCE", 7)
    assert cllr(pairs, Calibration(slope=10, intercept=-3, **WIDE)) == pytest.approx(0.44747790966081946, abs=1e-12)
    assert cllr_min(roc_curve(pairs.scores, pairs.same)) == pytest.approx(0.3621771125175194, abs=1e-12)


def test_cllr_by_hand() -> None:
    # Ratios of 2 for a genuine and 1/2 for an impostor pair: log2(1 + 1/2) of each.
    pairs = pairs_of(np.array([1.0]), np.array([-1.0]))
    assert cllr(pairs, Calibration(slope=np.log(2), intercept=0, **WIDE)) == pytest.approx(np.log2(1.5))
    assert cllr(pairs, Calibration(slope=0, intercept=0, **WIDE)) == pytest.approx(1)  # ratios of 1 tell nothing
    assert cllr_min(roc_curve(pairs.scores, pairs.same)) == 0
    assert cllr_min(roc_curve(-pairs.scores, pairs.same)) == pytest.approx(1)


def test_ratios_stay_within_what_so_many_pairs_can_show(pairs: ScoredPairs) -> None:
    fitted = fit_calibration(pairs)
    assert (fitted.lowest, fitted.highest) == pytest.approx((-np.log(60), np.log(300)))
    assert fitted.model_copy(update={"slope": 1000.0}).log_ratios(np.array([-1.0, 1.0])).tolist() == [
        fitted.lowest,
        fitted.highest,
    ]
    apart = fit_calibration(pairs_of(np.full(9, 0.9), np.full(20, 0.1)))  # scores that separate without error
    assert np.isfinite(apart.slope) and apart.slope > 10


def test_scores_that_are_lower_for_one_person_tell_nothing(pairs: ScoredPairs) -> None:
    fitted = fit_calibration(pairs._replace(scores=-pairs.scores))
    assert (fitted.slope, fitted.intercept) == (0, 0)


def test_normal_scores_have_the_ratio_of_their_densities() -> None:
    # Normals of one deviation s, at a and b: log LR is linear, (a - b) / s^2 * (score - (a + b) / 2).
    random = np.random.default_rng(1)
    pairs = pairs_of(random.normal(0.4, 0.15, 40_000), random.normal(0.1, 0.15, 80_000))
    fitted = fit_calibration(pairs)
    slope = 0.3 / 0.15**2
    assert (fitted.slope, fitted.intercept) == pytest.approx((slope, -slope * 0.25), rel=0.02)
    table = reliability("normal", pairs, fitted)
    assert list(table["set"].unique()) == ["normal"] and table["stated"].diff().dropna().eq(0.25).all()
    assert table["stated"].min() <= -1.5 and table["stated"].max() >= 1.5
    frequent = table[table["stated"].abs() <= 1.5]  # beyond, too few pairs are behind a row
    assert len(frequent) == 13 and (frequent["observed"] - frequent["stated"]).abs().max() < 0.15


def test_steps_of_few_pairs_are_no_points() -> None:
    scores = np.repeat([0.1, 0.5], [9, 40])
    pairs = pairs_of(scores, scores)
    table = reliability("few", pairs, Calibration(slope=np.log(10), intercept=0, **WIDE))
    # 0.1 rounds to the step 0, which has 9 pairs of either kind; 0.5 is a step of its own, equally frequent in both.
    pd.testing.assert_frame_equal(table, pd.DataFrame({"set": ["few"], "stated": [0.5], "observed": [0.0]}))
