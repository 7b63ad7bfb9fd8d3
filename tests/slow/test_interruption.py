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

import numpy as np
import pytest
from PIL import Image

from small_project import (
    PIPELINE,
    check_project,
    commit,
    dvc,
    environment_of,
    git,
    new_checkout,
    outcome,
    ran,
    write_params,
)

pytestmark = pytest.mark.slow

SEED = 0
LONGEST_WAIT = 4  # seconds: what most stages take


def start_repro(folder: Path) -> subprocess.Popen[bytes]:
    """Check the project and start `dvc repro`, as `make repro` does, in a process group of its own; see repro.log."""
    check_project(folder)
    with open(folder.parent / "repro.log", "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", "repro"],
            cwd=folder,
            env=environment_of(folder),
            stdout=log,
            stderr=log,
            start_new_session=True,
            # A test that runs in the background may have been started with Ctrl-C ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


def log_of(folder: Path) -> str:
    return (folder.parent / "repro.log").read_text(encoding="utf-8", errors="replace")


def wait_for_stage(folder: Path, process: subprocess.Popen[bytes], stage: str) -> str:
    """Return which stage is at work as soon as that is `stage` or a later one; "" if `dvc repro` ended before."""
    while process.poll() is None:
        running = ran(log_of(folder))
        if running and PIPELINE.index(running[-1]) >= PIPELINE.index(stage):
            return running[-1]
        time.sleep(0.02)
    return ""


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill `dvc repro` and its stage, if it has not ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("group", [True, False], ids=["with its stage", "alone"])
def test_killed_in_every_stage_it_goes_on_to_the_same_bytes(uninterrupted: Path, tmp_path: Path, group: bool) -> None:
    folder = new_checkout(tmp_path / "project")
    moments = random.Random(SEED)
    for stage in np.repeat(PIPELINE, 2).tolist():
        process = start_repro(folder)
        where = wait_for_stage(folder, process, stage)
        time.sleep(moments.uniform(0, LONGEST_WAIT))
        if group:
            kill(process)
        else:
            process.kill()  # its stage lives on, and the next one waits for it
            process.wait()
        print(
            f"\nkill -9 of dvc {'and its stage' if group else 'alone'} in {where or 'no stage: it had ended'}", end=""
        )
    check_project(folder)
    output = dvc(folder, "repro")
    assert outcome(folder) == outcome(uninterrupted)
    assert dvc(folder, "status") == "check:\n\talways changed\n"
    leftovers = [path for path in folder.rglob("*.tmp*") if ".dvc" not in path.parts]
    assert leftovers == []
    print(f"\nthen `dvc repro` ran {', '.join(ran(output)) or 'nothing'}: the bytes of a run never interrupted")


# What a stage leaves behind when a piece of its work is done.
PIECES = {  # `embed` has one for 1,024 images, more than here: tests/inference/test_embedding.py interrupts it
    "synthesize": "models/checkpoints/synthesize/*/0002.json",
    "pack@drawn": "models/checkpoints/pack/drawn/*/*/images.npy.notes",
    "train": "models/checkpoints/train/*/epoch_0002.npz",
    "similarity": "models/checkpoints/similarity/*/epoch_0002.npz",
}


