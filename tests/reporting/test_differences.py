"""Differences of experiments, against weighted figures of scikit-learn and values worked out by hand."""

import numpy as np
import pytest
from scipy.stats import norm
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from faces.core.errors import StageError
from faces.reporting.differences import (
    BETTER,
    EQUAL,
    NO_INTERVAL,
    UNDECIDED,
    WORSE,
    common_pairs,
    compare,
    difference_interval,
)
from faces.tables.kept_scores import KeptPairs, KeptScores, KeptSet


def every_pair_of(people: int, images: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Person of each image, and both images of each pair."""
    person = np.repeat(np.arange(people), images)
    return person, *np.triu_indices(len(person), k=1)


def kept(scores: np.ndarray, people: int, images: int, *, threshold: float = 0.5, embeddings: str = "") -> KeptScores:
    person, a, b = every_pair_of(people, images)
    names = np.arange(1000, 1000 + len(person)).astype(np.uint64)
    same = (person[a] == person[b]).astype(np.int8)
    pairs = KeptPairs(names, person.astype(np.uint64), a.astype(np.int32), b.astype(np.int32), same, scores)
    return KeptScores(embeddings or str(scores[:5]), threshold, {"test_unseen": KeptSet(pairs, pairs)}, {})


def drawn_scores(seed: int, distance: float, people: int = 12, images: int = 4) -> np.ndarray:
    person, a, b = every_pair_of(people, images)
    random = np.random.default_rng(seed)
    return np.round(np.where(person[a] == person[b], distance, 0) + random.normal(0, 1, len(a)), 2)


def test_differences_against_weighted_pairs() -> None:
    sides = drawn_scores(0, 1.0), drawn_scores(1, 1.4)
    person, a, b = every_pair_of(12, 4)
    same = person[a] == person[b]
    expected = []
    for row in np.random.default_rng(3).multinomial(12, np.full(12, 1 / 12), size=40):
        weights = np.where(same, row[person[a]], row[person[a]] * row[person[b]])
        before, after = (roc_auc_score(same, scores, sample_weight=weights) for scores in sides)
        expected.append(after - before)
    rows, said = compare([kept(sides[0], 12, 4)], [kept(sides[1], 12, 4)], draws=40, seed=3)
    found = {row.figure: row for row in rows}
    assert list(found) == ["accuracy", "auc", "eer", "fnmr_at_fmr_0.01", "fnmr_at_fmr_0.001"]
    tail = norm.cdf(-np.sqrt(12 / 11) * 2.2009852)  # Student's t with 11 degrees of freedom, of a printed table
    assert (found["auc"].low, found["auc"].high) == pytest.approx(np.quantile(expected, [tail, 1 - tail]), abs=1e-6)
    assert found["auc"].first == pytest.approx(roc_auc_score(same, sides[0]))
    assert found["accuracy"].second == pytest.approx(np.mean((sides[1] >= 0.5) == same))
    assert said == ["test_unseen: 1,128 pairs in common, of 1,128"]


def test_words_for_a_difference_that_is_seen_and_one_that_is_not() -> None:
    first, better, alike = (kept(drawn_scores(seed, d), 12, 4) for seed, d in ((0, 1.0), (1, 4.0), (2, 1.0)))
    words = {row.figure: row.verdict for row in compare([first], [better], 200, 0)[0]}
    # EER and FNMR fall, AUC rises; most pairs are impostors, whose accuracy at the threshold stays.
    assert words == dict.fromkeys(words, BETTER) | {"accuracy": words["accuracy"]} and len(words) == 5
    assert {row.figure: row.verdict for row in compare([better], [first], 200, 0)[0]}["eer"] == WORSE
    assert {row.figure: row.verdict for row in compare([first], [alike], 200, 0)[0]}["auc"] == UNDECIDED
    assert {row.verdict for row in compare([first], [first], 200, 0)[0]} == {EQUAL}


def test_pairs_are_matched_by_the_names_of_their_images() -> None:
    images = np.array([11, 12, 13, 14], dtype=np.uint64)
    whole = KeptPairs(images, images, *np.triu_indices(4, k=1), np.zeros(6, np.int8), np.arange(6.0))
    # Images 14, 12 and 99, in another order and with sides changed: only the pair of 12 and 14 is in both.
    other = KeptPairs(
        np.array([14, 99, 12], dtype=np.uint64),
        np.zeros(0, np.uint64),
        np.array([0, 1, 0], np.int32),
        np.array([1, 2, 2], np.int32),
        np.zeros(3, np.int8),
        np.arange(3.0),
    )
    places = common_pairs([whole, other])
    assert [place.tolist() for place in places] == [[4], [2]]
    assert [place.tolist() for place in common_pairs([other, whole])] == [[2], [4]]
    apart = other._replace(images=np.array([1, 2, 3], dtype=np.uint64))
    assert [len(place) for place in common_pairs([whole, apart])] == [0, 0]


def test_what_cannot_be_compared_is_said() -> None:
    one = kept(drawn_scores(0, 1.0), 12, 4, embeddings="x")
    pairs = one.sets["test_unseen"].every
    unnamed = pairs._replace(people=np.zeros(0, np.uint64))
    nameless = one._replace(sets={"test_unseen": KeptSet(unnamed, unnamed)})
    rows, said = compare([one], [nameless], 20, 0)
    assert {row.low for row in rows} == {None} and {row.verdict for row in rows} == {NO_INTERVAL}
    assert said[0].startswith("the embeddings are the same")
    apart = pairs._replace(images=pairs.images + np.uint64(500))
    with pytest.raises(StageError, match="test_unseen: the experiments were tested on different people"):
        compare([one], [one._replace(sets={"test_unseen": KeptSet(apart, apart)})], 20, 0)
    with pytest.raises(StageError, match="no test set in common"):
        compare([one], [one._replace(sets={})], 20, 0)


def test_experiments_on_different_people_are_refused_in_one_line() -> None:
    one, other = kept(drawn_scores(0, 1.0), 12, 4, embeddings="x"), kept(drawn_scores(1, 1.0), 12, 4, embeddings="y")
    pairs = one.sets["test_unseen"].every
    apart = pairs._replace(images=pairs.images + np.uint64(500))
    first, second = (
        scores._replace(
            sets=dict.fromkeys(("test_seen", "test_unseen"), KeptSet(side, side)),
            decisions={("test_seen", figure): side for figure in ("knn_accuracy", "dir_at_far_0.1")},
        )
        for scores, side in ((one, pairs), (other, apart))
    )
    with pytest.raises(StageError) as refused:
        compare([first], [second], 20, 0)
    assert str(refused.value) == (
        "test_seen, test_unseen: the experiments were tested on different people or images: they have no genuine and "
        "impostor pairs in common; compare two with the same `sources`, `split` and `test_sets` in params.yaml"
    )


def test_pairs_that_are_genuine_in_one_experiment_alone_are_left_out() -> None:
    one = kept(drawn_scores(0, 1.0), 12, 4)
    pairs = one.sets["test_unseen"].every
    same = pairs.same.copy()
    same[:5] = 1 - same[:5]  # the second calls the first five pairs another kind
    other = pairs._replace(same=same)
    rows, said = compare([one], [one._replace(sets={"test_unseen": KeptSet(other, other)})], 20, 0)
    assert said[1:] == [
        "test_unseen: 5 pairs are left out: genuine pairs in one experiment, impostor pairs in another",
        "test_unseen: 1,123 pairs in common, of 1,128",
    ]
    auc = {row.figure: row for row in rows}["auc"]
    assert auc.first == auc.second == pytest.approx(roc_auc_score(pairs.same[5:], pairs.scores[5:]))
    opposite = pairs._replace(same=(1 - pairs.same).astype(np.int8))
    with pytest.raises(StageError, match="1,128 pairs are left out.*\n.*no genuine and impostor pairs in common"):
        compare([one], [one._replace(sets={"test_unseen": KeptSet(opposite, opposite)})], 20, 0)


def some_drawn(scores: KeptScores, chosen: np.ndarray) -> KeptScores:
    """Return the scores of every pair, with accuracy on the chosen ones."""
    every = scores.sets["test_unseen"].every
    columns = (column[chosen] for column in (every.a, every.b, every.same, every.scores))
    return scores._replace(sets={"test_unseen": KeptSet(every, KeptPairs(every.images, every.people, *columns))})


def test_accuracy_is_of_the_drawn_pairs_that_all_have() -> None:
    scores = [drawn_scores(0, 1.0), drawn_scores(1, 1.4)]
    first, second = (kept(values, 12, 4) for values in scores)
    person, a, b = every_pair_of(12, 4)
    few = np.flatnonzero((person[a] < 3) & (person[b] < 3))  # 66 pairs of three people
    both = few[6:]
    rows, said = compare([some_drawn(first, few)], [some_drawn(second, both)], 40, 0)
    assert said == [
        "test_unseen: 1,128 pairs in common, of 1,128",
        "test_unseen: accuracy: 60 sampled pairs in common of 66",
    ]
    one, other = person[a[both]], person[b[both]]
    right = [(values[both] >= 0.5) == (one == other) for values in scores]
    found = {row.figure: row for row in rows}["accuracy"]
    assert (found.first, found.second) == pytest.approx((np.mean(right[0]), np.mean(right[1])))
    expected = []
    for row in np.random.default_rng(0).multinomial(3, np.full(3, 1 / 3), size=40):
        weights = np.where(one == other, row[one], row[one] * row[other])
        expected.append(np.average(right[1], weights=weights) - np.average(right[0], weights=weights))
    tail = norm.cdf(-np.sqrt(3 / 2) * 4.3026527)  # Student's t with 2 degrees of freedom: three people, not twelve
    assert (found.low, found.high) == pytest.approx(np.quantile(expected, [tail, 1 - tail]), abs=1e-6)


def test_accuracy_of_one_kind_is_left_out() -> None:
    first, second = kept(drawn_scores(0, 1.0), 12, 4), kept(drawn_scores(1, 1.4), 12, 4)
    impostors = np.flatnonzero(first.sets["test_unseen"].every.same == 0)
    rows, said = compare([some_drawn(first, impostors)], [some_drawn(second, impostors)], 20, 0)
    assert rows[0].figure == "auc"
    lacking = "it is left out, since these are not of both kinds"
    assert said[-1].endswith(f"1,056 sampled pairs in common of 1,056; {lacking}")


def test_an_interval_over_seeds_by_hand() -> None:
    # Every seed strays with the people by 0.01 as the others do, and alone by 0.003. Of their differences, 0.01 apart,
    # 0.003 ** 2 is therefore not the seeds' own.
    random = np.random.default_rng(0)
    replicates = 0.02 + random.normal(0, 0.01, 200_000) + random.normal(0, 0.003, (3, 200_000))
    differences, people = np.array([0.01, 0.02, 0.03]), 30
    v, w = (0.01**2 + 0.003**2 / 3) * 30 / 29, (0.01**2 - 0.003**2) / 3
    reach = student.ppf(0.975, (v + w) ** 2 / (v**2 / 29 + w**2 / 2)) * np.sqrt(v + w)
    assert difference_interval(differences, replicates, people) == pytest.approx((0.02 - reach, 0.02 + reach), abs=2e-4)
    one = float(np.sqrt(30 / 29) * 2.04523 * np.hypot(0.01, 0.003))  # Student's t with 29 degrees of freedom
    ends = difference_interval(differences[:1], replicates[:1], people)
    assert ends == pytest.approx((0.02 - one, 0.02 + one), abs=3e-4)
    same = difference_interval(np.zeros(3), np.zeros((3, 9)), people)
    assert same == (0, 0) and difference_interval(differences, np.full((3, 3), np.nan), people) is None


def test_seeds_that_disagree_tell_less_than_one_of_them() -> None:
    first = [kept(drawn_scores(seed, 1.0), 12, 4) for seed in range(2)]
    second = [kept(drawn_scores(9 + seed, distance), 12, 4) for seed, distance in enumerate((1.1, 3.0))]
    alone = {row.figure: row for row in compare(first[1:], second[1:], 100, 0)[0]}["auc"]
    both = {row.figure: row for row in compare(first, second, 100, 0)[0]}["auc"]
    assert alone.verdict == BETTER and both.verdict == UNDECIDED
    assert both.second == pytest.approx(
        np.mean([compare([a], [b], 5, 0)[0][1].second for a, b in zip(first, second, strict=True)])
    )


def test_shares_of_right_decisions_against_resampled_people() -> None:
    person = np.repeat(np.arange(10), 3)
    right = np.random.default_rng(0).random((2, 30)) < np.array([[0.5], [0.9]])
    itself, names = np.arange(30, dtype=np.int32), np.arange(30, dtype=np.uint64)

    def side(seed: int) -> KeptScores:
        probes = KeptPairs(
            names, person.astype(np.uint64), itself, itself, np.ones(30, np.int8), right[seed].astype(np.int8)
        )
        return kept(drawn_scores(seed, 1.0), 12, 4)._replace(decisions={("test_seen", "knn_accuracy"): probes})

    rows, said = compare([side(0)], [side(1)], draws=60, seed=3)
    found = next(row for row in rows if row.figure == "knn_accuracy")
    expected = []
    for row in np.random.default_rng(3).multinomial(10, np.full(10, 1 / 10), size=60):
        expected.append(np.average(right[1], weights=row[person]) - np.average(right[0], weights=row[person]))
    tail = norm.cdf(-np.sqrt(10 / 9) * 2.2621572)  # Student's t with 9 degrees of freedom, of a printed table
    assert (found.set, found.first, found.second) == ("test_seen", np.mean(right[0]), np.mean(right[1]))
    assert (found.low, found.high) == pytest.approx(np.quantile(expected, [tail, 1 - tail]), abs=1e-6)
    assert said[-1] == "test_seen: knn_accuracy: 30 decisions in common of 30"


def searched(scores: np.ndarray, person: np.ndarray, enrolled: np.ndarray, rate: str) -> KeptScores:
    """Return the scores of a search for n probes, of the people `person`, of whom some are enrolled."""
    itself = np.arange(len(person), dtype=np.int32)
    names = itself.astype(np.uint64)
    probes = KeptPairs(names, person.astype(np.uint64), itself, itself, enrolled.astype(np.int8), scores)
    empty = kept(drawn_scores(0, 1.0), 12, 4)
    return empty._replace(decisions={("test_seen", f"dir_at_far_{rate}"): probes})


def weighted_dir(scores: np.ndarray, enrolled: np.ndarray, weights: np.ndarray, rate: float) -> float:
    """Try every threshold: the highest share of enrolled people's probes where strangers are accepted at that rate."""
    strangers = weights[~enrolled].sum()
    allowed = [t for t in [*scores, 9.0] if (weights * (scores >= t))[~enrolled].sum() / strangers <= rate]
    return max((weights * (scores >= t))[enrolled].sum() for t in allowed) / weights[enrolled].sum()


def test_dir_against_every_threshold_for_the_people_that_are_drawn() -> None:
    person = np.repeat(np.arange(20), 4)
    enrolled = person < 12
    random = np.random.default_rng(5)
    sides = [np.round(random.normal(np.where(enrolled, distance, 0), 1), 1) for distance in (0.5, 3.0)]
    for scores in sides:
        scores[enrolled & (random.random(80) < 0.2)] = -2  # another person ranks first
    every = np.ones(80)
    expected = []
    for row in np.random.default_rng(3).multinomial(20, np.full(20, 1 / 20), size=60):
        if row[12:].any() and row[:12].any():
            before, after = (weighted_dir(scores, enrolled, row[person].astype(float), 0.1) for scores in sides)
            expected.append(after - before)
    first, second = (searched(scores, person, enrolled, "0.1") for scores in sides)
    rows, said = compare([first], [second], draws=60, seed=3)
    found = next(row for row in rows if row.figure == "dir_at_far_0.1")
    assert (found.first, found.second) == tuple(weighted_dir(scores, enrolled, every, 0.1) for scores in sides)
    tail = norm.cdf(-np.sqrt(20 / 19) * 2.0930241)  # Student's t with 19 degrees of freedom, of a printed table
    assert (found.low, found.high) == pytest.approx(np.quantile(expected, [tail, 1 - tail]), abs=1e-6)
    assert found.verdict == BETTER and said[-1] == "test_seen: dir_at_far_0.1: 80 decisions in common of 80"


def test_dir_by_hand_is_of_the_probes_that_both_have() -> None:
    # Ten strangers, of whom one may be accepted: the threshold lies above 0.4 and 0.6. Of four probes, 3 and 2 do.
    person, enrolled = np.arange(14), np.arange(14) < 4
    strangers = np.linspace(0, 0.3, 8)
    first = searched(np.array([0.5, 0.6, 0.7, 0.1, *strangers, 0.4, 0.9]), person, enrolled, "0.1")
    second = searched(np.array([0.5, 0.7, 0.8, -2, *strangers, 0.6, 0.9]), person, enrolled, "0.1")
    found = next(row for row in compare([first], [second], 20, 0)[0] if row.figure == "dir_at_far_0.1")
    assert (found.first, found.second) == (3 / 4, 2 / 4)
    # The second enrols person 4, a stranger to the first: nine strangers do not make out a rate of 0.1.
    other = searched(second.decisions["test_seen", "dir_at_far_0.1"].scores, person, np.arange(14) < 5, "0.1")
    rows, said = compare([first], [other], 20, 0)
    assert "dir_at_far_0.1" not in {row.figure for row in rows}
    assert said[-2:] == [
        "test_seen: dir_at_far_0.1: 13 decisions in common of 14",
        "test_seen: dir_at_far_0.1 is left out: it needs a probe of an enrolled person and 10 of strangers in common; "
        "there are 4 and 9",
    ]
