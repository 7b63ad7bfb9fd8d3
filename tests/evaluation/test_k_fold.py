import numpy as np
import pytest

from faces.evaluation.k_fold import _best_balanced_threshold, describe_folds, k_fold_accuracies
from faces.evaluation.verification import balanced_accuracy, best_threshold


def test_k_fold_accuracy_against_a_loop() -> None:
    random = np.random.default_rng(1)
    scores, same = np.sort(random.integers(0, 30, 400) / 30)[::-1], random.integers(0, 2, 400)
    folds = random.integers(0, 4, (400, 2))
    expected = []
    for fold in range(4):
        inside = [i for i in range(400) if folds[i, 0] == folds[i, 1] == fold]
        outside = [i for i in range(400) if fold not in folds[i]]
        candidates = [-1, *(np.unique(scores[outside]) + 1e-3)]
        # The lowest of equally good ones, a little above a score: nothing lies between it and the midpoint used.
        best = max(candidates, key=lambda t: (round(balanced_accuracy(scores[outside], same[outside], t), 12), -t))
        expected.append(balanced_accuracy(scores[inside], same[inside], best))
    accuracies = k_fold_accuracies(scores, same, folds)
    assert accuracies is not None
    np.testing.assert_allclose(accuracies, expected)


@pytest.mark.parametrize("seed", range(60))
def test_the_threshold_of_other_folds_is_the_best_of_their_pairs(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores, genuine = np.sort(random.integers(0, 9, 30) / 9)[::-1].astype(np.float32), random.random(30) < 0.3
    chosen = np.flatnonzero(random.random(30) < 0.7)
    if not 0 < genuine[chosen].sum() < len(chosen):
        return
    ends = np.array([np.flatnonzero(scores == score)[-1] for score in sorted(set(scores[genuine]), reverse=True)])
    expected = best_threshold(scores[chosen], genuine[chosen], balanced=True)
    assert _best_balanced_threshold(scores, genuine, chosen, ends) == expected


def test_a_fold_of_one_kind_has_no_accuracy() -> None:
    scores, same = np.array([0.9, 0.7, 0.5, 0.3, 0.1, -0.8]), np.array([1, 0, 1, 0, 0, 0])
    folds = np.array([[0, 0], [0, 0], [1, 1], [1, 1], [2, 2], [2, 2]])
    assert k_fold_accuracies(scores, same, folds) is None


def test_the_fold_that_lacks_a_kind_is_named() -> None:
    same, folds = np.array([1, 1, 0, 0, 0, 1]), np.array([[0, 0], [0, 0], [1, 1], [1, 1], [1, 0], [1, 1]])
    assert describe_folds(same, folds) == "of 2 fold(s), fold 0 has 2 genuine and 0 impostor pairs"
