import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm
from sklearn import metrics as sklearn_metrics
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from faces.evaluation.notebook_metrics import min_max
from faces.evaluation.roc import (
    area_under_roc,
    equal_error_rate,
    error_rates,
    roc_curve,
    roc_curve_sorted,
    tar_at_far,
    threshold_at_far,
)
from faces.evaluation.verification import accuracy, balanced_accuracy, best_threshold, d_prime

SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.55, 0.4, 0.3, 0.1])
SAME = np.array([1, 1, 0, 1, 0, 1, 0, 0])


# The worked example of Fawcett 2006, "An introduction to ROC analysis", figure 3: class and score of 20 instances.
FAWCETT_SAME = np.array([letter == "p" for letter in "ppnpppnnpnpnpnnnpnpn"])
FAWCETT_SCORES = np.array(
    [0.9, 0.8, 0.7, 0.6, 0.55, 0.54, 0.53, 0.52, 0.51, 0.505, 0.4, 0.39, 0.38, 0.37, 0.36, 0.35, 0.34, 0.33, 0.3, 0.1]
)


def test_the_published_example() -> None:
    curve = roc_curve(FAWCETT_SCORES, FAWCETT_SAME)
    points = dict(zip(curve.thresholds.tolist(), zip(curve.fmr.tolist(), curve.tar.tolist(), strict=True), strict=True))
    # Points that the figure labels, and the text: "The ROC point at (0.1, 0.5) produces its highest accuracy (70%)".
    assert points[np.inf] == (0.0, 0.0) and points[0.9] == (0.0, 0.1) and points[0.1] == (1.0, 1.0)
    assert points[0.54] == (0.1, 0.5) and points[0.4] == (0.4, 0.7) and points[0.38] == (0.5, 0.8)
    threshold = best_threshold(FAWCETT_SCORES, FAWCETT_SAME)
    assert threshold == pytest.approx((0.53 + 0.54) / 2)
    assert accuracy(FAWCETT_SCORES, FAWCETT_SAME, threshold) == 0.7
    assert tar_at_far(curve, 0.1) == 0.5 and tar_at_far(curve, 0.0999) == 0.2


def test_roc_and_area_against_scikit_learn() -> None:
    random = np.random.default_rng(1)
    for _ in range(50):
        scores, same = random.integers(0, 20, 60) / 20, random.integers(0, 2, 60)
        curve = roc_curve(scores, same)
        fmr, tar, thresholds = sklearn_metrics.roc_curve(same, scores, drop_intermediate=False)
        np.testing.assert_allclose(curve.fmr, fmr, atol=1e-15)
        np.testing.assert_allclose(curve.tar, tar, atol=1e-15)
        np.testing.assert_array_equal(curve.thresholds, thresholds)
        assert area_under_roc(scores, same) == pytest.approx(roc_auc_score(same, scores), abs=1e-14)
        assert balanced_accuracy(scores, same, 0.5) == pytest.approx(balanced_accuracy_score(same, scores >= 0.5))


def test_tar_at_far_against_every_threshold() -> None:
    random = np.random.default_rng(2)
    for _ in range(50):
        scores, same = random.integers(0, 12, 40) / 12, random.integers(0, 2, 40)
        genuine, impostor = scores[same == 1], scores[same == 0]
        for far in (0.0, 0.1, 0.25, 1.0):
            allowed = [t for t in [*scores, 2.0] if np.mean(impostor >= t) <= far]
            assert tar_at_far(roc_curve(scores, same), far) == max(np.mean(genuine >= t) for t in allowed)


def test_any_share_of_impostors_as_a_rate_lets_that_many_in() -> None:
    for impostors in range(1, 120):  # among them 29 of 100, and 0.29 * 100 is less than 29
        curve = roc_curve(np.arange(2.0 * impostors), np.tile([0, 1], impostors))  # alternating, from above
        for allowed in range(impostors + 1):
            assert tar_at_far(curve, allowed / impostors) == min(allowed + 1, impostors) / impostors


def test_a_threshold_between_neighbours_in_single_precision_lies_between_them() -> None:
    for number in (0.5, 0.3):  # halfway to the neighbour, one rounds up and the other down
        above, below = np.float32(number), np.nextafter(np.float32(number), np.float32(0))
        scores, same = np.array([above, below]), np.array([1, 0])
        threshold = best_threshold(scores, same)
        assert float(below) < threshold < float(above) and accuracy(scores, same, threshold) == 1
        for quarters in (1, 3):
            between = (quarters * float(above) + (4 - quarters) * float(below)) / 4
            assert accuracy(scores, same, between) == 1


def test_roc_curve_sorted_scores_and_no_others() -> None:
    order = np.argsort(-FAWCETT_SCORES)
    for one, other in zip(
        roc_curve_sorted(FAWCETT_SCORES[order], FAWCETT_SAME[order]),
        roc_curve(FAWCETT_SCORES, FAWCETT_SAME),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="descending order"):
        roc_curve_sorted(FAWCETT_SCORES[::-1], FAWCETT_SAME)


def test_equal_error_against_every_threshold() -> None:
    random = np.random.default_rng(6)
    for _ in range(50):
        scores, same = random.integers(0, 15, 40) / 15, random.random(40) < 0.3
        errors = [(np.mean(scores[~same] >= t), np.mean(scores[same] < t)) for t in [np.inf, *np.unique(scores)[::-1]]]
        fmr, fnmr = min(errors, key=lambda pair: round(abs(pair[0] - pair[1]), 12))  # the first of equally close ones
        assert equal_error_rate(scores, same) == pytest.approx((fmr + fnmr) / 2)


