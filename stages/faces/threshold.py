"""The threshold on cosines that `evaluate` chooses on training pairs, apart from its figures for those who need it."""

import json
from pathlib import Path

from faces.files import write_metrics
from faces.stage import StageError

THRESHOLD_PATH = Path("models/threshold.json")


def write_threshold(threshold: float) -> None:
    """Write the threshold."""
    write_metrics(THRESHOLD_PATH, {"threshold": threshold})


def read_threshold() -> float:
    """Return the threshold; StageError if there is none."""
    try:
        return float(json.loads(THRESHOLD_PATH.read_text(encoding="utf-8"))["threshold"])
    except FileNotFoundError:
        raise StageError(f"{THRESHOLD_PATH} is missing; `dvc repro evaluate` makes it, `dvc pull` fetches it") from None
    except (KeyError, TypeError, ValueError, RecursionError):
        raise StageError(f"{THRESHOLD_PATH}: has no number `threshold`") from None
