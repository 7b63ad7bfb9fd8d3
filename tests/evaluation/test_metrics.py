import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import balanced_accuracy_score

from faces.evaluation.bootstrap import Pairs, in_falling_order
from faces.evaluation.metrics import (
    FiguresParams,
    _best_balanced_threshold,
    categories,
    group_figures,
    k_fold_accuracies,
    roc_points,
    score_histogram,
    supported,
    verification_figures,
)
from faces.evaluation.verification import balanced_accuracy, best_threshold, roc

PARAMS = FiguresParams(false_accept_rates=[0.1, 0.01], folds=3, bootstrap=0, curve_points=10, histogram_bins=4, seed=0)


def some_pairs() -> Pairs:
    scores, same = np.array([0.9, 0.7, 0.5, 0.3, 0.1, -0.8]), np.array([1, 0, 1, 0, 0, 0])
    return Pairs(scores, same, np.arange(6), np.arange(6))


def normal_pairs(genuine: int, impostors: int, distance: float = 2.0) -> Pairs:
    random = np.random.default_rng(0)
    scores = np.concatenate([random.normal(distance, 1, genuine), random.normal(0, 1, impostors)])
    first = np.arange(len(scores))
    return in_falling_order(Pairs(scores, np.repeat([1, 0], [genuine, impostors]), first, first))


def test_rule_of_30() -> None:
    assert supported(0.01, 3000) and not supported(0.01, 2999)
    assert supported(0.0001, 300_000) and not supported(0.0001, 299_999)


def test_figures_of_two_normals() -> None:
    # Unit normals d apart: AUC Phi(d / sqrt 2), EER Phi(-d / 2), d' d, TAR at FAR f Phi(d - Phi^-1(1 - f)).
    pairs = normal_pairs(50_000, 50_000)
    figures = verification_figures(pairs, None, pairs, 1.0, PARAMS).values
    expected = {
        "accuracy": norm.cdf(1.0),
        "auc": norm.cdf(2 / np.sqrt(2)),
        "eer": norm.cdf(-1.0),
        "d_prime": 2.0,
        "tar_at_far_0.1": norm.cdf(2 - norm.isf(0.1)),
        "tar_at_far_0.01": norm.cdf(2 - norm.isf(0.01)),
        "fnmr_at_fmr_0.01": 1 - norm.cdf(2 - norm.isf(0.01)),
        "fmr_at_threshold": norm.sf(1.0),
        "fnmr_at_threshold": norm.cdf(1.0 - 2),
        "genuine_pairs": 50_000,
        "impostor_pairs": 50_000,
    }
    assert figures == pytest.approx(expected, abs=0.025)  # five standard errors of the TAR at FAR 0.01


def test_what_the_pairs_cannot_support_is_left_out_and_said() -> None:
    pairs = normal_pairs(400, 299)
    figures = verification_figures(pairs, None, pairs, 1.0, PARAMS)
    assert not [name for name in figures.values if "far" in name or "at_fmr" in name or "fold" in name]
    assert figures.left_out[:2] == [
        "tar_at_far_0.1 needs 300 impostor pairs; there are 299",
        "tar_at_far_0.01 needs 3,000 impostor pairs; there are 299",
    ]
    assert "fold" in figures.left_out[-1]


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


def test_pairs_in_another_order_are_an_error() -> None:
    pairs = Pairs(np.array([0.1, 0.9]), np.array([0, 1]), np.arange(2), np.arange(2))
    with pytest.raises(ValueError, match="falling order"):
        verification_figures(pairs, None, pairs, 0.5, PARAMS)


def test_a_fold_of_one_kind_has_no_accuracy() -> None:
    pairs = some_pairs()
    folds = np.array([[0, 0], [0, 0], [1, 1], [1, 1], [2, 2], [2, 2]])
    assert k_fold_accuracies(pairs.scores, pairs.same, folds) is None


def test_intervals_hold_the_figure_and_stand_beside_it() -> None:
    random = np.random.default_rng(2)
    person = random.integers(0, 50, (2, 4000))
    same = person[0] == person[1]
    pairs = in_falling_order(Pairs(random.normal(1.5 * same, 1), same.astype(np.int64), *person))
    flat = verification_figures(pairs, None, pairs, 0.75, PARAMS.model_copy(update={"bootstrap": 200})).flat()
    for name in ("accuracy", "auc", "eer", "tar_at_far_0.1"):
        assert flat[f"{name}_low"] < flat[name] < flat[f"{name}_high"]


