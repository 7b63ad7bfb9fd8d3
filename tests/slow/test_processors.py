"""Processors of other kinds, emulated by QEMU, give the bytes of this one: every output in dvc.lock.

QEMU 7.2 emulates AVX2 and no AVX-512. So on a machine with AVX-512, this compares processors with and without it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from small_project import ROOT, dvc, environment_of, new_checkout

pytestmark = pytest.mark.slow
EMULATOR = shutil.which("qemu-x86_64")


def _portable_checkout(folder: Path) -> Path:
    new_checkout(folder, shallow=False)
    params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    params["runtime"]["portable"] = True
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = _portable_checkout(tmp_path_factory.mktemp("native") / "project")
    dvc(folder, "repro")
    return folder


@pytest.mark.skipif(EMULATOR is None, reason="qemu-x86_64 is not installed (Debian's package qemu-user)")
@pytest.mark.parametrize("processor", ["Haswell", "Skylake-Client", "EPYC-Milan"])
def test_an_emulated_processor_gives_the_same_lock(processor: str, native: Path, tmp_path: Path) -> None:
    """It takes ten to twenty minutes."""
    assert EMULATOR
    folder = _portable_checkout(tmp_path / "emulated")
    script, path = ROOT / "tests/all_stages.py", os.pathsep.join([str(folder / "stages"), str(ROOT / "tests")])
    command = [EMULATOR, "-cpu", processor, sys.executable, str(script)]
    subprocess.run(command, cwd=folder, env=environment_of(folder) | {"PYTHONPATH": path}, check=True)
    dvc(folder, "commit", "--force")  # which writes the hashes of what is there
    for lock in ("data/synthetic/dvc.lock", "dvc.lock"):
        assert (folder / lock).read_text(encoding="utf-8") == (native / lock).read_text(encoding="utf-8")
    print(f"\nemulated {processor}: every output has the bytes of this machine's processor")
