"""The backbone against published counts, shapes by hand, and Keras's own layers.

test_weights.py compares what it computes with the notebook's network in Keras 2.15.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faces.network import mobilefacenet
from faces.network.runtime import keras

EXPECTED = np.load(Path(__file__).parents[1] / "data" / "keras2" / "expected.npz")


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


def test_the_linear_head_is_one_linear_map_and_batch_norm() -> None:
    """The feature map has 512 * 0.25 = 128 channels after the global convolution; nothing but BN is not linear."""
    model = mobilefacenet.build(width=0.25, embedding_size=40, head="linear")
    after = [layer.name for layer in model.layers][[layer.name for layer in model.layers].index("pool") :]
    assert after == ["pool", "pool_norm", "flatten", "embeddings", "embeddings_norm"]
    assert [weight.shape for weight in model.get_layer("embeddings").weights] == [(128, 40)]
    assert model.output.shape == (None, 40)


@pytest.mark.parametrize(("pixel_range", "low"), [("symmetric", -1.0), ("unit", 0.0)])
def test_pixels_are_scaled(pixel_range: Any, low: float) -> None:
    layer = mobilefacenet.build(width=0.25, pixel_range=pixel_range).get_layer("pixel_range")
    scaled = np.asarray(layer(np.array([0.0, 255.0], np.float32)))
    np.testing.assert_allclose(scaled, [low, 1.0], atol=1e-6)


@pytest.mark.parametrize(
    ("argument", "value"), [("width", 0.0), ("embedding_size", 0), ("l2", -1e-4), ("batch_norm_momentum", 1.0)]
)
def test_an_argument_out_of_range_is_named(argument: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{argument} is {value}"):
        mobilefacenet.build(**{argument: value})
