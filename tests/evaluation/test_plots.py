import numpy as np
import pytest

from by_hand import normal_pairs
from faces.evaluation.plots import roc_points, score_histogram
from faces.evaluation.roc import roc_curve
from faces.evaluation.scored_pairs import ScoredPairs


def some_pairs() -> ScoredPairs:
    scores, same = np.array([0.9, 0.7, 0.5, 0.3, 0.1, -0.8]), np.array([1, 0, 1, 0, 0, 0])
    return ScoredPairs(scores, same, np.arange(6), np.arange(6))


def test_roc_by_hand() -> None:
    scores = np.concatenate([some_pairs().scores, np.full(56, -0.9)])  # 60 impostors: curves begin at 30 / 60
    curves = roc_points("x", roc_curve(scores, np.append(some_pairs().same, np.zeros(56))), points=3)
    assert curves["fmr"].tolist() == pytest.approx([0.5, 0.5**0.5, 1])
    assert curves["tar"].tolist() == [1.0, 1.0, 1.0] and curves["fnmr"].tolist() == [0, 0, 0]


def test_roc_against_every_threshold() -> None:
    pairs = normal_pairs(50, 3000)
    genuine, impostor = pairs.scores[pairs.same == 1], pairs.scores[pairs.same == 0]
    curves = roc_points("x", roc_curve(pairs.scores, pairs.same), points=7)[["fmr", "tar", "fnmr"]].to_numpy()
    for fmr, tar, fnmr in curves:
        allowed = [t for t in pairs.scores if np.mean(impostor >= t) <= fmr]
        assert tar == max(np.mean(genuine >= t) for t in allowed)
        assert fnmr == pytest.approx(1 - tar)


def test_histogram_by_hand() -> None:
    histogram = score_histogram("x", some_pairs(), bins=4)
    assert histogram["score"].tolist() == [-0.75, -0.25, 0.25, 0.75] * 2
    assert histogram[histogram["kind"] == "genuine"]["share"].tolist() == [0, 0, 0, 1.0]
    assert histogram[histogram["kind"] == "impostor"]["share"].tolist() == [0.25, 0, 0.5, 0.25]
