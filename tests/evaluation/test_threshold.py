import json
from pathlib import Path

import numpy as np
import pytest

from faces.core.errors import StageError
from faces.evaluation.calibration import fit_calibration
from faces.evaluation.choosing import Choice, measure_thresholds
from faces.evaluation.roc import Roc, accept, roc_curve_sorted
from faces.evaluation.scored_pairs import ScoredPairs, sort_descending
from faces.evaluation.threshold import THRESHOLD_PATH, Curve, Thresholds, read_thresholds, write_thresholds


def some_pairs(seed: int, impostors: int = 3000) -> tuple[ScoredPairs, Roc]:
    """400 genuine and some impostor pairs, of 40 people."""
    random = np.random.default_rng(seed)
    same = np.repeat([1, 0], [400, impostors])
    scores = np.clip(random.normal(np.where(same, 0.5, 0.1), 0.15), -1, 1).astype(np.float32)
    first = random.integers(0, 40, len(same))
    pairs = sort_descending(ScoredPairs(scores, same, first, np.where(same, first, (first + 1) % 40)))
    return pairs, roc_curve_sorted(pairs.scores, pairs.same)


CHOSEN, MEASURED = some_pairs(0), some_pairs(1)


@pytest.fixture(scope="module")
def thresholds() -> Thresholds:
    choice = Choice(0.3, "train", CHOSEN[1], "test_seen", fit_calibration(CHOSEN[0]))
    return measure_thresholds("test_unseen", *MEASURED, choice, [0.1, 0.01, 0.001], replicates=50, seed=0)


def rates(pairs: ScoredPairs, threshold: float) -> tuple[float, float]:
    accepted, genuine = accept(pairs.scores, threshold), pairs.same == 1
    return float(np.mean(accepted[~genuine])), float(np.mean(~accepted[genuine]))


@pytest.mark.usefixtures("in_new_folder")
def test_what_is_written_is_read_back_with_the_keys_in_a_fixed_order(thresholds: Thresholds) -> None:
    write_thresholds(thresholds)
    text = THRESHOLD_PATH.read_text()
    assert read_thresholds() == thresholds
    assert text.endswith("}\n") and text.count("\n") < 80 and len(text) < 60_000
    content = json.loads(text)
    assert list(content) == list(Thresholds.model_fields)
    assert (content["threshold"], content["chosen_on"], content["measured_on"]) == (0.3, "train", "test_unseen")
    assert (content["genuine_pairs"], content["impostor_pairs"], content["lowest_fmr"]) == (400, 3000, 0.01)
    assert list(content["at_fmr"]) == ["0.1", "0.01"]  # 3,000 pairs do not support the third


def test_errors_at_every_threshold_of_the_curve_are_counted(thresholds: Thresholds) -> None:
    assert (thresholds.fmr, thresholds.fnmr) == pytest.approx(rates(MEASURED[0], 0.3), abs=1e-15)
    curve = thresholds.curve
    assert np.max(-np.diff(curve.threshold)) <= 0.3  # beyond the cosines; below, a hundredth at most
    for threshold, chosen, fmr, fnmr in zip(
        curve.threshold[::9], curve.chosen_fmr[::9], curve.fmr[::9], curve.fnmr[::9], strict=True
    ):
        assert (fmr, fnmr) == pytest.approx(rates(MEASURED[0], threshold), abs=1e-6)
        assert chosen == pytest.approx(rates(CHOSEN[0], threshold)[0], abs=1e-6)


def test_any_rate_of_two_digits_has_the_lowest_threshold_for_it(thresholds: Thresholds) -> None:
    for rate in (0.01, 0.013, 0.05, 0.5, 0.99):
        found = thresholds.for_fmr(rate)
        assert rates(CHOSEN[0], found.threshold)[0] <= rate
        next_score = CHOSEN[0].scores[CHOSEN[0].scores < found.threshold].max()
        assert rates(CHOSEN[0], float(next_score))[0] >= rate - 1e-9 or rates(CHOSEN[0], found.threshold)[0] == rate
        assert (found.fmr, found.fnmr) == pytest.approx(rates(MEASURED[0], found.threshold), abs=1e-6)
        assert found.fmr_interval and found.fmr_interval[0] <= found.fmr <= found.fmr_interval[1]
    assert thresholds.for_fmr(0.01) == thresholds.at_fmr["0.01"]


def test_a_rate_between_two_digits_has_a_threshold_that_is_not_too_low(thresholds: Thresholds) -> None:
    assert rates(CHOSEN[0], thresholds.for_fmr(0.01237).threshold)[0] <= 0.01237


