import errno
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import split
from faces.core import run as running
from faces.core.errors import StageError
from faces.core.run import run


@pytest.mark.parametrize(
    "error, code, message",
    [
        (StageError("no such folder: x"), 1, "error: no such folder: x"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "data/x.npy"), 1, "error: data/x.npy: No space left"),
        (OSError(errno.EROFS, "Read-only file system", "data"), 1, "error: data: Read-only"),
        (FileExistsError(errno.EEXIST, "File exists", "a.txt"), 1, "error: a.txt: File exists"),
    ],
)
def test_expected_failures_exit_with_a_line(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, message: str
) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as exit_:
        running.run_and_exit(main, advice="this is the advice")
    assert exit_.value.code == code
    said = capsys.readouterr().err
    assert said.startswith(message) and ("; this is the advice" in said) != isinstance(error, StageError)
    with pytest.raises(SystemExit):
        running.run_and_exit(main)
    assert ";" not in capsys.readouterr().err


def test_ctrl_c_counts_where_python_ignores_exceptions(tmp_path: Path) -> None:
    program = """
import signal, time
from faces.core.run import run

class Deleted:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def main():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
    Deleted()
    time.sleep(30)

run(main)
"""
    process = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(running.__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert process.returncode == 130 and process.stderr.startswith("error: interrupted")


def test_ctrl_c_that_a_library_turns_into_another_error_is_no_bug(tmp_path: Path) -> None:
    program = """
import os, signal
from faces.core.run import run

def main():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()
    except KeyboardInterrupt:
        raise SystemError("bad argument to internal function") from None

run(main)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(running.__file__).parents[2])}
    reset = ["import signal", "signal.signal(signal.SIGINT, signal.default_int_handler)"]  # where tests ignore it
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([*reset, program])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 130 and done.stderr.startswith("error: interrupted; nothing half-written was left")
    assert "Traceback" not in done.stderr


def test_a_bug_keeps_its_traceback() -> None:
    def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        running.run_and_exit(main)


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").touch()
    order: list[str] = []

    def main() -> None:
        order.append("stage")

    def run_main() -> None:
        with pytest.raises(SystemExit):
            running.run_and_exit(main)

    with running.project_lock():
        # As an editor saves: by another file of the same name.
        shutil.copy("params.yaml", "new")
        os.replace("new", "params.yaml")
        waiting = threading.Thread(target=run_main)
        waiting.start()
        waiting.join(timeout=0.5)
        assert waiting.is_alive()
        order.append("other")
    waiting.join(timeout=10)
    assert order == ["other", "stage"]
    assert "another stage is still at work" in capsys.readouterr().err
