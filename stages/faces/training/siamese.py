"""The Siamese head in training: features of a pair of embeddings -> probability that both show one person."""

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from faces.core.params import Params
from faces.core.terminal import progress
from faces.evaluation.similarity_model import Features, SimilarityModel, feature_count, pair_features, prepared


class SiameseParams(Params):
    """Parameters of the head and its training, part of the section `similarity:`."""

    features: Features
    hidden_units: int = Field(ge=1)
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    seed: int = Field(ge=0, lt=2**32)


def build_siamese(params: SiameseParams, embedding_size: int) -> Any:
    """Return the compiled Keras model: features of a pair (n, F) -> log odds of "same" (n, 1).

    Keras's own gelu and cross-entropy divide by approximate reciprocals, which differ between processors.
    """
    from faces.network.runtime import keras, tf

    def gelu(x: Any) -> Any:
        return x * (0.5 * (1 + tf.math.erf(x * math.sqrt(0.5))))

    def cross_entropy(same: Any, log_odds: Any) -> Any:
        return tf.nn.softplus(log_odds) - same * log_odds

    features = keras.Input((feature_count(embedding_size, params.features),), name="features")
    hidden = keras.layers.Dense(params.hidden_units, activation=gelu)(features)
    model = keras.Model(features, keras.layers.Dense(1)(hidden), name="similarity")
    model.compile(keras.optimizers.Adam(params.learning_rate), loss=cross_entropy)
    model.optimizer.build(model.trainable_variables)
    return model


def train_siamese_epoch(
    model: Any, pairs: pd.DataFrame, vectors: NDArray[np.float32], views: int, epoch: int, params: SiameseParams
) -> None:
    """Train on every pair once: in random order, a random image of the two first, a random view of each.

    Args:
        model: The result of `build_siamese`.
        pairs: Columns a and b, positions of images, and same.
        vectors: Embeddings, not normalised; rows p * views to (p + 1) * views are the views of the image at position p.
        views: Views of each image.
        epoch: Number of the epoch, from 0; it decides the random numbers, with the seed.
        params: Features, batch size and seed.
    """
    random = np.random.default_rng((params.seed, epoch))
    order = random.permutation(len(pairs))
    view = random.integers(views, size=(2, len(pairs)))
    sides = random.permuted(pairs[["a", "b"]].to_numpy()[order], axis=1)  # the order of the two must not matter
    a, b = (sides * views + view.T).T
    same = pairs["same"].to_numpy()[order].astype(np.float32)
    starts = range(0, len(pairs), params.batch_size)
    for start in progress(starts, f"epoch {epoch + 1}/{params.epochs}", unit="batch"):
        rows = slice(start, start + params.batch_size)
        first, second = (prepared(vectors[side[rows]], params.features) for side in (a, b))
        model.train_on_batch(pair_features(first, second, params.features), same[rows])


def to_numpy(model: Any, params: SiameseParams) -> SimilarityModel:
    """Return the weights of the Keras model as the model that NumPy applies."""
    return SimilarityModel(params.features, *model.get_weights())
