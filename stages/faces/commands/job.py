"""Run one experiment as a job of a cluster: clone, run, push. A job scheduler or a CI runner calls it.

    faces job --repository <URL> --folder <folder> <name> -S <section>.<key>=<value> …
    faces job --repository <URL> --folder <folder> --study <file> --index <number>

It works in a clone, <folder>/<name>, and pushes the experiment to the repository and to DVC's default remote.

The second form runs a row of a file of experiments (`faces study`), as it is in the repository: with S seeds and R
runs, the numbers are 0 to S * R - 1: first all runs of the first seed, then those of the next. Jobs can run at the same
time, on any machines that reach the repository and the remote. They need no common folder, but may share DVC's cache.
`dvc exp pull <repository> <name>` fetches the results.

A job that is started again continues. If its experiment is in the repository, there is nothing to do. If the folder is
still there, training continues after its last finished epoch, and other long stages likewise. If the branch may move
between the two starts, give --commit a hash, since another commit is another experiment. Only one job at a time may use
a folder, and changes made in it by hand are lost.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML, YAMLError

from faces.commands.arguments import parser
from faces.commands.study import (
    changed_params,
    expand_runs,
    experiment_name,
    failures_named,
    listed_experiments,
    load_study,
    run_experiment,
)
from faces.core.errors import StageError
from faces.core.params import PARAMS_FILE as PARAMS
from faces.reporting.experiments import git


class Job(NamedTuple):
    """What to run: a name, and parameters that differ from those committed."""

    name: str
    changes: dict[str, Any]


def enter_clone(repository: str, commit: str, folder: Path) -> None:
    """Make `folder` a clone of the repository, at a commit or branch, and the current folder."""
    if not (folder / ".git").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = folder.with_name(f".{folder.name}.tmp")
        shutil.rmtree(unfinished, ignore_errors=True)  # of a job that was killed while it cloned
        git("clone", "--quiet", repository, str(unfinished))
        unfinished.rename(folder)
    os.chdir(folder)
    Path(".git/index.lock").unlink(missing_ok=True)  # of a Git that was killed with its job
    git("remote", "set-url", "origin", repository)  # which may have a token that lasts for one job
    git("fetch", "--quiet", "origin")
    known = subprocess.run(["git", "rev-parse", "--verify", "--quiet", f"origin/{commit}"], stdout=subprocess.DEVNULL)
    git("checkout", "--quiet", "--force", "--detach", commit if known.returncode else f"origin/{commit}")
    git("reset", "--quiet", "--hard")  # params.yaml, of a job that was killed while it ran


def job_from_settings(name: str, settings: list[str]) -> Job:
    """Return the job of `-S <section>.<key>=<value>`, values in YAML; StageError if one is not of this form."""
    changes = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        try:
            value = YAML(typ="safe").load(text)
        except YAMLError:
            equals = ""
        if not equals or "." not in key:
            raise StageError(f"-S {setting}: should be <section>.<key>=<value>")
        changes[key] = value
    return Job(name, changes)


def job_from_study(path: Path, index: int) -> Job:
    """Return a row of a file of experiments; StageError if there is none, or it starts from another's weights."""
    study = load_study(path)
    rows = list(expand_runs(study))
    if not 0 <= index < len(rows):
        raise StageError(f"--index {index}: {path} has the rows 0 to {len(rows) - 1}")
    name, seed, changes = rows[index]
    if "after" in study.runs[name]:
        raise StageError(f"--index {index}: {name!r} starts from the weights of another run: use `faces study`")
    return Job(experiment_name(path, name, seed), changes)


def experiment_reference(name: str) -> str:
    """Return the Git reference that DVC gives an experiment on the current commit."""
    head = git("rev-parse", "HEAD").strip()
    return f"refs/exps/{head[:2]}/{head[2:]}/{name}"


def params_of(reference: str) -> Any:
    """Return params.yaml of an experiment."""
    return YAML(typ="safe").load(git("show", f"{reference}:{PARAMS}"))


def is_pushed(name: str, content: dict[str, Any]) -> bool:
    """Return whether the repository has the experiment; StageError if one of this name has other parameters."""
    found = git("ls-remote", "origin", experiment_reference(name)).split()
    if not found:
        return False
    git("fetch", "--quiet", "origin", found[1])
    if params_of(found[0]) != content:
        raise StageError(
            f"{name}: the repository has an experiment of this name with other parameters; choose another name"
        )
    return True


def run_job(job: Job) -> None:
    """Run the experiment in the current clone and push it; stages whose outputs the remote has are not run."""
    try:
        content = changed_params(git("show", f"HEAD:{PARAMS}"), job.changes)
    except KeyError as error:
        raise StageError(f"{error.args[0]}: {PARAMS} has no such parameter") from None
    if is_pushed(job.name, content):
        print(f"{job.name}: has run, and is in the repository")
        return
    # By the clone's own code; it also repairs what a killed DVC leaves behind.
    check = [sys.executable, "-m", "faces.commands.main", "check"]
    subprocess.run(check, check=True, env=os.environ | {"PYTHONPATH": "stages"})
    if job.name not in listed_experiments() or params_of(experiment_reference(job.name)) != content:
        # All that is there: with --pull, DVC looks for an output that is called data/packed, as dependencies are.
        subprocess.run(["dvc", "pull", "--allow-missing"], check=True)
        run_experiment(job.name, content, "--allow-missing")
    subprocess.run(["dvc", "exp", "push", "origin", job.name], check=True)
    print(f"{job.name}: done; `dvc exp pull origin {job.name}` brings it")


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options; the program ends with an error if they name no job, or two."""
    known = parser("job", __doc__)
    known.add_argument("--repository", required=True, help="the URL or path that `git clone` takes")
    known.add_argument("--commit", default="main", help="a commit or branch of it (%(default)s)")
    known.add_argument("--folder", required=True, type=Path, help="a folder that outlives the job")
    known.add_argument("--study", type=Path, help="a file of experiments, its path in the repository")
    known.add_argument("--index", type=int, help="the number of a row of it, from 0")
    known.add_argument("name", nargs="?", help="of the experiment")
    known.add_argument("-S", dest="settings", action="append", default=[], help="a parameter of the experiment")
    options = known.parse_args(arguments)
    if (options.study is None) == (options.name is None) or (options.study is None) != (options.index is None):
        known.error("give a name, with -S, or --study with --index")
    if options.study is not None and options.settings:
        known.error("-S goes with a name, not with --study")
    return options


def main(arguments: Sequence[str]) -> int:
    """Run the job that the command line names."""
    options = parse_arguments(arguments)
    folder = options.folder.resolve()
    with failures_named():
        if options.study is None:
            job = job_from_settings(options.name, options.settings)
            enter_clone(options.repository, options.commit, folder / job.name)
        else:
            enter_clone(options.repository, options.commit, folder / f"{options.study.stem}-{options.index}")
            job = job_from_study(options.study, options.index)
        run_job(job)
    return 0
