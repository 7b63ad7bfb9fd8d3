"""data/embeddings.npy, mapped from disk, and its rows as unit vectors, whose dot products are cosines."""

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
BLOCK_ROWS = 16384  # bounds working copies at some 100 MB


class EmbedParams(Params):
    """The section `embed:` of params.yaml, which every stage that embeds images reads."""

    flip: bool
    workers: int = Field(ge=0, le=1024)


def read_embeddings(images: int, path: Path = EMBEDDINGS_PATH) -> NDArray[np.float32]:
    """Map the embeddings of the split's images, float32 (images, D), not normalised.

    StageError if the file has another shape or dtype, or an embedding is zero or not finite.
    """
    embeddings: Any = open_npy(path)
    if embeddings.ndim != 2 or len(embeddings) != images or embeddings.dtype != np.float32:
        raise StageError(f"{path}: {embeddings.dtype} {embeddings.shape}; expected float32 ({images}, D)")
    lengths(embeddings, f"{path}: the embedding of image")
    return embeddings


class UnitVectors:
    """An array of unit vectors (n, D), computed from embeddings when rows are read."""

    def __init__(self, embeddings: NDArray[np.float32], rows: NDArray[np.int64] | None = None) -> None:
        """Use all `embeddings` (N, D), or those at `rows`, in that order."""
        self._embeddings, self._rows = embeddings, rows

    def __len__(self) -> int:
        """Return n."""
        return len(self._embeddings if self._rows is None else self._rows)

    @property
    def shape(self) -> tuple[int, int]:
        """Return (n, D)."""
        return len(self), self._embeddings.shape[1]

    def __getitem__(self, places: slice | NDArray[Any]) -> NDArray[np.float32]:
        """Return the unit vectors at `places`: a slice or positions."""
        return unit_length(self._embeddings[places if self._rows is None else self._rows[places]])

    def held(self) -> NDArray[np.float32]:
        """Return all unit vectors as an array in memory, (n, D)."""
        vectors = np.empty(self.shape, dtype=np.float32)
        for start, block in vector_blocks(self):
            vectors[start : start + len(block)] = block
        return vectors


Vectors = NDArray[np.float32] | UnitVectors  # of unit length, (n, D): in memory or on disk


def vector_blocks(vectors: Vectors) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield blocks of vectors (n, D): the position of the first row, and the rows."""
    for start in range(0, len(vectors), BLOCK_ROWS):
        yield start, np.ascontiguousarray(vectors[start : start + BLOCK_ROWS])


def lengths(vectors: NDArray[Any], what: str, hint: str = "") -> NDArray[np.float64]:
    """Return the length of each row of (N, D), shape (N,).

    StageError if a row is zero or not finite; its message is `what`, the row, the problem and `hint`.
    """
    norms = np.empty(len(vectors))
    for start in range(0, len(vectors), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        norms[rows] = np.linalg.norm(vectors[rows].astype(np.float64), axis=1)
    if len(bad := np.flatnonzero(~np.isfinite(norms) | (norms == 0))):
        others = f", and so are {len(bad) - 1} more" if len(bad) > 1 else ""
        raise StageError(f"{what} {bad[0]} is zero or not finite{others}{hint}")
    return norms


def unit_length(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rows of (N, D) scaled to length 1; StageError if a row is zero or not finite."""
    norms = lengths(vectors, "vector")
    unit = np.empty(vectors.shape, dtype=np.float32)
    for start in range(0, len(vectors), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        unit[rows] = vectors[rows] / norms[rows, None]
    return unit


def cosine_of_pairs(unit: Vectors, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the cosine of rows a[i] and b[i] of unit vectors (N, D), shape (len(a),), in -1..1."""
    cosines = np.empty(len(a), dtype=np.float64)
    for start in range(0, len(a), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        cosines[rows] = np.einsum("nd,nd->n", unit[a[rows]], unit[b[rows]], dtype=np.float64)
    return np.clip(cosines, -1.0, 1.0)
