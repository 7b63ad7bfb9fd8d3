"""The backbone against published counts, shapes by hand, and Keras's own layers.

test_weights.py compares what it computes with the notebook's network in Keras 2.15.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faces import mobilefacenet
from faces.mobilefacenet import BATCH_NORM_EPSILON, BatchNormalization
from faces.runtime import keras, tf

EXPECTED = np.load(Path(__file__).parent / "data" / "keras2" / "expected.npz")
MOMENTUM = 0.9


@pytest.fixture(scope="module")
def backbone() -> keras.Model:
    return mobilefacenet.build()


@pytest.fixture(scope="module")
def narrow() -> keras.Model:
    return mobilefacenet.build(width=0.25)


def test_has_as_many_weights_as_the_notebook(backbone: keras.Model, narrow: keras.Model) -> None:
    """1,095,104 is the count of the notebook's `summary()`; the other comes from Keras 2.15 at width 0.25."""
    assert backbone.count_params() == 1_095_104
    assert narrow.count_params() == EXPECTED["weights"]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("stem_swish", (55, 55, 64)),
        ("separable_swish", (55, 55, 64)),
        ("stage1_4_add", (28, 28, 64)),
        ("stage2_0_narrow_norm", (14, 14, 128)),
        ("stage3_5_add", (14, 14, 128)),
        ("stage4_0_narrow_norm", (7, 7, 128)),
        ("stage5_1_add", (7, 7, 128)),
        ("widen_swish", (7, 7, 512)),
        ("pool_norm", (1, 1, 512)),
        ("head_swish", (1, 1, 128)),
        ("embeddings", (512,)),
    ],
)
def test_shapes_are_those_in_the_table_of_blocks(backbone: keras.Model, layer: str, shape: tuple[int, ...]) -> None:
    assert backbone.get_layer(layer).output.shape == (None, *shape)


def test_width_rounds_to_eights_and_spares_the_embedding() -> None:
    """64 * 0.3 = 19.2 -> 16, 128 * 0.3 = 38.4 -> 40, 512 * 0.3 = 153.6 -> 152; stage2 widens 16 channels by 4."""
    model = mobilefacenet.build(width=0.3, embedding_size=96)
    channels = {name: model.get_layer(name).output.shape[-1] for name in ("stem", "head", "widen", "stage2_0_expand")}
    assert channels == {"stem": 16, "head": 40, "widen": 152, "stage2_0_expand": 64}
    assert model.output.shape == (None, 96)
    assert mobilefacenet.build(width=0.01).get_layer("stem").output.shape[-1] == 8


def test_takes_bytes_and_floats_alike(narrow: keras.Model) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    from_bytes = narrow.predict(pixels, verbose=0)
    assert from_bytes.dtype == np.float32
    np.testing.assert_array_equal(from_bytes, narrow.predict(pixels.astype(np.float32), verbose=0))


def test_l2_stands_on_plain_convolutions_and_dense_alone() -> None:
    """Their kernels are the weights called `kernel` of 2 axes, or of 4 of which the last is not 1."""
    model = mobilefacenet.build(width=0.25, l2=0.5)
    kernels = [
        weight.numpy()
        for weight in model.trainable_weights
        if weight.name == "kernel" and (len(weight.shape) == 2 or weight.shape[-1] != 1)
    ]
    assert len(model.losses) == len(kernels) == 34  # 3 single convolutions, 2 in each of 15 bottlenecks, 1 Dense
    by_hand = 0.5 * sum(np.square(kernel.astype(np.float64)).sum() for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(by_hand, rel=1e-5)  # float32 sums
    assert mobilefacenet.build(width=0.25, l2=0).losses == []


def test_layer_names_do_not_depend_on_what_was_built_before() -> None:
    """They end up in weight files, which have to come out the same from any process."""
    first, second = (mobilefacenet.build(width=0.25) for _ in range(2))
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]


@pytest.mark.parametrize(
    ("argument", "value"), [("width", 0.0), ("embedding_size", 0), ("l2", -1e-4), ("batch_norm_momentum", 1.0)]
)
def test_an_argument_out_of_range_is_named(argument: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{argument} is {value}"):
        mobilefacenet.build(**{argument: value})


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
def test_fused_outputs_and_gradients_are_those_of_keras(training: bool) -> None:
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
    by_hand = (_images() - mean) / np.sqrt(variance + BATCH_NORM_EPSILON) * gamma + beta
    np.testing.assert_allclose(outputs, by_hand, rtol=1e-5, atol=1e-5)
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_what_the_kernel_cannot_do_is_left_to_keras() -> None:
    fused, stock = BatchNormalization(), keras.layers.BatchNormalization()
    inputs = np.random.default_rng(5).normal(size=(8, 3)).astype(np.float32)
    np.testing.assert_array_equal(fused(inputs, training=True), stock(inputs, training=True))
    np.testing.assert_array_equal(fused.moving_variance, stock.moving_variance)


def test_trains_in_fit_and_comes_back_from_its_configuration() -> None:
    """After `fit` with momentum 0 the moving mean is the mean of the one batch."""
    model = keras.Sequential([keras.Input((5, 4, 6)), BatchNormalization(momentum=0.0), keras.layers.Flatten()])
    model.compile("sgd", "mse")
    model.fit(_images(), np.zeros((3, 120), np.float32), verbose=0)
    np.testing.assert_allclose(model.layers[0].moving_mean, _images().mean(axis=(0, 1, 2)), rtol=1e-5)
    again = keras.models.model_from_json(model.to_json())
    again.set_weights(model.get_weights())
    assert isinstance(again.layers[0], BatchNormalization)
    np.testing.assert_array_equal(again.predict(_images(), verbose=0), model.predict(_images(), verbose=0))
