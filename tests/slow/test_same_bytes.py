"""Repeated runs give the same bytes: in another clone, under load and on one core. Each test prints a line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from small_project import PIPELINE, dvc, environment_of, new_checkout, outcome, ran

pytestmark = pytest.mark.slow

# Makes each library compute as on a processor of ten years ago.
OLDER_PROCESSOR = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # TensorFlow's kernels
    "OPENBLAS_CORETYPE": "Haswell",  # NumPy's matrix products
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
    "FAISS_OPT_LEVEL": "AVX2",
}


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


def test_another_processor_trains_nearly_alike(uninterrupted: Path, tmp_path: Path) -> None:
    """LiteRT has no setting that imitates another processor, so embedding alone is not tested."""
    folder = tmp_path / "other processor"
    shutil.copytree(uninterrupted, folder, symlinks=True)
    dvc(folder, "repro", "--force", **OLDER_PROCESSOR)
    first, again = (
        pd.read_csv(project / "metrics/train/plots/metrics/loss.tsv", sep="\t")["loss"]
        for project in (uninterrupted, folder)
    )
    assert again[0] == pytest.approx(first[0], rel=1e-3)
    pairs = (f"{there:.6g} for {here:.6g}" for here, there in zip(first, again, strict=True))
    print(f"\nas on a processor without AVX-512: the losses of the epochs are {', '.join(pairs)}")
