import os
from pathlib import Path

import numpy as np
import pytest

from faces.similarity_model import PAIRS_AT_ONCE, SimilarityModel, load_similarity, save_similarity
from faces.stage import StageError


def model(size: int = 6, hidden: int = 5) -> SimilarityModel:
    random = np.random.default_rng(0)
    shapes = ((2 * size, hidden), (hidden,), (hidden, 1), (1,))
    return SimilarityModel(*(random.normal(0, 0.7, shape).astype(np.float32) for shape in shapes))


def test_predictions_equal_kerass() -> None:
    from faces.runtime import keras

    a, b = np.random.default_rng(1).normal(0, 2, (2, 40, 6)).astype(np.float32)
    inputs = keras.Input((6,)), keras.Input((6,))
    hidden = keras.layers.Dense(5, activation="gelu")(keras.layers.Concatenate()(list(inputs)))
    network = keras.Model(list(inputs), keras.layers.Dense(1, activation="sigmoid")(hidden))
    network.set_weights(list(model()))
    np.testing.assert_allclose(model().predict(a, b), np.asarray(network([a, b]))[:, 0], atol=1e-6)


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
    for saved, loaded in zip(model(), load_similarity(6, tmp_path / "a.npz"), strict=True):
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
def test_weights_that_do_not_fit_are_named(tmp_path: Path, changes: dict[str, np.ndarray], message: str) -> None:
    save_similarity(model()._replace(**changes), tmp_path / "similarity.npz")
    with pytest.raises(StageError, match=f"similarity.npz: .*{message}"):
        load_similarity(6, tmp_path / "similarity.npz")
