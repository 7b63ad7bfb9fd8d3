"""Name the person in an image by enrolled images: kNN vote, closed-set and open-set identification.

Reads   data/embeddings.npy, data/split.csv, data/packed (for the baseline on raw pixels)
Writes  metrics/identify.json, metrics/identify/cmc.csv (share of probes found within each rank),
        data/identified.npz (which probes were named rightly, and scores behind DIR: `faces compare` reads them)
Run     python stages/identify.py

`knn_accuracy` is the notebook's metric: a vote of the k nearest `train` images by cosine, on `test_seen`.
`knn_accuracy_pixels`, the same vote on raw pixels, is the baseline.

`rank_<k>` is closed-set identification: the right person is among the k best-scoring ones. `dir_at_far_<rate>` is
open-set identification: the right person is found first, at the threshold that accepts that share of strangers. Both
are given twice: with `train` enrolled, `test_seen` as probes and `test_unseen` as strangers; and, with the suffix
`_test_unseen`, among people that training never saw: half are enrolled by a few images each, the others are strangers.
`<metric>_low` and `<metric>_high` are the ends of its 95 % interval over people.

The metrics are computed in faces/evaluation/identification.py.
"""

import faces.core.portable  # noqa: F401  first, since NumPy and others read its settings when they are imported

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from faces.core.csv_files import write_csv
from faces.core.files import write_metrics
from faces.core.params import load_params
from faces.core.run import run
from faces.core.sampling import sample_at_most
from faces.core.terminal import say, say_left_out, warn
from faces.core.threads import fixed_threads, load_threads
from faces.evaluation.identification import (
    GalleryScorer,
    IdentificationParams,
    choose_enrolled,
    describe_easy_ranks,
    identification_metrics,
    knn_vote,
    open_set_scores,
    rank_probes,
)
from faces.evaluation.metrics import MetricsParams
from faces.tables.embeddings import UnitVectors, Vectors, read_embeddings
from faces.tables.kept_scores import IDENTIFIED_PATH, Decisions, NamedImages, name_split_images, write_decisions
from faces.tables.packed_images import PackedImages
from faces.tables.split_table import TEST_SEEN, TEST_UNSEEN, TRAIN, image_labels, part_images, read_split

MIN_VOTES = 2  # images of a person, on average, without which a vote of several neighbours says little


class IdentifyParams(IdentificationParams):
    neighbours: int = Field(ge=1)
    enrolled_images: int = Field(ge=1)
    probe_images: int = Field(ge=2)
    pixel_images: int = Field(ge=2)
    seed: int = Field(ge=0)


class Search(NamedTuple):
    """One search.

    Attributes:
        part: the part of the split that the probes of enrolled people are in, which names the search in the curves.
        suffix: of the names of its metrics.
        enrolled: numbers of the images that are enrolled, (n,).
        probes: numbers of the images that are looked for, (m,).
    """

    part: str
    suffix: str
    enrolled: NDArray[np.int64]
    probes: NDArray[np.int64]


def choose_searches(split: pd.DataFrame, params: IdentifyParams) -> list[Search]:
    """Return the search among training people and the one among people never seen, with a bounded number of probes."""
    unseen, labels = part_images(split, TEST_UNSEEN), image_labels(split)
    enrolled = choose_enrolled(labels[unseen], params.enrolled_images, params.seed)
    seen, strangers, others = (
        sample_at_most(images, params.probe_images, params.seed)
        for images in (part_images(split, TEST_SEEN), unseen, unseen[~enrolled])
    )
    return [
        Search(TEST_SEEN, "", part_images(split, TRAIN), np.concatenate([seen, strangers])),
        Search(TEST_UNSEEN, f"_{TEST_UNSEEN}", unseen[enrolled], others),
    ]


