import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from faces.commands.frcsyn import describe, figures_table, read_test_set_metrics
from faces.core.errors import StageError
from small_project import commit, git, run_command


def write(folder: Path, **accuracies: float) -> None:
    """Write the metrics of some test sets, and list these in params.yaml."""
    (folder / "metrics").mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump({"test_sets": dict.fromkeys(accuracies, {})}))
    for name, accuracy in accuracies.items():
        (folder / f"metrics/score@{name}.json").write_text(json.dumps({"accuracy": accuracy}))


def test_average_and_gap_by_hand() -> None:
    real = {"lfw": {"accuracy": 0.9, "auc": 0.95}, "agedb": {"accuracy": 0.8}, "other": {"accuracy": 0.1}}
    synthetic = {"lfw": {"accuracy": 0.75, "auc": 0.76}, "agedb": {"accuracy": 0.8}, "new": {"accuracy": 0.3}}
    table = figures_table({"real": real, "synthetic": synthetic})
    expected = {
        ("lfw", "accuracy"): 0.15 / 0.75,
        ("lfw", "AUC"): 0.19 / 0.76,
        ("agedb", "accuracy"): 0.0,
        ("AVG", "accuracy"): (0.85 - 0.775) / 0.775,
        ("AVG", "AUC"): 0.19 / 0.76,
    }
    assert table.index.tolist() == list(expected)
    assert table["GAP"].tolist() == pytest.approx(list(expected.values()))
    assert list(figures_table({"real": real}).columns) == ["real"]
    with pytest.raises(StageError, match="have no figure of a test set in common"):
        figures_table({"real": {"x": {"accuracy": 1.0}}, "synthetic": synthetic})


# Accuracies in per cent of networks trained on CASIA-WebFace or on synthetic faces, on LFW, CFP-FP, CPLFW, AgeDB and
# CALFW, their average, and the gap to CASIA-WebFace, which the challenge takes over as GAP. (Kim et al. 2023, "DCFace",
# arXiv:2304.07060.)
CASIA = (99.42, 96.56, 89.73, 94.08, 93.32)
DCFACE = [
    ("SynFace", (91.93, 75.03, 70.43, 61.63, 74.73), 74.75, 26.58),
    ("DigiFace", (95.40, 87.40, 78.87, 76.97, 78.62), 83.45, 13.39),
    ("DCFace", (98.55, 85.33, 82.62, 89.70, 91.60), 89.56, 5.65),
]


@pytest.mark.parametrize("name, synthetic, average, gap", DCFACE)
def test_average_and_gap_are_those_of_the_published_rows(
    name: str, synthetic: tuple[float, ...], average: float, gap: float
) -> None:
    both = {
        kind: {f"set {number}": {"accuracy": value / 100} for number, value in enumerate(values)}
        for kind, values in (("casia", CASIA), (name, synthetic))
    }
    table = 100 * figures_table(both)
    assert table["casia"].iloc[-1] == pytest.approx(94.62, abs=0.0051)
    assert table[name].iloc[-1] == pytest.approx(average, abs=0.0051)
    assert table["GAP"].iloc[-1] == pytest.approx(gap, abs=0.015)  # of averages that are rounded to 0.01


def test_experiments_are_read_from_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    write(tmp_path, lfw=0.9)
    commit(tmp_path, "real")
    git(tmp_path, "tag", "real")
    write(tmp_path, lfw=0.6)
    commit(tmp_path, "synthetic")
    git(tmp_path, "update-ref", "refs/exps/ab/cdef/only-drawn", "HEAD")  # as DVC keeps an experiment
    git(tmp_path, "update-ref", "refs/exps/celery/stash", "HEAD")  # DVC's queue
    git(tmp_path, "reset", "--quiet", "--hard", "real")
    run_command("frcsyn", "real", "only-drawn")
    assert capsys.readouterr().out.splitlines()[1].split() == ["lfw", "accuracy", "0.9000", "0.6000", "0.5000"]
    run_command("frcsyn")
    assert "0.9000" in capsys.readouterr().out
    with pytest.raises(StageError, match="nothing-like-it"):
        read_test_set_metrics("nothing-like-it")


def test_test_sets_that_are_no_longer_listed_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    write(tmp_path, lfw=0.9, old=0.2)
    commit(tmp_path, "both")
    git(tmp_path, "tag", "both")
    write(tmp_path, lfw=0.8)
    commit(tmp_path, "one")
    git(tmp_path, "tag", "one")
    Path("metrics/evaluate.json").write_text('{"accuracy_test_unseen": 0.7}')
    Path("params.yaml").write_text("test_sets: {}\n")
    assert read_test_set_metrics("both") == {"lfw": {"accuracy": 0.9}, "old": {"accuracy": 0.2}}
    assert read_test_set_metrics("one") == {"lfw": {"accuracy": 0.8}}
    assert read_test_set_metrics("workspace") == {"test_unseen": {"accuracy": 0.7}}


def test_a_listed_test_set_without_metrics_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_with: Callable[..., str]
) -> None:
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    write(tmp_path, lfw=0.9, agedb=0.8)
    Path("metrics/score@agedb.json").unlink()
    commit(tmp_path, "unfinished")
    for experiment in ("workspace", "HEAD"):
        assert f"error: {experiment}: has no metrics/score@agedb.json" in fails_with("faces", "frcsyn", experiment)