@pytest.fixture(scope="module")
def long_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which every stage that goes on has work enough to be killed in the middle of it; it has run."""
    folder = new_checkout(tmp_path_factory.mktemp("long") / "project")
    photo = Image.effect_noise((1500, 1500), 60).convert("RGB")
    (folder / "photos").mkdir()
    photo.save(folder / "photos/photo.jpg")
    for subject in range(8):
        (folder / f"photos/{subject}").mkdir()
        for image in range(50):
            os.link(folder / "photos/photo.jpg", folder / f"photos/{subject}/{image}.jpg")
    (folder / "photos/photo.jpg").unlink()
    write_params(
        folder,
        sources={"drawn": {"path": "photos"}, "synthetic": {"path": "data/synthetic/images"}},
        synthesize={"subjects": 8, "images_per_subject": 6},
        train={"epochs": 4},
        similarity={"epochs": 20},
    )
    inference = folder / "stages/faces/inference/embedding.py"
    inference.write_text(inference.read_text().replace("CHUNK_IMAGES = 1024", "CHUNK_IMAGES = 4"), encoding="utf-8")
    commit(folder, "with work enough")
    dvc(folder, "repro")
    return folder


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
@pytest.mark.parametrize("stage", PIECES)
def test_what_was_done_before_the_end_is_not_done_again(
    long_project: Path, tmp_path: Path, stage: str, how: signal.Signals
) -> None:
    folder = tmp_path / "project"
    subprocess.run(["git", "clone", "--quiet", long_project, folder], check=True)
    shutil.copytree(long_project / "photos", folder / "photos", dirs_exist_ok=True)
    process = start_repro(folder)
    while not any(path.stat().st_size for path in folder.glob(PIECES[stage])):
        assert process.poll() is None, log_of(folder)
        time.sleep(0.005)
    os.killpg(process.pid, how)
    assert process.wait(timeout=60) != 0
    if how == signal.SIGINT:
        assert "error: interrupted" in log_of(folder) and "Traceback" not in log_of(folder)
    process = start_repro(folder)
    assert process.wait() == 0
    (of_stage,) = [text for text in log_of(folder).split("Running stage '") if text.split("'")[0].endswith(stage)]
    (*_, line) = [line for line in of_stage.splitlines() if "resuming after" in line]
    assert outcome(folder) == outcome(long_project)
    print(f"\n{how.name} to dvc and {stage}; then: {line}; the bytes of a run never interrupted")


def test_a_change_that_was_interrupted_and_undone_costs_nothing(uninterrupted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    shutil.copytree(uninterrupted, folder, symlinks=True)
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("margin: 0.3", "margin: 0.4"), encoding="utf-8")
    process = start_repro(folder)
    assert wait_for_stage(folder, process, "train") == "train"
    time.sleep(4)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) != 0
    git(folder, "checkout", "--quiet", "params.yaml")
    assert ran(dvc(folder, "repro")) == []  # the run cache brings back what DVC had cleared
    assert outcome(folder) == outcome(uninterrupted)
    print("\nCtrl-C in train with another margin, and the margin set back: nothing reruns, all outputs are there")


FULL = {  # bytes that a stage may still write, fewer than it needs
    "synthesize": 3000,
    "pack@synthetic": 3000,
    "duplicates": 10,
    "split": 500,
    "train": 30000,
    "embed": 1000,
    "identify": 50,
    "mine": 500,
    "similarity": 1000,
    "pairs": 500,
    "evaluate": 500,
    "review": 500,
    "export": 3000,
    "card": 500,
}


def run_starved(folder: Path, stage: str, room: int = resource.RLIM_INFINITY, prefix: tuple[str, ...] = ()) -> str:
    """Run a stage with little room to write, or by a command that takes a right away; return its line of error."""
    name, _, source = stage.partition("@")
    done = subprocess.run(
        [*prefix, sys.executable, f"stages/{name}.py", *filter(None, [source])],
        cwd=folder,
        capture_output=True,
        text=True,
        # Files may not grow beyond it, which the system reports as it does a full disk: by a failing write.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "error:" in line]
    return line


@pytest.mark.parametrize("stage", FULL)
def test_a_full_disk_is_one_line_and_costs_no_output(uninterrupted: Path, tmp_path: Path, stage: str) -> None:
    folder = tmp_path / "project"
    shutil.copytree(uninterrupted, folder, symlinks=True)
    shutil.rmtree(folder / "models/checkpoints")
    before = outcome(folder)
    line = run_starved(folder, stage, room=FULL[stage])
    assert outcome(folder) == before
    print(f"\n{stage} with no room to write: {line}")


@pytest.mark.parametrize("stage", PIPELINE)
def test_a_folder_that_may_not_be_written_is_one_line(uninterrupted: Path, tmp_path: Path, stage: str) -> None:
    # Root may write anywhere, unless that right is taken away.
    prefix = () if os.getuid() else ("setpriv", "--bounding-set=-dac_override")
    if prefix and not shutil.which("setpriv"):
        pytest.skip("needs setpriv (util-linux), or a user who is not root")
    folder = tmp_path / "project"
    shutil.copytree(uninterrupted, folder, symlinks=True)
    shutil.rmtree(folder / "models/checkpoints")
    before = outcome(folder)
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())]
    for path in folders:
        path.chmod(0o555)
    try:
        line = run_starved(folder, stage, prefix=prefix)
    finally:
        for path in folders:
            path.chmod(0o755)
    assert outcome(folder) == before and "ermission denied" in line
    print(f"\n{stage} where it may not write: {line}")


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
    kill(process)
    shutil.copy(uninterrupted / "params.yaml", folder / "params.yaml")
    dvc(folder, "repro")
    assert outcome(folder) == outcome(uninterrupted)
    print("\ntrain killed in epoch 4 with another margin: the next experiment began anew, to its own bytes")
