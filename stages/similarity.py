"""Train the Siamese similarity model on the mined comparisons, on top of the frozen backbone.

Reads   data/comparisons_{train,test}.csv, data/embeddings.npy, data/split.csv, data/packed,
        models/backbone.{json,weights.h5}
Writes  models/similarity.npz, metrics/similarity.json, metrics/similarity/ (curves per epoch)
Run     python stages/similarity.py

The notebook augments both images of a pair anew and runs the backbone on them every time. Frozen, the backbone gives
the same answer for the same view: so each image gets a few augmented views, embedded once, and a pair draws from them.

An interrupted run goes on from its last finished epoch, or chunk of views.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from faces.core.checkpoints import EpochCheckpoints, checkpoint_folder, finish_checkpoints
from faces.core.errors import StageError
from faces.core.files import write_metrics
from faces.core.npy_files import open_npy
from faces.core.params import Params, load_params
from faces.core.run import run
from faces.core.terminal import progress, warn
from faces.core.threads import fixed_threads, load_threads
from faces.evaluation.similarity_model import (
    Features,
    SimilarityModel,
    feature_count,
    pair_features,
    prepared,
    save_similarity,
)
from faces.evaluation.verification import accuracy
from faces.tables.embeddings import EMBEDDINGS_PATH, EmbedParams, read_embeddings
from faces.tables.packed_images import PackedImages
from faces.tables.pair_table import COMPARISONS_PATHS, read_pair_table
from faces.tables.split_table import SPLIT_PATH, TEST_SEEN, TRAIN, read_split
from faces.training.augmentation import Augmenter
from faces.training.curves import log_epoch, open_curves

TRAIN_TABLE, TEST_TABLE = COMPARISONS_PATHS[TRAIN], COMPARISONS_PATHS[TEST_SEEN]
CURVES = Path("metrics/similarity")
SAME = 0.5  # and above, the model says of a pair that it is of one person


class SimilarityParams(Params):
    features: Features
    hidden_units: int = Field(ge=1)
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    augmented_views: int = Field(ge=0)
    seed: int = Field(ge=0, lt=2**32)


def embed_views(
    backbone: Any,
    images: PackedImages,
    numbers: NDArray[np.int64],
    params: SimilarityParams,
    flip: bool,
    checkpoints: Path,
) -> NDArray[np.float32]:
    """Return embeddings of augmented views of the images, (len(numbers) * views, D), those of an image in a row.

    They stay on disk until rows are asked for.
    """
    from faces.inference.embedder import Embedder
    from faces.inference.embedding import embed_in_chunks
    from faces.inference.litert import convert

    augmenter = Augmenter()
    repeated = np.repeat(numbers, params.augmented_views)

    def load(start: int, stop: int) -> NDArray[np.uint8]:
        return augmenter(images[repeated[start:stop]], (params.seed, start))

    title = "embedding augmented views"
    embedded = embed_in_chunks(Embedder(convert(backbone), flip=flip), load, len(repeated), title, checkpoints)
    views: Any = open_npy(embedded)
    return views


def build(params: SimilarityParams, embedding_size: int) -> Any:
    """Return the compiled Siamese head: features of a pair (n, F) -> probability of "same" (n, 1)."""
    from faces.network.runtime import keras

    features = keras.Input((feature_count(embedding_size, params.features),), name="features")
    hidden = keras.layers.Dense(params.hidden_units, activation="gelu")(features)
    model = keras.Model(features, keras.layers.Dense(1, activation="sigmoid")(hidden), name="similarity")
    model.compile(keras.optimizers.Adam(params.learning_rate), loss="binary_crossentropy")
    model.optimizer.build(model.trainable_variables)
    return model


def train_epoch(
    model: Any,
    pairs: pd.DataFrame,
    vectors: NDArray[np.float32],
    views: int,
    epoch: int,
    params: SimilarityParams,
) -> None:
    """Train on every pair once, in random order, with a random one of its images first, and a random view of both.

    `pairs` has a and b as positions p such that rows p * views to (p + 1) * views of `vectors`, embeddings as they are,
    are the image's views.
    """
    random = np.random.default_rng((params.seed, epoch))
    order = random.permutation(len(pairs))
    view = random.integers(views, size=(2, len(pairs)))
    sides = random.permuted(pairs[["a", "b"]].to_numpy()[order], axis=1)  # the model must not care who comes first
    a, b = (sides * views + view.T).T
    same = pairs["same"].to_numpy()[order].astype(np.float32)
    starts = range(0, len(pairs), params.batch_size)
    for start in progress(starts, f"epoch {epoch + 1}/{params.epochs}", unit="batch"):
        rows = slice(start, start + params.batch_size)
        first, second = (prepared(vectors[side[rows]], params.features) for side in (a, b))
        model.train_on_batch(pair_features(first, second, params.features), same[rows])


def score(model: SimilarityModel, pairs: pd.DataFrame, embeddings: NDArray[np.float32], name: str) -> dict[str, float]:
    """Return loss and accuracy on plain embeddings."""
    a, b, same = (pairs[column].to_numpy() for column in ("a", "b", "same"))
    probability = model.predict_pairs(embeddings, a, b).astype(np.float64)
    likelihood = np.where(same == 1, probability, 1 - probability)
    return {
        f"{name}_loss": float(-np.log(np.clip(likelihood, 1e-7, 1)).mean()),
        f"{name}_accuracy": accuracy(probability, same, SAME),
    }


def to_numpy(model: Any, params: SimilarityParams) -> SimilarityModel:
    """Return the weights of the Keras model, and what it sees of a pair."""
    return SimilarityModel(params.features, *model.get_weights())


def train(
    params: SimilarityParams,
    flip: bool,
    images: PackedImages,
    embeddings: NDArray[np.float32],
    train_pairs: pd.DataFrame,
    test_pairs: pd.DataFrame,
    checkpoints: Path,
) -> tuple[SimilarityModel, dict[str, float]]:
    """Return the trained model and its figures after the last epoch."""
    from faces.network import backbone, runtime

    runtime.start(load_threads(), params.seed)
    numbers, positions = np.unique(train_pairs[["a", "b"]].to_numpy(), return_inverse=True)
    positions = positions.reshape(-1, 2)
    views, vectors = 1, embeddings[numbers]
    if params.augmented_views:
        views = params.augmented_views
        vectors = embed_views(backbone.load_backbone(), images, numbers, params, flip, checkpoints / "views")
    positioned = train_pairs.assign(a=positions[:, 0], b=positions[:, 1])
    model = build(params, embeddings.shape[1])
    variables = [*model.variables, *model.optimizer.variables]
    epochs = EpochCheckpoints(checkpoints, keep=1)
    history = epochs.restore(variables)
    with open_curves(CURVES) as curves:
        for epoch in range(params.epochs):
            if epoch >= len(history):
                train_epoch(model, positioned, vectors, views, epoch, params)
                scored = to_numpy(model, params)
                of_train = score(scored, train_pairs, embeddings, "train")
                if not np.isfinite(of_train["train_loss"]):
                    raise StageError(
                        f"params.yaml: similarity.learning_rate: {params.learning_rate}: training diverged in epoch "
                        f"{epoch + 1}; choose a lower one"
                    )
                history.append(of_train | score(scored, test_pairs, embeddings, "test"))
                epochs.save(variables, history)
            log_epoch(curves, history[epoch])
    return to_numpy(model, params), history[-1]


def main() -> None:
    """Write the similarity model and its curves."""
    params, flip = load_params("similarity", SimilarityParams), load_params("embed", EmbedParams).flip
    split = read_split()
    embeddings = read_embeddings(len(split))
    train_pairs, test_pairs = (read_pair_table(path, len(split)) for path in (TRAIN_TABLE, TEST_TABLE))

    images = PackedImages(split)

    from faces.network.backbone import (
        ARCHITECTURE_PATH,
        WEIGHTS_PATH,
    )  # TensorFlow takes seconds to import: errors above come first

    inputs = [SPLIT_PATH, EMBEDDINGS_PATH, TRAIN_TABLE, TEST_TABLE, ARCHITECTURE_PATH, WEIGHTS_PATH, *images.paths]
    checkpoints = checkpoint_folder("similarity", params, inputs, extra=[flip, load_threads()])
    with fixed_threads(load_threads()):
        model, figures = train(params, flip, images, embeddings, train_pairs, test_pairs, checkpoints)
    save_similarity(model)
    answers = model.predict_pairs(embeddings, test_pairs["a"].to_numpy(), test_pairs["b"].to_numpy()) >= SAME
    if answers.all() or not answers.any():
        warn(f"the model calls every pair of {TEST_TABLE} {'the same' if answers.any() else 'different'}: of no use")
    majority = max(test_pairs["same"].mean(), 1 - test_pairs["same"].mean())
    write_metrics(Path("metrics/similarity.json"), {**figures, "test_majority_share": float(majority)})
    finish_checkpoints(checkpoints)


if __name__ == "__main__":
    run(main)
