"""What Git does to a checkout: DVC knows every dep by its bytes, and nobody commits an environment."""

import shutil
from pathlib import Path

from small_project import ROOT, commit, git


def test_line_ends_are_those_of_the_commit_whatever_git_converts_elsewhere(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    shutil.copy(ROOT / ".gitattributes", project)
    (project / "unix.py").write_bytes(b"a\nb\n")
    (project / "windows.csv").write_bytes(b"a\r\nb\r\n")
    git(project, "init", "--quiet")
    commit(project, "files")
    git(tmp_path, "clone", "--quiet", "--config", "core.autocrlf=true", "project", "clone")
    assert (tmp_path / "clone/unix.py").read_bytes() == b"a\nb\n"
    assert (tmp_path / "clone/windows.csv").read_bytes() == b"a\r\nb\r\n"


def test_an_environment_is_ignored_though_it_is_a_link(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".gitignore", tmp_path)
    (tmp_path / ".venv").symlink_to("/usr")
    git(tmp_path, "init", "--quiet")
    assert git(tmp_path, "status", "--porcelain").split() == ["??", ".gitignore"]
