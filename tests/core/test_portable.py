import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from faces.core import portable
from small_project import ROOT, write_params

HASWELL = "processor\t: 0\nflags\t\t: fpu sse4_2 avx fma avx2\n"
IVY_BRIDGE = "processor\t: 0\nflags\t\t: fpu sse4_2 avx\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd\n"
SCRIPT = """
import faces.core.portable, os
from numpy.core._multiarray_umath import __cpu_features__
print(__cpu_features__["AVX512F"], "OPENBLAS_CORETYPE" in os.environ)
"""


def _processor(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(portable, "PROCESSOR", tmp_path / "cpuinfo")


@pytest.mark.parametrize("text, known", [(HASWELL, True), (IVY_BRIDGE, False), (ARM, False), ("", False)])
@pytest.mark.usefixtures("in_new_folder")
def test_a_processor_without_avx2_brings_one_warning(
    text: str, known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _processor(text, tmp_path, monkeypatch)
    write_params(tmp_path, runtime={"portable": True})
    assert portable.portable() == known
    portable.warn_of_processor()
    assert capsys.readouterr().err.count("warning: params.yaml: runtime.portable: ") == (not known)


@pytest.mark.usefixtures("in_new_folder")
def test_who_does_not_ask_for_the_same_bytes_is_not_warned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _processor(IVY_BRIDGE, tmp_path, monkeypatch)
    write_params(tmp_path, runtime={"portable": False})
    assert not portable.portable()
    portable.warn_of_processor()
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not portable.has_avx2(), reason="this is no x86-64 processor with AVX2")
def test_numpy_has_no_avx_512_if_asked(tmp_path: Path) -> None:
    write_params(tmp_path, runtime={"portable": True})
    environment = {name: value for name, value in os.environ.items() if name not in portable.SETTINGS}

    def features() -> str:
        command = [sys.executable, "-W", "error", "-c", SCRIPT]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    assert features() == "False True\n"
    write_params(tmp_path, runtime={"portable": False})
    assert features().endswith(" False\n")  # whether there is AVX-512 is the processor's


@pytest.mark.parametrize("script", sorted((ROOT / "stages").glob("*.py")), ids=lambda path: path.stem)
def test_every_script_imports_it_before_all_else(script: Path) -> None:
    tree = ast.parse(script.read_text(encoding="utf-8"))
    first = next(node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom))
    assert ast.unparse(first) == "import faces.core.portable"
