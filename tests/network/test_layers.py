"""The fast layer against Keras's own, and against formulas in float64."""

import numpy as np
import pytest

from faces.network.layers import BatchNormalization
from faces.network.runtime import keras, tf

MOMENTUM = 0.9


def _pair(**arguments: object) -> tuple[keras.Layer, keras.Layer]:
    """The fused layer and Keras's, with the same random weights for 6 channels."""
    rng = np.random.default_rng(2)
    weights = [rng.uniform(0.5, 2, 6), rng.normal(size=6), rng.normal(size=6), rng.uniform(0.5, 2, 6)]
    layers = BatchNormalization(momentum=MOMENTUM, **arguments), keras.layers.BatchNormalization(momentum=MOMENTUM)
    for layer in layers:
        layer.build((None, 5, 4, 6))
        layer.set_weights(weights)
    return layers


def _images(seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(1.5, 2, (3, 5, 4, 6)).astype(np.float32)


@pytest.mark.parametrize("training", [True, False])
def test_normalized_outputs_and_gradients_are_those_of_keras(training: bool) -> None:
    inputs, upstream = tf.constant(_images()), tf.constant(_images(4))
    results = []
    for layer in _pair():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=training)
            total = tf.reduce_sum(outputs * upstream)
        gradients = tape.gradient(total, [inputs, *(variable.value for variable in layer.trainable_variables)])
        results.append([outputs, *gradients])
    for fused, stock in zip(*results, strict=True):
        np.testing.assert_allclose(fused, stock, rtol=1e-4, atol=1e-5)  # sums of 60 float32 of about 2


def test_moving_statistics_follow_the_batch() -> None:
    """By hand in float64: n = 3 * 5 * 4 = 60 values a channel, unbiased variance = biased * 60 / 59."""
    layer, stock = _pair()
    images = _images()
    _, _, mean, variance = layer.get_weights()
    for one in (layer, stock):
        one(images, training=True)
    batch = images.astype(np.float64).reshape(60, 6)
    np.testing.assert_allclose(
        layer.moving_mean, MOMENTUM * mean + (1 - MOMENTUM) * batch.mean(axis=0), rtol=1e-5, atol=1e-6
    )
    by_hand = MOMENTUM * variance + (1 - MOMENTUM) * batch.var(axis=0) * 60 / 59
    np.testing.assert_allclose(layer.moving_variance, by_hand, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, stock.moving_mean, rtol=1e-5, atol=1e-6)
    assert (layer.moving_variance.numpy() > stock.moving_variance.numpy()).all()  # Keras 3 takes the biased one


@pytest.mark.parametrize("trainable", [True, False])
def test_statistics_stand_still_outside_training_and_when_frozen(trainable: bool) -> None:
    layer, _ = _pair(trainable=trainable)
    before = layer.get_weights()
    outputs = layer(_images(), training=not trainable)
    gamma, beta, mean, variance = before
    by_hand = (_images() - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    np.testing.assert_allclose(outputs, by_hand, rtol=1e-5, atol=1e-5)
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_vectors_are_normalized_as_maps_of_one_pixel() -> None:
    """By hand in float64: n = 8 values a channel, unbiased variance = biased * 8 / 7; new weights change nothing."""
    layer = BatchNormalization(momentum=MOMENTUM)
    inputs = np.random.default_rng(5).normal(1.5, 2, size=(8, 3)).astype(np.float32)
    outputs = layer(inputs, training=True)
    batch = inputs.astype(np.float64)
    by_hand = (batch - batch.mean(axis=0)) / np.sqrt(batch.var(axis=0) + 1e-3)
    np.testing.assert_allclose(outputs, by_hand, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.moving_mean, (1 - MOMENTUM) * batch.mean(axis=0), rtol=1e-5)
    moving = MOMENTUM + (1 - MOMENTUM) * batch.var(axis=0) * 8 / 7
    np.testing.assert_allclose(layer.moving_variance, moving, rtol=1e-5)
    _, _, mean, variance = layer.get_weights()
    np.testing.assert_allclose(layer(inputs), (batch - mean) / np.sqrt(variance + 1e-3), rtol=1e-5, atol=1e-6)


def test_what_the_kernel_cannot_do_is_left_to_keras() -> None:
    fused, stock = BatchNormalization(), keras.layers.BatchNormalization()
    inputs = np.random.default_rng(5).normal(size=(8, 5, 3)).astype(np.float32)
    np.testing.assert_array_equal(fused(inputs, training=True), stock(inputs, training=True))
    np.testing.assert_array_equal(fused.moving_variance, stock.moving_variance)


def test_normalization_trains_in_fit_and_comes_back_from_its_configuration() -> None:
    """After `fit` with momentum 0 the moving mean is the mean of the one batch."""
    model = keras.Sequential([keras.Input((5, 4, 6)), BatchNormalization(momentum=0.0), keras.layers.Flatten()])
    model.compile("sgd", "mse")
    model.fit(_images(), np.zeros((3, 120), np.float32), verbose=0)
    np.testing.assert_allclose(model.layers[0].moving_mean, _images().mean(axis=(0, 1, 2)), rtol=1e-5)
    again = keras.models.model_from_json(model.to_json())
    again.set_weights(model.get_weights())
    assert isinstance(again.layers[0], BatchNormalization)
    np.testing.assert_array_equal(again.predict(_images(), verbose=0), model.predict(_images(), verbose=0))
