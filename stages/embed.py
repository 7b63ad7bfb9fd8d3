"""Embed every image of the split with the trained backbone.

Reads   data/packed, data/split.csv, models/backbone.{json,weights.h5}
Writes  models/backbone.tflite (the backbone for LiteRT, which later stages run, too)
        data/embeddings.npy (float32, row i is image i, not normalised), metrics/embed.json
Run     python stages/embed.py

An interrupted run goes on from its last finished chunk of images.
"""

import faces.core.portable  # noqa: F401  first, since NumPy and others read its settings when they are imported

import numpy as np

from faces.core.files import replacing
from faces.core.params import load_params
from faces.core.run import run
from faces.inference.embedder import CONVERTED_PATH
from faces.inference.embedding import embed_by_backbone
from faces.tables.embeddings import EMBEDDINGS_PATH, EmbedParams
from faces.tables.packed_images import PackedImages
from faces.tables.split_table import SPLIT_PATH, read_split


def convert_backbone() -> None:
    """Write the backbone as a LiteRT model."""
    from faces.inference.litert import convert
    from faces.network import backbone, runtime  # TensorFlow takes seconds to import: errors in the images come first

    runtime.find_devices()
    content = convert(backbone.load_backbone())
    with replacing(CONVERTED_PATH) as temporary:
        temporary.write_bytes(content)


def main() -> None:
    """Write the converted backbone, the embeddings and their metrics."""
    load_params("embed", EmbedParams)  # an error in it comes before one in the images
    images = PackedImages(read_split())
    convert_backbone()
    embed_by_backbone(
        "embed",
        lambda start, stop: images[np.arange(start, stop)],
        len(images),
        [SPLIT_PATH, *images.paths],
        EMBEDDINGS_PATH,
        metrics="embed",
    )


if __name__ == "__main__":
    run(main)
