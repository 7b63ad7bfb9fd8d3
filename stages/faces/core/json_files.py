"""Reading JSON files: whole files of finite numbers, as JSON itself has them and Python's reader does not insist on."""

import json
import math
from pathlib import Path
from typing import Any

from faces.core.errors import StageError
from faces.core.files import missing_metrics, require_file


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; StageError names the file if it is missing, no file, or not JSON."""
    require_file(path)
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise missing_metrics(path) from None
    except ValueError as error:
        raise StageError(f"{path}: {error}") from None


def parse_json(text: str) -> Any:
    """Return the content of a JSON text; ValueError if it is not JSON, or a number in it is not finite."""
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _finite(number: str) -> float:
    if not math.isfinite(value := float(number)):  # NaN, Infinity, or 1e999
        raise ValueError(f"{number} is not a finite number")
    return value
