"""The runner of studies, without the pipeline: DVC and Git are stood in for."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from experiments import job, real_people, run

from image_files import flat
from small_project import ROOT, commit, git

STUDY = """
title: Two runs.
seeds: [0, 4]
all: {train.epochs: 3}
runs:
  first: {}
  second one: {after: first, train.epochs: 2, sources: {mine: {path: a b}}}
rows:
  floor: {run: first, figures: {AUC: metrics/x.json low}}
figures: {AUC: metrics/x.json auc, EER: metrics/x.json eer}
gap: {figure: AUC, of: [second one, first]}
"""


@pytest.fixture
def study(in_new_folder: None, tmp_path: Path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    Path("models").mkdir()
    Path("metrics").mkdir()
    return path


def test_every_study_here_can_be_run() -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    studies = sorted((ROOT / "experiments").glob("*.yaml"))
    assert studies
    for path in studies:
        for _, _, changes in run.runs_of(run.load_study(path)):
            run.changed_params(text, changes)


def test_a_study_takes_over_what_holds_for_all_runs_of_another(study: Path) -> None:
    other = study.with_name("other.yaml")
    other.write_text(STUDY.replace("all: {", "like: study.yaml\nall: {train.epochs: 5, train.width: 0.5} #"))
    assert run.load_study(other).all == {"train.epochs": 5, "train.width": 0.5}
    other.write_text(STUDY.replace("all: {", "like: study.yaml\nall: {train.width: 0.5} #"))
    assert run.load_study(other).all == {"train.epochs": 3, "train.width": 0.5}


def test_a_study_runs_each_seed_in_turn_and_makes_its_table(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, dict]] = []

    def experiment(name: str, content: dict) -> None:
        number = len(ran)
        ran.append((name, content))
        run.WEIGHTS.write_text(name)
        Path("metrics/x.json").write_text(json.dumps({"auc": [0.5, 0.75, 0.7, 0.75][number], "low": 0.25}))

    monkeypatch.setattr(run, "run_experiment", experiment)
    run.run_study(run.load_study(study), study)
    assert [name for name, _ in ran] == [
        "study-first-0",
        "study-second-one-0",
        "study-first-4",
        "study-second-one-4",
    ]
    plain, changed = ran[2][1], ran[3][1]
    assert plain["train"]["epochs"] == 3 and changed["train"]["epochs"] == 2
    assert plain["train"]["seed"] == changed["train"]["seed"] == 4
    assert "synthetic" in plain["sources"] and dict(changed["sources"]) == {"mine": {"path": "a b"}}
    start = Path(changed["train"]["initial_weights"])
    assert start.read_text() == "study-first-4"
    # Means of 0.5 and 0.7, standard deviation sqrt(2 * 0.1**2) = 0.141; 0.75 twice; GAP (0.75 - 0.6) / 0.6.
    table = study.with_suffix(".md").read_text()
    assert "|  | AUC | EER |\n|---|---|---|\n| first | 0.600 ± 0.141 |  |\n" in table
    assert "| floor | 0.250 ± 0.000 |  |" in table and "| second one | 0.750 ± 0.000 |  |" in table
    assert "GAP of second one and first in AUC: 0.250" in table
    rows = pd.read_csv(study.with_suffix(".csv"))
    assert rows["run"].tolist() == ["first", "floor", "second one"] * 2
    assert rows["AUC"].tolist() == [0.5, 0.25, 0.75, 0.7, 0.25, 0.75]


def test_figures_of_a_test_set_that_was_not_scored_are_those_of_no_run(in_new_folder: None) -> None:
    Path("score@lfw.json").write_text('{"auc": 0.9}')
    params: dict[str, dict] = {"sources": {"mine": {}}, "test_sets": {"lfw": {}}}
    figures = {"AUC": "score@lfw.json auc", "EER": "score@lfw.json eer"}
    assert run.read_figures(figures, params) == {"AUC": 0.9}
    assert run.read_figures(figures, params | {"test_sets": {}}) == {}


def test_dvc_is_given_the_changed_file_with_its_comments_and_may_use_what_it_has_run(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Path("params.yaml").read_text(encoding="utf-8")
    calls, seen = [], ""

    def call(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        nonlocal seen
        calls.append(command[:3])
        if command[:3] == ["dvc", "exp", "run"]:
            assert "--force" not in command  # with it, DVC would run every stage anew
            seen = Path("params.yaml").read_text(encoding="utf-8")
            raise subprocess.CalledProcessError(1, command)
        return subprocess.CompletedProcess(command, 0, stdout="other\nx\n")

    monkeypatch.setattr(subprocess, "run", call)
    with pytest.raises(subprocess.CalledProcessError):
        run.run_experiment("x", run.changed_params(text, {"train.epochs": 99}))
    assert calls[:3] == [
        ["dvc", "exp", "list"],
        ["dvc", "exp", "remove"],  # one of that name is there
        ["dvc", "exp", "run"],
    ]
    assert calls[3][0] == "git"  # params.yaml goes back to what is committed even after a failure
    assert yaml.safe_load(seen)["train"] == yaml.safe_load(text)["train"] | {"epochs": 99}
    assert "# 0 (the initial weights as they are) or more" in seen


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds: [0, 4]", "seeds: []", "seeds: List should have at least 1 item"),
        ("after: first", "after: third", "runs.second one.after: 'third': no run above it has this name"),
        ("run: first", "run: third", "rows.floor.run: 'third': no such run"),
        ("of: [second one, first]", "of: [third, first]", "gap: names a run or a figure that there is not"),
        ("train.epochs: 3", "train.epoch: 3", "train.epoch: params.yaml has no such parameter"),
        ("title: Two runs.", "titel: x", "titel: Extra inputs are not permitted"),
        ("runs:", "runs: [", "study.yaml"),
    ],
)
def test_a_wrong_study_is_named(study: Path, old: str, new: str, said: str) -> None:
    study.write_text(STUDY.replace(old, new))
    with pytest.raises(SystemExit) as end:
        run.run_study(run.load_study(study), study)
    assert said in str(end.value)


def test_real_people_are_divided_and_paired(in_new_folder: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for person in range(6):
        for image in range(3):
            path = Path(f"people/person {person}/{image}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            flat((10 * person + image,) * 3).save(path)
    monkeypatch.setattr(sys, "argv", ["real_people.py", "people", "--test-people", "2"])
    real_people.main()
    names = {part: {path.name for path in Path("data/real", part).iterdir()} for part in ("train", "test")}
    assert len(names["train"]) == 4 and len(names["test"]) == 2 and not names["train"] & names["test"]
    pairs = pd.read_csv("data/real/test.csv")
    # Of 6 images of 2 people: 2 * 3 genuine pairs, 3 * 3 impostor pairs.
    assert pairs["same"].tolist() == [1] * 6 + [0] * 9 and not pairs[["a", "b"]].duplicated().any()
    for a, b, same in pairs.itertuples(index=False):
        assert Path("data/real/test", a).is_file() and Path("data/real/test", b).is_file()
        assert (a.split("/")[0] == b.split("/")[0]) == bool(same)


def test_too_few_people_are_named(in_new_folder: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for person in range(3):
        Path(f"people/{person}").mkdir(parents=True)
    monkeypatch.setattr(sys, "argv", ["real_people.py", "people", "--test-people", "2"])
    with pytest.raises(SystemExit, match="--test-people 2: people has 3; leave two to train on"):
        real_people.main()


def test_the_folder_that_is_replaced_is_not_taken_for_the_source(
    in_new_folder: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for person in range(6):
        Path(f"data/real/{person}").mkdir(parents=True)
    monkeypatch.setattr(sys, "argv", ["real_people.py", "data/real", "--test-people", "2"])
    with pytest.raises(SystemExit, match="data/real: lies in data/real, which is made anew"):
        real_people.main()
    assert len(list(Path("data/real").iterdir())) == 6


# Jobs


def test_settings_are_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    made = job.of_settings("x", ["train.margin=0.4", "augment.flip=false", "mine.index=IVF4,Flat", "train.head=linear"])
    assert made == job.Job(
        "x", {"train.margin": 0.4, "augment.flip": False, "mine.index": "IVF4,Flat", "train.head": "linear"}
    )
    for wrong in ("train.margin", "margin=3", "train.margin={"):
        with pytest.raises(SystemExit, match=f"-S {wrong}: should be <section>.<key>=<value>"):
            job.of_settings("x", [wrong])


def test_rows_of_a_study_are_counted_a_seed_at_a_time(study: Path) -> None:
    assert job.of_study(study, 2) == job.Job("study-first-4", {"train.epochs": 3, "train.seed": 4})
    with pytest.raises(SystemExit, match="--index 4: .* has the rows 0 to 3"):
        job.of_study(study, 4)
    with pytest.raises(SystemExit, match="--index 1: 'second one' starts from the weights of another run"):
        job.of_study(study, 1)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with parameters, and an experiment `done` in which the margin is 0.4."""
    monkeypatch.chdir(tmp_path)  # which a job changes
    (path := tmp_path / "repository").mkdir()
    git(path, "init", "--quiet")
    params = path / "params.yaml"
    params.write_text("train: {margin: 0.5}\n", encoding="utf-8")
    commit(path, "margin 0.5")
    params.write_text("train: {margin: 0.4}\n", encoding="utf-8")
    commit(path, "margin 0.4")
    git(path, "update-ref", "refs/exps/ab/cdef/done", "HEAD")
    git(path, "reset", "--quiet", "--hard", "HEAD^")
    git(path, "branch", "--move", "--force", "main")
    return path


