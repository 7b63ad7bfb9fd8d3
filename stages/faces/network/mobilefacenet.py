"""MobileFaceNet, the backbone that turns a face of 112 x 112 pixels into an embedding.

After Chen et al. 2018, "MobileFaceNets", arXiv:1804.07573, with the notebook's differences: swish for PReLU, a bias in
every convolution and no padding in the first one. The last layers are the paper's, or the notebook's.
"""

from dataclasses import dataclass
from typing import Any, Literal

from faces.core.image_size import IMAGE_SHAPE
from faces.network.layers import BatchNormalization
from faces.network.runtime import keras

CHANNELS_MULTIPLE = 8  # narrower networks keep channel counts that vector units like
BATCH_NORM_EPSILON = 1e-3


@dataclass(frozen=True)
class _Layers:
    """The layers that blocks are made of, with what they all share.

    L2 stands on the kernels of plain convolutions alone. The notebook asked for it on depthwise and separable ones
    too, but by `kernel_regularizer`, which those layers of Keras 2.15 attach to no weight: so it trained without.
    """

    width: float
    l2: float
    batch_norm_momentum: float
    synchronized: bool

    def channels(self, at_full_width: int) -> int:
        steps = int(at_full_width * self.width / CHANNELS_MULTIPLE + 0.5)
        return max(CHANNELS_MULTIPLE, steps * CHANNELS_MULTIPLE)

    def regularizer(self) -> Any:
        return keras.regularizers.L2(self.l2) if self.l2 else None

    def convolution(self, x: Any, channels: int, kernel: int, stride: int, name: str) -> Any:
        layer = keras.layers.Conv2D(
            channels, kernel, strides=stride, padding="valid", kernel_regularizer=self.regularizer(), name=name
        )
        return self._normalized(layer(x), name)

    def separable(self, x: Any, channels: int, kernel: int, name: str) -> Any:
        return self._normalized(keras.layers.SeparableConv2D(channels, kernel, padding="same", name=name)(x), name)

    def depthwise(self, x: Any, kernel: int, stride: int, padding: str, name: str) -> Any:
        layer = keras.layers.DepthwiseConv2D(kernel, strides=stride, padding=padding, name=name)
        return self._normalized(layer(x), name)

    def swish(self, x: Any, name: str) -> Any:
        return keras.layers.Activation("silu", name=f"{name}_swish")(x)

    def embeddings(self, x: Any, size: int, linear: bool) -> Any:
        if not linear:
            x = NOTEBOOK_HEAD.apply(x, self)
        dense = keras.layers.Dense(
            size,
            use_bias=not linear,
            kernel_initializer="he_normal",
            kernel_regularizer=self.regularizer(),
            name="embeddings",
        )
        x = dense(keras.layers.Flatten(name="flatten")(x))
        return self._normalized(x, "embeddings") if linear else x

    def _normalized(self, x: Any, name: str) -> Any:
        return BatchNormalization(
            momentum=self.batch_norm_momentum,
            epsilon=BATCH_NORM_EPSILON,
            synchronized=self.synchronized,
            name=f"{name}_norm",
        )(x)


@dataclass(frozen=True)
class _Convolution:
    """A convolution without padding, then swish."""

    name: str
    channels: int
    kernel: int
    stride: int

    def apply(self, x: Any, layers: _Layers) -> Any:
        x = layers.convolution(x, layers.channels(self.channels), self.kernel, self.stride, self.name)
        return layers.swish(x, self.name)


@dataclass(frozen=True)
class _SeparableConvolution:
    """A depthwise and a pointwise convolution with nothing between them, then swish."""

    name: str
    channels: int
    kernel: int

    def apply(self, x: Any, layers: _Layers) -> Any:
        x = layers.separable(x, layers.channels(self.channels), self.kernel, self.name)
        return layers.swish(x, self.name)


@dataclass(frozen=True)
class _Bottlenecks:
    """Inverted residuals: widen by `expansion`, filter each channel, narrow to `channels` without an activation.

    The stride is the first one's. All but the first add their input, also where the first could.
    """

    name: str
    channels: int
    expansion: int
    stride: int
    repeats: int
    kernel: int = 3

    def apply(self, x: Any, layers: _Layers) -> Any:
        x = self._bottleneck(x, layers, self.stride, f"{self.name}_0")
        for index in range(1, self.repeats):
            name = f"{self.name}_{index}"
            x = keras.layers.Add(name=f"{name}_add")([self._bottleneck(x, layers, 1, name), x])
        return x

    def _bottleneck(self, inputs: Any, layers: _Layers, stride: int, name: str) -> Any:
        expand, filter_, narrow = f"{name}_expand", f"{name}_filter", f"{name}_narrow"
        x = layers.swish(layers.convolution(inputs, inputs.shape[-1] * self.expansion, 1, 1, expand), expand)
        x = layers.swish(layers.depthwise(x, self.kernel, stride, "same", filter_), filter_)
        return layers.convolution(x, layers.channels(self.channels), 1, 1, narrow)


