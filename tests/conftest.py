"""The small project in which every stage has run, and what a failing stage looks like to its user."""

import faces.core.portable  # noqa: F401  as in every script

import ctypes
import gc
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from small_project import (
    SHALLOW,
    finished_project,
    make_network_shallow,
    run_command,
    run_stage,
    start_tensorflow,
)

# The files that take longest. Of two processes, each takes the next file in this order when it has finished one, and
# neither has a long one left when the other has nothing more to do. The second and third need no `pristine`, which the
# process with the first one is making.
LONGEST_FIRST = (
    "test_train.py",
    "test_dvc_yaml.py",
    "test_weights.py",
    "test_operations.py",
    "test_broken_inputs.py",
    "test_export.py",
    "test_distribution.py",
    "test_model.py",
    "test_mine.py",
    "test_detection.py",
    "test_similarity.py",
    "test_embedding.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the order within a file stays."""
    place = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


def pytest_collection_finish() -> None:
    """Start TensorFlow if a collected file has imported it: it takes seconds, which other files need not wait.

    Networks in this process are shallow from here on.
    """
    if "tensorflow" in sys.modules:
        start_tensorflow()
        make_network_shallow()
        gc.freeze()  # else garbage collection visits all that was imported, and takes a tenth of the time of the tests


@pytest.fixture(scope="module", autouse=True)
def memory_returned() -> Iterator[None]:
    """Return to the system what a file's tests have left in memory: graphs, models, and malloc's blocks."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].backend.clear_session(free_memory=False)  # garbage is collected below
        forget_gradients()
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)


def forget_gradients() -> None:
    """Delete the gradients that swish has registered: TensorFlow keeps them, and through them each graph, for ever."""
    from tensorflow.python.framework import ops

    registry = ops.gradient_registry._registry  # noqa: SLF001
    for name in [name for name in registry if name.startswith("CustomGradient-")]:
        del registry[name]


@pytest.fixture(scope="module")
def whole_network() -> Iterator[None]:
    """Have the whole MobileFaceNet in a file's tests: those of the network itself, and of stages in other processes."""
    SHALLOW.undo()
    yield
    make_network_shallow()


@pytest.fixture
def in_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an empty folder as the current one."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project in which every stage has run once. Shared: take `project` to change anything.

    Processes that share the tests share it too.
    """
    start_tensorflow()
    make_network_shallow()  # as in the process that makes it; a file that does not import TensorFlow has not done so
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    return finished_project(shared / "pristine")


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
