import numpy as np
import pytest

from faces.bootstrap import Drawn, Pairs, accuracy_interval, curve_intervals
from faces.verification import area_under_roc, equal_error_rate, roc, tar_at_far


def people(seed: int = 0, people: int = 12, images: int = 4) -> Pairs:
    """Every pair of some images whose scores depend on who is on them."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people) * 3, images)
    a, b = np.triu_indices(len(labels), k=1)
    same = labels[a] == labels[b]
    ease = random.normal(0, 0.3, 3 * people)  # how alike the images of a person are
    scores = np.where(same, 0.6 + ease[labels[a]], 0.2 + 0.3 * ease[labels[a]] * ease[labels[b]])
    scores = np.round(scores + random.normal(0, 0.15, len(same)), 2)
    return Pairs(scores, same.astype(np.int64), labels[a], labels[b])


def test_replicates_against_pairs_written_out() -> None:
    pairs = people()
    replicates, seed = 6, 5
    times = np.random.default_rng(seed).multinomial(12, np.full(12, 1 / 12), size=replicates)
    expected: dict[str, list[float]] = {"auc": [], "eer": [], "tar_at_far_0.1": []}
    for row in times:
        weight_of = dict(zip(range(0, 36, 3), row.tolist(), strict=True))
        scores, same = [], []
        for score, label, first, second in zip(*pairs, strict=True):
            weight = weight_of[first] if first == second else weight_of[first] * weight_of[second]
            scores += [score] * weight
            same += [label] * weight
        of_replicate = np.array(scores), np.array(same)
        expected["auc"].append(area_under_roc(*of_replicate))
        expected["eer"].append(equal_error_rate(*of_replicate))
        expected["tar_at_far_0.1"].append(tar_at_far(roc(*of_replicate), 0.1))
    # Scores have two decimals and lie in fewer than 4,000 bins, so that no two of them share one.
    found = curve_intervals(pairs, [0.1], replicates, seed)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-12)


def test_independent_pairs_have_the_binomial_interval() -> None:
    # One genuine pair a person: drawing people is drawing pairs. The normal interval of a share of 0.8 of 400.
    size = 400
    scores = np.where(np.arange(size) < 320, 1.0, 0.0)
    person = np.arange(size)
    pairs = Pairs(scores, np.ones(size, dtype=np.int64), person, person)
    low, high = accuracy_interval(pairs, 0.5, 4000, 0)["accuracy"]
    half = 1.96 * np.sqrt(0.8 * 0.2 / size)
    assert (low, high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.006)


def test_many_images_of_few_people_do_not_narrow_the_interval() -> None:
    # All pairs of a person are right or all wrong: ten pairs of each say no more than one.
    person, right = np.arange(40), np.arange(40) % 4 > 0
    single = Pairs(right.astype(float), np.ones(40, dtype=np.int64), person, person)
    tenfold = Pairs(*(np.repeat(column, 10) for column in single))
    assert accuracy_interval(single, 0.5, 500, 1) == accuracy_interval(tenfold, 0.5, 500, 1)


def test_replicates_without_one_kind_are_left_out() -> None:
    # Of two people, half of all replicates draw one of them twice, and have no impostor pair.
    pairs = Pairs(np.array([0.9, 0.8, 0.1]), np.array([1, 1, 0]), np.array([0, 1, 0]), np.array([0, 1, 1]))
    assert curve_intervals(pairs, [0.5], 200, 0) == {"auc": (1, 1), "eer": (0, 0), "tar_at_far_0.5": (1, 1)}


def test_blocks_of_replicates_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = people(seed=2)
    whole = curve_intervals(pairs, [0.1, 0.5], 50, 3)
    monkeypatch.setattr("faces.bootstrap.MOST_WEIGHTS", 7 * 8000)
    again = curve_intervals(pairs, [0.1, 0.5], 50, 3)
    assert {name: pytest.approx(ends, rel=1e-12) for name, ends in whole.items()} == again  # sums of other blocks


def test_a_person_drawn_twice_counts_twice_with_others_and_with_himself() -> None:
    pairs = Pairs(np.zeros(2), np.array([1, 0]), np.array([4, 4]), np.array([4, 9]))
    drawn = Drawn(pairs, 300, 0)
    counts = drawn.measure(np.array([0, 1]), 2, lambda counts: {"genuine": counts[0], "impostor": counts[1]})
    # Two draws of two people: 4 comes 0, 1 or 2 times, and 9 the rest.
    assert set(zip(counts["genuine"].tolist(), counts["impostor"].tolist(), strict=True)) == {(0, 0), (1, 1), (2, 0)}
