"""Files of an experiment: a DVC experiment, a branch, a tag or a commit, read from Git; or those of the workspace.

What a stage writes is read from DVC's cache, or from the workspace.
"""

import subprocess
from pathlib import Path
from typing import Any

from faces.core.errors import StageError
from faces.core.files import require_file
from faces.core.json_files import parse_json
from faces.core.params import PARAMS_FILE, parse_params

WORKSPACE = "workspace"


def git(*arguments: str) -> str:
    """Return the output of a Git command; StageError with Git's message if it fails."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, encoding="utf-8")
    except FileNotFoundError:
        raise StageError(f"git {' '.join(arguments)}: Git is not installed") from None
    if done.returncode:
        raise StageError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def experiment_references() -> dict[str, list[str]]:
    """Return the Git references of DVC's experiments by name; DVC keeps them as refs/exps/<…>/<name>."""
    found: dict[str, list[str]] = {}
    for reference in git("for-each-ref", "--format=%(refname)", "refs/exps").split():
        if not reference.startswith("refs/exps/celery/"):  # of DVC's queue
            found.setdefault(reference.rpartition("/")[2], []).append(reference)
    return found


def resolve_experiment(experiment: str) -> str:
    """Return the Git reference of an experiment; of a branch, a tag or a commit, its name; StageError if it is none."""
    named = experiment_references().get(experiment, [])
    if len(named) > 1:
        raise StageError(f"{experiment}: there are {len(named)} experiments of this name; give a commit")
    reference = named[0] if named else experiment
    try:
        git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}")
    except StageError:
        raise StageError(f"{experiment}: no experiment, branch, tag or commit of this name") from None
    return reference


def read_params_at(commit: str, called: str) -> dict[str, Any]:
    """Return params.yaml of a commit, which messages call `called`; StageError if it has none, or a broken one."""
    return parse_params(read_file_at(commit, str(PARAMS_FILE)).encode(), f"{called}: {PARAMS_FILE}")


def read_json_at(commit: str, path: str) -> dict[str, Any]:
    """Return a metrics file of a commit; StageError if it has none."""
    try:
        return parse_json(read_file_at(commit, path))
    except ValueError as error:
        raise StageError(f"{commit}: {path}: {error}") from None


def read_file_at(commit: str, path: str) -> str:
    """Return the text of a file of a commit; StageError if it has none."""
    if commit == WORKSPACE:
        there = Path(path).is_file()
    else:
        there = bool(git("ls-tree", "--name-only", commit, path))
    if not there:
        raise StageError(f"{commit}: has no {path}; run `dvc repro` there first, from the root of the project")
    return Path(path).read_text(encoding="utf-8") if commit == WORKSPACE else git("show", f"{commit}:{path}")


def read_output_at(commit: str, path: Path) -> bytes:
    """Return what a stage of a commit wrote; StageError if it wrote no such file, or the file cannot be had.

    DVC looks for it in its cache, then in its default remote.
    """
    if commit == WORKSPACE:
        require_file(path)
        if not path.is_file():
            raise StageError(f"{commit}: {path} is missing; `dvc pull` fetches it, `dvc repro` makes it")
        return path.read_bytes()
    from dvc.api import read  # takes a second to import
    from dvc.exceptions import DvcException

    try:
        content: bytes = read(path.as_posix(), rev=commit, mode="rb")
    except (DvcException, OSError):
        raise StageError(
            f"{commit}: {path} is neither in DVC's cache nor in a default remote. Run `dvc push` in the clone that has "
            "it, or check that commit out and run `dvc repro`. An old commit may have no such file"
        ) from None
    return content
