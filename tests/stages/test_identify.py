import json
from pathlib import Path

import numpy as np
from PIL import Image

from faces.embeddings import unit_length
from faces.split_table import labels_of, read_split
from identify import knn_accuracy, ranks_of_probes
from small_project import run_stage


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    gallery, probes = random.normal(size=(60, 5)).astype(np.float32), random.normal(size=(25, 5)).astype(np.float32)
    return (
        unit_length(gallery),
        random.permutation(np.arange(60) % 8),
        unit_length(probes),
        random.integers(0, 8, 25),
    )


def vote(gallery: np.ndarray, labels: np.ndarray, probe: np.ndarray, k: int) -> int:
    nearest = sorted(range(len(gallery)), key=lambda i: -float(np.dot(gallery[i], probe)))[:k]
    votes = [int(labels[i]) for i in nearest]
    return min(set(votes), key=lambda label: (-votes.count(label), label))


def test_knn_accuracy_against_a_vote_by_hand() -> None:
    gallery, labels, probes, truth = data()
    for k in (1, 3, 10):
        right = [vote(gallery, labels, probe, k) == label for probe, label in zip(probes, truth, strict=True)]
        assert knn_accuracy(gallery, labels, probes, truth, k) == np.mean(right)


def test_a_small_gallery_votes_as_a_whole() -> None:
    gallery = np.array([[1, 0], [0.9, 0.1], [0, 1]], dtype=np.float32)
    assert knn_accuracy(gallery, np.array([4, 4, 2]), gallery[2:], np.array([4]), 10) == 1.0


def test_ranks_against_a_sort() -> None:
    gallery, labels, probes, truth = data(1)
    ranks = ranks_of_probes(gallery, labels, probes, truth, most_scores=7 * len(gallery))
    for probe, label, rank in zip(probes, truth, ranks, strict=True):
        best = {name: max(float(g @ probe) for g in gallery[labels == name]) for name in set(labels.tolist())}
        assert rank == 1 + sorted(best, key=lambda name: -best[name]).index(label)


def test_a_constant_score_ranks_last() -> None:
    gallery = np.ones((4, 1), dtype=np.float32)
    ranks = ranks_of_probes(gallery, np.array([0, 1, 2, 3]), gallery[:2], np.array([0, 3]))
    assert ranks.tolist() == [4, 4]


def test_the_stage_reports_embeddings_beside_pixels(project: Path) -> None:
    run_stage("identify")
    figures = json.loads(Path("metrics/identify.json").read_text())
    split = read_split()
    part, labels = split["part"].to_numpy(), labels_of(split)
    pixels = np.array([np.asarray(Image.open(Path("images") / path)).ravel() for path in split["path"]], float)
    pixels /= np.linalg.norm(pixels, axis=1, keepdims=True)
    gallery, probes = np.flatnonzero(part == "train"), np.flatnonzero(part == "test_seen")
    right = [vote(pixels[gallery], labels[gallery], pixels[probe], 3) == labels[probe] for probe in probes]
    assert figures["knn_accuracy_pixels"] == np.mean(right)
    assert figures["probes"] == figures["probes_pixels"] == len(probes)
    vectors = np.load("data/embeddings.npy").astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    right = [vote(vectors[gallery], labels[gallery], vectors[probe], 3) == labels[probe] for probe in probes]
    assert figures["knn_accuracy"] == np.mean(right)
    own = [vectors[gallery[labels[gallery] == name]] for name in range(4)]
    best = np.array([[(images @ vectors[probe]).max() for images in own] for probe in probes])
    right = [np.argsort(-row)[0] == labels[probe] for row, probe in zip(best, probes, strict=True)]
    assert figures["rank_1"] == np.mean(right)
    assert figures["rank_5"] == 1.0  # there are four people
