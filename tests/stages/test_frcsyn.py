import json
from pathlib import Path

import pytest

from faces.stage import StageError
from frcsyn import metrics_of, table_of
from small_project import commit, git, run_stage


def write(folder: Path, **accuracies: float) -> None:
    (folder / "metrics").mkdir(parents=True, exist_ok=True)
    for name, accuracy in accuracies.items():
        (folder / f"metrics/score@{name}.json").write_text(json.dumps({"accuracy": accuracy}))


def test_average_and_gap_by_hand() -> None:
    real = {"lfw": {"accuracy": 0.9}, "agedb": {"accuracy": 0.8}, "other": {"accuracy": 0.1}}
    synthetic = {"lfw": {"accuracy": 0.75}, "agedb": {"accuracy": 0.8}}
    table = table_of({"real": real, "synthetic": synthetic})
    assert table.index.tolist() == ["lfw", "agedb", "AVG"]
    assert table["GAP"].tolist() == pytest.approx([0.15 / 0.75, 0.0, (0.85 - 0.775) / 0.775])
    assert list(table_of({"real": real}).columns) == ["real"]
    with pytest.raises(StageError, match="no test set in common"):
        table_of({"real": {"x": {"accuracy": 1.0}}, "synthetic": synthetic})


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
    git(tmp_path, "reset", "--quiet", "--hard", "real")
    run_stage("frcsyn", "real", "only-drawn")
    assert capsys.readouterr().out.splitlines()[1].split() == ["lfw", "0.9000", "0.6000", "0.5000"]
    run_stage("frcsyn")
    assert "0.9000" in capsys.readouterr().out
    with pytest.raises(StageError, match="nothing-like-it"):
        metrics_of("nothing-like-it")


def test_without_external_sets_the_held_out_people_count(project: Path) -> None:
    headline = json.loads(Path("metrics/evaluate.json").read_text())
    assert metrics_of("workspace") == {"test_unseen": {"accuracy": headline["accuracy_test_unseen"]}}


def test_groups_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, lfw=0.9)
    figures = {"accuracy": 0.9, "group_accuracy_mean": 0.85, "group_accuracy_std": 0.05, "trade_off": 0.8}
    Path("metrics/score@lfw.json").write_text(json.dumps(figures))
    run_stage("frcsyn")
    assert "0.8500 - 0.0500 = 0.8000" in capsys.readouterr().out
