"""Embed every image of the split with the trained backbone.

Reads   data/packed, data/split.csv, models/backbone.{json,weights.h5}
Writes  data/embeddings.npy (float32, row i is image i of the split, not normalised), metrics/embed.json
Run     python stages/embed.py

An interrupted run goes on from its last finished chunk of images.
"""

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from faces.checkpoints import checkpoint_folder, finish
from faces.embeddings import EMBEDDINGS_PATH, lengths
from faces.files import write_metrics, write_npy
from faces.packed_images import PackedImages
from faces.split_table import SPLIT_PATH, read_split
from faces.stage import Params, load_params, run


class EmbedParams(Params):
    workers: int = Field(ge=0, le=1024)


def describe(embeddings: NDArray[np.float32]) -> dict[str, float | int]:
    """Return the number, size and lengths of embeddings (N, D); StageError if one is not finite or has no length."""
    norms = lengths(embeddings, "the embedding of image", ": training diverged; lower train.learning_rate")
    return {
        "images": len(embeddings),
        "embedding_size": embeddings.shape[1],
        "norm_mean": float(norms.mean()),
        "norm_std": float(norms.std()),
        "norm_min": float(norms.min()),
        "norm_max": float(norms.max()),
    }


def main() -> None:
    """Write the embeddings and what they look like in numbers."""
    params = load_params("embed", EmbedParams)
    images = PackedImages(read_split())

    from faces import backbone, runtime  # TensorFlow takes seconds to import: errors above come first
    from faces.inference import Embedder, convert, embed

    runtime.find_devices()
    embedder = Embedder(convert(backbone.load_backbone()), params.workers)
    inputs = [SPLIT_PATH, backbone.WEIGHTS_PATH, backbone.ARCHITECTURE_PATH, *images.paths]
    checkpoints = checkpoint_folder("embed", params, inputs, ignored={"workers"})
    resumed = checkpoints.exists()
    began = time.perf_counter()
    embeddings = embed(
        embedder, lambda start, stop: images[np.arange(start, stop)], len(images), "embedding", checkpoints
    )
    seconds = time.perf_counter() - began

    metrics = describe(embeddings)
    write_npy(EMBEDDINGS_PATH, embeddings)
    write_metrics(Path("metrics/embed.json"), metrics)
    if not resumed:
        write_metrics(Path("metrics/speed/embed.json"), {"images_per_second": len(images) / seconds})
    finish(checkpoints)


if __name__ == "__main__":
    run(main)
