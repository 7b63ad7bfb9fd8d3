"""Name the person in an image by enrolled images.

Reads   data/embeddings.npy, data/split.csv, data/packed (for the baseline on raw pixels)
Writes  metrics/identify.json, metrics/identify/cmc.csv (share of probes found within each rank)
Run     python stages/identify.py

`knn_accuracy` is the notebook's figure: a vote of the k nearest `train` images by cosine, on `test_seen`;
`knn_accuracy_pixels` is the same vote on raw pixels: what has to be beaten.

`rank_k` is closed-set identification: the right person is among the k best-scoring ones. `dir_at_far_<rate>` is
open-set identification: the right person is found first, at the threshold that strangers of that rate pass. Both come
twice: with `train` enrolled, `test_seen` looked for and `test_unseen` as the strangers; and, ending in `_unseen`, among
people that training never saw, half of them enrolled by a few images each and the other half the strangers.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from sklearn.neighbors import KNeighborsClassifier

from faces.core.csv_files import write_csv
from faces.core.files import write_metrics
from faces.core.params import Params, load_params
from faces.core.run import run
from faces.core.terminal import progress, say
from faces.core.threads import fixed_threads, load_threads
from faces.evaluation.metrics import Rate, supported, too_few
from faces.evaluation.verification import roc, tar_at_far
from faces.tables.embeddings import UnitVectors, read_embeddings
from faces.tables.packed_images import PackedImages
from faces.tables.split_table import SCORED, TEST_SEEN, TRAIN, images_of, labels_of, read_split

MOST_SCORES = 32_000_000  # of probes and gallery images, in memory at a time: 128 MB
NEVER = -2.0  # below any cosine


class IdentifyParams(Params):
    neighbours: int = Field(ge=1)
    ranks: list[Annotated[int, Field(ge=1)]]
    cmc_ranks: int = Field(ge=1, le=10_000)
    false_accept_rates: list[Rate]
    enrolled_images: int = Field(ge=1)
    probe_images: int = Field(ge=2)
    pixel_images: int = Field(ge=2)
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


class Gallery:
    """Enrolled people, each of whom scores as their best image does."""

    def __init__(self, unit: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Enrol images, unit length (n, D), of the people `labels` (n,)."""
        order = np.argsort(labels, kind="stable")
        self._images = unit[order].T
        self.identities, self._starts = np.unique(labels[order], return_index=True)

    def scores(self, probes: NDArray[np.float32], most: int = MOST_SCORES) -> Iterator[tuple[slice, NDArray]]:
        """Yield some rows of probes (n, D) at a time and their score of every identity, (rows, identities)."""
        chunk = max(1, most // self._images.shape[1])
        for start in progress(range(0, len(probes), chunk), "searching", unit="chunk"):
            rows = slice(start, start + chunk)
            yield rows, np.maximum.reduceat(probes[rows] @ self._images, self._starts, axis=1)


class Found(NamedTuple):
    """Of each probe: its best score, and the rank of its own identity, 1 for the best and 0 for a stranger: (n,)."""

    best: NDArray[np.float32]
    rank: NDArray[np.int64]


def search(gallery: Gallery, probes: NDArray[np.float32], labels: NDArray[np.int64], most: int = MOST_SCORES) -> Found:
    """Look for probes, unit length (n, D), of the people `labels` (n,).

    An identity that scores the same as the right one is ranked before it, so that a constant score gains nothing.
    """
    own = np.searchsorted(gallery.identities, labels).clip(max=len(gallery.identities) - 1)
    enrolled = gallery.identities[own] == labels
    best, rank = np.empty(len(probes), dtype=np.float32), np.empty(len(probes), dtype=np.int64)
    for rows, scores in gallery.scores(probes, most):
        own_score = scores[np.arange(len(scores)), own[rows]]
        best[rows] = scores.max(axis=1)
        rank[rows] = np.sum(scores >= own_score[:, None], axis=1)
    return Found(best, np.where(enrolled, rank, 0))


def closed_set(rank: NDArray[np.int64], most: int) -> NDArray[np.float64]:
    """Return the cumulative match characteristic: share of probes whose rank (n,) is k or better, k = 1 to `most`."""
    return np.cumsum(np.bincount(np.minimum(rank, most + 1), minlength=most + 2)[1:-1]) / len(rank)


def open_set(found: Found, rates: list[float]) -> tuple[dict[str, float], list[str]]:
    """Return DIR at each FAR: how many enrolled probes are found first, at the threshold that strangers set.

    FAR, also FPIR, is the share of strangers whose best score reaches the threshold; DIR, also TPIR, the share of
    enrolled probes whose own identity ranks first and reaches it. (Phillips, Grother, Micheals 2011, "Evaluation
    Methods in Face Recognition".) Left out where fewer than 30 false alarms are to be expected, which sentences say.
    """
    enrolled = found.rank > 0
    strangers = int(np.sum(~enrolled))
    left_out = [
        too_few(f"dir_at_far_{rate:g}", rate, "probes of strangers", strangers)
        for rate in rates
        if not supported(rate, strangers)
    ]
    if enrolled.all() or not enrolled.any():
        return {}, left_out
    scores = np.where(enrolled & (found.rank > 1), NEVER, found.best)
    curve = roc(scores, enrolled)
    figures = {f"dir_at_far_{rate:g}": tar_at_far(curve, rate) for rate in rates if supported(rate, strangers)}
    return figures, left_out


def enrol(labels: NDArray[np.int64], images: int, seed: int) -> NDArray[np.bool_]:
    """Return which images, of the people `labels` (n,), are enrolled: `images` of each of half the people, at random.

    A person with no image beyond these is not enrolled, but may be a stranger.
    """
    random = np.random.default_rng(seed)
    people, sizes = np.unique(labels, return_counts=True)
    chosen = random.permutation(people[sizes > images])[: len(people) // 2]
    order = random.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # by person, and at random within each
    place = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # within the person, from 0
    enrolled = np.zeros(len(labels), dtype=bool)
    enrolled[order] = (place < images) & np.isin(labels[order], chosen)
    return enrolled


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


def identification(
    gallery: Gallery, probes: NDArray[np.float32], labels: NDArray[np.int64], params: IdentifyParams
) -> tuple[dict[str, float], NDArray[np.float64], list[str]]:
    """Return the figures, the cumulative match characteristic, and sentences on what is left out or says nothing.

    All is left out if nobody among the probes is enrolled.
    """
    found = search(gallery, probes, labels)
    rank = found.rank[found.rank > 0]
    if len(rank) == 0:
        return {}, np.empty(0), ["nobody who is enrolled is among the probes"]
    metrics = {f"rank_{rank_k}": float(np.mean(rank <= rank_k)) for rank_k in params.ranks}
    of_strangers, left_out = open_set(found, params.false_accept_rates)
    metrics |= of_strangers
    people = len(gallery.identities)
    left_out += [f"rank_{k} is 1 whoever is found: {people} people are enrolled" for k in params.ranks if k >= people]
    metrics |= {"enrolled": people, "probes": len(rank), "strangers": len(found.rank) - len(rank)}
    return metrics, closed_set(rank, params.cmc_ranks), left_out


def some(images: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """Return image numbers as they are or, if they are more than `most`, so many of them at random, in their order."""
    if len(images) <= most:
        return images
    return np.sort(np.random.default_rng(seed).choice(images, most, replace=False))


def main() -> None:
    """Write the identification figures and curves."""
    params = load_params("identify", IdentifyParams)
    split = read_split()
    unit, labels = UnitVectors(read_embeddings(len(split))), labels_of(split)
    train, all_seen, unseen = (images_of(split, part) for part in SCORED)
    enrolled = enrol(labels[unseen], params.enrolled_images, params.seed)
    seen, strangers, others = (
        some(images, params.probe_images, params.seed) for images in (all_seen, unseen, unseen[~enrolled])
    )
    galleries = {"seen": (train, np.concatenate([seen, strangers])), "unseen": (unseen[enrolled], others)}

    metrics: dict[str, float] = {}
    curves = []
    with fixed_threads(load_threads()):
        neighbours = unit[train], labels[train], unit[seen], labels[seen]
        metrics["knn_accuracy"] = knn_accuracy(*neighbours, params.neighbours)
        for name, (enrolled_images, others) in galleries.items():
            if len(enrolled_images) == 0:
                say(f"{name}: nobody to enrol")
                continue
            gallery = Gallery(unit[enrolled_images], labels[enrolled_images])
            figures, curve, left_out = identification(gallery, unit[others], labels[others], params)
            for sentence in left_out:
                say(f"{name}: {sentence}")
            metrics |= {f"{figure}{'' if name == 'seen' else '_unseen'}": value for figure, value in figures.items()}
            curves.append(pd.DataFrame({"set": name, "rank": np.arange(1, len(curve) + 1), "rate": curve}))
        say("comparing raw pixels")
        metrics |= pixel_accuracy(split, params)
    write_csv(Path("metrics/identify/cmc.csv"), pd.concat(curves, ignore_index=True))
    write_metrics(Path("metrics/identify.json"), metrics)
    say(f"kNN accuracy {metrics['knn_accuracy']:.3f}, on raw pixels {metrics['knn_accuracy_pixels']:.3f}")


if __name__ == "__main__":
    run(main)