def test_without_subjects_there_are_no_intervals_and_it_is_said() -> None:
    pairs, params = normal_pairs(400, 400), PARAMS.model_copy(update={"bootstrap": 20})
    known, unknown = (verification_figures(pairs, None, pairs, 1.0, params, known) for known in (True, False))
    assert known.intervals and not unknown.intervals and unknown.values == known.values
    assert unknown.left_out == [
        *known.left_out,
        "intervals need the subjects of all images, by which they are drawn; the set does not name them",
    ]


def grouped(sizes: dict[str, tuple[int, int]]) -> tuple[Pairs, np.ndarray]:
    """Return so many genuine and impostor pairs of each group, and the names of their groups."""
    random = np.random.default_rng(7)
    names = np.array([name for name, (genuine, impostors) in sizes.items() for _ in range(genuine + impostors)])
    same = np.concatenate([np.repeat([1, 0], counts) for counts in sizes.values()])
    order = random.permutation(len(names))
    scores = random.normal(same[order], 1)
    return Pairs(scores, same[order], np.arange(len(names)), np.arange(len(names))), names[order]


def test_groups_against_scikit_learn() -> None:
    pairs, names = grouped({"high": (30, 90), "low": (70, 31), "few": (29, 400), "": (50, 50), "one kind": (40, 0)})
    figures, left_out = group_figures(pairs, categories(pd.Series(names)), 0.5)
    accuracies = [
        balanced_accuracy_score(pairs.same[names == name], pairs.scores[names == name] >= 0.5)
        for name in ("high", "low")
    ]
    assert figures == pytest.approx(
        {
            "accuracy_of_group_high": accuracies[0],
            "accuracy_of_group_low": accuracies[1],
            "group_accuracy_mean": np.mean(accuracies),
            "group_accuracy_std": np.std(accuracies),
            "trade_off": np.mean(accuracies) - np.std(accuracies),
        }
    )
    assert left_out == [
        "accuracy_of_group_few needs 30 genuine and 30 impostor pairs; there are 29 and 400",
        "accuracy_of_group_one kind needs 30 genuine and 30 impostor pairs; there are 40 and 0",
    ]


def test_one_group_with_pairs_enough_has_no_figures() -> None:
    pairs, names = grouped({"x": (30, 30), "y": (30, 29)})
    figures, left_out = group_figures(pairs, categories(pd.Series(names)), 0.5)
    assert figures == {} and len(left_out) == 2 and "two groups" in left_out[1]
    assert group_figures(pairs, categories(pd.Series([""] * len(names))), 0.5) == ({}, [])


def test_groups_are_categories_in_order_without_the_empty_name() -> None:
    groups = categories(pd.Series(["b", "", "a", "b"]))
    assert list(groups.categories) == ["a", "b"] and groups.codes.tolist() == [1, -1, 0, 1]


def test_roc_by_hand() -> None:
    scores = np.concatenate([some_pairs().scores, np.full(56, -0.9)])  # 60 impostors: curves begin at 30 / 60
    curves = roc_points("x", roc(scores, np.append(some_pairs().same, np.zeros(56))), points=3)
    assert curves["fmr"].tolist() == pytest.approx([0.5, 0.5**0.5, 1])
    assert curves["tar"].tolist() == [1.0, 1.0, 1.0] and curves["fnmr"].tolist() == [0, 0, 0]


def test_roc_against_every_threshold() -> None:
    pairs = normal_pairs(50, 3000)
    genuine, impostor = pairs.scores[pairs.same == 1], pairs.scores[pairs.same == 0]
    curves = roc_points("x", roc(pairs.scores, pairs.same), points=7)[["fmr", "tar", "fnmr"]].to_numpy()
    for fmr, tar, fnmr in curves:
        allowed = [t for t in pairs.scores if np.mean(impostor >= t) <= fmr]
        assert tar == max(np.mean(genuine >= t) for t in allowed)
        assert fnmr == pytest.approx(1 - tar)


def test_histogram_by_hand() -> None:
    histogram = score_histogram("x", some_pairs(), bins=4)
    assert histogram["score"].tolist() == [-0.75, -0.25, 0.25, 0.75] * 2
    assert histogram[histogram["kind"] == "genuine"]["share"].tolist() == [0, 0, 0, 1.0]
    assert histogram[histogram["kind"] == "impostor"]["share"].tolist() == [0.25, 0, 0.5, 0.25]
