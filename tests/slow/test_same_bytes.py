"""Repeated runs give the same bytes: in another clone, under load and on one core. Each test prints a line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from small_project import PIPELINE, dvc, environment_of, new_checkout, outcome, ran

pytestmark = pytest.mark.slow


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


def test_without_dvc_the_stages_give_the_same_bytes(uninterrupted: Path, tmp_path: Path) -> None:
    folder = new_checkout(tmp_path / "without dvc")
    subprocess.run([sys.executable, "-m", "tools.without_dvc"], cwd=folder, env=environment_of(folder), check=True)
    expected = {path: content for path, content in outcome(uninterrupted).items() if not path.endswith("dvc.lock")}
    assert outcome(folder) == expected
    assert not list(folder.glob("**/dvc.lock"))
    print(f"\nrun without DVC: {len(expected)} files the same")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot hide cores")
def test_one_core_gives_the_bytes_of_all(uninterrupted: Path, tmp_path: Path) -> None:
    folder = new_checkout(tmp_path / "one core")
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "--quiet"],
        cwd=folder,
        env=environment_of(folder),
        preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    )
    assert process.wait() == 0
    assert outcome(folder) == outcome(uninterrupted)
    print("\nrun on one core: the same bytes as on all")
