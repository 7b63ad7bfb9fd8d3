"""The thresholds on cosines that `evaluate` chooses, and the errors measured at them, for whoever applies the model."""

import json
from pathlib import Path
from typing import Any

from faces.core.errors import StageError
from faces.core.files import write_text
from faces.evaluation.verification import Roc, error_rates

THRESHOLD_PATH = Path("models/threshold.json")


def measured_thresholds(part: str, curve: Roc, threshold: float, at_fmr: dict[float, float]) -> dict[str, Any]:
    """Return thresholds with their FMR and FNMR over all pairs of a part of the split, as `THRESHOLD_PATH` holds them.

    `threshold` was chosen on `train` pairs, and those of `at_fmr`, by the FMR that they are for, on `test_seen`.
    """
    return {
        **_with_errors(curve, threshold),
        "chosen_on": "train",
        "measured_on": part,
        "genuine_pairs": int(curve.genuine[-1]),
        "impostor_pairs": int(curve.impostors[-1]),
        "at_fmr": {f"{rate:g}": _with_errors(curve, chosen) for rate, chosen in at_fmr.items()},
        "at_fmr_chosen_on": "test_seen",
    }


def _with_errors(curve: Roc, threshold: float) -> dict[str, Any]:
    fmr, fnmr = error_rates(curve, threshold)
    return {"threshold": threshold, "fmr": fmr, "fnmr": fnmr}


def write_thresholds(thresholds: dict[str, Any]) -> None:
    """Write what `measured_thresholds` returned."""
    write_text(THRESHOLD_PATH, json.dumps(thresholds, indent=2) + "\n")


def read_threshold() -> float:
    """Return the threshold chosen on `train` pairs; StageError if there is none."""
    try:
        return float(json.loads(THRESHOLD_PATH.read_text(encoding="utf-8"))["threshold"])
    except FileNotFoundError:
        raise StageError(f"{THRESHOLD_PATH} is missing; `dvc repro evaluate` makes it, `dvc pull` fetches it") from None
    except (KeyError, TypeError, ValueError, RecursionError):
        raise StageError(f"{THRESHOLD_PATH}: has no number `threshold`") from None