def test_before_the_first_run_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_with: Callable[..., str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("test_sets: {}\n")
    printed = fails_with("faces", "frcsyn")
    assert printed.startswith("error: workspace: has no metrics/evaluate.json; run `dvc repro`")
    assert printed.count("\n") == 1
    Path("params.yaml").unlink()
    assert "error: workspace: has no params.yaml" in fails_with("faces", "frcsyn")


def test_damaged_metrics_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_with: Callable[..., str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, lfw=0.9)
    Path("metrics/score@lfw.json").write_text("<<<<<<< HEAD\n")
    assert "error: workspace: metrics/score@lfw.json: " in fails_with("faces", "frcsyn")


def test_without_external_sets_the_held_out_people_count(project: Path) -> None:
    headline = json.loads(Path("metrics/evaluate.json").read_text())
    assert "fnmr_at_fmr_0.01_test_unseen" not in headline  # the small project has too few impostor pairs
    figures = {name: headline[f"{name}_test_unseen"] for name in ("accuracy", "auc")}
    assert read_test_set_metrics("workspace") == {"test_unseen": figures}


def test_groups_are_shown_and_sets_without_labels_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, lfw=0.9, agedb=0.5)
    figures = {"accuracy": 0.9, "group_accuracy_mean": 0.85, "group_accuracy_std": 0.05, "trade_off": 0.8}
    figures |= {"accuracy_of_group_Asian-male": 0.8, "accuracy_of_group_x": 0.9}
    figures |= {"fnmr_at_fmr_0.01_of_group_x": 0.25, "fmr_of_group_x": 0.5}
    Path("metrics/score@lfw.json").write_text(json.dumps(figures))
    Path("metrics/score@agedb.json").write_text(json.dumps({"comparisons": 7}))
    run_command("frcsyn")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == [
        "lfw accuracy 0.9000",
        "lfw AVG of 2 groups 0.8500",
        "lfw SD of 2 groups 0.0500",
        "lfw TO of 2 groups 0.8000",
        "lfw accuracy of Asian-male 0.8000",
        "lfw accuracy of x 0.9000",
        "lfw FNMR at FMR 1 % of x 0.2500",
        "AVG accuracy 0.9000",
        "agedb: has no labels, so no figures",
        "lfw: TO of workspace is over 2 groups; the challenge has 8",
    ]


def test_a_trade_off_over_eight_groups_is_that_of_the_challenge() -> None:
    eight = {f"accuracy_of_group_{number}": 0.75 for number in range(8)}
    metrics = {"group_accuracy_mean": 0.75, "group_accuracy_std": 0.0, "trade_off": 0.75, **eight}
    printed = describe({"mine": {"BUPT": metrics}})
    assert "TO of 8 groups 0.7500" in " ".join(printed.split()) and "the challenge has" not in printed


def test_a_gap_to_zero_is_not_defined() -> None:
    real = {"x": {"accuracy": 0.5, "fnmr_at_fmr_0.01": 0.25}, "y": {"fnmr_at_fmr_0.01": 0.0}}
    synthetic = {"x": {"accuracy": 0.4, "fnmr_at_fmr_0.01": 0.0}, "y": {"fnmr_at_fmr_0.01": 0.0}}
    lines = [" ".join(line.split()) for line in describe({"real": real, "drawn": synthetic}).splitlines()]
    assert lines[1:] == [
        "x accuracy 0.5000 0.4000 0.2500",
        "x FNMR at FMR 1 % 0.2500 0.0000 not defined",
        "y FNMR at FMR 1 % 0.0000 0.0000 not defined",
        "AVG accuracy 0.5000 0.4000 0.2500",
        "AVG FNMR at FMR 1 % 0.1250 0.0000 not defined",
        "x: GAP of FNMR at FMR 1 % is not defined, since drawn has 0",
        "y: GAP of FNMR at FMR 1 % is not defined, since drawn has 0",
        "AVG: GAP of FNMR at FMR 1 % is not defined, since drawn has 0",
    ]


@pytest.mark.parametrize(
    "text, said",
    [
        ("test_sets: {lfw: }", "test_sets.lfw: None: expected {<key>: <value>}"),
        ("test_sets: [lfw]", "test_sets: ['lfw']: expected entries such as <name>: {<key>: <value>}"),
        ("test_sets: lfw", "test_sets: lfw: expected entries such as <name>: {<key>: <value>}"),
        ("test_sets: {lfw: 3}", "test_sets.lfw: 3: expected {<key>: <value>}"),
    ],
)
def test_test_sets_of_another_shape_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_with: Callable[..., str], text: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    Path("params.yaml").write_text(f"{text}\n")
    commit(tmp_path, "old")
    git(tmp_path, "tag", "old")
    for name in ("old", "workspace"):
        assert fails_with("faces", "frcsyn", name) == f"error: {name}: params.yaml: {said}\n"
        submit = ["--baseline", name, "--proposed", name, "--sub-task", "1.1"]
        assert fails_with("faces", "frcsyn", "submit", *submit) == f"error: {name}: params.yaml: {said}\n"
