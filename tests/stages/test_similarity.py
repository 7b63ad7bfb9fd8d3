import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import similarity
from faces.core.csv_files import write_csv
from faces.core.params import load_params
from faces.evaluation.similarity_model import load_similarity
from faces.network.backbone import load_backbone
from faces.network.runtime import keras
from faces.tables.packed_images import PackedImages
from faces.tables.pair_table import COMPARISONS_PATHS
from faces.tables.split_table import image_labels, part_images, read_split
from small_project import run_stage, write_params


def params(**changes: object) -> similarity.SimilarityParams:
    return load_params("similarity", similarity.SimilarityParams).model_copy(update=changes)


def test_views_of_an_image_lie_in_a_row_and_differ(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, backbone = PackedImages(read_split()), load_backbone()
    numbers = np.array([3, 10, 30])
    views = similarity.embed_views(images, numbers, params(augmented_views=6), False, project / "views")
    assert views.shape == (18, 16)
    assert len(np.unique(views.round(5), axis=0)) > 9  # of seven changes, one is none
    monkeypatch.setattr(similarity, "NotebookAugmenter", lambda: lambda pixels, _: pixels)
    unchanged = similarity.embed_views(images, numbers, params(augmented_views=6), False, project / "unchanged")
    plain = np.asarray(backbone(images[numbers]))
    np.testing.assert_allclose(unchanged, np.repeat(plain, 6, axis=0), rtol=1e-3, atol=1e-4)


def test_score_by_hand(project: Path) -> None:
    small = params(hidden_units=4, features="concatenation")
    network = similarity.build_siamese(small, 3)
    embeddings = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    pairs = pd.DataFrame({"a": [0, 1, 2, 3], "b": [4, 5, 6, 7], "same": [1, 0, 1, 0]})
    log_odds = np.asarray(network(np.hstack([embeddings[pairs["a"]], embeddings[pairs["b"]]])))[:, 0].astype(float)
    probability = 1 / (1 + np.exp(-log_odds))
    figures = similarity.score(similarity.to_numpy(network, small), pairs, embeddings, "test")
    assert figures["test_accuracy"] == np.mean((probability >= 0.5) == (pairs["same"] == 1))
    likelihood = [p if same else 1 - p for p, same in zip(probability, pairs["same"], strict=True)]
    assert figures["test_loss"] == pytest.approx(-np.mean(np.log(likelihood)), rel=1e-5)


def test_a_step_is_that_of_keras_with_its_own_gelu_and_cross_entropy(project: Path) -> None:
    small, random = params(hidden_units=4, features="concatenation"), np.random.default_rng(0)
    ours = similarity.build_siamese(small, 3)
    hidden = keras.layers.Dense(4, activation="gelu")
    theirs = keras.Sequential([keras.Input((6,)), hidden, keras.layers.Dense(1, activation="sigmoid")])
    theirs.compile(keras.optimizers.Adam(small.learning_rate), loss="binary_crossentropy")
    theirs.set_weights(ours.get_weights())
    features, same = random.normal(size=(32, 6)).astype(np.float32), random.integers(0, 2, 32).astype(np.float32)
    for _ in range(3):
        losses = [model.train_on_batch(features, same) for model in (ours, theirs)]
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    for own, stock in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(own, stock, rtol=1e-4, atol=1e-6)


def test_it_learns_which_embeddings_belong_together(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels, random = image_labels(read_split()), np.random.default_rng(0)
    centres = random.normal(size=(labels.max() + 1, 16))
    np.save(Path("data/embeddings.npy"), (centres[labels] + random.normal(0, 0.1, (36, 16))).astype(np.float32))
    for (
        part,
        path,
    ) in COMPARISONS_PATHS.items():  # all pairs of a part, not those that a network of this size finds near
        images = part_images(read_split(), part)
        a, b = (images[side] for side in np.triu_indices(len(images), k=1))
        same = (labels[a] == labels[b]).astype(int)
        write_csv(path, pd.DataFrame({"a": a, "b": b, "cosine": 0.5, "same": same}))
    write_params(project, similarity={"epochs": 60, "learning_rate": 0.01, "augmented_views": 0})
    run_stage("similarity")
    assert "learned nothing" not in capsys.readouterr().err
    figures = json.loads(Path("metrics/similarity.json").read_text())
    assert figures["train_accuracy"] > 0.95 and figures["test_accuracy"] > 0.9 > figures["test_majority_share"]
    curve = pd.read_csv("metrics/similarity/plots/metrics/test_accuracy.tsv", sep="\t")
    assert len(curve) == 60 and curve["test_accuracy"].iloc[-1] == figures["test_accuracy"]


def test_a_model_that_gives_one_answer_alone_is_told_of(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in COMPARISONS_PATHS.values():
        table = pd.read_csv(path)
        write_csv(path, table.assign(same=[1] + [0] * (len(table) - 1)))  # next to none to learn `the same` from
    write_params(project, similarity={"epochs": 60, "learning_rate": 0.01, "augmented_views": 0})
    run_stage("similarity")
    figures = json.loads(Path("metrics/similarity.json").read_text())
    assert figures["test_accuracy"] == figures["test_majority_share"]
    assert f"calls every pair of {COMPARISONS_PATHS['test_seen']} different" in capsys.readouterr().err


def test_the_same_bytes_again(project: Path) -> None:
    before = Path("models/similarity.npz").read_bytes()
    run_stage("similarity")
    assert Path("models/similarity.npz").read_bytes() == before
    assert load_similarity(16).hidden_kernel.shape == (33, 8)


def test_a_run_cut_off_after_an_epoch_ends_with_the_same_bytes(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = [Path("models/similarity.npz"), Path("metrics/similarity.json")]
    expected = [path.read_bytes() for path in outputs]
    whole_epoch, trained = similarity.train_siamese_epoch, list[int]()

    def cut_off_once(model: object, pairs: object, vectors: object, views: object, epoch: int, params: object) -> None:
        trained.append(epoch)
        if trained == [0, 1]:
            raise KeyboardInterrupt
        whole_epoch(model, pairs, vectors, views, epoch, params)  # type: ignore[arg-type]

    monkeypatch.setattr(similarity, "train_siamese_epoch", cut_off_once)
    with pytest.raises(KeyboardInterrupt):
        run_stage("similarity")
    run_stage("similarity")
    assert trained == [0, 1, 1, 2]
    assert [path.read_bytes() for path in outputs] == expected


@pytest.mark.parametrize("edit, message", [("0.5,2", "same is 2"), ("x", "comparisons_train.csv")])
def test_a_hand_edited_table_is_named(project: Path, edit: str, message: str, fails_with: Callable[..., str]) -> None:
    path = Path("data/comparisons_train.csv")
    path.write_text(path.read_text() + f"0,1,{edit}\n", encoding="utf-8")
    printed = fails_with("similarity")
    assert str(path) in printed and message in printed


def test_divergence_is_an_error_and_leaves_the_model(
    project: Path, fails_with: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Path("models/similarity.npz").read_bytes()
    monkeypatch.setattr(similarity, "score", lambda *arguments: {"train_loss": float("nan")} if arguments else {})
    assert "similarity.learning_rate: 0.0004: training diverged in epoch 1" in fails_with("similarity")
    assert Path("models/similarity.npz").read_bytes() == before
