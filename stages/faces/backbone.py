"""The trained backbone on disk: its weights, and beside them the few numbers that rebuild the network around them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces import mobilefacenet
from faces.files import write_text
from faces.runtime import keras
from faces.stage import StageError, progress
from faces.weights import load_weights, save_weights

WEIGHTS_PATH = Path("models/backbone.weights.h5")
ARCHITECTURE_PATH = Path("models/backbone.json")


def save_backbone(backbone: keras.Model, architecture: dict[str, Any]) -> None:
    """Write the weights, and the arguments of `mobilefacenet.build` that the network was built with."""
    save_weights(backbone, WEIGHTS_PATH)
    write_text(ARCHITECTURE_PATH, json.dumps(architecture, indent=2) + "\n")


def load_backbone() -> keras.Model:
    """Return the trained network; StageError if a file is missing or the two do not fit each other."""
    try:
        architecture = json.loads(ARCHITECTURE_PATH.read_text(encoding="utf-8"))
        backbone = mobilefacenet.build(**architecture)
    except FileNotFoundError:
        raise StageError(f"{ARCHITECTURE_PATH} is missing; `dvc repro train` makes it, `dvc pull` fetches it") from None
    except (ValueError, TypeError) as error:
        raise StageError(f"{ARCHITECTURE_PATH}: {error}") from None
    load_weights(backbone, WEIGHTS_PATH)
    return backbone


def embed(
    backbone: keras.Model, batches: Iterable[NDArray[np.uint8]], total: int, title: str | None = None
) -> NDArray[np.float32]:
    """Return the embeddings of `total` images, float32 (total, D), not normalised.

    Args:
        backbone: images (n, 112, 112, 3) with values 0 to 255 -> embeddings (n, D).
        batches: uint8 arrays (n, 112, 112, 3); all but the last of one size, so that the graph is traced once.
        total: images in all batches together.
        title: what a progress bar is labelled with; no bar without it.
    """
    embeddings = np.empty((total, backbone.output_shape[-1]), dtype=np.float32)
    filled = 0
    if title:
        batches = progress(batches, title, unit="batch")
    for batch in batches:
        embeddings[filled : filled + len(batch)] = backbone.predict_on_batch(batch)
        filled += len(batch)
    return embeddings
