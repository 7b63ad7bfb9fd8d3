"""models/threshold.json: the thresholds on cosines that `evaluate` chose, with the error rates measured at each.

This module has the only model of that file: `evaluate` writes it, and whoever applies or describes the model reads it.
"""

import json
from pathlib import Path

from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from faces.core.errors import StageError
from faces.core.files import require_file, write_text
from faces.evaluation.roc import Roc, error_rates

THRESHOLD_PATH = Path("models/threshold.json")
LOWEST, HIGHEST = -2.5, 2.5  # of `threshold_between` on cosines, which lie in -1..1
NOT_A_NUMBER = {"missing", "float_type", "float_parsing", "finite_number"}  # pydantic's names of these errors


class ErrorRates(BaseModel):
    """A threshold on cosines and the error rates at it.

    fmr: share of impostor pairs at or above the threshold; fnmr: share of genuine pairs below it.
    """

    threshold: FiniteFloat = Field(ge=LOWEST, le=HIGHEST)
    fmr: float = Field(ge=0, le=1)
    fnmr: float = Field(ge=0, le=1)


class Thresholds(ErrorRates):
    """The content of models/threshold.json.

    `threshold` has the highest accuracy on the drawn pairs of the part `chosen_on`. `at_fmr` maps a false match rate,
    as text ("0.01"), to the threshold for it, chosen on every pair of the part `at_fmr_chosen_on`. All error rates are
    measured on every pair of the part `measured_on`: `genuine_pairs` and `impostor_pairs` are their numbers.
    """

    chosen_on: str
    measured_on: str
    genuine_pairs: int = Field(ge=0)
    impostor_pairs: int = Field(ge=0)
    at_fmr: dict[str, ErrorRates]
    at_fmr_chosen_on: str


def measure_thresholds(part: str, curve: Roc, threshold: float, at_fmr: dict[float, float]) -> Thresholds:
    """Return thresholds with their error rates on a part of the split.

    Args:
        part: name of the part.
        curve: ROC of every pair of the part.
        threshold: chosen on drawn `train` pairs.
        at_fmr: FMR -> the threshold for it, chosen on every pair of `test_seen`.
    """
    return Thresholds(
        **_measure(curve, threshold).model_dump(),
        chosen_on="train",
        measured_on=part,
        genuine_pairs=int(curve.genuine[-1]),
        impostor_pairs=int(curve.impostors[-1]),
        at_fmr={f"{rate:g}": _measure(curve, chosen) for rate, chosen in at_fmr.items()},
        at_fmr_chosen_on="test_seen",
    )


def _measure(curve: Roc, threshold: float) -> ErrorRates:
    fmr, fnmr = error_rates(curve, threshold)
    return ErrorRates(threshold=threshold, fmr=fmr, fnmr=fnmr)


def write_thresholds(thresholds: Thresholds, path: Path = THRESHOLD_PATH) -> None:
    """Write the file; the keys are in the order of the fields."""
    write_text(path, json.dumps(thresholds.model_dump(), indent=2) + "\n")


def read_thresholds(path: Path = THRESHOLD_PATH) -> Thresholds:
    """Return the content of the file; StageError names the file, and the first key that is missing or wrong."""
    require_file(path)
    try:
        return Thresholds.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise StageError(f"{path} is missing; `dvc repro evaluate` makes it, `dvc pull` fetches it") from None
    except ValidationError as error:
        raise StageError(f"{path}: {_describe(error)}") from None


def _describe(error: ValidationError) -> str:
    """Return a sentence on the first problem."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] in NOT_A_NUMBER:
        return f"has no number `{key}`"
    return f"{key}: {first['msg']}" if key else first["msg"]
