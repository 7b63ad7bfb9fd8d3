"""Reading and checking params.yaml."""

import copy
import math
import reprlib
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from faces.core.errors import StageError
from faces.core.files import require_file
from faces.core.yaml12 import load_yaml12

PARAMS_FILE = Path("params.yaml")
MAX_NUMBER = 2**32  # a larger number is a typing error, and as a count would exhaust memory or time


class Params(BaseModel):
    """Base of a stage's parameters: rejects unknown keys, values of another type, NaN and infinity."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _check_magnitude(cls, value: object) -> object:
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int | float) and math.isfinite(number) and abs(number) > MAX_NUMBER:
                raise ValueError(f"Input should be {MAX_NUMBER} at most")
        return value


AnyParams = TypeVar("AnyParams", bound=BaseModel)


def read_params(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """Return all sections of a parameter file; StageError if it is missing or not a mapping."""
    require_file(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise StageError(f"{path} is missing; run from the root of the project") from None
    return parse_params(content, str(path))


def parse_params(content: bytes, where: str) -> dict[str, Any]:
    """Return the sections of a parameter file's content; StageError, beginning with `where`, if it is not a mapping."""
    return copy.deepcopy(_parse(content, where))


@lru_cache(maxsize=1)  # a check reads the file for every section, and parsing takes some 30 ms
def _parse(content: bytes, where: str) -> dict[str, Any]:
    try:
        sections = load_yaml12(content.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StageError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise StageError(f"{where} is nested too deeply") from None
    if not isinstance(sections, dict):
        raise StageError(f"{where} must hold sections (`split:`, `train:`, …), found {type(sections).__name__}")
    return sections


def load_params(section: str, model: type[AnyParams], path: Path = PARAMS_FILE) -> AnyParams:
    """Return a validated section of the parameter file; StageError names every wrong key."""
    content = read_params(path)
    if section not in content:
        raise StageError(f"{path}: the section `{section}:` is missing")
    return check_params(content[section], model, f"{path}: {section}")


def check_params(values: object, model: type[AnyParams], where: str) -> AnyParams:
    """Return `values` as `model`; StageError has a line `where.key: value: allowed values` for each problem."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise StageError("\n".join(_problem(where, detail) for detail in error.errors())) from None


_short = reprlib.Repr()  # a value may be a megabyte long, and YAML aliases can repeat it a billion times
_short.maxlevel, _short.maxstring, _short.maxother = 2, 200, 200


def _problem(where: str, detail: Any) -> str:
    key = ".".join([where, *map(str, detail["loc"])])
    allowed = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    if detail["type"] == "missing":
        return f"{key}: missing"
    if detail["type"] in ("model_type", "dict_type"):
        allowed = "Should have keys: {<key>: <value>, …}"
    value = f"{_short.repr(detail['input'])}: " if detail["loc"] else ""  # no key: it is the whole section
    return f"{key}: {value}{allowed[0].lower()}{allowed[1:]}"