def test_a_rate_that_the_pairs_cannot_support_is_refused_with_the_lowest(thresholds: Thresholds) -> None:
    with pytest.raises(
        StageError, match=r"an FMR of 0\.005: too few pairs of test_seen images; the lowest possible here is 0\.01,"
    ):
        thresholds.for_fmr(0.005)
    odd = thresholds.model_copy(update={"lowest_fmr": 0.000484})
    with pytest.raises(StageError, match=r"possible here is 0\.00049,"):  # rounded up, so that it can be asked for
        odd.for_fmr(0.0004)


def test_a_curve_without_a_threshold_for_a_rate_says_so() -> None:
    rates = {name: [0.2, 0.5] for name in ("chosen_fmr", "fmr", "fnmr")}
    empty: dict[str, list[float]] = {name: [] for name in ("fmr_low", "fmr_high", "fnmr_low", "fnmr_high")}
    curve = Curve(threshold=[0.9, 0.1], **rates, **empty)
    assert curve.for_fmr(0.2).threshold == 0.9
    with pytest.raises(StageError, match=r"an FMR of 0\.1: the curve has 0\.2 at the lowest"):
        curve.for_fmr(0.1)


def test_errors_at_a_threshold_of_the_users_own(thresholds: Thresholds) -> None:
    found = thresholds.curve.at(0.41234)
    assert found.threshold == 0.41234
    assert (found.fmr, found.fnmr) == pytest.approx(rates(MEASURED[0], 0.41234), abs=0.004)
    strict = thresholds.curve.at(1.0)
    assert (strict.fmr, strict.fnmr, strict.fmr_interval) == (0, 1, (0, 0.001))  # 3 of 3,000: the rule of 3


def test_without_replicates_there_are_no_intervals() -> None:
    choice = Choice(0.3, "train", CHOSEN[1], "test_seen", fit_calibration(CHOSEN[0]))
    found = measure_thresholds("test_unseen", *MEASURED, choice, [], replicates=0, seed=0)
    assert found.fmr_interval is None and found.curve.at(0.3).fnmr_interval is None and found.curve.fmr_low == []


def test_few_pairs_support_no_rate() -> None:
    pairs, curve = some_pairs(2, impostors=20)
    choice = Choice(0.3, "train", curve, "test_seen", fit_calibration(pairs))
    found = measure_thresholds("test_unseen", *MEASURED, choice, [0.1], replicates=0, seed=0)
    assert found.at_fmr == {} and found.lowest_fmr == 1
    with pytest.raises(StageError, match="possible here is 1,"):
        found.for_fmr(0.5)


@pytest.mark.usefixtures("in_new_folder")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "has no number `threshold`"),
        ('{"threshold": "high"}', "has no number `threshold`"),
        ('{"threshold": NaN}', "has no number `threshold`"),
        ('{"threshold": 0.5}', "has no number `fmr`"),
        ('{"threshold": 0.5, "fmr": 2}', "fmr: Input should be less than or equal to 1"),
        ("{", "Invalid JSON"),
        ("[1]", "object"),
    ],
)
def test_a_damaged_file_is_named(content: str, said: str) -> None:
    THRESHOLD_PATH.parent.mkdir()
    THRESHOLD_PATH.write_text(content)
    with pytest.raises(StageError, match="models/threshold.json: ") as error:
        read_thresholds()
    assert said in str(error.value)


@pytest.mark.usefixtures("in_new_folder")
@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("fmr", [0.5], "columns of different lengths"),
        ("fmr_low", [0.5], "columns of different lengths"),
        ("threshold", [0.5, 0.6], "thresholds that do not descend"),
        ("threshold", [0.5], "at least 2"),
        ("chosen_fmr", [2.0], "less than or equal to 1"),
    ],
)
def test_a_damaged_curve_is_named(thresholds: Thresholds, column: str, values: list[float], said: str) -> None:
    content = thresholds.model_dump()
    few = {"threshold": [0.6, 0.5], "chosen_fmr": [0.1, 0.2], "fmr": [0.1, 0.2], "fnmr": [0.2, 0.1]}
    content["curve"] |= dict.fromkeys(("fmr_low", "fmr_high", "fnmr_low", "fnmr_high"), []) | few | {column: values}
    THRESHOLD_PATH.parent.mkdir()
    THRESHOLD_PATH.write_text(json.dumps(content))
    with pytest.raises(StageError, match="models/threshold.json: curve") as error:
        read_thresholds()
    assert said in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="gone.json is missing; `dvc repro evaluate` makes it"):
        read_thresholds(tmp_path / "gone.json")
