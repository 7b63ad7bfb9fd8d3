import math
from pathlib import Path

import pytest
import ruamel.yaml
import yaml
from pydantic import Field, model_validator

from faces.core.errors import StageError
from faces.core.params import Params, load_params, read_params


class Example(Params):
    rate: float = Field(gt=0)
    count: int = Field(ge=1, le=9)
    on: bool


@pytest.fixture
def params_file(tmp_path: Path) -> Path:
    return tmp_path / "params.yaml"


def write(path: Path, **changes: object) -> Path:
    path.write_text(yaml.safe_dump({"example": {"rate": 0.5, "count": 3, "on": True} | changes}), encoding="utf-8")
    return path


def test_a_good_section_comes_back_typed(params_file: Path) -> None:
    assert load_params("example", Example, write(params_file)) == Example(rate=0.5, count=3, on=True)


SCALARS = (
    "1e-4 1E+2 -.5e1 2.e-1 1e e4 1e4x 1-e4 0x1F 0o17 010 -3 +3 0.5 .5 5. .inf -.inf null ~ Null yes no on off true "
    "True tRUE false 1_000 12:30 12:30:45 'quoted' '1' a.b - . + 1.2.3 0b11 0o9 0xZ"
).split()


@pytest.mark.parametrize("text", [text for text in SCALARS if text not in "-."])
def test_no_value_is_another_one_to_dvc(params_file: Path, text: str) -> None:
    params_file.write_text(f"value: {text}\n", encoding="utf-8")
    theirs = ruamel.yaml.YAML(typ="safe", pure=True).load(params_file)["value"]
    ours = read_params(params_file)["value"]
    # Where only one of the two sees more than a word (1_000), a typed parameter is refused, not misread.
    assert repr(ours) == repr(theirs) or isinstance(ours, str) or isinstance(theirs, str)


@pytest.mark.parametrize("text, value", [("1e-4", 1e-4), ("1E+2", 100.0), ("010", 10), ("no", "no"), ("0o17", 15)])
def test_values_are_those_of_yaml_1_2(params_file: Path, text: str, value: object) -> None:
    params_file.write_text(f"value: {text}\n", encoding="utf-8")
    assert repr(read_params(params_file)["value"]) == repr(value)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"rate": 0.0}, "example.rate: 0.0: input should be greater than 0"),
        ({"rate": math.nan}, "example.rate: nan: input should be a finite number"),
        ({"rate": "fast"}, "example.rate: 'fast': input should be a valid number"),
        ({"count": 10}, "example.count: 10: input should be less than or equal to 9"),
        ({"count": 2.0}, "example.count: 2.0: input should be a valid integer"),
        ({"count": True}, "example.count: True: input should be a valid integer"),
        ({"on": 1}, "example.on: 1: input should be a valid boolean"),
        ({"cuont": 3}, "example.cuont: unknown key"),
    ],
)
def test_an_error_names_key_value_and_what_is_allowed(
    params_file: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(StageError) as error:
        load_params("example", Example, write(params_file, **changes))
    assert message in str(error.value)


def test_what_two_keys_must_keep_together_is_reported_without_the_rest(params_file: Path) -> None:
    class Pair(Example):
        @model_validator(mode="after")
        def _together(self) -> "Pair":
            raise ValueError("Rate 0.5 should be 3")

    with pytest.raises(StageError) as error:
        load_params("example", Pair, write(params_file))
    assert str(error.value).endswith("params.yaml: example: rate 0.5 should be 3")


def test_every_problem_is_reported_at_once(params_file: Path) -> None:
    with pytest.raises(StageError) as error:
        load_params("example", Example, write(params_file, rate=-1.0, count=0))
    assert len(str(error.value).splitlines()) == 2


def test_a_missing_key_section_or_file_is_named(params_file: Path) -> None:
    params_file.write_text("example: {rate: 0.5, count: 1}\n", encoding="utf-8")
    with pytest.raises(StageError, match=r"example\.on: missing"):
        load_params("example", Example, params_file)
    with pytest.raises(StageError, match="section `other:` is missing"):
        load_params("other", Example, params_file)
    params_file.unlink()
    with pytest.raises(StageError, match="params.yaml is missing"):
        load_params("example", Example, params_file)


@pytest.mark.parametrize("date", ["2020-01-01", "2020-1-1 10:00:00", "2020-01-01T10:00:00Z"])
def test_a_date_without_quotes_is_named_since_dvc_cannot_write_one(params_file: Path, date: str) -> None:
    params_file.write_text(f"card: {{contact: {date}}}\n", encoding="utf-8")
    with pytest.raises(StageError, match=f"{date}.*: YAML reads this as a date; put it in quotes"):
        read_params(params_file)
    params_file.write_text(f"card: {{contact: '{date}', name: 2020-01}}\n", encoding="utf-8")
    assert read_params(params_file) == {"card": {"contact": date, "name": "2020-01"}}


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", "", "\tx: 1", "a: !!python/object/apply:os.getcwd []"])
def test_a_file_that_is_no_mapping_is_an_error(params_file: Path, text: str) -> None:
    params_file.write_text(text, encoding="utf-8")
    with pytest.raises(StageError, match="params.yaml"):
        read_params(params_file)
