"""The model that is trained: steps with sampled classes and in mixed precision."""

from pathlib import Path

import numpy as np
import pytest

from faces.training.model import TrainingModel, build_model
from training_projects import train_params


def losses_of(model: TrainingModel, steps: int, classes: int) -> list[float]:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (8, 112, 112, 3)).astype(np.float32)
    labels = random.integers(0, classes, 8)
    return [float(model.train_on_batch(images, labels, (step,))["loss"]) for step in range(steps)]


def test_a_sample_of_all_classes_trains_like_the_whole_head(project: Path) -> None:
    from faces.training.partial_fc import SampledDirections

    plain = build_model(train_params(), 20)
    sampled = build_model(train_params(), 20)
    head = sampled.trained.layers[-1]
    outside = SampledDirections(20, head, sampled.trained.optimizer, seed=0)
    assert len(outside.variables) == 2  # the directions, and their momentum
    for variable, own in zip(sampled.trained.variables, plain.trained.variables, strict=True):
        variable.assign(own)
    outside.variables[0].assign(np.asarray(head.directions))
    losses = losses_of(plain, 4, 20)
    assert losses_of(sampled._replace(sampled=outside), 4, 20) == losses
    assert losses[-1] != losses[0]
    np.testing.assert_array_equal(np.asarray(outside.variables[0]), np.asarray(plain.trained.layers[-1].directions))


# The first steps in float16 are skipped: they find the factor at which gradients neither vanish nor overflow.
@pytest.mark.slow  # up to a second a step on a processor that knows neither precision
@pytest.mark.parametrize(("precision", "steps"), [("mixed_bfloat16", 8), ("mixed_float16", 24)])
def test_mixed_precision_starts_where_float32_does_and_learns(project: Path, precision: str, steps: int) -> None:
    from faces.network.runtime import keras

    (expected,) = losses_of(build_model(train_params(), 20), 1, 20)
    try:
        losses = losses_of(build_model(train_params(precision=precision, learning_rate=0.01), 20), steps, 20)
    finally:
        keras.config.set_dtype_policy("float32")
    assert losses[0] == pytest.approx(expected, rel=0.05)  # 8 to 11 bits of mantissa, through some 50 layers
    assert losses[0] != expected
    assert losses[-1] < 0.8 * losses[0]
