import errno
import math
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import ruamel.yaml
import yaml
from pydantic import Field, model_validator

import split
from faces.core import stage
from faces.core.stage import Params, StageError, load_params, read_params, run


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
    "True tRUE false 1_000 12:30 12:30:45 2024-01-01 'quoted' '1' a.b - . + 1.2.3 0b11 0o9 0xZ"
).split()


@pytest.mark.parametrize("text", [text for text in SCALARS if text not in "-."])
def test_no_value_is_another_one_to_dvc(params_file: Path, text: str) -> None:
    params_file.write_text(f"value: {text}\n", encoding="utf-8")
    theirs = ruamel.yaml.YAML(typ="safe", pure=True).load(params_file)["value"]
    ours = read_params(params_file)["value"]
    # Where only one of the two sees more than a word (a date, 1_000), a typed parameter is refused, not misread.
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


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", "", "\tx: 1", "a: !!python/object/apply:os.getcwd []"])
def test_a_file_that_is_no_mapping_is_an_error(params_file: Path, text: str) -> None:
    params_file.write_text(text, encoding="utf-8")
    with pytest.raises(StageError, match="params.yaml"):
        read_params(params_file)


@pytest.mark.parametrize(
    "error, code, message",
    [
        (StageError("no such folder: x"), 1, "error: no such folder: x"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "data/x.npy"), 1, "error: data/x.npy: No space left"),
        (OSError(errno.EROFS, "Read-only file system", "data"), 1, "error: data: Read-only"),
    ],
)
def test_expected_failures_exit_with_a_line(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, message: str
) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as exit_:
        stage._finish(main)
    assert exit_.value.code == code
    assert capsys.readouterr().err.startswith(message)


def test_ctrl_c_counts_where_python_ignores_exceptions(tmp_path: Path) -> None:
    program = """
import signal, time
from faces.core.stage import run

class Deleted:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def main():
    Deleted()
    time.sleep(30)

run(main)
"""
    process = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(stage.__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert process.returncode == 130 and process.stderr.startswith("error: interrupted")


def test_a_bug_keeps_its_traceback() -> None:
    def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stage._finish(main)


@pytest.mark.parametrize("argument, code", [("--help", 0), ("--epochs=3", 2), ("extra", 2)])
def test_a_stage_explains_itself_and_ignores_no_argument(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, argument: str, code: int
) -> None:
    monkeypatch.setattr(sys, "argv", ["stages/split.py", argument])
    with pytest.raises(SystemExit) as exit_:
        run(split.main)
    assert exit_.value.code == code
    printed = capsys.readouterr()
    assert "Split the images of all sources" in printed.out if code == 0 else argument in printed.err


def test_a_stage_waits_for_one_that_outlived_its_dvc(
    params_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(write(params_file).parent)
    order: list[str] = []

    def main() -> None:
        order.append("stage")

    def run_main() -> None:
        with pytest.raises(SystemExit):
            stage._finish(main)

    with stage._alone():
        # As an editor saves: by another file of the same name.
        shutil.copy(params_file, params_file.with_name("new"))
        os.replace(params_file.with_name("new"), params_file)
        waiting = threading.Thread(target=run_main)
        waiting.start()
        waiting.join(timeout=0.5)
        assert waiting.is_alive()
        order.append("other")
    waiting.join(timeout=10)
    assert order == ["other", "stage"]
    assert "another stage is still at work" in capsys.readouterr().err
