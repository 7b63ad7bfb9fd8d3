import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from faces.tables.split_table import SCORED, read_split
from pairs import PairsParams, draw_outside, draw_pairs
from small_project import run_stage


def params(anchors: int = 1, positives: int = 3, negatives: int = 3, seed: int = 0) -> PairsParams:
    return PairsParams(seed=seed, anchors=anchors, positives=positives, negatives=negatives)


def test_as_in_the_notebook_for_subjects_with_four_images() -> None:
    labels = np.repeat(np.arange(20), 5)
    pairs = draw_pairs(labels, params())
    a, b, same = pairs.T
    np.testing.assert_array_equal(same, labels[a] == labels[b])
    for subject in range(20):
        own = pairs[labels[a] == subject]
        assert len(set(own[:, 0])) == 1  # one anchor
        assert own[:, 2].sum() == 3 and len(own) == 6


@pytest.mark.parametrize("size, positives, negatives", [(1, 0, 0), (2, 1, 1), (3, 2, 2), (4, 3, 3), (9, 3, 3)])
def test_small_subjects_give_both_labels_alike(size: int, positives: int, negatives: int) -> None:
    labels = np.array([0] * size + [1] * 30)
    a, _, same = draw_pairs(labels, params()).T
    own = same[labels[a] == 0]
    assert (own.sum(), (own == 0).sum()) == (positives, negatives)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 7, 20])
@pytest.mark.parametrize("anchors", [1, 2, 4, 50])
def test_both_labels_weigh_the_same_however_many_anchors_share_few_images(size: int, anchors: int) -> None:
    labels = np.repeat(np.arange(30), size)
    _, _, same = draw_pairs(labels, params(anchors=anchors)).T
    assert np.mean(same) == pytest.approx(0.5, abs=0.01)  # a few negatives are lost to pairs that came before
    assert draw_pairs(labels, params(anchors=anchors, negatives=6))[:, 2].mean() == pytest.approx(1 / 3, abs=0.01)


def test_no_image_meets_itself_and_no_pair_comes_twice() -> None:
    labels = np.random.default_rng(0).integers(0, 6, 40)
    pairs = draw_pairs(labels, params(anchors=10, positives=5, negatives=20))
    unordered = {frozenset(pair) for pair in pairs[:, :2].tolist()}
    assert all(len(pair) == 2 for pair in unordered)
    assert len(unordered) == len(pairs)


def test_every_other_image_is_as_likely() -> None:
    drawn = np.concatenate([draw_outside(3, 5, 10, 4, np.random.default_rng(seed)) for seed in range(4000)])
    counts = np.bincount(drawn, minlength=10)
    assert counts[3] == counts[4] == 0
    # Each of 8 is in a draw of 4 with probability 1/2: 2000 times, standard deviation 32.
    assert np.all(np.abs(counts[[0, 1, 2, 5, 6, 7, 8, 9]] - 2000) < 5 * 32)


def test_the_seed_decides() -> None:
    labels = np.repeat(np.arange(20), 5)
    np.testing.assert_array_equal(draw_pairs(labels, params()), draw_pairs(labels, params()))
    assert not np.array_equal(draw_pairs(labels, params()), draw_pairs(labels, params(seed=1)))


def test_the_stage_pairs_images_of_one_part(project: Path) -> None:
    before = Path("data/pairs.csv").read_bytes()
    run_stage("pairs")
    assert Path("data/pairs.csv").read_bytes() == before
    split, pairs = read_split(names=True), pd.read_csv("data/pairs.csv")
    for part, a, b, same in pairs.itertuples(index=False, name=None):
        assert split["part"][a] == split["part"][b] == part
        assert same == (split["subject"][a] == split["subject"][b])
    counts = json.loads(Path("metrics/pairs.json").read_text())
    for part in SCORED:
        group = pairs[pairs["part"] == part]
        assert counts[f"genuine_{part}"] == group["same"].sum()
        assert counts[f"impostor_{part}"] == (group["same"] == 0).sum()


def test_training_subjects_with_one_image_each_cannot_set_a_threshold(
    project: Path, fails_with: Callable[..., str]
) -> None:
    split = read_split(names=True)
    first = ~split[split["part"] == "train"].duplicated("label")
    kept = split[(split["part"] != "train") | first.reindex(split.index, fill_value=False)]
    kept.to_csv("data/split.csv", index=False)
    assert "no subject has two images in `train`" in fails_with("pairs")
