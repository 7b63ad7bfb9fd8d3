"""What make says where DVC or the shell could not work, before it starts anything."""

import os
import shutil
import subprocess
from pathlib import Path

from small_project import ROOT


def make(folder: Path, *arguments: str) -> str:
    """Run make in a copy of the project that has its Makefile alone, set up; it must fail. Return its stderr."""
    (folder / ".venv").mkdir(parents=True)
    for name in ("pyproject.toml", "requirements.txt", ".venv/run.txt"):  # the stamp is the newest
        (folder / name).touch()
    shutil.copy(ROOT / "Makefile", folder)
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)}
    done = subprocess.run(["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    return done.stderr


def test_a_colon_in_the_path_of_the_project_is_named(tmp_path: Path) -> None:
    said = make(tmp_path / "data: faces", "--dry-run", "repro")
    assert f"{tmp_path}/data: faces has a colon in it" in said and "rename the folder" in said


def test_a_project_without_git_says_what_dvc_needs(tmp_path: Path) -> None:
    said = make(tmp_path / "unpacked", "repro")
    assert "DVC needs a Git repository: git init && git add --all && git commit" in said and "Traceback" not in said
