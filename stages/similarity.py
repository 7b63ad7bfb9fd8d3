"""Train the Siamese similarity model on the mined comparisons, on top of the frozen backbone.

Reads   data/comparisons_{train,test}.csv, data/embeddings.npy, data/split.csv, data/packed, models/backbone.tflite
Writes  models/similarity.npz, metrics/similarity.json, metrics/similarity/ (curves per epoch)
Run     python stages/similarity.py

The notebook augments both images of every pair anew and runs the backbone on them. Since the frozen backbone gives the
same embedding for the same view, each image here gets a few augmented views, embedded once, and pairs draw from them.

An interrupted run resumes after its last finished epoch, or its last finished chunk of views.
"""

import faces.core.portable  # noqa: F401  first, since NumPy and others read its settings when they are imported

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from faces.core.checkpoints import EpochCheckpoints, checkpoint_folder, finish_checkpoints
from faces.core.errors import StageError
from faces.core.files import write_metrics
from faces.core.npy_files import open_npy
from faces.core.params import load_params
from faces.core.run import run
from faces.core.terminal import warn
from faces.core.threads import fixed_threads, load_threads
from faces.evaluation.similarity_model import SimilarityModel, save_similarity
from faces.evaluation.verification import accuracy
from faces.inference.embedder import CONVERTED_PATH, load_embedder
from faces.inference.embedding import embed_in_chunks
from faces.tables.embeddings import EMBEDDINGS_PATH, EmbedParams, read_embeddings
from faces.tables.packed_images import PackedImages
from faces.tables.pair_table import COMPARISONS_PATHS, read_pair_table
from faces.tables.split_table import SPLIT_PATH, TEST_SEEN, TRAIN, read_split
from faces.training.augmentation import NotebookAugmenter
from faces.training.curves import log_epoch, open_curves
from faces.training.siamese import SiameseParams, build_siamese, to_numpy, train_siamese_epoch

TRAIN_TABLE, TEST_TABLE = COMPARISONS_PATHS[TRAIN], COMPARISONS_PATHS[TEST_SEEN]
CURVES = Path("metrics/similarity")
SAME = 0.5  # the probability from which a pair counts as one person


class SimilarityParams(SiameseParams):
    augmented_views: int = Field(ge=0)


class Data(NamedTuple):
    """All images and their embeddings (N, D), and tables of pairs of image numbers with a, b and same."""

    images: PackedImages
    embeddings: NDArray[np.float32]
    train_pairs: pd.DataFrame
    test_pairs: pd.DataFrame


def read_data() -> Data:
    """Return the inputs of the stage; StageError if one is missing or does not match the split."""
    split = read_split()
    embeddings = read_embeddings(len(split))
    train_pairs, test_pairs = (read_pair_table(path, len(split)) for path in (TRAIN_TABLE, TEST_TABLE))
    return Data(PackedImages(split), embeddings, train_pairs, test_pairs)


def embed_views(
    images: PackedImages, numbers: NDArray[np.int64], params: SimilarityParams, flip: bool, folder: Path
) -> NDArray[np.float32]:
    """Return embeddings of augmented views of the images, (len(numbers) * views, D); views of an image are in a row.

    The array is mapped from a file in `folder`.
    """
    augmenter = NotebookAugmenter()
    repeated = np.repeat(numbers, params.augmented_views)

    def load(start: int, stop: int) -> NDArray[np.uint8]:
        return augmenter(images[repeated[start:stop]], (params.seed, start))

    title = "embedding augmented views"
    embedded = embed_in_chunks(load_embedder(flip=flip), load, len(repeated), title, folder)
    views: Any = open_npy(embedded)
    return views


def score(model: SimilarityModel, pairs: pd.DataFrame, embeddings: NDArray[np.float32], name: str) -> dict[str, float]:
    """Return loss and accuracy on the embeddings of images that are not augmented."""
    a, b, same = (pairs[column].to_numpy() for column in ("a", "b", "same"))
    probability = model.predict_pairs(embeddings, a, b).astype(np.float64)
    likelihood = np.where(same == 1, probability, 1 - probability)
    return {
        f"{name}_loss": float(-np.log(np.clip(likelihood, 1e-7, 1)).mean()),
        f"{name}_accuracy": accuracy(probability, same, SAME),
    }


def score_epoch(model: SimilarityModel, data: Data, epoch: int, params: SimilarityParams) -> dict[str, float]:
    """Return the metrics after an epoch; StageError if training diverged."""
    metrics = score(model, data.train_pairs, data.embeddings, "train")
    if not np.isfinite(metrics["train_loss"]):
        raise StageError(
            f"params.yaml: similarity.learning_rate: {params.learning_rate}: training diverged in epoch "
            f"{epoch + 1}; choose a lower one"
        )
    return metrics | score(model, data.test_pairs, data.embeddings, "test")


def train(
    params: SimilarityParams, flip: bool, data: Data, checkpoints: Path
) -> tuple[SimilarityModel, dict[str, float]]:
    """Return the trained model and its metrics after the last epoch."""
    from faces.network import runtime  # TensorFlow takes seconds to import: errors in the data come first

    runtime.start(load_threads(), params.seed)
    numbers, positions = np.unique(data.train_pairs[["a", "b"]].to_numpy(), return_inverse=True)
    positions = positions.reshape(-1, 2)
    views, vectors = params.augmented_views or 1, data.embeddings[numbers]
    if params.augmented_views:
        vectors = embed_views(data.images, numbers, params, flip, checkpoints / "views")
    positioned = data.train_pairs.assign(a=positions[:, 0], b=positions[:, 1])
    model = build_siamese(params, data.embeddings.shape[1])
    variables = [*model.variables, *model.optimizer.variables]
    epochs = EpochCheckpoints(checkpoints, keep=1)
    history = epochs.restore(variables)
    with open_curves(CURVES) as curves:
        for epoch in range(params.epochs):
            if epoch >= len(history):
                train_siamese_epoch(model, positioned, vectors, views, epoch, params)
                history.append(score_epoch(to_numpy(model, params), data, epoch, params))
                epochs.save(variables, history)
            log_epoch(curves, history[epoch])
    return to_numpy(model, params), history[-1]


def warn_if_constant(model: SimilarityModel, data: Data) -> None:
    """Warn if the model gives the same answer for every test pair."""
    a, b = (data.test_pairs[side].to_numpy() for side in ("a", "b"))
    answers = model.predict_pairs(data.embeddings, a, b) >= SAME
    if answers.all() or not answers.any():
        warn(
            f"the Siamese model calls every pair of {TEST_TABLE} {'the same' if answers.any() else 'different'}: "
            "it has learned nothing. (`faces verify` does not use it.) Raise similarity.epochs or "
            "similarity.learning_rate"
        )


def main() -> None:
    """Write the similarity model, its metrics and its curves."""
    params, flip = load_params("similarity", SimilarityParams), load_params("embed", EmbedParams).flip
    data = read_data()
    inputs = [SPLIT_PATH, EMBEDDINGS_PATH, TRAIN_TABLE, TEST_TABLE, CONVERTED_PATH, *data.images.paths]
    checkpoints = checkpoint_folder("similarity", params, inputs, extra=[flip, load_threads()])
    with fixed_threads(load_threads()):
        model, metrics = train(params, flip, data, checkpoints)
    save_similarity(model)
    warn_if_constant(model, data)
    majority = max(data.test_pairs["same"].mean(), 1 - data.test_pairs["same"].mean())
    write_metrics(Path("metrics/similarity.json"), {**metrics, "test_majority_share": float(majority)})
    finish_checkpoints(checkpoints)


if __name__ == "__main__":
    run(main)
