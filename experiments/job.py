"""Run one experiment as a job of a cluster: clone, run, push; for a job scheduler or a runner in CI to call.

Run     python experiments/job.py --repository <URL> --folder <folder> <name> -S <section>.<key>=<value> …
        python experiments/job.py --repository <URL> --folder <folder> --study <file> --index <number>
Writes  <folder>/<name>, a clone with the work in it, and, in the repository and DVC's default remote, the experiment

The second form runs a row of a file of experiments (experiments/run.py), as it is in the repository: with S seeds and R
runs, the numbers 0 to S * R - 1, a whole seed before the next. Jobs run at the same time, on any machines, that can
reach both; they share no folder but, if you like, DVC's cache. `dvc exp pull <repository> <name>` brings the results.

A job that is started again goes on: if its experiment is in the repository, there is nothing to do; if the folder is
still there, training goes on after its last epoch, and so does every stage that can. A branch that has moved meanwhile
is another experiment: give --commit a hash where that may be. The folder is the job's own, one at a time, and what was
changed in it by hand is lost.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML, YAMLError

sys.path.insert(0, str(Path(__file__).parent.parent))

from experiments.run import PARAMS, changed_params, listed_experiments, load_study, run_experiment, runs_of  # noqa: E402


class Job(NamedTuple):
    """What to run: a name, and parameters that differ from those committed."""

    name: str
    changes: dict[str, Any]


def git(*arguments: str) -> str:
    """Return what a Git command prints; ends the program if it fails."""
    done = subprocess.run(["git", *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"git {' '.join(arguments)} failed; what it said stands above")
    return done.stdout.strip()


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


def of_settings(name: str, settings: list[str]) -> Job:
    """Return the job of `-S <section>.<key>=<value>`, values in YAML; ends the program if one is not of this form."""
    changes = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        try:
            value = YAML(typ="safe").load(text)
        except YAMLError:
            equals = ""
        if not equals or "." not in key:
            sys.exit(f"-S {setting}: should be <section>.<key>=<value>")
        changes[key] = value
    return Job(name, changes)


def of_study(path: Path, index: int) -> Job:
    """Return a row of a file of experiments; ends the program if there is none, or it starts from another's weights."""
    study = load_study(path)
    rows = list(runs_of(study))
    if not 0 <= index < len(rows):
        sys.exit(f"--index {index}: {path} has the rows 0 to {len(rows) - 1}")
    name, seed, changes = rows[index]
    if "after" in study.runs[name]:
        sys.exit(f"--index {index}: {name!r} starts from the weights of another run: use experiments/run.py")
    return Job(f"{path.stem}-{name.replace(' ', '-')}-{seed}", changes)


def is_pushed(name: str, content: dict[str, Any]) -> bool:
    """Return whether the repository has the experiment; ends the program if one of this name has other parameters."""
    found = git("ls-remote", "origin", f"refs/exps/*/{name}").split()
    if not found:
        return False
    git("fetch", "--quiet", "origin", found[1])
    if YAML(typ="safe").load(git("show", f"{found[0]}:{PARAMS}")) != content:
        sys.exit(f"{name}: the repository has an experiment of this name with other parameters; choose another name")
    return True


def run_job(job: Job) -> None:
    """Run the experiment in the current clone, with what the remote has of it, and push it."""
    try:
        content = changed_params(git("show", f"HEAD:{PARAMS}"), job.changes)
    except KeyError as error:
        sys.exit(f"{error.args[0]}: {PARAMS} has no such parameter")
    if is_pushed(job.name, content):
        print(f"{job.name}: has run, and is in the repository")
        return
    subprocess.run([sys.executable, "stages/check.py"], check=True)  # it also mends what a killed DVC leaves
    if job.name not in listed_experiments():
        # All that is there: with --pull, DVC looks for an output that is called data/packed, as dependencies are.
        subprocess.run(["dvc", "pull", "--allow-missing"], check=True)
        run_experiment(job.name, content, "--allow-missing")
    subprocess.run(["dvc", "exp", "push", "origin", job.name], check=True)
    print(f"{job.name}: done; `dvc exp pull origin {job.name}` brings it")


def parse_arguments() -> argparse.Namespace:
    """Return the command line; ends the program if it names no job, or two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", required=True, help="what `git clone` takes")
    parser.add_argument("--commit", default="main", help="a commit or branch of it; main if left out")
    parser.add_argument("--folder", required=True, type=Path, help="that outlives the job")
    parser.add_argument("--study", type=Path, help="a file of experiments, its path in the repository")
    parser.add_argument("--index", type=int, help="the number of a row of it, from 0")
    parser.add_argument("name", nargs="?", help="of the experiment")
    parser.add_argument("-S", dest="settings", action="append", default=[], help="a parameter of the experiment")
    options = parser.parse_args()
    if (options.study is None) == (options.name is None) or (options.study is None) != (options.index is None):
        parser.error("give a name, with -S, or --study with --index")
    if options.study is not None and options.settings:
        parser.error("-S goes with a name, not with --study")
    return options


def main() -> None:
    """Run the job that the command line names."""
    options = parse_arguments()
    folder = options.folder.resolve()
    try:
        if options.study is None:
            job = of_settings(options.name, options.settings)
            enter_clone(options.repository, options.commit, folder / job.name)
        else:
            enter_clone(options.repository, options.commit, folder / f"{options.study.stem}-{options.index}")
            job = of_study(options.study, options.index)
        run_job(job)
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(map(str, error.cmd))} failed; what it said stands above")


if __name__ == "__main__":
    main()