def test_a_job_that_has_run_does_nothing_and_one_of_its_name_is_refused(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job.enter_clone(str(repository), "main", tmp_path / "clone")
    job.run_job(job.Job("done", {"train.margin": 0.4}))
    assert "done: has run, and is in the repository" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="done: the repository has an experiment of this name with other parameters"):
        job.run_job(job.Job("done", {"train.margin": 0.3}))
    with pytest.raises(SystemExit, match="train.margins: params.yaml has no such parameter"):
        job.run_job(job.Job("another", {"train.margins": 0.3}))


def test_a_clone_takes_the_address_of_the_last_job(repository: Path, tmp_path: Path) -> None:
    job.enter_clone(str(repository), "main", tmp_path / "clone")
    moved = repository.rename(tmp_path / "moved")
    job.enter_clone(str(moved), "main", tmp_path / "clone")
    assert job.git("remote", "get-url", "origin") == str(moved)


def test_a_lock_of_a_git_that_was_killed_does_not_stop_the_next_job(repository: Path, tmp_path: Path) -> None:
    job.enter_clone(str(repository), "main", tmp_path / "clone")
    Path(".git/index.lock").touch()
    Path("params.yaml").write_text("changed", encoding="utf-8")
    job.enter_clone(str(repository), "main", tmp_path / "clone")
    assert job.git("status", "--porcelain") == ""


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
def test_a_job_is_a_name_or_a_row(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["job.py", "--repository", "r", "--folder", "f", *arguments])
    with pytest.raises(SystemExit) as exit_:
        job.parse_arguments()
    assert exit_.value.code == 2


def test_examples_for_schedulers_are_what_they_claim_to_be() -> None:
    subprocess.run(["bash", "-n", ROOT / "docs/cluster/array.sh"], check=True)
    workflow = yaml.safe_load((ROOT / "docs/cluster/workflow.yaml").read_text(encoding="utf-8"))
    (script,) = [step["run"] for step in workflow["jobs"]["experiment"]["steps"] if "job.py" in step.get("run", "")]
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
