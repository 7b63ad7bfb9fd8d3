import numpy as np
import pytest

from by_hand import vote
from faces.evaluation.identification import (
    GalleryScorer,
    ProbeRanks,
    choose_enrolled,
    cumulative_match_characteristic,
    describe_easy_ranks,
    knn_vote,
    open_set_metrics,
    rank_probes,
)
from faces.evaluation.metrics import MetricsParams
from faces.evaluation.roc import roc_curve, tar_at_far
from faces.tables.embeddings import unit_length

NONE = MetricsParams(false_accept_rates=[], folds=2, bootstrap=0, seed=0)


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    gallery, probes = random.normal(size=(60, 5)).astype(np.float32), random.normal(size=(25, 5)).astype(np.float32)
    return (
        unit_length(gallery),
        random.permutation(np.arange(60) % 8),
        unit_length(probes),
        random.integers(0, 8, 25),
    )


def test_the_vote_against_a_vote_by_hand() -> None:
    gallery, labels, probes, truth = data()
    for k in (1, 3, 10):
        right = [vote(gallery, labels, probe, k) == label for probe, label in zip(probes, truth, strict=True)]
        assert knn_vote(gallery, labels, probes, truth, k).tolist() == right


def test_a_small_gallery_votes_as_a_whole() -> None:
    gallery = np.array([[1, 0], [0.9, 0.1], [0, 1]], dtype=np.float32)
    assert knn_vote(gallery, np.array([4, 4, 2]), gallery[2:], np.array([4]), 10).all()


def test_search_against_a_sort() -> None:
    gallery, labels, probes, truth = data(1)
    truth[:3] = 99  # strangers
    found = rank_probes(GalleryScorer(gallery, labels), probes, truth, most=7 * len(gallery))
    for probe, label, best_score, rank in zip(probes, truth, *found, strict=True):
        best = {name: max(float(g @ probe) for g in gallery[labels == name]) for name in set(labels.tolist())}
        names = sorted(best, key=lambda name: -best[name])
        assert best_score == pytest.approx(best[names[0]], rel=1e-6)
        assert rank == (1 + names.index(label) if label in names else 0)


def test_a_constant_score_ranks_last() -> None:
    gallery = np.ones((4, 1), dtype=np.float32)
    found = rank_probes(GalleryScorer(gallery, np.array([0, 1, 2, 3])), gallery[:2], np.array([0, 3]))
    assert found.rank.tolist() == [4, 4]


def test_cumulative_match_curve_by_hand() -> None:
    assert cumulative_match_characteristic(np.array([1, 3, 1, 7]), 4).tolist() == [0.5, 0.5, 0.75, 0.75]


def test_open_set_rates_against_every_threshold() -> None:
    random = np.random.default_rng(4)
    best = np.round(random.random(700), 2).astype(np.float32)
    rank = np.where(np.arange(700) < 400, 0, random.integers(1, 4, 700))
    rates, _, left_out = open_set_metrics(ProbeRanks(best, rank), np.arange(700), [0.1, 0.075, 0.0024], NONE)
    assert list(rates) == ["dir_at_far_0.1", "dir_at_far_0.075"]  # of 400 strangers, 0.0024 lets not even one in
    assert left_out == ["dir_at_far_0.0024 (needs 417 probes of strangers, there are 400)"]
    strangers, first = best[rank == 0], best[rank == 1]
    for rate, name in ((0.1, "dir_at_far_0.1"), (0.075, "dir_at_far_0.075")):
        allowed = [t for t in [*best, 2.0] if np.mean(strangers >= t) <= rate]
        assert rates[name] == max(np.sum(first >= t) for t in allowed) / np.sum(rank > 0)


def test_open_set_rates_are_verification_if_all_are_found() -> None:
    random = np.random.default_rng(5)
    best, known = random.random(1000).astype(np.float32), np.arange(1000) % 2
    assert open_set_metrics(ProbeRanks(best, known), np.arange(1000), [0.1], NONE) == (
        {"dir_at_far_0.1": tar_at_far(roc_curve(best, known), 0.1)},
        {},
        [],
    )


def test_intervals_of_identification_are_over_people() -> None:
    random = np.random.default_rng(6)
    people = np.repeat(np.arange(60), 8)
    known = people < 30
    best = np.clip(random.normal(np.where(known, 0.6, 0.3) + random.normal(0, 0.1, 60)[people], 0.1), -1, 1)
    found = ProbeRanks(best.astype(np.float32), np.where(known, 1, 0))
    values, intervals, _ = open_set_metrics(found, people, [0.1], NONE.model_copy(update={"bootstrap": 300}))
    low, high = intervals["dir_at_far_0.1"]
    assert low < values["dir_at_far_0.1"] < high
    single = open_set_metrics(found, np.arange(480), [0.1], NONE.model_copy(update={"bootstrap": 300}))
    assert high - low > 1.5 * np.diff(single.intervals["dir_at_far_0.1"])[0]  # eight probes of one are not eight people


def test_without_strangers_it_is_said_that_open_set_rates_are_left_out() -> None:
    found = ProbeRanks(np.ones(5, dtype=np.float32), np.ones(5, dtype=np.int64))
    assert open_set_metrics(found, np.arange(5), [0.1], NONE) == (
        {},
        {},
        ["dir_at_far_0.1 (needs 10 probes of strangers, there are 0)"],
    )


def test_ranks_that_chance_reaches_are_named() -> None:
    assert describe_easy_ranks([1, 2, 10], 2) == [
        "rank_1 would be 0.50 by chance, since only 2 people are enrolled",
        "rank_2 is always 1, since only 2 people are enrolled",
        "rank_10 is always 1, since only 2 people are enrolled",
    ]
    assert describe_easy_ranks([1, 5], 6) == []


def test_half_of_the_people_are_enrolled() -> None:
    labels = np.repeat([7, 3, 5, 9, 4], [6, 2, 5, 4, 6])
    enrolled = choose_enrolled(labels, 2, seed=0)
    people, images = np.unique(labels[enrolled], return_counts=True)
    assert len(people) == 2 and 3 not in people  # who has two images, and would have none to be looked for
    assert images.tolist() == [2, 2]


def test_who_is_enrolled_against_a_loop() -> None:
    labels = np.random.default_rng(3).integers(0, 40, 300) * 7
    random = np.random.default_rng(11)
    people, sizes = np.unique(labels, return_counts=True)
    chosen = random.permutation(people[sizes > 6])[: len(people) // 2]
    expected, taken = np.zeros(300, dtype=bool), dict.fromkeys(chosen.tolist(), 0)
    for image in random.permutation(300):  # at random, until a person has six
        if taken.get(int(labels[image]), 6) < 6:
            expected[image] = True
            taken[int(labels[image])] += 1
    assert len(taken) == 20 and set(taken.values()) == {6}
    assert choose_enrolled(labels, 6, seed=11).tolist() == expected.tolist()
