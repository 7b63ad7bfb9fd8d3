import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from faces.verification import accuracy, area_under_roc, best_threshold, equal_error_rate, min_max

SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.55, 0.4, 0.3, 0.1])
SAME = np.array([1, 1, 0, 1, 0, 1, 0, 0])


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


@pytest.mark.parametrize("measure", [best_threshold, area_under_roc, equal_error_rate])
@pytest.mark.parametrize("same", [[1, 1], [0, 0], [1, 0, 1]])
def test_one_kind_of_pair_or_another_length_is_an_error(measure: object, same: list[int]) -> None:
    with pytest.raises(ValueError, match="pairs|labels"):
        measure(np.array([0.1, 0.2]), np.array(same))  # type: ignore[operator]
