"""The dispatcher of `faces`."""

import subprocess
import sys
import time

import pytest

from faces.commands.main import COMMANDS, dispatch
from small_project import ROOT


@pytest.mark.parametrize("arguments, code", [(["--help"], 0), (["verfy"], 2), ([], 2)])
def test_help_and_a_wrong_word_answer_at_once_and_import_no_heavy_library(arguments: list[str], code: int) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "faces.commands.main", *arguments],
        cwd=ROOT / "stages",
        capture_output=True,
        text=True,
    )
    assert time.monotonic() - began < 5  # on a loaded machine; alone it takes a tenth of a second
    assert done.returncode == code
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "import time:" in line}
    assert not {"tensorflow", "keras", "pandas", "numpy", "dvc", "pydantic"} & imported


def test_a_wrong_word_names_the_nearest_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["verfy"]) == 2
    assert "faces: 'verfy' is not a command; did you mean 'verify'?" in capsys.readouterr().err
    assert dispatch(["-x"]) == 2
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        dispatch([name, "--help"])
    assert exit_.value.code == 0
    assert f"usage: faces {name} " in capsys.readouterr().out
    with pytest.raises(SystemExit) as exit_:
        dispatch([name, "--no-such-option"])
    assert exit_.value.code == 2
