import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cosine
from sklearn.metrics import accuracy_score, roc_auc_score

from evaluate import roc_curves, score_histogram
from faces.similarity_model import load_similarity
from small_project import run_stage, write_params


def some_pairs() -> pd.DataFrame:
    return pd.DataFrame({"cosine": [0.9, 0.7, 0.5, 0.3, 0.1, -0.8], "same": [1, 0, 1, 0, 0, 0]})


def test_roc_by_hand() -> None:
    curves = roc_curves({"x": some_pairs()}, points=5).set_index("fmr")["x"]
    # Of four impostors, none passes above 0.7, one above 0.3: TAR is 1/2 below an FMR of 1/4, then 1.
    assert curves.index.tolist() == pytest.approx([0, 1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert curves.tolist() == [0.5, 0.5, 0.5, 0.5, 0.5, 1.0]


def test_histogram_by_hand() -> None:
    histogram = score_histogram({"x": some_pairs()}, bins=4)
    assert histogram["cosine"].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert histogram["x_genuine"].tolist() == [0, 0, 0, 1.0]
    assert histogram["x_impostor"].tolist() == [0.25, 0, 0.5, 0.25]


def test_every_figure_from_the_files_alone(project: Path) -> None:
    run_stage("evaluate")
    figures = json.loads(Path("metrics/evaluate.json").read_text())
    embeddings, pairs = np.load("data/embeddings.npy").astype(float), pd.read_csv("data/pairs.csv")
    scores = np.array([1 - cosine(embeddings[a], embeddings[b]) for a, b in zip(pairs["a"], pairs["b"], strict=True)])
    for part in ("train", "test_seen", "test_unseen"):
        chosen = (pairs["part"] == part).to_numpy()
        same = pairs["same"][chosen]
        assert figures[f"accuracy_{part}"] == accuracy_score(same, scores[chosen] >= figures["threshold"])
        assert figures[f"auc_{part}"] == pytest.approx(roc_auc_score(same, scores[chosen]), abs=1e-9)
        genuine, impostor = scores[chosen][same == 1], scores[chosen][same == 0]
        errors = [(np.mean(genuine < t), np.mean(impostor >= t)) for t in [*scores[chosen], np.inf]]
        fnmr, fmr = min(errors, key=lambda pair: abs(pair[0] - pair[1]))
        assert figures[f"eer_{part}"] == pytest.approx((fnmr + fmr) / 2, abs=abs(fnmr - fmr) + 1e-9)
    train = (pairs["part"] == "train").to_numpy()
    attainable = [accuracy_score(pairs["same"][train], scores[train] >= score) for score in scores[train]]
    assert figures["accuracy_train"] == max(attainable)

    seen = (pairs["part"] == "test_seen").to_numpy()
    mapped = (scores[seen] - scores[seen].min()) / (scores[seen].max() - scores[seen].min())
    for threshold in (0.5, 0.42):
        expected = accuracy_score(pairs["same"][seen], mapped >= threshold)
        assert figures[f"cosine_accuracy_{threshold:.2f}"] == expected
    a, b = (embeddings[pairs[side][seen]].astype(np.float32) for side in ("a", "b"))
    probability = load_similarity(16).predict(a, b)
    assert figures["similarity_accuracy"] == accuracy_score(pairs["same"][seen], probability >= 0.5)


def test_plots_have_a_column_a_part(project: Path) -> None:
    run_stage("evaluate")
    assert list(pd.read_csv("metrics/evaluate/roc.csv").columns) == ["fmr", "train", "test_seen", "test_unseen"]
    histogram = pd.read_csv("metrics/evaluate/scores.csv")
    assert len(histogram) == 40
    # Shares are rounded to nine digits when written.
    np.testing.assert_allclose(histogram.drop(columns="cosine").sum(), 1, atol=1e-6)


def test_without_unseen_subjects_the_rest_is_still_reported(project: Path) -> None:
    write_params(project, split={"unseen_subjects": 0.0})
    for stage in ("split", "pairs", "evaluate"):  # which take the embeddings that there are
        run_stage(stage)
    figures = json.loads(Path("metrics/evaluate.json").read_text())
    assert "accuracy_test_seen" in figures and "accuracy_test_unseen" not in figures


@pytest.mark.parametrize(
    "line, message",
    [
        ("train,0,99,1", "b is 99"),
        ("train,0,1,2", "same is 2"),
        ("training,0,1,1", "part is 'training'"),
        ("train,0,1", "pairs.csv"),
        ("train,0,one,1", "pairs.csv"),
    ],
)
def test_a_hand_edited_table_is_named(project: Path, line: str, message: str, fails_with: Callable[..., str]) -> None:
    path = Path("data/pairs.csv")
    path.write_text(path.read_text() + line + "\n", encoding="utf-8")
    printed = fails_with("evaluate")
    assert "data/pairs.csv" in printed and any(part in printed for part in message.split("|"))


@pytest.mark.parametrize("thresholds", [[], [0.5, 1.5], [-0.1], [0.421, 0.424]])
def test_thresholds_that_would_not_be_told_apart(
    project: Path, thresholds: list[float], fails_with: Callable[..., str]
) -> None:
    write_params(project, evaluate={"cosine_thresholds": thresholds})
    assert "params.yaml: evaluate.cosine_thresholds" in fails_with("evaluate")
