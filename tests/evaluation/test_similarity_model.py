import os
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from faces.core.errors import StageError
from faces.evaluation.similarity_model import (
    PAIRS_AT_ONCE,
    Features,
    SimilarityModel,
    feature_count,
    load_similarity,
    pair_features,
    prepared,
    save_similarity,
)


def model(features: Features = "concatenation", size: int = 6, hidden: int = 5) -> SimilarityModel:
    random = np.random.default_rng(0)
    shapes = ((feature_count(size, features), hidden), (hidden,), (hidden, 1), (1,))
    return SimilarityModel(features, *(random.normal(0, 0.7, shape).astype(np.float32) for shape in shapes))


def test_features_by_hand() -> None:
    a, b = np.array([[3, 4]], np.float32), np.array([[0, 2]], np.float32)
    np.testing.assert_array_equal(pair_features(a, b, "concatenation"), [[3, 4, 0, 2]])
    ready = prepared(np.concatenate([a, b]), "symmetric")
    np.testing.assert_allclose(ready, np.array([[0.6, 0.8], [0.0, 1.0]]))
    np.testing.assert_allclose(
        pair_features(ready[:1], ready[1:], "symmetric"), np.array([[0.6, 0.2, 0, 0.8, 0.8]]), rtol=1e-6
    )
    np.testing.assert_array_equal(prepared(a, "concatenation"), a)


def test_with_symmetric_features_the_order_of_a_pair_and_lengths_make_no_difference() -> None:
    embeddings = np.random.default_rng(3).normal(size=(30, 6)).astype(np.float32)
    a, b = np.arange(15), np.arange(15, 30)
    symmetric = model("symmetric")
    forward = symmetric.predict_pairs(embeddings, a, b)
    np.testing.assert_array_equal(symmetric.predict_pairs(embeddings, b, a), forward)
    np.testing.assert_allclose(symmetric.predict_pairs(embeddings * 7, a, b), forward, rtol=1e-4)
    assert np.abs(model().predict_pairs(embeddings, b, a) - model().predict_pairs(embeddings, a, b)).max() > 0.1


@pytest.mark.parametrize("features", get_args(Features))
def test_predictions_equal_kerass(features: Features) -> None:
    from faces.network.runtime import keras

    a, b = np.random.default_rng(1).normal(0, 2, (2, 40, 6)).astype(np.float32)
    inputs = keras.Input((feature_count(6, features),))
    hidden = keras.layers.Dense(5, activation="gelu")(inputs)
    network = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
    network.set_weights(list(model(features)[1:]))
    expected = np.asarray(network(pair_features(a, b, features)))[:, 0]
    np.testing.assert_allclose(model(features).predict(a, b), expected, atol=1e-6)


def test_predict_pairs_gathers_the_right_rows() -> None:
    random = np.random.default_rng(2)
    embeddings = random.normal(size=(30, 6)).astype(np.float32)
    a, b = random.integers(0, 30, (2, PAIRS_AT_ONCE + 3))
    got = model().predict_pairs(embeddings, a, b)
    for pair in (0, PAIRS_AT_ONCE - 1, PAIRS_AT_ONCE, PAIRS_AT_ONCE + 2):
        np.testing.assert_allclose(got[pair], model().predict(embeddings[[a[pair]]], embeddings[[b[pair]]])[0], 1e-6)


def test_extreme_inputs_stay_probabilities() -> None:
    huge = np.full((2, 6), 1e4, dtype=np.float32)
    huge[1] *= -1
    probability = model().predict(huge, huge)
    assert np.all((probability >= 0) & (probability <= 1))


def test_round_trip_and_same_bytes(tmp_path: Path) -> None:
    save_similarity(model(), tmp_path / "a.npz")
    os.utime(tmp_path / "a.npz", (0, 0))
    save_similarity(model(), tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    for features in get_args(Features):
        save_similarity(model(features), tmp_path / "a.npz")
        for saved, loaded in zip(model(features), load_similarity(6, tmp_path / "a.npz"), strict=True):
            np.testing.assert_array_equal(saved, loaded)


def test_what_is_not_a_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "similarity.npz"
    with pytest.raises(StageError, match="similarity.npz is missing"):
        load_similarity(6, path)
    save_similarity(model(), path)
    whole = path.read_bytes()
    for content in (b"", whole[:-40], b"PK\x03\x04" + b"x" * 100):
        path.write_bytes(content)
        with pytest.raises(StageError, match="is not a similarity model"):
            load_similarity(6, path)
    np.savez(path, **(model()._asdict() | {"features": "cosine"}))
    with pytest.raises(StageError, match="features 'cosine'; allowed: symmetric, concatenation"):
        load_similarity(6, path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(StageError, match="is not a similarity model"):
        load_similarity(6, path)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"output_kernel": np.zeros((4, 1), np.float32)}, "are not a model of two embeddings of 6"),
        ({"hidden_bias": np.zeros(1, np.float32)}, "are not a model of two embeddings of 6"),
        ({"hidden_kernel": np.zeros((14, 5), np.float32)}, "are not a model of two embeddings of 6"),
        ({"output_bias": np.full(1, np.nan, np.float32)}, "not finite float32"),
        ({"output_bias": np.zeros(1)}, "not finite float32"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    save_similarity(model()._replace(**changes), tmp_path / "similarity.npz")
    with pytest.raises(StageError, match=f"similarity.npz: .*{message}"):
        load_similarity(6, tmp_path / "similarity.npz")
