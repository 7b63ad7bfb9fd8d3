"""Exported formats compared with the network in Keras: likeness of embeddings, verification, speed."""

import time
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import StageError
from faces.evaluation.roc import area_under_roc
from faces.evaluation.threshold import read_thresholds
from faces.evaluation.verification import accuracy
from faces.inference.embedding import Embed
from faces.inference.formats import FORMATS
from faces.tables.embeddings import cosine_of_pairs, lengths, unit_length
from faces.tables.packed_images import PackedImages
from faces.tables.pair_table import PAIRS_PATH, read_pair_table
from faces.tables.split_table import TEST_SEEN, TEST_UNSEEN

TIMED_THREADS = (1, 2)
TIMED_IMAGES = 20  # in each round
TIMED_ROUNDS = 5  # of which the median counts

Images = NDArray[np.uint8]
Embeddings = NDArray[np.float32]


class ComparedPairs(NamedTuple):
    """Pairs on which formats are compared: images (n, 112, 112, 3), their rows a and b, same: 1 if genuine, else 0."""

    images: Images
    a: NDArray[np.int64]
    b: NDArray[np.int64]
    same: NDArray[np.int64]


def draw_compared_pairs(images: PackedImages, total: int, count: int, seed: int) -> ComparedPairs:
    """Return `count` drawn pairs of `test_unseen`, or of `test_seen` if it has none; half are genuine.

    `total` is the number of images in the split.
    """
    pairs = read_pair_table(PAIRS_PATH, total)
    kinds = pairs.groupby("part")["same"].nunique()
    part = next((part for part in (TEST_UNSEEN, TEST_SEEN) if kinds.get(part, 0) == 2), "")
    if not part:
        raise StageError(f"{PAIRS_PATH}: `{TEST_UNSEEN}` or `{TEST_SEEN}` needs genuine and impostor pairs")
    table = pairs[pairs["part"] == part]
    random = np.random.default_rng(seed)
    each = max(1, count // 2)
    chosen = [rows.index[random.permutation(len(rows))[:each]] for _, rows in table.groupby("same")]
    table = table.loc[np.sort(np.concatenate(chosen))]
    rows, places = np.unique(table[["a", "b"]].to_numpy(), return_inverse=True)
    a, b = places.reshape(-1, 2).T
    return ComparedPairs(images[rows], a, b, table["same"].to_numpy())


def embed_with_mirror(embed: Embed, images: Images, flip: bool) -> Embeddings:
    """Return embeddings of images; with `flip`, each is the mean of the image's and its mirror image's."""
    embeddings = embed(images)
    return (embeddings + embed(images[:, :, ::-1])) / 2 if flip else embeddings


def embedders(files: dict[str, bytes], threads: int) -> dict[str, Embed]:
    """Return, for each format but Keras's, a function that embeds images (n, 112, 112, 3) one at a time."""
    return {name: known.embed(files[name], threads) for name, known in FORMATS.items() if known.embed}


def measure(
    name: str, size: int, embeddings: Embeddings, by_keras: Embeddings, compared: ComparedPairs
) -> dict[str, float]:
    """Return likeness of embeddings (n, D) to Keras's, and their accuracy at the threshold of `evaluate`."""
    hint = ", which no limit admits, since it has no direction: train the network for longer (train.epochs)"
    lengths(embeddings, f"{FORMATS[name].path}: the embedding of compared image", hint)
    unit, reference = unit_length(embeddings), unit_length(by_keras)
    cosines = np.einsum("nd,nd->n", unit.astype(np.float64), reference)
    scores = cosine_of_pairs(unit, compared.a, compared.b)
    return {
        "size_bytes": size,
        "largest_difference": float(np.abs(embeddings - by_keras).max()),
        "lowest_cosine": float(cosines.min()),
        "mean_cosine": float(cosines.mean()),
        "accuracy": accuracy(scores, compared.same, read_thresholds().threshold),
        "auc": area_under_roc(scores, compared.same),
    }


def check_cosines(metrics: dict[str, dict[str, float]], limits: dict[str, float]) -> None:
    """Raise StageError, a line each, for formats whose lowest cosine to Keras is below the limit; 0 accepts all.

    `limits` are by the key of the section `export:`.
    """
    too_low = [
        f"{FORMATS[name].path}: an embedding has a cosine of {measured['lowest_cosine']:.5f} to that of Keras; "
        f"params.yaml: export.{key} asks for {limit:g} at least"
        for name, measured in metrics.items()
        if (limit := limits[key := FORMATS[name].limit]) and measured["lowest_cosine"] < limit
    ]
    if too_low:
        advice = ". A network that is hardly trained is sensitive to rounding: train for longer, or lower the limit"
        raise StageError("\n".join(too_low) + advice)


def time_formats(network: Any, files: dict[str, bytes], images: Images) -> dict[str, float]:
    """Return the median milliseconds for one image, by format and number of threads, in alternating rounds.

    Keras has the threads of `runtime.threads`.
    """
    ways = {
        f"{name}_{threads}_threads": way for threads in TIMED_THREADS for name, way in embedders(files, threads).items()
    }
    ways["keras"] = lambda images: np.concatenate([network.predict_on_batch(image[np.newaxis]) for image in images])
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way(images[:1])
    for _, (name, way) in product(range(TIMED_ROUNDS), ways.items()):
        began = time.perf_counter()
        way(images)
        times[name].append((time.perf_counter() - began) * 1000 / len(images))
    return {name: float(np.median(taken)) for name, taken in times.items()}
