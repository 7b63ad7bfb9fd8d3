import json
from pathlib import Path

import numpy as np
import pytest

from faces.core.errors import StageError
from faces.evaluation.roc import roc_curve
from faces.evaluation.threshold import THRESHOLD_PATH, measure_thresholds, read_thresholds, write_thresholds

CURVE = roc_curve(np.array([0.9, 0.8, 0.7, 0.2]), np.array([1, 0, 1, 0]))


@pytest.mark.usefixtures("in_new_folder")
def test_what_is_written_is_read_back_with_the_keys_in_a_fixed_order() -> None:
    measured = measure_thresholds("test_unseen", CURVE, 0.75, {0.5: 0.85})
    write_thresholds(measured)
    assert read_thresholds() == measured
    assert THRESHOLD_PATH.read_text().endswith("}\n")
    assert list(json.loads(THRESHOLD_PATH.read_text()).items()) == [
        ("threshold", 0.75),
        ("fmr", 0.5),
        ("fnmr", 0.5),
        ("chosen_on", "train"),
        ("measured_on", "test_unseen"),
        ("genuine_pairs", 2),
        ("impostor_pairs", 2),
        ("at_fmr", {"0.5": {"threshold": 0.85, "fmr": 0.0, "fnmr": 0.5}}),
        ("at_fmr_chosen_on", "test_seen"),
    ]


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


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="gone.json is missing; `dvc repro evaluate` makes it"):
        read_thresholds(tmp_path / "gone.json")