def vote(unit: Vectors, split: pd.DataFrame, params: IdentifyParams) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return probes of `test_seen`, and which the kNN vote of `train` images names rightly, both (n,)."""
    labels, train = image_labels(split), part_images(split, TRAIN)
    seen = sample_at_most(part_images(split, TEST_SEEN), params.probe_images, params.seed)
    return seen, knn_vote(unit[train], labels[train], unit[seen], labels[seen], params.neighbours)


def warn_about_vote(labels: NDArray[np.int64], neighbours: int) -> None:
    """Warn if most people have one vote at most, so that the vote is decided by ties; `labels` (n,) are of `train`."""
    images = len(labels) / len(np.unique(labels))
    if neighbours > 1 and images < MIN_VOTES:
        warn(
            f"params.yaml: identify.neighbours: {neighbours}: people have {images:.2g} images each in `{TRAIN}`, so "
            "ties decide the vote behind knn_accuracy; set it to 1, or go by rank_1"
        )


def pixel_accuracy(split: pd.DataFrame, params: IdentifyParams) -> dict[str, float | int]:
    """Return the accuracy of the vote on raw pixels, of at most `pixel_images` gallery images and as many probes."""
    random = np.random.default_rng(params.seed)
    images, labels = PackedImages(split), image_labels(split)
    vectors, chosen = {}, {}
    for part in (TRAIN, TEST_SEEN):
        candidates = part_images(split, part)
        size = min(params.pixel_images, len(candidates))
        chosen[part] = np.sort(random.choice(candidates, size=size, replace=False))
        vectors[part] = images[chosen[part]].reshape(size, -1).astype(np.float32)
    right = knn_vote(
        vectors[TRAIN], labels[chosen[TRAIN]], vectors[TEST_SEEN], labels[chosen[TEST_SEEN]], params.neighbours
    )
    return {"knn_accuracy_pixels": float(np.mean(right)), "probes_pixels": len(chosen[TEST_SEEN])}


class Found(NamedTuple):
    """The result of one search: metrics, named with its suffix, CMC, and what `faces compare` needs of its probes."""

    metrics: dict[str, float]
    curve: pd.DataFrame
    decisions: Decisions


def identify(
    search: Search,
    unit: Vectors,
    labels: NDArray[np.int64],
    names: NamedImages,
    params: IdentifyParams,
    draws: MetricsParams,
) -> Found:
    """Return the result of one search; say what is left out."""
    gallery = GalleryScorer(unit[search.enrolled], labels[search.enrolled])
    ranked = rank_probes(gallery, unit[search.probes], labels[search.probes])
    metrics, curve, left_out = identification_metrics(
        ranked, labels[search.probes], len(gallery.identities), params, draws
    )
    say_left_out(search.part, left_out)
    for sentence in describe_easy_ranks(params.ranks, len(gallery.identities)):
        say(f"{search.part}: {sentence}")
    table = pd.DataFrame({"set": search.part, "rank": np.arange(1, len(curve) + 1), "rate": curve})
    known, decisions = ranked.rank > 0, Decisions()
    if known.any():
        decisions[search.part, "rank_1"] = names.keep_probes(search.probes[known], ranked.rank[known] == 1)
    scored = names.keep(search.probes, search.probes, known, open_set_scores(ranked))
    rates = [f"dir_at_far_{rate:g}" for rate in params.false_accept_rates]
    decisions |= {(search.part, name): scored for name in rates if name in metrics}
    return Found({_suffixed(name, search.suffix): value for name, value in metrics.items()}, table, decisions)


def _suffixed(name: str, suffix: str) -> str:
    """Return a metric's name with the suffix of the search; `_low` and `_high` stay last."""
    for end in ("_low", "_high"):
        if name.endswith(end):
            return f"{name.removesuffix(end)}{suffix}{end}"
    return f"{name}{suffix}"


def main() -> None:
    """Write the identification metrics, curves and decisions."""
    params, draws = load_params("identify", IdentifyParams), load_params("metrics", MetricsParams)
    split = read_split(names=True)
    unit, labels, names = UnitVectors(read_embeddings(len(split))), image_labels(split), name_split_images(split)
    curves = []
    warn_about_vote(labels[part_images(split, TRAIN)], params.neighbours)
    with fixed_threads(load_threads()):
        probes, right = vote(unit, split, params)
        metrics: dict[str, float] = {"knn_accuracy": float(np.mean(right))}
        decisions: Decisions = {(TEST_SEEN, "knn_accuracy"): names.keep_probes(probes, right)}
        for search in choose_searches(split, params):
            if len(search.enrolled) == 0:
                say(f"{search.part}: nobody to enrol")
                continue
            found = identify(search, unit, labels, names, params, draws)
            metrics |= found.metrics
            curves.append(found.curve)
            decisions |= found.decisions
        say("comparing raw pixels")
        metrics |= pixel_accuracy(split, params)
    write_csv(Path("metrics/identify/cmc.csv"), pd.concat(curves, ignore_index=True))
    write_decisions(IDENTIFIED_PATH, decisions)
    write_metrics(Path("metrics/identify.json"), metrics)
    say(f"kNN accuracy {metrics['knn_accuracy']:.3f}, on raw pixels {metrics['knn_accuracy_pixels']:.3f}")


if __name__ == "__main__":
    run(main)
