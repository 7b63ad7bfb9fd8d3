import errno
import fcntl
import math
import threading
from pathlib import Path

import pytest
import yaml
from pydantic import Field

from faces import stage
from faces.stage import Params, StageError, load_params, read_params, run


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


@pytest.mark.parametrize("text, value", [("1e-4", 1e-4), ("1E+2", 100.0), ("-.5e1", -5.0), ("2.e-1", 0.2)])
def test_exponents_are_floats_as_dvc_reads_and_writes_them(params_file: Path, text: str, value: float) -> None:
    params_file.write_text(f"rate: {text}\n", encoding="utf-8")
    assert read_params(params_file)["rate"] == value


@pytest.mark.parametrize("text", ["1e", "e4", "1e4x", "0x1e4", "1-e4"])
def test_what_only_looks_like_an_exponent_does_not_become_one(params_file: Path, text: str) -> None:
    params_file.write_text(f"rate: {text}\n", encoding="utf-8")
    assert read_params(params_file)["rate"] == yaml.safe_load(text)


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
        run(main)
    assert exit_.value.code == code
    assert capsys.readouterr().err.startswith(message)


def test_a_bug_keeps_its_traceback() -> None:
    def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)


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

    with open(params_file, "rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = threading.Thread(target=run_main)
        waiting.start()
        waiting.join(timeout=0.5)
        assert waiting.is_alive()
        order.append("other")
    waiting.join(timeout=10)
    assert order == ["other", "stage"]
    assert "another stage is still at work" in capsys.readouterr().err
