"""Runs that are killed, cut off or starved at any moment, and what is found afterwards. A line is printed for each."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from small_project import PIPELINE, ROOT, commit, dvc, new_checkout, ran, write_params

pytestmark = pytest.mark.slow

KILLS = 8
SEED = 0


def environment(folder: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "DVC_SITE_CACHE_DIR": str(folder.parent / "site-cache"), "DVC_NO_ANALYTICS": "1"}


def start_repro(folder: Path) -> subprocess.Popen[bytes]:
    """Start `dvc repro` in a process group of its own, which its stages belong to."""
    with open(folder.parent / "repro.log", "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", "repro"],
            cwd=folder,
            env=environment(folder),
            stdout=log,
            stderr=log,
            start_new_session=True,
            # A test that runs in the background may have been started with Ctrl-C ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


def stage_at_work(folder: Path) -> str:
    log = (folder.parent / "repro.log").read_text(encoding="utf-8", errors="replace")
    running = [line.split("'")[1] for line in log.splitlines() if line.startswith("Running stage")]
    return running[-1] if running else "start"


def outcome(folder: Path) -> dict[str, bytes]:
    """Return the bytes that must repeat: both lock files, all metrics and curves, and all models."""
    files = [*folder.glob("metrics/**/*"), *folder.glob("models/*"), folder / "data/synthetic/dvc.lock"]
    wanted = [path for path in [*files, folder / "dvc.lock"] if path.is_file() and "speed" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(wanted)}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = new_checkout(tmp_path_factory.mktemp("uninterrupted") / "project")
    assert ran(dvc(folder, "repro")) == PIPELINE
    commit(folder, "run")
    return folder


def test_two_clones_and_a_forced_rerun_give_the_same_bytes(uninterrupted: Path, tmp_path: Path) -> None:
    expected = outcome(uninterrupted)
    other = new_checkout(tmp_path / "other")
    dvc(other, "repro")
    assert outcome(other) == expected
    print(f"\nrun in two clones: {len(expected)} files the same, dvc.lock and all metrics among them")
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        assert ran(dvc(other, "repro", "--force")) == PIPELINE
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert outcome(other) == expected
    print("forced to run again on a machine loaded by four busy loops: the same bytes")


def test_one_core_gives_the_bytes_of_all(uninterrupted: Path, tmp_path: Path) -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system cannot hide cores")
    folder = new_checkout(tmp_path / "one core")
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "--quiet"],
        cwd=folder,
        env=environment(folder),
        preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    )
    assert process.wait() == 0
    assert outcome(folder) == outcome(uninterrupted)
    print("\nrun on one core: the same bytes as on all")


@pytest.mark.parametrize("group", [True, False], ids=["with its stage", "alone"])
def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(uninterrupted: Path, tmp_path: Path, group: bool) -> None:
    folder = new_checkout(tmp_path / "project")
    moments = random.Random(SEED)
    for _ in range(KILLS):
        process = start_repro(folder)
        time.sleep(moments.uniform(2, 20))
        if process.poll() is not None:
            break
        where = stage_at_work(folder)
        if group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()  # its stage lives on, and the next one waits for it
        process.wait()
        print(f"\nkill -9 of dvc {'and its stage' if group else 'alone'} in {where}")
    output = dvc(folder, "repro")
    assert outcome(folder) == outcome(uninterrupted)
    assert "up to date" in dvc(folder, "status")
    leftovers = [path for path in folder.rglob("*.tmp*") if ".dvc" not in path.parts]
    assert leftovers == []
    print(f"\nthen `dvc repro` ran {', '.join(ran(output)) or 'nothing'}: the bytes of a run never interrupted")


def test_ctrl_c_needs_no_cleaning_up(uninterrupted: Path, tmp_path: Path) -> None:
    folder = new_checkout(tmp_path / "project")
    process = start_repro(folder)
    while stage_at_work(folder) != "train":
        time.sleep(0.1)
    time.sleep(4)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) != 0
    log = (tmp_path / "repro.log").read_text(encoding="utf-8", errors="replace")
    assert "error: interrupted" in log
    assert "Traceback" not in log
    assert set(ran(dvc(folder, "repro"))) == set(PIPELINE[PIPELINE.index("train") :])
    assert outcome(folder) == outcome(uninterrupted)
    print("\nCtrl-C in train: one line; then `dvc repro` went on with train, to the same bytes")


@pytest.mark.parametrize(
    "stage, room", [("synthesize", 3000), ("pack synthetic", 3000), ("split", 500), ("train", 30000)]
)
def test_a_full_disk_is_one_line_and_costs_no_output(
    uninterrupted: Path, tmp_path: Path, stage: str, room: int
) -> None:
    folder = tmp_path / "project"
    shutil.copytree(uninterrupted, folder, symlinks=True)
    shutil.rmtree(folder / "models/checkpoints")
    before = outcome(folder)
    name, *arguments = stage.split()
    done = subprocess.run(
        [sys.executable, f"stages/{name}.py", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        # Files may not grow beyond some bytes, which the system reports as it does a full disk: by a failing write.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "error:" in line]
    assert outcome(folder) == before
    print(f"\n{stage} with no room to write: {line}")


def test_a_resume_never_takes_up_another_experiment(uninterrupted: Path, tmp_path: Path) -> None:
    folder = new_checkout(tmp_path / "project")
    write_params(folder, synthesize={"subjects": 6, "images_per_subject": 6}, train={"margin": 0.1, "epochs": 40})
    (folder / "params.yaml").write_text(
        (folder / "params.yaml")
        .read_text()
        .replace("path: images", "path: data/synthetic/images")
        .replace("drawn:", "synthetic:")
    )
    process = start_repro(folder)
    while not list(folder.glob("models/checkpoints/train/*/epoch_0003.npz")):
        time.sleep(0.1)
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    shutil.copy(uninterrupted / "params.yaml", folder / "params.yaml")
    dvc(folder, "repro")
    assert outcome(folder) == outcome(uninterrupted)
    print("\ntrain killed in epoch 4 with another margin: the next experiment began anew, to its own bytes")


def test_the_project_itself_has_no_leftovers() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert ".tmp" not in tracked
