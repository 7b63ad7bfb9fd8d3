import json
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cosine
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score

from evaluate import warn_of_threshold
from faces.evaluation.every_pair import every_pair
from faces.evaluation.k_fold import assign_folds
from faces.evaluation.similarity_model import load_similarity
from faces.evaluation.threshold import read_thresholds
from faces.tables.embeddings import unit_length
from faces.tables.split_table import read_split
from small_project import run_stage, write_params


def unit_vectors(people: int, images: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return unit_length(random.normal(size=(people * images, 5)).astype(np.float32)), np.repeat(
        np.arange(people), images
    )


def test_every_pair_of_whole_subjects_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faces.evaluation.every_pair.ROWS_AT_ONCE", 3)
    unit, labels = unit_vectors(people=6, images=4)
    images = np.arange(4, 24)  # of people 1 to 5
    pairs, a, b = every_pair(images, unit, labels, most_images=9, seed=0)
    chosen = sorted({*labels[a].tolist(), *labels[b].tolist()})
    assert len(chosen) == 2 and 0 not in chosen  # eight images fit into nine
    assert [chosen[place] for place in pairs.first] == labels[a].tolist()
    assert [chosen[place] for place in pairs.second] == labels[b].tolist()
    rows = [image for image in images if labels[image] in chosen]
    expected = [(a, b, 1 - cosine(unit[a], unit[b])) for a, b in combinations(rows, 2)]
    np.testing.assert_allclose(np.stack([a, b, pairs.scores], axis=1), expected, atol=1e-6)
    assert pairs.same.tolist() == [int(labels[a] == labels[b]) for a, b, _ in expected]


def test_a_pair_takes_as_many_bytes_as_it_says() -> None:
    unit, labels = unit_vectors(people=3, images=4)
    every = every_pair(np.arange(12), unit, labels, most_images=12, seed=0)
    arrays = [*every.pairs, every.a, every.b]
    assert {len(array) for array in arrays} == {66} and sum(array.itemsize for array in arrays) == 21


def test_two_subjects_at_least_are_taken() -> None:
    unit, labels = unit_vectors(people=3, images=40)
    pairs = every_pair(np.arange(120), unit, labels, most_images=9, seed=0).pairs
    assert len(pairs.same) == 80 * 79 / 2 and 0 < pairs.same.sum() < len(pairs.same)


def test_a_genuine_pair_is_taken_where_there_is_one() -> None:
    labels = np.array([0, 1, 2, 3, 4, 5, 5, 6, 7])
    unit = unit_length(np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32))
    for seed in range(20):
        pairs = every_pair(np.arange(9), unit, labels, most_images=2, seed=seed).pairs
        assert 0 < pairs.same.sum() < len(pairs.same)


def test_folds_share_no_person_and_are_even() -> None:
    unit, labels = unit_vectors(people=7, images=2)
    pairs = every_pair(np.arange(14), unit, labels, most_images=14, seed=0).pairs
    folds = assign_folds(pairs, 3, seed=1)
    fold_of = dict(zip(np.stack(pairs[2:], axis=1).ravel().tolist(), folds.ravel().tolist(), strict=True))
    assert sorted(Counter(fold_of.values()).values()) == [2, 2, 3]
    assert folds.tolist() == [[fold_of[a], fold_of[b]] for a, b in zip(*pairs[2:], strict=True)]


