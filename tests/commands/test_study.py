"""The runner of studies, without the pipeline: DVC and Git are stood in for."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from faces.commands import study as study_command
from faces.core.errors import StageError
from faces.core.params import read_params
from small_project import ROOT
from study_file import STUDY


def test_every_study_here_can_be_run() -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    text = text.replace("sources:\n", "sources:\n  casia: {path: data/real/train}\n", 1)  # which frcsyn.yaml takes
    studies = sorted((ROOT / "experiments").glob("*.yaml"))
    assert studies
    for path in studies:
        for _, _, changes in study_command.expand_runs(study_command.load_study(path)):
            study_command.changed_params(text, changes)


def test_a_study_takes_over_what_holds_for_all_runs_of_another(study: Path) -> None:
    other = study.with_name("other.yaml")
    other.write_text(STUDY.replace("all: {", "like: study.yaml\nall: {train.epochs: 5, train.width: 0.5} #"))
    assert study_command.load_study(other).all == {"train.epochs": 5, "train.width": 0.5}
    other.write_text(STUDY.replace("all: {", "like: study.yaml\nall: {train.width: 0.5} #"))
    assert study_command.load_study(other).all == {"train.epochs": 3, "train.width": 0.5}


def test_each_run_has_the_seed_of_the_study_whatever_its_own_section_says(study: Path) -> None:
    study.write_text(STUDY.replace("all: {", "all: {train.seed: 8, train: {seed: 9}, "))
    for _, seed, changes in study_command.expand_runs(study_command.load_study(study)):
        places = [*changes]
        assert changes["train.seed"] == seed and places.index("train.seed") > places.index("train")


def test_studies_that_name_each_other_are_an_error(study: Path) -> None:
    study.with_name("other.yaml").write_text(STUDY + "like: study.yaml\n")
    study.write_text(STUDY + "like: other.yaml\n")
    with pytest.raises(StageError, match=r"study\.yaml: like: leads back to this file"):
        study_command.load_study(study)


def test_a_study_runs_each_seed_in_turn_and_makes_its_table(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, dict]] = []

    def experiment(name: str, content: dict) -> None:
        number = len(ran)
        ran.append((name, content))
        study_command.WEIGHTS.write_text(name)
        Path("metrics/x.json").write_text(json.dumps({"auc": [0.5, 0.75, 0.7, 0.75][number], "low": 0.25}))

    monkeypatch.setattr(study_command, "run_experiment", experiment)
    study_command.run_study(study_command.load_study(study), study)
    assert [name for name, _ in ran] == [
        "study-first-0",
        "study-second-one-0",
        "study-first-4",
        "study-second-one-4",
    ]
    plain, changed = ran[2][1], ran[3][1]
    assert plain["train"]["epochs"] == 3 and changed["train"]["epochs"] == 2
    assert plain["train"]["seed"] == changed["train"]["seed"] == 4
    assert plain["sources"] == read_params()["sources"] and dict(changed["sources"]) == {"mine": {"path": "a b"}}
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


def test_sources_and_test_sets_may_be_some_of_those_in_params() -> None:
    text = "sources: {a: {path: x}, b: {path: y}}\ntest_sets: {lfw: {format: lfw}, cfp: {format: csv}}\n"
    changed = study_command.changed_params(text, {"sources": ["b"], "test_sets": []})
    assert changed == {"sources": {"b": {"path": "y"}}, "test_sets": {}}
    with pytest.raises(KeyError, match=r"sources\.c"):
        study_command.changed_params(text, {"sources": ["a", "c"]})


SUBMIT = 'submit: {baseline: first, proposed: second one, sub_task: "1.3", real: [real]}\n'
LISTED = """
sources: {real: {path: data/real}, drawn: {path: data/drawn}}
test_sets: {BUPT: {format: frcsyn, images: faces, pairs: list.txt}, lfw: {format: lfw, images: lfw, pairs: pairs.txt}}
"""


@pytest.fixture
def submitting(study: Path) -> Path:
    """A study that ends in a submission: its first run takes real images, its second both kinds."""
    text = STUDY.replace("first: {}", "first: {sources: [real]}").replace(", sources: {mine: {path: a b}}", "")
    study.write_text(text.replace("train.epochs: 3}", "train.epochs: 3, split.validation_subjects: 0.1}") + SUBMIT)
    params = {**read_params(), **yaml.safe_load(LISTED)}
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    return study


def test_a_study_may_end_in_a_submission(
    submitting: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    submitted: list[tuple] = []
    monkeypatch.setattr(study_command, "run_experiment", lambda *_: study_command.WEIGHTS.write_text("x"))
    monkeypatch.setattr(study_command, "read_metrics", lambda *_: {"AUC": 0.5})
    monkeypatch.setattr(study_command, "submit", lambda *arguments: submitted.append(arguments))
    study_command.run_study(study_command.load_study(submitting), submitting)
    assert submitted == [("study-first-0", "study-second-one-0", "1.3", ["real"])]
    # The second run begins with the first one's weights, by `after`.
    assert capsys.readouterr().err == (
        "warning: proposed (second one): train.initial_weights: models/starts/first-0.weights.h5: what this network "
        "was trained on is not counted here\n"
    )


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("sources: [real]", "sources: [real, drawn]", "baseline (first): synthetic images of drawn: none are allowed"),
        ('"1.3"', '"1.2"', "sub-task 1.2: proposed (second one): real images of real: none are allowed"),
        ("after: first,", "sources: [real], after: first,", "proposed (second one): no synthetic images: one is"),
        ("real: [real]", "real: [real, drawn]", "proposed (second one): 2 sources of real images, drawn, real: one is"),
        ("real: [real]", "real: [casia]", "--real casia: no such source; known: real, drawn"),
        ('"1.3"', '"2.3"', "first: params.yaml: test_sets: AgeDB is missing; sub-task 2.3 is scored on BUPT, AgeDB"),
        ("after: first,", "test_sets: [lfw], after: first,", "second one: params.yaml: test_sets: BUPT is missing"),
        ("after: first,", "test_sets.BUPT: [x], after: first,", "second one: params.yaml: test_sets.BUPT: ['x']: "),
        (
            "after: first,",
            "test_sets.BUPT: {format: frcsyn, images: x}, after: first,",
            "test_sets.BUPT.pairs: missing",
        ),
        (
            "after: first,",
            "test_sets.BUPT: {format: frcsyn, images: other, pairs: list.txt}, after: first,",
            "test set BUPT: baseline (first) has {'format': 'frcsyn', 'images': 'faces', 'pairs': 'list.txt'}, ",
        ),
        ("train.epochs: 3", "score.drop_leaked: true", "first: params.yaml: score.drop_leaked: true: a submission has"),
    ],
)
def test_a_study_that_can_end_in_no_submission_is_named_before_it_runs(
    submitting: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, said: str
) -> None:
    def run(*_: object) -> None:
        pytest.fail("an experiment ran")

    monkeypatch.setattr(study_command, "run_experiment", run)
    text = submitting.read_text()
    assert old in text
    submitting.write_text(text.replace(old, new))
    with pytest.raises(StageError) as error:
        study_command.run_study(study_command.load_study(submitting), submitting)
    message = str(error.value)
    assert all(line.startswith(f"{submitting}: ") for line in message.splitlines()) and said in message


def test_a_folder_that_no_submission_may_replace_is_named_before_a_study_runs(
    submitting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_command, "run_experiment", lambda *_: pytest.fail("an experiment ran"))
    Path("submission").mkdir()
    Path("submission/thesis.tex").touch()
    with pytest.raises(StageError, match="submission: holds thesis.tex, which is of no submission"):
        study_command.run_study(study_command.load_study(submitting), submitting)


def test_a_gap_to_zero_is_not_defined(study: Path) -> None:
    results = pd.DataFrame({"run": ["first", "second one"], "AUC": [0.0, 0.5]})
    said = "GAP of second one and first in AUC: not defined, since AUC of first is 0"
    assert said in study_command.summary(study_command.load_study(study), results)


@pytest.mark.parametrize("results", [{}, {"AUC": [0.5, np.nan]}])
def test_a_gap_of_a_figure_that_a_run_lacks_is_left_out(study: Path, results: dict[str, list[float]]) -> None:
    table = pd.DataFrame({"run": ["first", "second one"], "EER": [0.1, 0.2], **results})
    assert "GAP" not in study_command.summary(study_command.load_study(study), table)


def test_figures_of_a_test_set_that_was_not_scored_are_those_of_no_run(in_new_folder: None) -> None:
    Path("score@lfw.json").write_text('{"auc": 0.9}')
    params: dict[str, dict] = {"sources": {"mine": {}}, "test_sets": {"lfw": {}}}
    figures = {"AUC": "score@lfw.json auc", "EER": "score@lfw.json eer"}
    assert study_command.read_metrics(figures, params) == {"AUC": 0.9}
    assert study_command.read_metrics(figures, params | {"test_sets": {}}) == {}


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
        study_command.run_experiment("x", study_command.changed_params(text, {"train.epochs": 99}))
    assert calls[:3] == [
        ["dvc", "exp", "list"],
        ["dvc", "exp", "remove"],  # one of that name is there
        ["dvc", "exp", "run"],
    ]
    assert calls[3][0] == "git"  # params.yaml goes back to what is committed even after a failure
    assert yaml.safe_load(seen)["train"] == yaml.safe_load(text)["train"] | {"epochs": 99}
    assert "# 0 (keep the initial weights, but for the back end) or more" in seen


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds: [0, 4]", "seeds: []", "seeds: List should have at least 1 item"),
        ("after: first", "after: third", "runs.second one.after: 'third': no run above it has this name"),
        ("run: first", "run: third", "rows.floor.run: 'third': no such run"),
        ("of: [second one, first]", "of: [third, first]", "gap: names a run or a figure that the study does not have"),
        ("train.epochs: 3", "train.epoch: 3", "train.epoch: params.yaml has no such parameter"),
        ("title: Two runs.", "titel: x", "titel: Extra inputs are not permitted"),
        ("gap:", "submit: {baseline: first, proposed: x, sub_task: '2.3', real: []}\ngap:", "submit: names a run"),
        ("gap:", "submit: {baseline: first, proposed: first, sub_task: '3.1', real: []}\ngap:", "'3.1': one of 1.1"),
        ("seeds: [0, 4]", "seeds: [0, 4, 0]", "seeds: [0, 4, 0]: one comes twice"),
        ("rows:", "  second-one: {}\nrows:", "runs: 'second one' and 'second-one': their experiments would have one"),
        ("floor: {", "first: {", "rows.first: a run has this name"),
        ("{AUC: metrics/x.json low}", "{ABC: metrics/x.json low}", "rows.floor.figures: 'ABC': `figures` has no such"),
        ("{AUC: metrics/x.json low}", "{AUC: metrics/x.json}", "rows.floor.figures.AUC: 'metrics/x.json': expected <m"),
        ("EER: metrics/x.json eer", "EER: eer", "figures.EER: 'eer': expected <metrics file> <key>"),
        ("runs:", "runs: [", "study.yaml"),
    ],
)
def test_a_wrong_study_is_named(study: Path, old: str, new: str, said: str) -> None:
    study.write_text(STUDY.replace(old, new))
    with pytest.raises(StageError) as end:
        study_command.run_study(study_command.load_study(study), study)
    assert said in str(end.value)
