"""Processes that train together by TF_CONFIG, when one of them is killed, and on what could be several machines."""

import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from training_projects import Process, new_training_project, run_to_end, set_training, start_workers, trained

pytestmark = pytest.mark.slow

CURVE = "metrics/train/plots/metrics/loss.tsv"
OUTPUTS = ("models/backbone.weights.h5", "metrics/train.json", CURVE, "metrics/train/plots/metrics/validation_auc.tsv")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which two processes have trained six epochs, undisturbed."""
    folder = new_training_project(tmp_path_factory.mktemp("whole") / "project")
    set_training(folder, epochs=6, warmup_epochs=0)
    run_to_end(start_workers([folder, folder]))
    return folder


def copy_of(whole: Path, folder: Path) -> Path:
    shutil.copytree(whole, folder)
    for path in ("models/checkpoints/train", "metrics/train"):
        shutil.rmtree(folder / path)
    return folder


def outputs(folder: Path) -> dict[str, bytes]:
    return {path: (folder / path).read_bytes() for path in OUTPUTS}


def wait_for_epoch(folder: Path, epoch: int, process: Process) -> None:
    while not list(folder.glob(f"models/checkpoints/train/*/epoch_{epoch:04d}.npz")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)


def test_the_same_bytes_again(whole: Path, tmp_path: Path) -> None:
    folder = copy_of(whole, tmp_path / "again")
    run_to_end(start_workers([folder, folder]))
    assert outputs(folder) == outputs(whole)


@pytest.mark.parametrize("victim", ["worker", "chief"])
def test_a_killed_process_ends_the_other_and_training_goes_on(whole: Path, tmp_path: Path, victim: str) -> None:
    folder = copy_of(whole, tmp_path / "killed")
    chief, worker = start_workers([folder, folder])
    wait_for_epoch(folder, 2, chief)
    killed, other = (worker, chief) if victim == "worker" else (chief, worker)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    _, errors = other.communicate(timeout=180)
    assert other.returncode != 0
    if victim == "worker":
        assert other.returncode == 1 and "error: a process that shares the training is gone" in errors
        assert "Traceback" not in errors
    assert "resuming after epoch" in run_to_end(start_workers([folder, folder]))
    assert outputs(folder) == outputs(whole)


@pytest.fixture
def two_machines(whole: Path, tmp_path: Path) -> list[Path]:
    """Two copies of the project, which share no file, as on two machines of a cluster."""
    return [copy_of(whole, tmp_path / name) for name in ("first", "second")]


def test_a_cluster_that_shares_no_disk(whole: Path, two_machines: list[Path]) -> None:
    """One is killed in the middle; both are started again, and the second has no checkpoint of its own."""
    first, second = two_machines
    processes = start_workers(two_machines)
    wait_for_epoch(first, 2, processes[0])
    processes[1].kill()
    processes[1].communicate()
    _, errors = processes[0].communicate(timeout=180)
    assert processes[0].returncode == 1 and "a process that shares the training is gone" in errors
    assert "Traceback" not in errors
    run_to_end(start_workers(two_machines))
    assert outputs(first) == outputs(whole)
    assert not (second / "models/checkpoints/train").exists()
    assert not (second / "metrics/train").exists()


def test_a_machine_with_other_data_is_refused(two_machines: list[Path]) -> None:
    split = two_machines[1] / "data/split.csv"
    split.write_text(split.read_text().replace("test_seen", "train", 1))
    chief, worker = start_workers(two_machines)
    _, errors = worker.communicate(timeout=180)
    assert worker.returncode == 1 and "process 1 has other parameters, code, libraries or data" in errors
    chief.communicate(timeout=180)
    assert chief.returncode == 1


def test_partial_fc_l2_and_what_is_not_synchronized(tmp_path: Path) -> None:
    """By two processes as by two devices of a thread each, to the byte; the first loss, hardly rounded, as by one."""
    folder = new_training_project(tmp_path / "project")
    for changes in ({"sample_rate": 0.3, "batch_size": 4, "l2": 0.001}, {"batch_norm": "local"}):
        alone, _ = trained(folder, epoch_images=8, epochs=1, **changes)
        by_devices, first = trained(folder, epoch_images=8, epochs=1, devices=2, **changes)
        by_processes, second = trained(folder, processes=2, threads=1, epoch_images=8, epochs=1, **changes)
        assert by_devices == by_processes and first.read_bytes() == second.read_bytes()
        near = bool(np.isclose(by_devices[0], alone[0], rtol=1e-4))
        assert near == (changes.get("batch_norm") != "local")
