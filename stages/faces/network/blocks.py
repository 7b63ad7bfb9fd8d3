"""The kinds of blocks that MobileFaceNet is made of: each maps a feature map (N, H, W, C) to another one."""

from dataclasses import dataclass
from typing import Any, Protocol

from faces.network.architecture import channels
from faces.network.layers import BatchNormalization
from faces.network.runtime import keras

BATCH_NORM_EPSILON = 1e-3


@dataclass(frozen=True)
class Layers:
    """Makes the layers of all blocks, with the settings that they share.

    Only the kernels of plain convolutions and of the Dense layer have L2. The notebook asked for it on depthwise and
    separable convolutions too, but by `kernel_regularizer`, which these layers of Keras 2.15 ignore.
    """

    width: float
    embedding_size: int
    l2: float
    batch_norm_momentum: float
    synchronized: bool
    bias: bool  # of convolutions; it changes nothing, since batch norm follows and subtracts it again

    def channels(self, at_full_width: int) -> int:
        """Return a channel count at this width: a multiple of 8, at least 8."""
        return channels(at_full_width, self.width)

    def convolution(self, x: Any, channels: int, kernel: int, stride: int, name: str) -> Any:
        """Convolution without padding, then batch norm."""
        layer = keras.layers.Conv2D(
            channels,
            kernel,
            strides=stride,
            padding="valid",
            use_bias=self.bias,
            kernel_regularizer=self._regularizer(),
            name=name,
        )
        return self.batch_norm(layer(x), name)

    def separable(self, x: Any, channels: int, kernel: int, name: str) -> Any:
        """Depthwise and pointwise convolution with nothing between them, then batch norm."""
        layer = keras.layers.SeparableConv2D(channels, kernel, padding="same", use_bias=self.bias, name=name)
        return self.batch_norm(layer(x), name)

    def depthwise(self, x: Any, kernel: int, stride: int, padding: str, name: str) -> Any:
        """Depthwise convolution, then batch norm."""
        layer = keras.layers.DepthwiseConv2D(kernel, strides=stride, padding=padding, use_bias=self.bias, name=name)
        return self.batch_norm(layer(x), name)

    def swish(self, x: Any, name: str) -> Any:
        """Activation x * sigmoid(x)."""
        return keras.layers.Activation("silu", name=f"{name}_swish")(x)

    def dense(self, x: Any, bias: bool, name: str) -> Any:
        """Linear map of the flattened feature map to the embedding."""
        layer = keras.layers.Dense(
            self.embedding_size,
            use_bias=bias,
            kernel_initializer="he_normal",
            kernel_regularizer=self._regularizer(),
            name=name,
        )
        return layer(keras.layers.Flatten(name="flatten")(x))

    def batch_norm(self, x: Any, name: str) -> Any:
        """Batch norm with this momentum, synchronized over devices or not."""
        return BatchNormalization(
            momentum=self.batch_norm_momentum,
            epsilon=BATCH_NORM_EPSILON,
            synchronized=self.synchronized,
            name=f"{name}_norm",
        )(x)

    def _regularizer(self) -> Any:
        return keras.regularizers.L2(self.l2) if self.l2 else None


class Block(Protocol):
    """A part of the network that adds its layers to a Keras tensor."""

    def apply(self, x: Any, layers: Layers) -> Any:
        """Return the output of the block."""


@dataclass(frozen=True)
class Convolution:
    """Convolution without padding, batch norm, swish."""

    name: str
    channels: int
    kernel: int
    stride: int

    def apply(self, x: Any, layers: Layers) -> Any:
        """Return the output of the block."""
        x = layers.convolution(x, layers.channels(self.channels), self.kernel, self.stride, self.name)
        return layers.swish(x, self.name)


@dataclass(frozen=True)
class SeparableConvolution:
    """Depthwise and pointwise convolution, batch norm, swish."""

    name: str
    channels: int
    kernel: int

    def apply(self, x: Any, layers: Layers) -> Any:
        """Return the output of the block."""
        x = layers.separable(x, layers.channels(self.channels), self.kernel, self.name)
        return layers.swish(x, self.name)


@dataclass(frozen=True)
class Bottlenecks:
    """Inverted residuals: widen by `expansion`, filter each channel, narrow to `channels` without an activation.

    Only the first one has the stride. All others add their input; the first does not, even where shapes would allow it.
    """

    name: str
    channels: int
    expansion: int
    stride: int
    repeats: int
    kernel: int = 3

    def apply(self, x: Any, layers: Layers) -> Any:
        """Return the output of the block."""
        x = self._bottleneck(x, layers, self.stride, f"{self.name}_0")
        for index in range(1, self.repeats):
            name = f"{self.name}_{index}"
            x = keras.layers.Add(name=f"{name}_add")([self._bottleneck(x, layers, 1, name), x])
        return x

    def _bottleneck(self, inputs: Any, layers: Layers, stride: int, name: str) -> Any:
        expand, filter_, narrow = f"{name}_expand", f"{name}_filter", f"{name}_narrow"
        x = layers.swish(layers.convolution(inputs, inputs.shape[-1] * self.expansion, 1, 1, expand), expand)
        x = layers.swish(layers.depthwise(x, self.kernel, stride, "same", filter_), filter_)
        return layers.convolution(x, layers.channels(self.channels), 1, 1, narrow)


@dataclass(frozen=True)
class GlobalDepthwise:
    """Weighted mean over the whole feature map, with learnt weights per channel; batch norm, no activation."""

    name: str
    kernel: int

    def apply(self, x: Any, layers: Layers) -> Any:
        """Return the output of the block."""
        return layers.depthwise(x, self.kernel, 1, "valid", self.name)


@dataclass(frozen=True)
class LinearEmbedding:
    """The paper's last layer: one linear map, batch norm, no activation."""

    name: str

    def apply(self, x: Any, layers: Layers) -> Any:
        """Return the output of the block."""
        return layers.batch_norm(layers.dense(x, bias=False, name=self.name), self.name)


@dataclass(frozen=True)
class DenseEmbedding:
    """The notebook's last layer: a linear map with a bias."""

    name: str

    def apply(self, x: Any, layers: Layers) -> Any:
        """Return the output of the block."""
        return layers.dense(x, bias=True, name=self.name)
