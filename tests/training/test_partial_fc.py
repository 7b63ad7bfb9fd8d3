"""Sampled class directions: which are drawn, and which change."""

import numpy as np
import pytest

from faces.network.runtime import keras
from faces.training.arcface import ArcFaceLoss, CosineHead
from faces.training.partial_fc import SampledDirections


def sampled_directions(classes: int, sampled: int) -> tuple[CosineHead, SampledDirections]:
    head = CosineHead(sampled)
    model = keras.Sequential([keras.Input((4,)), head])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.5), ArcFaceLoss(16.0, 0.3))
    model.optimizer.build(model.trainable_variables)
    return head, SampledDirections(classes, head, model.optimizer, seed=0)


def test_a_sample_has_the_classes_of_the_batch_and_others_at_random() -> None:
    head, sampled = sampled_directions(classes=40, sampled=10)
    everything = np.asarray(sampled.variables[0]).copy()
    labels, counts = np.array([7, 39, 7, 0]), np.zeros(40, int)
    for step in range(300):
        places = sampled.draw(labels, (0, step))
        of_sample = np.asarray(head.directions)
        np.testing.assert_array_equal(of_sample[places], everything[labels])
        members = [int(np.flatnonzero((everything == row).all(axis=1))[0]) for row in of_sample]
        assert len(set(members)) == 10
        counts[members] += 1
    assert (counts[[0, 7, 39]] == 300).all()
    rest = np.delete(counts, [0, 7, 39])
    # 300 draws of 7 among 37: 57 each, with a standard deviation of 6.8.
    assert rest.sum() == 300 * 7 and 25 < rest.min() and rest.max() < 90


def test_only_the_sample_is_changed_by_a_step() -> None:
    head, sampled = sampled_directions(classes=40, sampled=10)
    before = [np.asarray(variable).copy() for variable in sampled.variables]
    sampled.draw(np.array([3]), (0,))
    for variable in sampled._in_model:
        variable.assign(np.full(variable.shape, 5.0))
    sampled.put_back()
    for variable, old in zip(sampled.variables, before, strict=True):
        changed = (np.asarray(variable) != old).any(axis=1)
        assert changed.sum() == 10 and changed[3]


def test_a_head_larger_than_all_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="the head has 10 classes, must have 1 to 9"):
        sampled_directions(classes=9, sampled=10)
