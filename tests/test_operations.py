"""Each operation gives the committed bytes: on another processor, those that stray are named."""

from faces.core.portable import has_avx2

import os
import subprocess
import sys
from pathlib import Path

import pytest

from small_project import ROOT, write_params

SCRIPT, COMMITTED = ROOT / "tests/operations.py", ROOT / "tests/data/operations.txt"


@pytest.mark.skipif(not has_avx2(), reason="this is no x86-64 processor with AVX2")
def test_every_operation_gives_the_same_bytes_as_on_the_processor_that_wrote_the_file(tmp_path: Path) -> None:
    write_params(tmp_path, runtime={"portable": True})
    environment = os.environ | {"PYTHONPATH": str(ROOT / "stages")}
    done = subprocess.run([sys.executable, SCRIPT], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0
    found, wanted = (
        {name: digest for digest, _, name in (line.partition("  ") for line in text.splitlines())}
        for text in (done.stdout, COMMITTED.read_text(encoding="utf-8"))
    )
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if found[name] != wanted[name]] == []