def test_every_figure_from_the_files_alone(project: Path) -> None:
    run_stage("evaluate")
    metrics = json.loads(Path("metrics/evaluate.json").read_text())
    embeddings, pairs = np.load("data/embeddings.npy").astype(float), pd.read_csv("data/pairs.csv")
    split = read_split()
    scores = np.array([1 - cosine(embeddings[a], embeddings[b]) for a, b in zip(pairs["a"], pairs["b"], strict=True)])
    for part in ("train", "test_seen", "test_unseen"):
        chosen = (pairs["part"] == part).to_numpy()
        same = pairs["same"][chosen]
        assert metrics[f"accuracy_{part}"] == accuracy_score(same, scores[chosen] >= metrics["threshold"])
        rows = list(combinations(np.flatnonzero(split["part"] == part), 2))  # the field's metrics: every pair
        cosines = np.array([1 - cosine(embeddings[a], embeddings[b]) for a, b in rows])
        equal = np.array([split["label"][a] == split["label"][b] for a, b in rows])
        assert metrics[f"auc_{part}"] == pytest.approx(roc_auc_score(equal, cosines), abs=1e-9)
        genuine, impostor = cosines[equal], cosines[~equal]
        errors = [(np.mean(genuine < t), np.mean(impostor >= t)) for t in [*cosines, np.inf]]
        fnmr, fmr = min(errors, key=lambda pair: abs(pair[0] - pair[1]))
        assert metrics[f"eer_{part}"] == pytest.approx((fnmr + fmr) / 2, abs=abs(fnmr - fmr) + 1e-9)
    train = (pairs["part"] == "train").to_numpy()
    attainable = [accuracy_score(pairs["same"][train], scores[train] >= score) for score in scores[train]]
    assert metrics["accuracy_train"] == max(attainable)

    seen = (pairs["part"] == "test_seen").to_numpy()
    mapped = (scores[seen] - scores[seen].min()) / (scores[seen].max() - scores[seen].min())
    for threshold in (0.5, 0.42):
        expected = accuracy_score(pairs["same"][seen], mapped >= threshold)
        assert metrics[f"cosine_accuracy_{threshold:.2f}"] == expected
    model = load_similarity(16)
    for part in ("train", "test_seen", "test_unseen"):
        group = pairs[pairs["part"] == part]
        probability = model.predict_pairs(np.load("data/embeddings.npy"), group["a"].to_numpy(), group["b"].to_numpy())
        expected = roc_auc_score(group["same"], probability)
        assert metrics[f"drawn_auc_similarity_{part}"] == pytest.approx(expected, abs=1e-9)
        expected = roc_auc_score(group["same"], scores[group.index])
        assert metrics[f"drawn_auc_cosine_{part}"] == pytest.approx(expected, abs=1e-9)
        if part == "test_seen":
            assert metrics["similarity_accuracy"] == accuracy_score(group["same"], probability >= 0.5)


