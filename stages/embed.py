"""Embed every image of the split, or of an external test set, with the trained backbone.

Reads   data/packed and data/split.csv, or data/tests/<name>.npy; models/backbone.{json,weights.h5}
Writes  data/embeddings.npy (float32, row i is image i, not normalised) and metrics/embed.json,
        or data/tests/<name>.embeddings.npy and metrics/embed@<name>.json
Run     python stages/embed.py [--test-set <name>]

An interrupted run goes on from its last finished chunk of images.
"""

import argparse
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.core.checkpoints import checkpoint_folder, finish_checkpoints
from faces.core.files import replacing, write_metrics
from faces.core.npy_files import open_npy
from faces.core.params import load_params
from faces.core.run import run
from faces.tables.embeddings import EMBEDDINGS_PATH, EmbedParams, lengths
from faces.tables.external_sets import NAME_HELP, embeddings_path, listed_test_set, open_pixels, pixels_path
from faces.tables.packed_images import PackedImages
from faces.tables.split_table import SPLIT_PATH, read_split


def describe(embeddings: NDArray[Any]) -> dict[str, float | int]:
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


def embed_all(
    load: Callable[[int, int], NDArray[np.uint8]], images: int, inputs: list[Path], params: EmbedParams, speed: Path
) -> Path:
    """Return the file with the embeddings of `images` images, (images, D), in the folder of this work.

    Args:
        load: (start, stop) -> uint8 images (stop - start, 112, 112, 3).
        images: how many there are.
        inputs: the files that they come from.
        params: of the stage.
        speed: where images a second go, if all were embedded in this run.
    """
    from faces.inference.embedder import Embedder
    from faces.inference.litert import convert, embed
    from faces.network import backbone, runtime  # TensorFlow takes seconds to import: errors in the images come first

    runtime.find_devices()
    embedder = Embedder(convert(backbone.load_backbone()), params.workers, params.flip)
    inputs = [*inputs, backbone.WEIGHTS_PATH, backbone.ARCHITECTURE_PATH]
    checkpoints = checkpoint_folder("embed", params, inputs, ignored={"workers"})
    resumed = checkpoints.exists()
    began = time.perf_counter()
    embedded = embed(embedder, load, images, "embedding", checkpoints)
    if not resumed:
        write_metrics(speed, {"images_per_second": images / (time.perf_counter() - began)})
    return embedded


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--test-set", metavar="name", help=NAME_HELP)
    return parser.parse_args()


def main() -> None:
    """Write the embeddings and what they look like in numbers."""
    name = _arguments().test_set
    params = load_params("embed", EmbedParams)
    if name:
        listed_test_set(name)
        pixels = open_pixels(name)
        load, total, inputs = (lambda start, stop: pixels[start:stop]), len(pixels), [pixels_path(name)]
    else:
        images = PackedImages(read_split())
        load, total = (lambda start, stop: images[np.arange(start, stop)]), len(images)
        inputs = [SPLIT_PATH, *images.paths]
    called = f"embed@{name}.json" if name else "embed.json"
    embedded = embed_all(load, total, inputs, params, Path("metrics/speed", called))
    write_metrics(Path("metrics", called), describe(open_npy(embedded)))
    with replacing(embeddings_path(name) if name else EMBEDDINGS_PATH) as temporary:
        shutil.move(embedded, temporary)
    finish_checkpoints(embedded.parent)


if __name__ == "__main__":
    run(main, takes_arguments=True)
