"""An epoch of the similarity model on 100,000 comparisons: ours, and two backbone passes a pair."""

from statistics import median

import numpy as np
import pandas as pd

from benchmarks import notebook
from benchmarks.default_data import image_files
from benchmarks.timing import alternate, table
from faces.core.params import load_params
from faces.core.threads import load_threads
from faces.network import mobilefacenet, runtime
from faces.training.augmentation import NotebookAugmenter
from faces.training.siamese import build_siamese, train_siamese_epoch
from similarity import SimilarityParams

PAIRS, IMAGES, BATCH, NOTEBOOK_BATCHES = 100_000, 2000, 32, 3


def notebook_model(keras: object) -> object:
    """Return the notebook's Siamese network: the frozen backbone on both images, then two dense layers."""
    with notebook.stock_layers():
        backbone = mobilefacenet.build(width=1.0)
    backbone.trainable = False
    layers = keras.layers  # type: ignore[attr-defined]
    inputs = [keras.Input((112, 112, 3)), keras.Input((112, 112, 3))]  # type: ignore[attr-defined]
    hidden = layers.Dense(128, activation="gelu")(layers.Concatenate()([backbone(image) for image in inputs]))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(hidden))  # type: ignore[attr-defined]
    model.compile("adam", "binary_crossentropy")
    return model


def main() -> None:
    """Print the table, and the seconds of our epoch without the embedding of views, done once for all epochs."""
    params = load_params("similarity", SimilarityParams)
    runtime.start(load_threads())
    random = np.random.default_rng(0)
    vectors = random.standard_normal((IMAGES * params.augmented_views, 512)).astype(np.float32)
    comparisons = pd.DataFrame(random.integers(0, IMAGES, (PAIRS, 2)), columns=["a", "b"])
    comparisons["same"] = random.integers(0, 2, PAIRS)
    ours, theirs = build_siamese(params, 512), notebook_model(runtime.keras)
    files, augmenter = image_files(2 * BATCH), NotebookAugmenter()

    def two_passes() -> None:
        for number in range(NOTEBOOK_BATCHES):
            both = augmenter(notebook.load_files(files).astype(np.uint8), (number,)).astype(np.float32)
            theirs.train_on_batch([both[:BATCH], both[BATCH:]], np.ones(BATCH))  # type: ignore[attr-defined]

    ways = {
        "ours": lambda: train_siamese_epoch(ours, comparisons, vectors, params.augmented_views, 0, params),
        "notebook: two backbone passes a pair": two_passes,
    }
    seconds = alternate(ways, rounds=3)
    work = {"ours": float(PAIRS), "notebook: two backbone passes a pair": float(NOTEBOOK_BATCHES * BATCH)}
    table("similarity model, an epoch of 100,000 comparisons", "comparisons/s", seconds, work, "ours")
    print(f"\nthe epoch: {median(seconds['ours']):.2f} s")


if __name__ == "__main__":
    main()
