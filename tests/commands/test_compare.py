"""`faces compare` on the small project, with scores in DVC's cache."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from faces.commands.main import dispatch
from faces.tables.kept_scores import IDENTIFIED_PATH, PARTS_PATH, KeptScores, KeptSet, read_kept, write_kept
from small_project import dvc, git

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # of pygtrie, which DVC uses


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert dispatch(["compare", *arguments, "--draws", "50"]) == 0
    return capsys.readouterr().out


def noisy(kept: KeptScores, seed: int) -> KeptScores:
    """Return the scores of a network that is worse."""
    random, sets = np.random.default_rng(seed), {}
    for name, pairs in kept.sets.items():
        every, drawn = (
            side._replace(scores=np.clip(side.scores + random.normal(0, 0.5, len(side.scores)), -1, 1))
            for side in pairs
        )
        sets[name] = KeptSet(every, drawn)
    return KeptScores(f"noisy {seed}", kept.threshold, sets, kept.decisions)


@pytest.fixture
def experiments(project: Path) -> Path:
    """Two commits, a tag for each, whose scores DVC keeps; and a study's run with two seeds."""
    git(project, "init", "--quiet")
    dvc(project, "init", "--quiet")
    kept = read_kept(PARTS_PATH.read_bytes(), "")
    for number, name in enumerate(("first", "study-run-0", "study-run-1")):
        write_kept(PARTS_PATH, kept if name == "first" else noisy(kept, number))
        dvc(project, "add", "--quiet", str(PARTS_PATH), str(IDENTIFIED_PATH))
        for path in (f"{PARTS_PATH}.dvc", f"{IDENTIFIED_PATH}.dvc", "data/.gitignore", "params.yaml", ".dvc"):
            git(project, "add", path)
        git(project, "commit", "--quiet", "--message", name)
        if name == "first":
            git(project, "tag", name)
        else:
            git(project, "update-ref", f"refs/exps/ab/cdef/{name}", "HEAD")  # as DVC keeps an experiment
    write_kept(PARTS_PATH, kept)
    return project


def test_values_are_the_headline_figures_and_the_formats_agree(
    experiments: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = list(csv.DictReader(io.StringIO(ask(capsys, "workspace", "study-run-0", "--format", "csv"))))
    headline: dict[str, float] = {}
    for stage in ("evaluate", "identify"):
        headline |= json.loads(Path(f"metrics/{stage}.json").read_text())
    names = {  # figures whose names do not end with the part
        ("test_seen", "similarity_accuracy"): "similarity_accuracy",
        ("test_seen", "knn_accuracy"): "knn_accuracy",
        ("test_seen", "rank_1"): "rank_1",
        ("test_seen", "dir_at_far_0.1"): "dir_at_far_0.1",
    }
    assert names.keys() < {(row["set"], row["figure"]) for row in rows}
    assert {row["set"] for row in rows} == {"test_seen", "test_unseen"}
    for row in rows:
        name = names.get((row["set"], row["figure"]), f"{row['figure']}_{row['set']}")
        assert float(row["first"]) == pytest.approx(headline[name], abs=1e-6)
        assert float(row["difference"]) == pytest.approx(float(row["second"]) - float(row["first"]), abs=2e-6)
    text = ask(capsys, "workspace", "study-run-0")
    latex = ask(capsys, "workspace", "study-run-0", "--format", "latex")
    assert latex.startswith("\\begin{tabular}") and r"test\_seen & auc & " in latex
    for row in rows:
        assert f"{float(row['second']):.4f}" in text and f"{float(row['second']):.4f}" in latex


def test_commits_are_read_from_the_cache(experiments: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = ask(capsys, "first", "workspace")
    assert "the embeddings are the same" in said and said.count(" equal") == said.count("+0.0000 to +0.0000") > 0


def test_a_run_of_a_study_has_its_seeds(
    experiments: Path, capsys: pytest.CaptureFixture[str], fails_with: Callable[..., str]
) -> None:
    said = ask(capsys, "study-run", "study-run")
    assert said.startswith("seeds 0, 1 of both experiments: intervals are over seeds and people")
    both = list(csv.DictReader(io.StringIO(ask(capsys, "study-run", "study-run", "--format", "csv"))))
    single = [
        list(csv.DictReader(io.StringIO(ask(capsys, f"study-run-{n}", "first", "--format", "csv")))) for n in (0, 1)
    ]
    for row, *of_seeds in zip(both, *single, strict=True):
        assert float(row["first"]) == pytest.approx(np.mean([float(one["first"]) for one in of_seeds]), abs=1e-6)


def test_a_seed_that_two_experiments_are_called_is_refused(experiments: Path, fails_with: Callable[..., str]) -> None:
    git(experiments, "update-ref", "refs/exps/12/3456/study-run-0", "first")  # the study at another commit
    said = fails_with("faces", "compare", "study-run", "workspace")
    assert "error: study-run-0: there are 2 experiments of this name; give a commit" in said


def test_an_experiment_of_before_without_decisions_is_compared_in_all_else(
    experiments: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    IDENTIFIED_PATH.unlink()
    assert dispatch(["compare", "first", "workspace", "--draws", "50"]) == 0
    said, warned = capsys.readouterr()
    assert warned.startswith("warning: workspace: data/identified.npz is missing; `dvc pull` fetches it, `dvc repro` ")
    assert warned.endswith("The figures of identification are left out\n")
    assert "test_seen: knn_accuracy is left out: not all experiments kept its decisions" in said
    assert "similarity_accuracy  " in said and "knn_accuracy  " not in said


def test_what_has_no_scores_is_named(experiments: Path, fails_with: Callable[..., str]) -> None:
    git(experiments, "rm", "--quiet", "--cached", f"{PARTS_PATH}.dvc")
    git(experiments, "commit", "--quiet", "--message", "without")
    (experiments / f"{PARTS_PATH}.dvc").unlink()
    said = fails_with("faces", "compare", "HEAD", "workspace")
    commit = git(experiments, "rev-parse", "--short", "HEAD").strip()
    (line,) = said.splitlines()
    assert line == (
        f"error: {commit}: data/scores.npz is neither in DVC's cache nor in a default remote. Run `dvc push` in the "
        "clone that has it, or check that commit out and run `dvc repro`. An old commit may have no such file"
    )
    said = fails_with("faces", "compare", "nowhere", "workspace")
    assert "error: nowhere: no experiment, branch, tag or commit of this name" in said
    PARTS_PATH.unlink()
    said = fails_with("faces", "compare", "workspace", "first")
    assert "error: workspace: data/scores.npz is missing; `dvc pull` fetches it, `dvc repro` makes it" in said