@dataclass(frozen=True)
class _GlobalDepthwise:
    """A weighted mean over the whole feature map, weights learnt per channel, without an activation."""

    name: str
    kernel: int

    def apply(self, x: Any, layers: _Layers) -> Any:
        return layers.depthwise(x, self.kernel, 1, "valid", self.name)


# Each comment is the shape that leaves the block, at width 1.
BLOCKS = (
    _Convolution("stem", channels=64, kernel=3, stride=2),  # 55 x 55 x 64
    _SeparableConvolution("separable", channels=64, kernel=3),  # 55 x 55 x 64
    _Bottlenecks("stage1", channels=64, expansion=2, stride=2, repeats=5),  # 28 x 28 x 64
    _Bottlenecks("stage2", channels=128, expansion=4, stride=2, repeats=1),  # 14 x 14 x 128
    _Bottlenecks("stage3", channels=128, expansion=2, stride=1, repeats=6),  # 14 x 14 x 128
    _Bottlenecks("stage4", channels=128, expansion=4, stride=2, repeats=1),  # 7 x 7 x 128
    _Bottlenecks("stage5", channels=128, expansion=2, stride=1, repeats=2),  # 7 x 7 x 128
    _Convolution("widen", channels=512, kernel=1, stride=1),  # 7 x 7 x 512
    _GlobalDepthwise("pool", kernel=7),  # 1 x 1 x 512
)
NOTEBOOK_HEAD = _Convolution("head", channels=128, kernel=1, stride=1)  # 1 x 1 x 128


def build(
    width: float = 1.0,
    embedding_size: int = 512,
    head: Literal["linear", "notebook"] = "notebook",
    pixel_range: Literal["symmetric", "unit"] = "unit",
    l2: float = 1e-4,
    batch_norm_momentum: float = 0.99,
    synchronized: bool = False,
) -> keras.Model:
    """Return an untrained backbone: (N, 112, 112, 3) pixel values 0..255 -> (N, embedding_size) float32.

    Pixels may be uint8 or float32; the first layer scales them. Embeddings are not normalized. The defaults are the
    notebook's network.

    Args:
        width: Factor > 0 on every channel count but the embedding's, rounded to a multiple of 8, at least 8.
            1.0 is the notebook's network: 1,095,104 weights with embedding_size 512, batch statistics included.
        embedding_size: Length of an embedding, at least 1.
        head: What follows the global depthwise convolution. `linear` is the paper's: one linear map to the embedding
            and batch norm, with no activation. `notebook`: a convolution with swish to 128 channels, then Dense with a
            bias; an embedding then has no more than 128 * width dimensions.
        pixel_range: To what pixels are scaled: `symmetric` to -1..1, as in the paper; `unit` to 0..1.
        l2: Factor >= 0 of the squared weights of plain convolutions and the Dense layer in the training loss.
        batch_norm_momentum: Share in [0, 1) of the old moving statistics that a training step keeps.
        synchronized: Whether batch norm takes a batch that several devices share as one.

    Raises:
        ValueError: An argument is out of its range.
    """
    _check(width > 0, "width", width, "more than 0")
    _check(embedding_size >= 1, "embedding_size", embedding_size, "at least 1")
    _check(l2 >= 0, "l2", l2, "at least 0")
    _check(0 <= batch_norm_momentum < 1, "batch_norm_momentum", batch_norm_momentum, "in [0, 1)")
    layers = _Layers(width, l2, batch_norm_momentum, synchronized)
    images = keras.Input(IMAGE_SHAPE, dtype="float32", name="images")
    scale, offset = (1 / 127.5, -1.0) if pixel_range == "symmetric" else (1 / 255, 0.0)
    x = keras.layers.Rescaling(scale, offset, name="pixel_range")(images)
    for block in BLOCKS:
        x = block.apply(x, layers)
    embeddings = layers.embeddings(x, embedding_size, linear=head == "linear")
    return keras.Model(images, embeddings, name="mobilefacenet")


def _check(holds: bool, name: str, value: float, allowed: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {value}, must be {allowed}")
