"""The trained backbone on disk: its weights, and beside them the few numbers that rebuild the network around them."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces import mobilefacenet
from faces.architecture import Architecture
from faces.checkpoints import remembered
from faces.files import write_text
from faces.runtime import keras
from faces.stage import StageError, check_params, progress, say
from faces.weights import load_weights, save_weights

WEIGHTS_PATH = Path("models/backbone.weights.h5")
ARCHITECTURE_PATH = Path("models/backbone.json")
CHUNK_BATCHES = 16  # between checkpoints: a few seconds of work


def save_backbone(backbone: keras.Model, architecture: Architecture) -> None:
    """Write the weights, and the architecture that the network was built with."""
    save_weights(backbone, WEIGHTS_PATH)
    write_text(ARCHITECTURE_PATH, architecture.model_dump_json(indent=2) + "\n")


def load_backbone() -> keras.Model:
    """Return the trained network; StageError if a file is missing or the two do not fit each other."""
    try:
        architecture = json.loads(ARCHITECTURE_PATH.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StageError(f"{ARCHITECTURE_PATH} is missing; `dvc repro train` makes it, `dvc pull` fetches it") from None
    except (ValueError, RecursionError) as error:
        raise StageError(f"{ARCHITECTURE_PATH}: {error}") from None
    checked = check_params(architecture, Architecture, str(ARCHITECTURE_PATH))
    backbone = mobilefacenet.build(checked.width, checked.embedding_size)
    load_weights(backbone, WEIGHTS_PATH)
    return backbone


def embed(
    backbone: keras.Model,
    load: Callable[[int, int], NDArray[np.uint8]],
    total: int,
    batch_size: int,
    title: str = "",
    checkpoints: Path | None = None,
) -> NDArray[np.float32]:
    """Return the embeddings of `total` images, float32 (total, D), not normalised.

    Args:
        backbone: images (n, 112, 112, 3) with values 0 to 255 -> embeddings (n, D).
        load: (start, stop) -> uint8 images (stop - start, 112, 112, 3).
        total: images in all.
        batch_size: images a step; the last batch of a chunk may be smaller.
        title: what a progress bar is labelled with; no bar without it.
        checkpoints: folder in which finished chunks are kept, for a run that is cut off to go on from.
    """

    def chunk(start: int, stop: int) -> NDArray[np.float32]:
        steps = [(first, min(first + batch_size, stop)) for first in range(start, stop, batch_size)]
        return np.concatenate([backbone.predict_on_batch(load(*step)) for step in steps])

    embeddings = np.empty((total, backbone.output_shape[-1]), dtype=np.float32)
    size = CHUNK_BATCHES * batch_size
    starts = range(0, total, size)
    if checkpoints and (done := len(list(checkpoints.glob("*.npy")))):
        say(f"going on after {done} of {len(starts)} chunks, from {checkpoints}")
    for start in progress(starts, title, unit="chunk") if title else iter(starts):
        stop = min(start + size, total)
        embeddings[start:stop] = (
            remembered(checkpoints / f"{start:09d}.npy", partial(chunk, start, stop))
            if checkpoints
            else chunk(start, stop)
        )
    return embeddings
