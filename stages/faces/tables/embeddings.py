"""data/embeddings.npy as later stages read it: unit vectors, so that a dot product is a cosine.

The file is mapped: what a process holds is the rows that it asked for.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from faces.core.errors import StageError
from faces.core.npy_files import open_npy
from faces.core.params import Params

EMBEDDINGS_PATH = Path("data/embeddings.npy")
ROWS_AT_ONCE = 16384  # bounds working copies at some 100 MB


class EmbedParams(Params):
    """The section `embed:` of params.yaml: how an image becomes an embedding, wherever one does."""

    flip: bool
    workers: int = Field(ge=0, le=1024)


def read_embeddings(images: int, path: Path = EMBEDDINGS_PATH) -> NDArray[np.float32]:
    """Map the embeddings of the split's `images` images, float32 (images, D), as the backbone gave them.

    StageError if the file holds anything else, or one that is zero or not finite.
    """
    embeddings: Any = open_npy(path)
    if embeddings.ndim != 2 or len(embeddings) != images or embeddings.dtype != np.float32:
        raise StageError(f"{path}: {embeddings.dtype} {embeddings.shape}; expected float32 ({images}, D)")
    lengths(embeddings, f"{path}: the embedding of image")
    return embeddings


class UnitVectors:
    """Some embeddings, (n, D) in all, scaled to length 1 when they are asked for; used as an array of them."""

    def __init__(self, embeddings: NDArray[np.float32], rows: NDArray[np.int64] | None = None) -> None:
        """Take all `embeddings` (N, D), or those of `rows`, in their order."""
        self._embeddings, self._rows = embeddings, rows

    def __len__(self) -> int:
        """Return n."""
        return len(self._embeddings if self._rows is None else self._rows)

    @property
    def shape(self) -> tuple[int, int]:
        """Return (n, D)."""
        return len(self), self._embeddings.shape[1]

    def __getitem__(self, places: slice | NDArray[Any]) -> NDArray[np.float32]:
        """Return the vectors at `places` among these, by number or slice."""
        return unit_length(self._embeddings[places if self._rows is None else self._rows[places]])

    def held(self) -> NDArray[np.float32]:
        """Return all of them in memory, (n, D), made block by block."""
        vectors = np.empty(self.shape, dtype=np.float32)
        for start, block in blocks_of(self):
            vectors[start : start + len(block)] = block
        return vectors


Vectors = NDArray[np.float32] | UnitVectors  # of unit length, (n, D): in memory or on disk


def blocks_of(vectors: Vectors, rows: int = ROWS_AT_ONCE) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the first row of a block, and its rows, of vectors (n, D)."""
    for start in range(0, len(vectors), rows):
        yield start, np.ascontiguousarray(vectors[start : start + rows])


def lengths(vectors: NDArray[Any], what: str, hint: str = "") -> NDArray[np.float64]:
    """Return the length of each row of (N, D), shape (N,); StageError, `what` <row> …, if a row has no direction."""
    norms = np.empty(len(vectors))
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        norms[rows] = np.linalg.norm(vectors[rows].astype(np.float64), axis=1)
    if len(bad := np.flatnonzero(~np.isfinite(norms) | (norms == 0))):
        others = f", and so are {len(bad) - 1} more" if len(bad) > 1 else ""
        raise StageError(f"{what} {bad[0]} is zero or not finite{others}{hint}")
    return norms


def unit_length(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows of (N, D) scaled to length 1; StageError if a row has no direction."""
    norms = lengths(vectors, "vector")
    unit = np.empty(vectors.shape, dtype=np.float32)
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        unit[rows] = vectors[rows] / norms[rows, None]
    return unit


def cosine_of_pairs(unit: Vectors, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the cosine of rows a[i] and b[i] of unit vectors (N, D), shape (len(a),), in -1..1."""
    cosines = np.empty(len(a), dtype=np.float64)
    for start in range(0, len(a), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        cosines[rows] = np.einsum("nd,nd->n", unit[a[rows]], unit[b[rows]], dtype=np.float64)
    return np.clip(cosines, -1.0, 1.0)
