"""The notebook's ways of working, written anew: what the benchmarks compare with. Not used by the pipeline."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from faces.training.augmentation import NotebookAugmenter


@contextmanager
def stock_layers() -> Iterator[None]:
    """Have `mobilefacenet.build` build its network of Keras's own layers, as the notebook does."""
    from faces.network import blocks
    from faces.network.runtime import keras

    with patch.object(blocks, "BatchNormalization", keras.layers.BatchNormalization):
        yield


def load_files(paths: list[Path]) -> NDArray[np.float32]:
    """Decode image files one by one into float32 (n, 112, 112, 3)."""
    return np.stack([np.asarray(Image.open(path), dtype=np.float32) for path in paths])


def training_batch(
    paths: list[Path], subjects: int, augmenter: NotebookAugmenter, number: int
) -> tuple[list[Any], Any]:
    """Return what its data generator returns: images in 0..1 and one-hot labels, the subject being the folder."""
    images = augmenter(load_files(paths).astype(np.uint8), (0, number)).astype(np.float32)
    labels = np.zeros((len(paths), subjects), dtype=np.float32)
    for row, path in enumerate(paths):
        labels[row, int(path.parent.name)] = 1
    return [images / 255, labels], labels


def comparisons_of(
    query: int, near: pd.DataFrame, users: NDArray[Any], images: NDArray[Any], most: int
) -> pd.DataFrame:
    """Return the comparisons of one query, a tuple a row and a DataFrame a query, to be concatenated."""
    rows = []
    for place in range(1, min(most, len(near))):
        number = near["id"].values[place]
        rows.append((users[number], images[number], near["distance"].values[place]))
    table = pd.DataFrame(rows, columns=["user", "image", "distance"])
    table["query_user"] = users[query]
    table["query_image"] = images[query]
    return table


def pairs_of(subjects: NDArray[Any], subject: int, positives: int, negatives: int) -> list[tuple[int, int, int]]:
    """Return pairs of one anchor of a subject; both lists of candidates are made by a scan of all images."""
    random = np.random.default_rng(0)
    own = [number for number, other in enumerate(subjects) if other == subject]
    others = [number for number, other in enumerate(subjects) if other != subject]
    genuine = [(own[0], int(other), 1) for other in random.choice(own, positives)]
    return genuine + [(own[0], int(other), 0) for other in random.choice(others, negatives, replace=False)]
