"""The exported model as a function from faces to embeddings of length 1; it runs without TensorFlow."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from faces.core.errors import StageError
from faces.core.files import require_file
from faces.evaluation.threshold import Thresholds
from faces.images.decoding import ResizeFilter
from faces.inference.embedder import Embedder, embedder_of

EXPORT = Path("models/export")
MODEL, DESCRIPTION = "backbone_float32.tflite", "model.json"


class Description(BaseModel):
    """The keys of model.json that are needed to apply the model beside it."""

    flip: bool
    resize_filter: ResizeFilter
    thresholds: Thresholds


class FaceModel(NamedTuple):
    """The network, its description, and a SHA-256 of what decides on embeddings: the network's file, and `flip`."""

    embedder: Embedder
    description: Description
    digest: str

    def embed(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return embeddings (n, D) of length 1 of images (112, 112, 3); StageError if one has no direction."""
        embeddings = self.embedder(np.stack(images))
        norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
        if not np.isfinite(norms).all() or not norms.all():
            raise StageError("the model gives no usable embedding of an image")
        return embeddings / norms


def load_model(folder: Path) -> FaceModel:
    """Return the exported model of a folder; StageError names the file that is missing or wrong."""
    path, description = folder / MODEL, folder / DESCRIPTION
    require_file(path)
    require_file(description)
    try:
        content, text = path.read_bytes(), description.read_bytes()
    except OSError as error:
        raise StageError(
            f"{error.filename}: {error.strerror}; `make repro` makes it, `dvc pull` or `dvc artifacts get` fetches it"
        ) from None
    try:
        known = Description.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise StageError(f"{description}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    digest = hashlib.sha256(content + bytes([known.flip])).hexdigest()
    return FaceModel(embedder_of(path, content, flip=known.flip), known, digest)