def test_d_prime_by_hand() -> None:
    # Genuine 4 and 8 have mean 6 and variance 4, impostor 1 and 3 mean 2 and variance 1: (6 - 2) / sqrt(2.5).
    assert d_prime(np.array([4.0, 1.0, 8.0, 3.0]), np.array([1, 0, 1, 0])) == pytest.approx(4 / np.sqrt(2.5))
    assert d_prime(np.array([1.0, 1.0]), np.array([1, 0])) == 0.0


def test_a_balanced_threshold_does_not_mind_how_many_of_a_kind_there_are() -> None:
    random = np.random.default_rng(3)
    scores, same = random.integers(0, 9, 30) / 9, np.repeat([1, 0], [6, 24])
    candidates = np.concatenate([[-1.0], np.unique(scores) + 1e-3])
    best = max(balanced_accuracy(scores, same, candidate) for candidate in candidates)
    assert balanced_accuracy(scores, same, best_threshold(scores, same, balanced=True)) == pytest.approx(best)
    fourfold = np.concatenate([np.tile(scores[:6], 4), scores[6:]]), np.repeat([1, 0], 24)
    assert best_threshold(scores, same, balanced=True) == best_threshold(*fourfold)


def test_accuracy_by_hand_counts_a_score_on_the_threshold_as_same() -> None:
    # At 0.6: accepted 0.9+, 0.8+, 0.7-, 0.6+; rejected 0.55-, 0.4+, 0.3-, 0.1-: six of eight are right.
    assert accuracy(SCORES, SAME, 0.6) == 6 / 8
    assert accuracy(SCORES, SAME, np.nextafter(0.6, 1)) == 5 / 8


def test_best_threshold_against_every_candidate() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        size = random.integers(2, 30)
        scores = random.integers(0, 8, size) / 8  # many ties
        same = random.integers(0, 2, size)
        if same.min() == same.max():
            continue
        candidates = np.concatenate([[scores.min() - 1], np.unique(scores) + 1 / 16])
        best = max(accuracy(scores, same, candidate) for candidate in candidates)
        threshold = best_threshold(scores, same)
        assert accuracy(scores, same, threshold) == best
        assert threshold not in scores


def test_best_threshold_lies_midway_and_is_the_lowest_of_equals() -> None:
    assert best_threshold(np.array([0.0, 1.0]), np.array([0, 1])) == 0.5
    # Worst order: accepting all and rejecting all are both half right; the lower threshold accepts all.
    assert best_threshold(np.array([0.0, 1.0]), np.array([1, 0])) < 0.0
    assert best_threshold(np.array([0.5, 0.5]), np.array([1, 0])) < 0.5


def test_area_is_the_chance_that_genuine_scores_higher() -> None:
    genuine, impostor = SCORES[SAME == 1], SCORES[SAME == 0]
    by_pairs = np.mean([(g > i) + 0.5 * (g == i) for g in genuine for i in impostor])
    assert area_under_roc(SCORES, SAME) == by_pairs == 13 / 16
    ties = np.round(SCORES, 0)
    expected = mannwhitneyu(ties[SAME == 1], ties[SAME == 0]).statistic / 16
    assert area_under_roc(ties, SAME) == expected


def test_equal_error_rate_of_two_normals() -> None:
    # Two unit normals whose means are d apart have equal errors at their midpoint: Phi(-d / 2).
    random, distance, size = np.random.default_rng(0), 2.0, 200_000
    scores = np.concatenate([random.normal(distance, 1, size), random.normal(0, 1, size)])
    same = np.repeat([1, 0], size)
    standard_error = np.sqrt(0.16 * 0.84 / size)
    assert equal_error_rate(scores, same) == pytest.approx(norm.cdf(-distance / 2), abs=4 * standard_error)


def test_equal_error_rate_at_the_ends() -> None:
    assert equal_error_rate(np.array([0.0, 1.0]), np.array([0, 1])) == 0.0
    assert equal_error_rate(np.array([0.0, 1.0]), np.array([1, 0])) == 1.0


def test_min_max_by_hand() -> None:
    assert min_max(np.array([-1.0, 0.0, 3.0])).tolist() == [0.0, 0.25, 1.0]
    assert min_max(np.array([0.5, 0.5])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("measure", [best_threshold, area_under_roc, equal_error_rate, d_prime, roc_curve])
@pytest.mark.parametrize("same", [[1, 1], [0, 0], [1, 0, 1]])
def test_one_kind_of_pair_or_another_length_is_an_error(measure: object, same: list[int]) -> None:
    with pytest.raises(ValueError, match="pairs|labels"):
        measure(np.array([0.1, 0.2]), np.array(same))  # type: ignore[operator]


@pytest.mark.parametrize(("far", "expected"), [(0.0, 0.75), (0.25, 0.575), (0.3, 0.575), (0.5, 0.35), (1.0, -0.8)])
def test_threshold_at_far_by_hand(far: float, expected: float) -> None:
    # Impostors score 0.7, 0.55, 0.3 and 0.1: it lies halfway between the last score accepted and the next one, which
    # below all of them is taken to be their range and 1 lower.
    assert threshold_at_far(roc_curve(SCORES, SAME), far) == pytest.approx(expected)


@pytest.mark.parametrize("threshold", [-1.0, 0.1, 0.35, 0.4, 0.6, 0.65, 0.9, 0.95])
def test_error_rates_against_counting(threshold: float) -> None:
    fmr, fnmr = error_rates(roc_curve(SCORES, SAME), threshold)
    assert fmr == np.mean(SCORES[SAME == 0] >= threshold)
    assert fnmr == pytest.approx(np.mean(SCORES[SAME == 1] < threshold), abs=1e-12)
