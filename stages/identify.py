"""Name the person in an image by its nearest training images.

Reads   data/embeddings.npy, data/split.csv, data/packed (for the baseline on raw pixels)
Writes  metrics/identify.json
Run     python stages/identify.py

The gallery is `train`, the probes are `test_seen`. `knn_accuracy` is the notebook's figure: a vote of the k nearest by
cosine. `rank_k` is closed-set identification: the right person is among the k best-scoring ones, where a person scores
as their best image does. `knn_accuracy_pixels` is the same vote on raw pixels: what has to be beaten.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from sklearn.neighbors import KNeighborsClassifier

from faces.embeddings import read_embeddings, unit_length
from faces.files import write_metrics
from faces.packed_images import PackedImages
from faces.split_table import TEST_SEEN, TRAIN, images_of, labels_of, read_split
from faces.stage import Params, load_params, progress, run, say
from faces.threads import fixed_threads

MOST_SCORES = 32_000_000  # of probes and gallery images, in memory at a time: 128 MB


class IdentifyParams(Params):
    neighbours: int = Field(ge=1)
    ranks: list[Annotated[int, Field(ge=1)]]
    pixel_images: int = Field(ge=2)
    threads: int = Field(ge=1, le=1024)
    seed: int = Field(ge=0)


def knn_accuracy(
    gallery: NDArray[np.float32],
    gallery_labels: NDArray[np.int64],
    probes: NDArray[np.float32],
    probe_labels: NDArray[np.int64],
    neighbours: int,
) -> float:
    """Return the share of probes whose label wins the vote of the nearest gallery vectors by cosine.

    Vectors are (n, D). A tied vote goes to the lowest label, as scikit-learn does it. With fewer gallery vectors than
    `neighbours`, all of them vote.
    """
    classifier = KNeighborsClassifier(n_neighbors=min(neighbours, len(gallery)), metric="cosine", algorithm="brute")
    return float(classifier.fit(gallery, gallery_labels).score(probes, probe_labels))


def ranks_of_probes(
    gallery: NDArray[np.float32],
    gallery_labels: NDArray[np.int64],
    probes: NDArray[np.float32],
    probe_labels: NDArray[np.int64],
    most_scores: int = MOST_SCORES,
) -> NDArray[np.int64]:
    """Return for each probe the rank of its own identity, 1 for the best, shape (probes,).

    Vectors are unit length (n, D); every probe label must occur in the gallery. An identity that scores the same as
    the right one is ranked before it, so that a constant score gains nothing.
    """
    order = np.argsort(gallery_labels, kind="stable")
    by_identity = gallery[order].T
    identities, starts = np.unique(gallery_labels[order], return_index=True)
    chunk = max(1, most_scores // len(gallery))
    own = np.searchsorted(identities, probe_labels)
    ranks = np.empty(len(probes), dtype=np.int64)
    for start in progress(range(0, len(probes), chunk), "ranking", unit="chunk"):
        rows = slice(start, start + chunk)
        best = np.maximum.reduceat(probes[rows] @ by_identity, starts, axis=1)  # (chunk, identities)
        own_score = best[np.arange(len(best)), own[rows]]
        ranks[rows] = np.sum(best >= own_score[:, None], axis=1)
    return ranks


def pixel_accuracy(split: pd.DataFrame, params: IdentifyParams) -> dict[str, float | int]:
    """Return the vote's accuracy on raw pixels, on at most `pixel_images` gallery images and as many probes."""
    random = np.random.default_rng(params.seed)
    images, labels = PackedImages(split), labels_of(split)
    vectors, chosen = {}, {}
    for part in (TRAIN, TEST_SEEN):
        candidates = images_of(split, part)
        size = min(params.pixel_images, len(candidates))
        chosen[part] = np.sort(random.choice(candidates, size=size, replace=False))
        vectors[part] = images[chosen[part]].reshape(size, -1).astype(np.float32)
    accuracy = knn_accuracy(
        vectors[TRAIN], labels[chosen[TRAIN]], vectors[TEST_SEEN], labels[chosen[TEST_SEEN]], params.neighbours
    )
    return {"knn_accuracy_pixels": accuracy, "probes_pixels": len(chosen[TEST_SEEN])}


def main() -> None:
    """Write the identification figures."""
    params = load_params("identify", IdentifyParams)
    split = read_split()
    unit, labels = unit_length(read_embeddings(len(split))), labels_of(split)
    train, test = images_of(split, TRAIN), images_of(split, TEST_SEEN)
    compared = unit[train], labels[train], unit[test], labels[test]

    with fixed_threads(params.threads):
        metrics: dict[str, float | int] = {"knn_accuracy": knn_accuracy(*compared, params.neighbours)}
        ranks = ranks_of_probes(*compared)
        for rank in params.ranks:
            metrics[f"rank_{rank}"] = float(np.mean(ranks <= rank))
        metrics["probes"] = len(test)
        say("comparing raw pixels")
        metrics |= pixel_accuracy(split, params)
    write_metrics(Path("metrics/identify.json"), metrics)
    say(f"kNN accuracy {metrics['knn_accuracy']:.3f}, on raw pixels {metrics['knn_accuracy_pixels']:.3f}")


if __name__ == "__main__":
    run(main)
