"""The small project in which every stage has run, and what a failing stage looks like to its user."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from faces.network import runtime
from small_project import STAGES_AFTER_PACK, new_project, run_command, run_stage, working_in

runtime.start(threads=2)  # TensorFlow takes the number of threads once a process, before its first tensor


@pytest.fixture
def in_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an empty folder as the current one."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project in which every stage has run once. Shared: take `project` to change anything."""
    folder = new_project(tmp_path_factory.mktemp("pristine") / "project")
    with working_in(folder):
        run_stage("pack", "drawn")
        for stage in STAGES_AFTER_PACK:
            run_stage(stage)
    return folder


@pytest.fixture
def project(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished small project, which is the current folder."""
    folder = tmp_path / "project"
    shutil.copytree(pristine, folder)
    shutil.rmtree(folder / "models/checkpoints")  # else train would have nothing left to do
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def fails_with(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a stage, or `faces` with a command, that must fail as a user sees it; return its stderr.

    The exit code is 1, and there are `error:` lines and no traceback.
    """
    from faces.core.run import run_and_exit

    def check(name: str, *arguments: str) -> str:
        with pytest.raises(SystemExit) as exit_:
            run_and_exit(lambda: run_command(*arguments) if name == "faces" else run_stage(name, *arguments))
        assert exit_.value.code == 1
        printed = capsys.readouterr().err
        assert "error: " in printed and "Traceback" not in printed
        return printed

    return check
