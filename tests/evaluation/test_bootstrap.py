import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics
from sklearn.metrics import roc_auc_score

from faces.evaluation.bootstrap import (
    Interval,
    PairBins,
    Replicates,
    _weigh_bins,
    accuracy_interval,
    auc_gain_interval,
    bin_ends,
    curve_intervals,
    error_rate_intervals,
    mean_cost_interval,
)
from faces.evaluation.roc import area_under_roc, equal_error_rate, roc_curve, roc_curve_sorted, tar_at_far
from faces.evaluation.scored_pairs import ScoredPairs, number_identities, sort_descending


def people(seed: int = 0, people: int = 12, images: int = 4) -> ScoredPairs:
    """Every pair of some images whose scores depend on who is on them."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people) * 3, images)
    a, b = np.triu_indices(len(labels), k=1)
    same = labels[a] == labels[b]
    ease = random.normal(0, 0.3, 3 * people)  # how alike the images of a person are
    scores = np.where(same, 0.6 + ease[labels[a]], 0.2 + 0.3 * ease[labels[a]] * ease[labels[b]])
    scores = np.round(scores + random.normal(0, 0.15, len(same)), 2)
    return ScoredPairs(scores, same.astype(np.int64), labels[a], labels[b])


def intervals(pairs: ScoredPairs, rates: list[float], replicates: int, seed: int) -> dict[str, Interval]:
    pairs = sort_descending(pairs)
    return curve_intervals(pairs, roc_curve_sorted(pairs.scores, pairs.same), rates, replicates, seed)


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
        expected["tar_at_far_0.1"].append(tar_at_far(roc_curve(*of_replicate), 0.1))
    # Scores have two decimals: fewer than 4,096 different ones, each of which is a bin.
    found = intervals(pairs, [0.1], replicates, seed)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-12)


def test_gain_of_other_scores_against_weighted_pairs() -> None:
    pairs, replicates, seed = people(), 8, 5
    other = np.round(pairs.scores + np.random.default_rng(1).normal(0, 0.1, len(pairs.scores)), 2)
    first, second = pairs.first // 3, pairs.second // 3
    gains = []
    for row in np.random.default_rng(seed).multinomial(12, np.full(12, 1 / 12), size=replicates):
        weights = np.where(first == second, row[first], row[first] * row[second])
        before, after = (roc_auc_score(pairs.same, of, sample_weight=weights) for of in (pairs.scores, other))
        gains.append(after - before)
    expected = tuple(np.quantile(gains, [0.025, 0.975]))
    assert auc_gain_interval(pairs, other, replicates, seed) == pytest.approx(expected, abs=1e-12)
    assert auc_gain_interval(pairs, pairs.scores, replicates, seed) == (0, 0)


def many_pairs() -> ScoredPairs:
    """Return 79,800 pairs of as many scores, in descending order."""
    pairs = people(seed=4, people=40, images=10)
    scores = pairs.scores + np.random.default_rng(5).normal(0, 0.01, len(pairs.scores))
    return sort_descending(pairs._replace(scores=scores))


def test_mean_costs_against_weighted_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = people()
    costs, same, expected = pairs.scores**2, pairs.same == 1, []
    for row in np.random.default_rng(2).multinomial(12, np.full(12, 1 / 12), size=30):
        first, second = row[pairs.first // 3], row[pairs.second // 3]
        means = [np.average(costs[kind], weights=np.where(same, first, first * second)[kind]) for kind in (same, ~same)]
        expected.append(np.mean(means))
    ends = pytest.approx(tuple(np.quantile(expected, [0.025, 0.975])))
    assert mean_cost_interval(pairs, costs, 30, 2) == ends
    monkeypatch.setattr("faces.evaluation.bootstrap.MAX_WEIGHTS", 500)  # replicates in several parts
    assert mean_cost_interval(pairs, costs, 30, 2) == ends
    one_kind = pairs.take(np.flatnonzero(same))
    assert mean_cost_interval(one_kind, costs[same], 30, 2) is None


def test_replicates_in_bins_against_weighted_pairs() -> None:
    pairs, replicates, seed = many_pairs(), 20, 6
    times = np.random.default_rng(seed).multinomial(40, np.full(40, 1 / 40), size=replicates)
    first, second = pairs.first // 3, pairs.second // 3
    expected: dict[str, list[float]] = {"auc": [], "eer": [], "tar_at_far_0.1": [], "tar_at_far_0.001": []}
    for row in times:
        weights = np.where(first == second, row[first], row[first] * row[second])
        fmr, tar, _ = sklearn_metrics.roc_curve(
            pairs.same, pairs.scores, sample_weight=weights, drop_intermediate=False
        )
        expected["auc"].append(roc_auc_score(pairs.same, pairs.scores, sample_weight=weights))
        closest = np.argmin(np.abs(fmr - 1 + tar))
        expected["eer"].append((fmr[closest] + 1 - tar[closest]) / 2)
        for rate in (0.1, 0.001):
            expected[f"tar_at_far_{rate:g}"].append(tar[fmr <= rate].max())
    found = intervals(pairs, [0.1, 0.001], replicates, seed)
    for name, values in expected.items():
        # A 500th of the genuine pairs is less than a 200th of any replicate's; areas and errors lie within such a bin.
        within = 0.005 if name.startswith("tar") else 0.001
        assert found[name] == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=within)


def test_bins_are_as_fine_as_they_say() -> None:
    pairs = many_pairs()
    curve = roc_curve_sorted(pairs.scores, pairs.same)
    ends = bin_ends(curve)
    genuine, impostors = curve.genuine[ends], curve.impostors[ends]
    assert (ends[0], ends[-1]) == (0, len(pairs.scores)) and len(ends) < 2000
    assert np.diff(genuine).max() <= genuine[-1] / 500 + 1
    assert (np.diff(impostors) <= impostors[1:] / 50 + 1).all()
    assert (np.diff(genuine) <= (genuine[-1] - genuine[:-1]) / 50 + 1).all()


def test_bins_of_any_size_are_summed_exactly() -> None:
    # 2 ** 17 pairs of weight 255, then as many of weight 1: a 32-bit sum of all loses the latter.
    columns = np.repeat([0, 1], 2**17)
    weights = np.array([[255, 1], [1, 2]], dtype=np.float32)
    sums = _weigh_bins(PairBins(columns, np.array([0, 0, 2**18 - 3, 2**18, 2**18])), weights)
    assert sums.tolist() == [[0, 0], [2**25 - 3, 3 * 2**17 - 6], [3, 6], [0, 0]]


def test_identities_are_places_among_those_that_occur() -> None:
    first, second, total = number_identities(np.array([7, 2, 7]), np.array([2, 9, 7]))
    assert (first.tolist(), second.tolist(), total) == ([1, 0, 1], [0, 2, 1], 3)


def test_independent_pairs_have_the_binomial_interval() -> None:
    # One genuine pair a person: drawing people is drawing pairs. The normal interval of a share of 0.8 of 400.
    size = 400
    scores = np.where(np.arange(size) < 320, 1.0, 0.0)
    person = np.arange(size)
    pairs = ScoredPairs(scores, np.ones(size, dtype=np.int64), person, person)
    half = 1.96 * np.sqrt(0.8 * 0.2 / size)
    assert accuracy_interval(pairs, 0.5, 4000, 0) == pytest.approx((0.8 - half, 0.8 + half), abs=0.006)


def test_many_images_of_few_people_do_not_narrow_the_interval() -> None:
    # All pairs of a person are right or all wrong: ten pairs of each say no more than one.
    person, right = np.arange(40), np.arange(40) % 4 > 0
    single = ScoredPairs(right.astype(float), np.ones(40, dtype=np.int64), person, person)
    tenfold = ScoredPairs(*(np.repeat(column, 10) for column in single))
    assert accuracy_interval(single, 0.5, 500, 1) == accuracy_interval(tenfold, 0.5, 500, 1)


def test_replicates_without_one_kind_are_left_out() -> None:
    # Of two people, half of all replicates draw one of them twice, and have no impostor pair.
    pairs = ScoredPairs(np.array([0.9, 0.8, 0.1]), np.array([1, 1, 0]), np.array([0, 1, 0]), np.array([0, 1, 1]))
    assert intervals(pairs, [0.5], 200, 0) == {"auc": (1, 1), "eer": (0, 0), "tar_at_far_0.5": (1, 1)}


def test_blocks_of_replicates_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = people(seed=2)
    whole = intervals(pairs, [0.1, 0.5], 50, 3)
    monkeypatch.setattr("faces.evaluation.bootstrap.MAX_WEIGHTS", 7 * 12 * 12)  # of seven replicates at a time
    monkeypatch.setattr("faces.evaluation.bootstrap.MAX_AT_ONCE", 40)  # fewer than share some scores
    again = intervals(pairs, [0.1, 0.5], 50, 3)
    assert {name: pytest.approx(ends, rel=1e-12) for name, ends in whole.items()} == again  # sums of other blocks


def test_a_person_drawn_twice_counts_twice_with_others_and_with_himself() -> None:
    pairs = ScoredPairs(np.zeros(2), np.array([1, 0]), np.array([4, 4]), np.array([4, 9]))
    drawn = Replicates(pairs, 300, 0)
    groups = [PairBins(drawn.columns[:1], np.array([0, 1])), PairBins(drawn.columns[1:], np.array([0, 1]))]
    counts = drawn.measure(groups, lambda counts: {"genuine": counts[0][0], "impostor": counts[1][0]})
    # Two draws of two people: 4 comes 0, 1 or 2 times, and 9 the rest.
    assert set(zip(counts["genuine"].tolist(), counts["impostor"].tolist(), strict=True)) == {(0, 0), (1, 1), (2, 0)}


def test_intervals_of_errors_at_fixed_thresholds_against_weighted_pairs() -> None:
    pairs, replicates, seed = sort_descending(people()), 40, 5
    thresholds = np.array([0.5, 0.45, 0.2])
    first, second, genuine = pairs.first // 3, pairs.second // 3, pairs.same == 1
    expected = []
    for row in np.random.default_rng(seed).multinomial(12, np.full(12, 1 / 12), size=replicates):
        weights = np.where(first == second, row[first], row[first] * row[second])
        accepted = pairs.scores[:, None] >= thresholds
        fmr = np.average(accepted[~genuine], axis=0, weights=weights[~genuine])
        expected.append((fmr, 1 - np.average(accepted[genuine], axis=0, weights=weights[genuine])))
    found = error_rate_intervals(pairs, thresholds, replicates, seed)
    assert found is not None
    for rates, intervals_of_rate in zip(np.swapaxes(expected, 0, 1), found, strict=True):
        np.testing.assert_allclose(intervals_of_rate.T, np.quantile(rates, [0.025, 0.975], axis=0), atol=1e-12)


def test_rates_of_0_and_1_have_the_rule_of_3() -> None:
    pairs = sort_descending(people())
    genuine, impostors = int(pairs.same.sum()), int((pairs.same == 0).sum())
    found = error_rate_intervals(pairs, np.array([9.0, -9.0]), 10, 0)
    assert found is not None
    np.testing.assert_allclose(found[0], [[0, 3 / impostors], [1 - 3 / impostors, 1]])
    np.testing.assert_allclose(found[1], [[1 - 3 / genuine, 1], [0, 3 / genuine]])
