"""MobileFaceNet, the backbone that turns a face of 112 x 112 pixels into an embedding.

After Chen et al. 2018, "MobileFaceNets", arXiv:1804.07573, with the notebook's differences: swish for PReLU, and no
padding in the first convolution. The last layers are the paper's, or the notebook's; with the notebook's, convolutions
have biases, as its weight files do.
"""

from typing import Literal

from faces.core.image_size import IMAGE_SHAPE
from faces.network.blocks import (
    Block,
    Bottlenecks,
    Convolution,
    DenseEmbedding,
    GlobalDepthwise,
    Layers,
    LinearEmbedding,
    SeparableConvolution,
)
from faces.network.runtime import keras

# Each comment is the shape that leaves the block, at width 1; images of 112 x 112 x 3 enter the first one.
BLOCKS: tuple[Block, ...] = (
    Convolution("stem", channels=64, kernel=3, stride=2),  # 55 x 55 x 64
    SeparableConvolution("separable", channels=64, kernel=3),  # 55 x 55 x 64
    Bottlenecks("stage1", channels=64, expansion=2, stride=2, repeats=5),  # 28 x 28 x 64
    Bottlenecks("stage2", channels=128, expansion=4, stride=2, repeats=1),  # 14 x 14 x 128
    Bottlenecks("stage3", channels=128, expansion=2, stride=1, repeats=6),  # 14 x 14 x 128
    Bottlenecks("stage4", channels=128, expansion=4, stride=2, repeats=1),  # 7 x 7 x 128
    Bottlenecks("stage5", channels=128, expansion=2, stride=1, repeats=2),  # 7 x 7 x 128
    Convolution("widen", channels=512, kernel=1, stride=1),  # 7 x 7 x 512
    GlobalDepthwise("pool", kernel=7),  # 1 x 1 x 512
)
HEADS: dict[str, tuple[Block, ...]] = {
    "linear": (LinearEmbedding("embeddings"),),  # embedding_size
    "notebook": (
        Convolution("head", channels=128, kernel=1, stride=1),  # 1 x 1 x 128
        DenseEmbedding("embeddings"),  # embedding_size
    ),
}
PIXEL_RANGES = {"symmetric": (1 / 127.5, -1.0), "unit": (1 / 255, 0.0)}  # scale and offset of pixel values 0..255


def build(
    width: float = 1.0,
    embedding_size: int = 512,
    head: Literal["linear", "notebook"] = "notebook",
    pixel_range: Literal["symmetric", "unit"] = "unit",
    l2: float = 1e-4,
    batch_norm_momentum: float = 0.99,
    synchronized: bool = False,
) -> keras.Model:
    """Return an untrained backbone: pixel values 0..255 (N, 112, 112, 3) -> embeddings (N, embedding_size) float32.

    Pixels may be uint8 or float32; the first layer scales them. Embeddings are not normalised. The defaults are the
    notebook's network.

    Args:
        width: Factor > 0 on every channel count but the embedding's, rounded to a multiple of 8, at least 8.
            1.0 is the notebook's network: 1,095,104 weights with embedding_size 512, batch statistics included.
        embedding_size: Length of an embedding, at least 1.
        head: The last layers. `linear` is the paper's: one linear map to the embedding and batch norm, without an
            activation. `notebook`: a convolution with swish to 128 channels, then Dense with a bias; an embedding
            then has at most 128 * width dimensions, and every convolution has a bias.
        pixel_range: Range of the scaled pixels: `symmetric`, -1..1 as in the paper, or `unit`, 0..1.
        l2: Factor >= 0 of the squared weights of plain convolutions and the Dense layer in the training loss.
        batch_norm_momentum: Share in [0, 1) of the old moving statistics that a training step keeps.
        synchronized: Whether batch norm uses the statistics of the whole batch when several devices share it.

    Raises:
        ValueError: An argument is out of its range.
    """
    _check(width > 0, "width", width, "more than 0")
    _check(embedding_size >= 1, "embedding_size", embedding_size, "at least 1")
    _check(l2 >= 0, "l2", l2, "at least 0")
    _check(0 <= batch_norm_momentum < 1, "batch_norm_momentum", batch_norm_momentum, "in [0, 1)")
    layers = Layers(width, embedding_size, l2, batch_norm_momentum, synchronized, bias=head == "notebook")
    images = keras.Input(IMAGE_SHAPE, dtype="float32", name="images")
    scale, offset = PIXEL_RANGES[pixel_range]
    x = keras.layers.Rescaling(scale, offset, name="pixel_range")(images)
    for block in BLOCKS + HEADS[head]:
        x = block.apply(x, layers)
    return keras.Model(images, x, name="mobilefacenet")


def _check(holds: bool, name: str, value: float, allowed: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {value}, must be {allowed}")
