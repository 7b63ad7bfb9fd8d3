"""`faces job`, without the pipeline."""

import subprocess
from pathlib import Path

import pytest
import yaml

from faces.commands import job
from faces.core.errors import StageError
from small_project import ROOT, commit, git


def test_settings_are_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    made = job.job_from_settings(
        "x", ["train.margin=0.4", "augment.flip=false", "mine.index=IVF4,Flat", "train.head=linear"]
    )
    assert made == job.Job(
        "x", {"train.margin": 0.4, "augment.flip": False, "mine.index": "IVF4,Flat", "train.head": "linear"}
    )
    for wrong in ("train.margin", "margin=3", "train.margin={"):
        with pytest.raises(StageError, match=f"-S {wrong}: should be <section>.<key>=<value>"):
            job.job_from_settings("x", [wrong])


def test_rows_of_a_study_are_counted_a_seed_at_a_time(study: Path) -> None:
    assert job.job_from_study(study, 2) == job.Job("study-first-4", {"train.epochs": 3, "train.seed": 4})
    with pytest.raises(StageError, match="--index 4: .* has the rows 0 to 3"):
        job.job_from_study(study, 4)
    with pytest.raises(StageError, match="--index 1: 'second one' starts from the weights of another run"):
        job.job_from_study(study, 1)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with parameters, and an experiment `done` on its commit, in which the margin is 0.4."""
    monkeypatch.chdir(tmp_path)  # which a job changes
    (path := tmp_path / "repository").mkdir()
    git(path, "init", "--quiet")
    params = path / "params.yaml"
    params.write_text("train: {margin: 0.5}\n", encoding="utf-8")
    commit(path, "margin 0.5")
    params.write_text("train: {margin: 0.4}\n", encoding="utf-8")
    commit(path, "margin 0.4")
    baseline = git(path, "rev-parse", "HEAD^").strip()
    git(path, "update-ref", f"refs/exps/{baseline[:2]}/{baseline[2:]}/done", "HEAD")
    git(path, "reset", "--quiet", "--hard", "HEAD^")
    git(path, "branch", "--move", "--force", "main")
    return path


def test_a_job_that_has_run_does_nothing_and_one_of_its_name_is_refused(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job.enter_clone(str(repository), "main", tmp_path / "clone")
    job.run_job(job.Job("done", {"train.margin": 0.4}))
    assert "done: has run, and is in the repository" in capsys.readouterr().out
    with pytest.raises(StageError, match="done: the repository has an experiment of this name with other parameters"):
        job.run_job(job.Job("done", {"train.margin": 0.3}))
    with pytest.raises(StageError, match="train.margins: params.yaml has no such parameter"):
        job.run_job(job.Job("another", {"train.margins": 0.3}))


def test_an_experiment_of_another_commit_is_another_one(repository: Path, tmp_path: Path) -> None:
    (repository / "code.py").write_text("mended")
    commit(repository, "a mistake mended")
    job.enter_clone(str(repository), "main", tmp_path / "clone")
    assert not job.is_pushed("done", {"train": {"margin": 0.4}})
    job.enter_clone(str(repository), git(repository, "rev-parse", "HEAD^").strip(), tmp_path / "clone")
    assert job.is_pushed("done", {"train": {"margin": 0.4}})


def test_a_clone_takes_the_address_of_the_last_job(repository: Path, tmp_path: Path) -> None:
    job.enter_clone(str(repository), "main", tmp_path / "clone")
    moved = repository.rename(tmp_path / "moved")
    job.enter_clone(str(moved), "main", tmp_path / "clone")
    assert git(tmp_path / "clone", "remote", "get-url", "origin").strip() == str(moved)


def test_a_lock_of_a_git_that_was_killed_does_not_stop_the_next_job(repository: Path, tmp_path: Path) -> None:
    job.enter_clone(str(repository), "main", tmp_path / "clone")
    Path(".git/index.lock").touch()
    Path("params.yaml").write_text("changed", encoding="utf-8")
    job.enter_clone(str(repository), "main", tmp_path / "clone")
    assert git(tmp_path / "clone", "status", "--porcelain") == ""


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["x", "--study", "s.yaml", "--index", "0"],
        ["--study", "s.yaml"],
        ["x", "--index", "1"],
        ["--study", "s.yaml", "--index", "0", "-S", "a.b=1"],
    ],
)
def test_a_job_is_a_name_or_a_row(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        job.parse_arguments(["--repository", "r", "--folder", "f", *arguments])
    assert exit_.value.code == 2


def test_examples_for_schedulers_are_what_they_claim_to_be() -> None:
    subprocess.run(["bash", "-n", ROOT / "docs/cluster/array.sh"], check=True)
    workflow = yaml.safe_load((ROOT / "docs/cluster/workflow.yaml").read_text(encoding="utf-8"))
    (script,) = [step["run"] for step in workflow["jobs"]["experiment"]["steps"] if "faces job" in step.get("run", "")]
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
