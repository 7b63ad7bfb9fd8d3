"""ArcFace against its definition in NumPy with arccos, in float64."""

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import log_loss
from sklearn.metrics.pairwise import cosine_similarity

from faces.network.runtime import keras, tf
from faces.training.arcface import ArcFaceLoss, CosineHead

SCALE, MARGIN = 16.0, 0.3  # the notebook's


def _f(theta: np.ndarray, margin: float) -> np.ndarray:
    """The target logit over the scale, from the angle: Deng et al. 2019, with the authors' line past pi - margin."""
    return np.where(theta < np.pi - margin, np.cos(theta + margin), np.cos(theta) - margin * np.sin(margin))


def _random_cosines(rows: int = 40, classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.uniform(-1, 1, (rows, classes)).astype(np.float32), rng.integers(0, classes, rows)


@pytest.mark.parametrize("margin", [0.1, MARGIN, 0.5, math.pi / 2])
def test_loss_equals_the_definition(margin: float) -> None:
    cosines, labels = _random_cosines()
    rows = np.arange(len(labels))
    cosines[rows[:5], labels[:5]] = -0.9999  # 0.014 radians from pi, so the second line of the definition is met
    logits = cosines.astype(np.float64)
    logits[rows, labels] = _f(np.arccos(logits[rows, labels]), margin)
    by_hand = -log_softmax(SCALE * logits, axis=1)[rows, labels]
    loss = ArcFaceLoss(SCALE, margin, reduction=None)(labels, cosines)
    np.testing.assert_allclose(loss, by_hand, rtol=1e-5, atol=1e-5)  # logits of up to 16 * 2.6 in float32


def test_without_margin_it_is_a_softmax_of_scaled_cosines() -> None:
    cosines, labels = _random_cosines()
    probabilities = np.exp(log_softmax(SCALE * cosines.astype(np.float64), axis=1))
    by_sklearn = log_loss(labels, probabilities, labels=range(7))
    assert float(ArcFaceLoss(SCALE, margin=0.0)(labels, cosines)) == pytest.approx(by_sklearn, rel=1e-6)


def test_by_hand_on_a_right_angle() -> None:
    """cos(pi/2 + pi/6) = -1/2, so with one other class at cosine 1/2 the loss is log(1 + exp(2 * 1))."""
    loss = ArcFaceLoss(scale=2.0, margin=math.pi / 6)([0], [[0.0, 0.5]])
    assert float(loss) == pytest.approx(math.log1p(math.exp(2.0)), rel=1e-6)


@pytest.mark.parametrize("margin", [0.0, MARGIN, 0.5, 1.2, math.pi / 2])
def test_a_larger_angle_never_gives_a_larger_logit(margin: float) -> None:
    theta = np.linspace(0, np.pi, 20_001)
    f = ArcFaceLoss(SCALE, margin).with_margin(tf.constant(np.cos(theta), tf.float32)).numpy()
    assert f[0] == pytest.approx(math.cos(margin), abs=1e-6)
    assert (np.diff(f) <= 1e-6).all()  # neighbours may round to the same or the next float32


def test_the_plain_margin_would_rise_again() -> None:
    """So that the test above can fail: cos(theta + m) has its minimum at pi - m."""
    theta = np.linspace(0, np.pi, 20_001)
    assert (np.diff(np.cos(theta + MARGIN)) > 1e-6).any()


@pytest.mark.parametrize("compiled", [False, True])  # XLA's square root lacks a guard that TensorFlow's has
@pytest.mark.parametrize("cosine", [-1.0, 1.0, np.nextafter(np.float32(1), np.float32(2)), 0.9999999])
def test_gradient_is_finite_where_arccos_has_none(cosine: float, compiled: bool) -> None:
    arcface = ArcFaceLoss(SCALE, MARGIN)

    @tf.function(jit_compile=compiled)
    def slope(cosines: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(cosines)
            f = arcface.with_margin(cosines)
        return tape.gradient(f, cosines)

    assert np.isfinite(arcface([0, 1], [[cosine, 0.2], [0.1, cosine]]))
    assert np.isfinite(slope(tf.constant([cosine, 0.2], tf.float32))).all()


def test_gradient_is_the_slope_of_the_definition() -> None:
    cosines = np.linspace(-0.99, 0.99, 67)
    inputs = tf.constant(cosines, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        f = ArcFaceLoss(SCALE, MARGIN).with_margin(inputs)
    step = 1e-6
    slope = (_f(np.arccos(cosines + step), MARGIN) - _f(np.arccos(cosines - step), MARGIN)) / (2 * step)
    np.testing.assert_allclose(tape.gradient(f, inputs), slope, rtol=1e-4)  # float32 against differences in float64


def test_head_gives_cosines_whatever_the_lengths() -> None:
    rng = np.random.default_rng(2)
    embeddings = (rng.normal(size=(5, 8)) * rng.uniform(0.01, 100, (5, 1))).astype(np.float32)
    head = CosineHead(3)
    cosines = head(embeddings)
    assert cosines.dtype == tf.float32
    directions = np.asarray(head.directions)
    assert directions.shape == (3, 8)
    np.testing.assert_allclose(cosines, cosine_similarity(embeddings, directions), atol=1e-6)
    assert np.abs(directions).max() <= math.sqrt(6 / (8 + 3))  # the limit of glorot uniform
    np.testing.assert_array_equal(head(np.zeros((1, 8), np.float32)), np.zeros((1, 3)))


def test_head_regularizes_and_comes_back_from_its_configuration() -> None:
    head = CosineHead(3, regularizer=keras.regularizers.L2(0.5), name="head")
    head(np.ones((1, 8), np.float32))
    assert float(head.losses[0]) == pytest.approx(0.5 * np.square(np.asarray(head.directions)).sum(), rel=1e-6)
    again = CosineHead.from_config(json.loads(json.dumps(head.get_config())))
    assert (again.classes, again.name, float(again.regularizer.l2)) == (3, "head", 0.5)
    loss = ArcFaceLoss.from_config(ArcFaceLoss(8.0, 0.2).get_config())
    assert (loss.scale, loss.margin) == (8.0, 0.2)


def test_head_and_loss_learn_in_fit() -> None:
    """One class along each of three orthogonal axes: separable by angle with a margin of 17 degrees."""
    keras.utils.set_random_seed(3)
    labels = np.arange(60) % 3
    embeddings = (np.eye(3)[labels] + np.random.default_rng(4).normal(0, 0.1, (60, 3))).astype(np.float32)
    model = keras.Sequential([keras.Input((3,)), CosineHead(3)])
    model.compile(keras.optimizers.Adam(0.1), ArcFaceLoss(SCALE, MARGIN))
    losses = model.fit(embeddings, labels, epochs=30, batch_size=20, verbose=0).history["loss"]
    assert (model.predict(embeddings, verbose=0).argmax(axis=1) == labels).all()
    assert losses[-1] < 0.01 < losses[0]


@pytest.mark.parametrize("label", [-1, 7])
def test_a_label_out_of_range_is_an_error(label: int) -> None:
    cosines, labels = _random_cosines()
    with pytest.raises(tf.errors.InvalidArgumentError):
        ArcFaceLoss()(np.full_like(labels, label), cosines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"scale": 0.0}, "scale is 0.0"), ({"margin": -0.1}, "margin is -0.1"), ({"margin": 1.6}, "margin is 1.6")],
)
def test_an_argument_out_of_range_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ArcFaceLoss(**arguments)
    with pytest.raises(ValueError, match="classes is 0"):
        CosineHead(0)
