"""models/threshold.json: thresholds on cosines, with the error rates measured at each, and the calibration.

This module has the only model of that file: `evaluate` writes it, and whoever applies or describes the model reads it.
"""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, FiniteFloat, ValidationError, model_validator

from faces.core.errors import StageError
from faces.core.files import require_file, write_text
from faces.evaluation.roc import Scores
from faces.tables.split_table import TRAIN

THRESHOLD_PATH = Path("models/threshold.json")
LOWEST, HIGHEST = -2.5, 2.5  # of `threshold_between` on cosines, which lie in -1..1
NOT_A_NUMBER = {"missing", "float_type", "float_parsing", "finite_number"}  # pydantic's names of these errors
RATES = [float(f"{digits}e-{power}") for power in range(9, 1, -1) for digits in range(10, 100)]  # 1e-8 to 0.99

Rate = Annotated[float, Field(ge=0, le=1)]
Ends = tuple[Rate, Rate]


class Calibration(BaseModel):
    """Log-likelihood ratio = slope * cosine + intercept, no less than `lowest` and no more than `highest`.

    The bounds are -log(genuine pairs) and log(impostor pairs) of the fit: a ratio of 1,000 takes a thousand impostor
    pairs to be seen.
    """

    slope: FiniteFloat = Field(ge=0)
    intercept: FiniteFloat
    lowest: FiniteFloat
    highest: FiniteFloat

    def log_ratios(self, scores: Scores) -> NDArray[np.float64]:
        """Return the log-likelihood ratios of cosines (n,)."""
        return np.clip(self.slope * np.asarray(scores, dtype=np.float64) + self.intercept, self.lowest, self.highest)


class ErrorRates(BaseModel):
    """A threshold on cosines and the error rates at it, with their 95 % intervals over people if there are any.

    fmr: share of impostor pairs at or above the threshold; fnmr: share of genuine pairs below it.
    """

    threshold: FiniteFloat = Field(ge=LOWEST, le=HIGHEST)
    fmr: Rate
    fnmr: Rate
    fmr_interval: Ends | None = None
    fnmr_interval: Ends | None = None


class Curve(BaseModel):
    """Error rates at many thresholds, in descending order: columns of one length.

    `chosen_fmr` is the FMR on the part where thresholds for an FMR are chosen; `fmr` and `fnmr` are of the part where
    errors are measured. `<rate>_low` and `<rate>_high` are the ends of 95 % intervals, or are empty.
    """

    threshold: list[FiniteFloat] = Field(min_length=2)
    chosen_fmr: list[Rate]
    fmr: list[Rate]
    fnmr: list[Rate]
    fmr_low: list[Rate]
    fmr_high: list[Rate]
    fnmr_low: list[Rate]
    fnmr_high: list[Rate]

    @model_validator(mode="after")
    def _one_length(self) -> "Curve":
        sizes = {name: len(values) for name, values in self}
        ends = {sizes.pop(name) for name in list(sizes) if name.endswith(("_low", "_high"))}
        if len(set(sizes.values())) > 1 or ends not in ({0}, {sizes["threshold"]}):
            raise ValueError("has columns of different lengths")
        if np.any(np.diff(self.threshold) >= 0):
            raise ValueError("has thresholds that do not descend")
        return self

    def at(self, threshold: float) -> ErrorRates:
        """Return the error rates at any threshold, between those of the curve by linear interpolation."""
        order = np.array(self.threshold)[::-1]

        def between(values: list[float]) -> float:
            return float(np.interp(threshold, order, np.array(values)[::-1]))

        intervals: dict[str, Ends] = {}
        if self.fmr_low:
            intervals["fmr_interval"] = between(self.fmr_low), between(self.fmr_high)
            intervals["fnmr_interval"] = between(self.fnmr_low), between(self.fnmr_high)
        return ErrorRates(threshold=threshold, fmr=between(self.fmr), fnmr=between(self.fnmr), **intervals)

    def for_fmr(self, rate: float) -> ErrorRates:
        """Return the lowest threshold of the curve at which `chosen_fmr` is at most `rate`, with its error rates.

        StageError if there is none.
        """
        fitting = int(np.searchsorted(self.chosen_fmr, rate, side="right"))
        if fitting == 0:
            raise StageError(f"an FMR of {rate:g}: the curve has {self.chosen_fmr[0]:g} at the lowest")
        return self.at(self.threshold[fitting - 1])


class Thresholds(ErrorRates):
    """The content of models/threshold.json.

    `threshold` has the `criterion` on pairs of the part `chosen_on`. `at_fmr` maps a false match rate, as text
    ("0.01"), to the threshold for it, chosen on every pair of the part `at_fmr_chosen_on`, whose pairs support an FMR
    of `lowest_fmr`; `curve` has many more. `calibration`, of the same pairs, makes a likelihood ratio of a cosine. All
    error rates are measured on every pair of the part `measured_on`: `genuine_pairs` and `impostor_pairs` are their
    numbers.
    """

    chosen_on: str
    measured_on: str
    genuine_pairs: int = Field(ge=0)
    impostor_pairs: int = Field(ge=0)
    at_fmr: dict[str, ErrorRates]
    at_fmr_chosen_on: str
    lowest_fmr: Rate
    calibration: Calibration
    curve: Curve

    @property
    def criterion(self) -> str:
        """Return in words what the threshold was chosen for."""
        return "highest accuracy" if self.chosen_on == TRAIN else "highest balanced accuracy"

    def for_fmr(self, rate: float) -> ErrorRates:
        """Return the threshold for a false match rate; StageError if the pairs support no rate as low."""
        if rate < self.lowest_fmr:
            lowest = next((known for known in RATES if known >= self.lowest_fmr), 1.0)
            raise StageError(
                f"an FMR of {rate:g}: too few pairs of {self.at_fmr_chosen_on} images; the lowest possible here is "
                f"{lowest:g}, with 30 expected false matches"
            )
        return self.curve.for_fmr(rate)


def write_thresholds(thresholds: Thresholds) -> None:
    """Write models/threshold.json; the keys are in the order of the fields, and a column of the curve is one line."""
    content = thresholds.model_dump()
    columns = content.pop("curve")
    lines = ",\n".join(f'    "{name}": {json.dumps(values)}' for name, values in columns.items())
    write_text(THRESHOLD_PATH, f'{json.dumps(content, indent=2)[:-2]},\n  "curve": {{\n{lines}\n  }}\n}}\n')


def read_thresholds(path: Path = THRESHOLD_PATH) -> Thresholds:
    """Return the content of the file; StageError names the file, and the first key that is missing or wrong."""
    require_file(path)
    try:
        return parse_thresholds(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise StageError(f"{path} is missing; `dvc repro evaluate` makes it, `dvc pull` fetches it") from None


def parse_thresholds(content: bytes, where: str) -> Thresholds:
    """Return the content of a file that was read; StageError, beginning with `where`, names the first wrong key."""
    try:
        return Thresholds.model_validate_json(content)
    except ValidationError as error:
        raise StageError(f"{where}: {_describe(error)}") from None


def _describe(error: ValidationError) -> str:
    """Return a sentence on the first problem."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] in NOT_A_NUMBER:
        return f"has no number `{key}`"
    return f"{key}: {first['msg']}" if key else first["msg"]
