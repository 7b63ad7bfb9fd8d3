"""Jobs of a cluster that share a repository and a remote: two at a time, killed, started again. Each prints a line."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from small_project import ROOT, commit, dvc, environment_of, git, ran

pytestmark = pytest.mark.slow

STUDY = """
title: Two.
seeds: [0]
all: {train.epochs: 30}
runs: {wide: {metrics.bootstrap: 21}, narrow: {metrics.bootstrap: 31}}
figures: {AUC: metrics/evaluate.json auc_test_unseen}
"""


@pytest.fixture
def cluster(uninterrupted: Path, tmp_path: Path) -> Path:
    """A folder with origin.git and remote, which hold a finished run and a study."""
    author = tmp_path / "author"
    shutil.copytree(uninterrupted, author, symlinks=True)
    git(author, "branch", "--move", "--force", "main")
    (author / "experiments/two.yaml").write_text(STUDY, encoding="utf-8")
    dvc(author, "remote", "add", "--default", "team", str(tmp_path / "remote"))
    commit(author, "a study and a remote")
    subprocess.run(["git", "clone", "--quiet", "--bare", author, tmp_path / "origin.git"], check=True)
    dvc(author, "push")
    return tmp_path


def start(cluster: Path, machine: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start a job as a machine's scheduler would; each machine has a folder and a DVC cache of its own."""
    command = [sys.executable, "-m", "faces.commands.main", "job", "--repository", str(cluster / "origin.git")]
    command += ["--folder", str(cluster / machine), *arguments]
    environment = environment_of(cluster / machine) | {
        name: value
        for who in ("AUTHOR", "COMMITTER")
        for name, value in {f"GIT_{who}_NAME": "tester", f"GIT_{who}_EMAIL": "tester@example.com"}.items()
    }
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def end(process: "subprocess.Popen[str]") -> str:
    printed, _ = process.communicate(timeout=900)
    assert process.returncode == 0, printed
    return printed


def test_jobs_at_the_same_time_are_seen_by_a_third(cluster: Path) -> None:
    jobs = [start(cluster, f"machine{i}", "--study", "experiments/two.yaml", "--index", str(i)) for i in range(2)]
    printed = [end(process) for process in jobs]
    # What the author's run has made, and the change does not touch, was pulled and not run again.
    assert all("'train'" in text and "Running stage 'pack@synthetic'" not in text for text in printed)
    names = ["two-wide-0", "two-narrow-0"]
    for name, text in zip(names, printed, strict=True):
        assert f"{name}: done" in text

    third = cluster / "third"
    subprocess.run(["git", "clone", "--quiet", cluster / "origin.git", third], check=True)
    for name in names:
        dvc(third, "exp", "pull", "origin", name)
    shown = json.loads(dvc(third, "exp", "show", "--json"))
    draws = {
        experiment["name"]: state["data"]["params"]["params.yaml"]["data"]["metrics"]["bootstrap"]
        for experiment in shown[1]["experiments"]
        for state in experiment["revs"][:1]
    }
    assert draws == {"two-wide-0": 21, "two-narrow-0": 31}
    dvc(third, "exp", "apply", "two-wide-0")
    dvc(third, "pull")
    assert ran(dvc(third, "repro")) == []

    again = end(start(cluster, "elsewhere", "--study", "experiments/two.yaml", "--index", "0"))
    assert "two-wide-0: has run, and is in the repository" in again and "Running stage" not in again
    print("\ntwo jobs at a time: a third clone applies either, nothing reruns; a job that has run does nothing")


def test_a_killed_job_goes_on_when_it_is_started_again(cluster: Path) -> None:
    arguments = ("killed", "-S", "train.epochs=40", "-S", "metrics.bootstrap=21")
    process = start(cluster, "machine", *arguments)
    folder = cluster / "machine/killed"
    while not list(folder.glob("models/checkpoints/train/*/epoch_0002.npz")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (folder / "params.yaml").write_text("half writt", encoding="utf-8")
    printed = end(start(cluster, "machine", *arguments))
    assert "resuming after epoch" in printed and "killed: done" in printed
    print("\na job killed in the middle of training went on after its last epoch")


def test_the_example_for_slurm_runs_as_slurm_would_run_it(cluster: Path) -> None:
    environment = environment_of(cluster / "machine") | {
        "REPOSITORY": str(cluster / "origin.git"),
        "PROJECT": str(ROOT),
        "FOLDER": str(cluster / "machine"),
        "STUDY": "experiments/two.yaml",
        "SLURM_ARRAY_TASK_ID": "2",
    }
    script = ["bash", str(ROOT / "docs/cluster/array.sh")]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "--index 2: experiments/two.yaml has the rows 0 to 1" in done.stderr


def test_two_workers_take_from_one_queue(uninterrupted: Path, tmp_path: Path) -> None:
    """Each task works in a folder of its own, so that neither waits for the other's stages."""
    folder = tmp_path / "queue"
    shutil.copytree(uninterrupted, folder, symlinks=True)
    dvc(folder, "exp", "run", "--queue", "--set-param", "metrics.bootstrap=21,31", "--set-param", "train.epochs=4")
    start = [sys.executable, "-m", "dvc", "queue", "start", "--jobs", "2"]
    quiet = subprocess.DEVNULL  # the workers keep what they are given: to read it would be to wait for their end
    subprocess.run(start, cwd=folder, env=environment_of(folder), check=True, stdout=quiet, stderr=quiet)
    together, end_at = 0, time.monotonic() + 600
    while (status := dvc(folder, "queue", "status")).count("Success") < 2:
        assert "Failed" not in status and time.monotonic() < end_at, status
        together = max(together, status.count("Running"))
        time.sleep(1)
    assert together == 2
    shown = json.loads(dvc(folder, "exp", "show", "--json"))
    assert len(shown[1]["experiments"]) == 2
    print("\ntwo workers ran two experiments of a queue at the same time")
