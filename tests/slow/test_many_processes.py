"""Processes that train together, when one of them is killed, and on what could be several machines."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training_projects import new_training_project, set_training, start_training, trained

pytestmark = pytest.mark.slow

CURVE = "metrics/train/plots/metrics/loss.tsv"
OUTPUTS = ("models/backbone.weights.h5", "metrics/train.json", CURVE, "metrics/train/plots/metrics/validation_auc.tsv")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which two processes have trained six epochs, undisturbed."""
    folder = new_training_project(tmp_path_factory.mktemp("whole") / "project")
    set_training(folder, processes=2, epochs=6, warmup_epochs=0)
    run_to_end(start_training(folder))
    return folder


def run_to_end(process: "subprocess.Popen[str]") -> str:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return errors


def copy_of(whole: Path, folder: Path) -> Path:
    shutil.copytree(whole, folder)
    for path in ("models/checkpoints/train", "metrics/train"):
        shutil.rmtree(folder / path)
    return folder


def outputs(folder: Path) -> dict[str, bytes]:
    return {path: (folder / path).read_bytes() for path in OUTPUTS}


def wait_for_epoch(folder: Path, epoch: int, process: "subprocess.Popen[str]") -> None:
    while not list(folder.glob(f"models/checkpoints/train/*/epoch_{epoch:04d}.npz")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def worker_of(process: int) -> int:
    """Return the id of the process that a leader has started to train with it."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    children = {child for task in tasks for child in (task / "children").read_text().split()}
    (worker,) = [child for child in children if b"watch.py" not in Path(f"/proc/{child}/cmdline").read_bytes()]
    return int(worker)


def wait_until_gone(process: int, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while Path(f"/proc/{process}").exists():
        assert time.monotonic() < end, f"process {process} is left behind"
        time.sleep(0.02)


def test_the_same_bytes_again(whole: Path, tmp_path: Path) -> None:
    folder = copy_of(whole, tmp_path / "again")
    run_to_end(start_training(folder))
    assert outputs(folder) == outputs(whole)


@pytest.mark.parametrize("victim", ["worker", "leader"])
def test_a_killed_process_ends_all_and_training_goes_on(whole: Path, tmp_path: Path, victim: str) -> None:
    folder = copy_of(whole, tmp_path / "killed")
    process = start_training(folder)
    wait_for_epoch(folder, 2, process)
    worker = worker_of(process.pid)
    os.kill(worker if victim == "worker" else process.pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    if victim == "worker":
        assert process.returncode == 1
        assert "error: process 1 of those that train together ended by signal 9" in errors or "is gone" in errors
    wait_until_gone(worker)
    wait_until_gone(process.pid)
    assert "going on after epoch" in run_to_end(start_training(folder))
    assert outputs(folder) == outputs(whole)


@pytest.fixture
def two_machines(whole: Path, tmp_path: Path) -> Callable[[], list["subprocess.Popen[str]"]]:
    """Start the training in two copies of the project, which share no file, as on two machines of a cluster."""
    folders = [copy_of(whole, tmp_path / name) for name in ("first", "second")]

    def start() -> list["subprocess.Popen[str]"]:
        from faces.training.distribution import _free_ports

        workers = [f"localhost:{port}" for port in _free_ports(2)]
        tasks = [{"type": "worker", "index": index} for index in range(2)]
        configs = [json.dumps({"cluster": {"worker": workers}, "task": task}) for task in tasks]
        started = zip(folders, configs, strict=True)
        return [start_training(folder, {"TF_CONFIG": config}) for folder, config in started]

    return start


def test_a_cluster_that_shares_no_disk(
    whole: Path, tmp_path: Path, two_machines: Callable[[], list["subprocess.Popen[str]"]]
) -> None:
    """One is killed in the middle; both are started again, and the second has no checkpoint of its own."""
    processes = two_machines()
    wait_for_epoch(tmp_path / "first", 2, processes[0])
    processes[1].kill()
    processes[1].communicate()
    _, errors = processes[0].communicate(timeout=180)
    assert processes[0].returncode == 1 and "a process that shares the training is gone" in errors
    assert "Traceback" not in errors
    for process in two_machines():
        run_to_end(process)
    assert outputs(tmp_path / "first") == outputs(whole)
    assert not (tmp_path / "second/models/checkpoints/train").exists()


def test_a_machine_with_other_data_is_refused(
    tmp_path: Path, two_machines: Callable[[], list["subprocess.Popen[str]"]]
) -> None:
    split = tmp_path / "second/data/split.csv"
    split.write_text(split.read_text().replace("test_seen", "train", 1))
    first, second = two_machines()
    _, errors = second.communicate(timeout=180)
    assert second.returncode == 1 and "process 1 has other parameters, code, libraries or data" in errors
    first.communicate(timeout=180)
    assert first.returncode == 1


def test_partial_fc_l2_and_what_is_not_synchronized(tmp_path: Path) -> None:
    """By two processes as by two devices, to the byte; the first loss, before rounding has grown, as by one."""
    folder = new_training_project(tmp_path / "project")
    for changes in ({"sample_rate": 0.3, "batch_size": 4, "l2": 0.001}, {"batch_norm": "local"}):
        alone, _ = trained(folder, epoch_images=8, epochs=1, **changes)
        by_devices, first = trained(folder, epoch_images=8, epochs=1, devices=2, **changes)
        by_processes, second = trained(folder, epoch_images=8, epochs=1, processes=2, **changes)
        assert by_devices == by_processes and first.read_bytes() == second.read_bytes()
        near = bool(np.isclose(by_devices[0], alone[0], rtol=1e-4))
        assert near == (changes.get("batch_norm") != "local")