def test_thresholds_with_errors_counted_over_every_pair_of_people_never_seen(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faces.evaluation.rule_of_30.MIN_FALSE_MATCHES", 10)
    write_params(project, metrics={"false_accept_rates": [0.5, 0.0001]})
    run_stage("evaluate")
    check_thresholds("train", "test_seen")
    assert max(accuracy_at(threshold) for threshold in np.linspace(-1, 1, 999)) <= accuracy_at(
        read_thresholds().threshold
    )


def accuracy_at(threshold: float) -> float:
    """Return the accuracy on the drawn pairs of `train`."""
    pairs = pd.read_csv("data/pairs.csv")
    pairs = pairs[pairs["part"] == "train"]
    unit = unit_length(np.load("data/embeddings.npy"))
    cosines = np.einsum("nd,nd->n", unit[pairs["a"]], unit[pairs["b"]], dtype=np.float64)
    return float(np.mean((cosines >= threshold) == pairs["same"]))


def test_people_set_aside_choose_all_thresholds(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faces.evaluation.rule_of_30.MIN_FALSE_MATCHES", 10)
    changed = {"split": {"unseen_subjects": 0.3, "validation_subjects": 0.1}}
    write_params(project, metrics={"false_accept_rates": [0.5, 0.0001], "bootstrap": 20}, **changed)
    for stage in ("split", "pairs", "evaluate"):  # which take the embeddings that there are
        run_stage(stage)
    check_thresholds("validation_unseen", "validation_unseen")
    split, found = read_split(), read_thresholds()
    rows = np.flatnonzero(split["part"] == "validation_unseen")
    unit, labels = unit_length(np.load("data/embeddings.npy"))[rows], split["label"].to_numpy()[rows]
    a, b = np.triu_indices(len(rows), k=1)
    cosines, same = np.einsum("nd,nd->n", unit[a], unit[b], dtype=np.float64), labels[a] == labels[b]
    balanced = [balanced_accuracy_score(same, cosines >= cosine) for cosine in cosines]
    assert balanced_accuracy_score(same, cosines >= found.threshold) == max(balanced)
    assert "validation_unseen" not in json.loads(Path("metrics/evaluate/verification.json").read_text())


def check_thresholds(chosen_on: str, at_fmr_chosen_on: str) -> None:
    """Check models/threshold.json against errors counted here."""
    found = json.loads(Path("models/threshold.json").read_text())
    assert (found["chosen_on"], found["at_fmr_chosen_on"]) == (chosen_on, at_fmr_chosen_on)
    assert found["threshold"] == json.loads(Path("metrics/evaluate.json").read_text())["threshold"]
    split = read_split()
    unit = unit_length(np.load("data/embeddings.npy"))

    def scores_of(part: str) -> tuple[np.ndarray, np.ndarray]:
        rows = np.flatnonzero(split["part"] == part)
        a, b = np.triu_indices(len(rows), k=1)
        cosines = (unit[rows].astype(np.float64) @ unit[rows].T)[a, b]
        labels = split["label"].to_numpy()[rows]
        return cosines, labels[a] == labels[b]

    cosines, same = scores_of("test_unseen")
    assert (found["measured_on"], found["genuine_pairs"]) == ("test_unseen", same.sum())
    assert list(found["at_fmr"]) == ["0.5"]  # there are no impostor pairs for the other
    for point in (found, found["at_fmr"]["0.5"]):
        assert point["fmr"] == pytest.approx(np.mean(cosines[~same] >= point["threshold"]), abs=1e-6)
        assert point["fnmr"] == pytest.approx(np.mean(cosines[same] < point["threshold"]), abs=1e-6)
    cosines, same = scores_of(at_fmr_chosen_on)
    assert np.mean(cosines[~same] >= found["at_fmr"]["0.5"]["threshold"]) == pytest.approx(0.5, abs=1 / (~same).sum())


def test_details_and_plots_of_every_part(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_stage("evaluate")
    (left_out,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("test_unseen: left out: ")]
    assert (
        "k-fold accuracy (needs two or more folds, and genuine and impostor pairs within each; of 2 fold(s), "
        in left_out
    )
    assert (
        "; folds are of whole people, and each needs two: lower metrics.folds in params.yaml, or add people)"
        in left_out
    )
    details = json.loads(Path("metrics/evaluate/verification.json").read_text())
    headline = json.loads(Path("metrics/evaluate.json").read_text())
    assert list(details) == ["train", "test_seen", "test_unseen"]
    for part, metrics in details.items():
        for name in ("accuracy", "auc", "eer"):
            assert metrics[name] == headline[f"{name}_{part}"]
            low, high = (metrics[f"{name}_{end}"] for end in ("low", "high"))
            assert low - 1e-12 <= metrics[name] <= high + 1e-12  # they are sums in another order
        gain = headline[f"drawn_auc_similarity_{part}"] - headline[f"drawn_auc_cosine_{part}"]
        assert metrics["similarity_auc_gain"] == pytest.approx(gain, abs=1e-12)
        assert metrics["similarity_auc_gain_low"] <= metrics["similarity_auc_gain_high"]
        assert "fold_accuracy" in metrics or part == "test_unseen"  # whose two people make no two folds of two
    for name in ("roc", "scores"):
        assert list(pd.read_csv(f"metrics/evaluate/{name}.csv")["set"].unique()) == list(details)
    assert len(pd.read_csv("metrics/evaluate/scores.csv")) == 3 * 2 * 40


def test_without_unseen_subjects_the_rest_is_still_reported(project: Path) -> None:
    write_params(project, split={"unseen_subjects": 0.0})
    for stage in ("split", "pairs", "evaluate"):  # which take the embeddings that there are
        run_stage(stage)
    metrics = json.loads(Path("metrics/evaluate.json").read_text())
    assert "accuracy_test_seen" in metrics and "accuracy_test_unseen" not in metrics


def test_a_threshold_that_suits_others_badly_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    parts = {
        "test_seen": {"accuracy": 0.90, "eer": 0.06, "fmr_at_threshold": 0.05, "fnmr_at_threshold": 0.15},
        "test_unseen": {"accuracy": 0.653, "eer": 0.167, "fmr_at_threshold": 0.1, "fnmr_at_threshold": 0.6},
    }
    warn_of_threshold(parts, "train")
    (line,) = capsys.readouterr().err.splitlines()
    assert "`test_unseen`: at the threshold chosen on `train` pairs, accuracy is 0.653 (FMR 0.100, FNMR 0.600)" in line
    assert "where FMR and FNMR are equal, it is 0.833. It was chosen on people that the network was trained on" in line
    assert "With fifty people or more, set `split.validation_subjects: 0.1`" in line
    warn_of_threshold(parts, "validation_unseen")
    assert "Too few people are set aside" in capsys.readouterr().err


def test_a_threshold_that_is_too_high_for_people_who_are_hard_to_tell_apart_is_warned_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where even the best threshold reaches little, a bad one loses little accuracy: its two rates tell."""
    rates = {"fmr_at_threshold": 0.055, "fnmr_at_threshold": 0.629}
    warn_of_threshold({"test_unseen": {"accuracy": 0.658, "eer": 0.3} | rates}, "train")
    assert "accuracy is 0.658 (FMR 0.055, FNMR 0.629)" in capsys.readouterr().err


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
