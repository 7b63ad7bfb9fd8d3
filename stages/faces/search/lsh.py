"""Locality-sensitive hashing by random hyperplanes (Charikar 2002), with an exact re-rank by cosine.

The hash of a vector has a bit for each hyperplane: 1 if the vector is on its positive side. The candidates of a query
are all vectors with a hash that differs in at most `radius` bits; the nearest of them by cosine are its neighbours.
(Charikar 2002, "Similarity estimation techniques from rounding algorithms".)
"""

from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

from faces.search.neighbours import NOBODY, QUERIES_AT_ONCE, Neighbours, rerank
from faces.tables.embeddings import Vectors, vector_blocks

MAX_CANDIDATES = 16_000_000  # at a time: some 500 MB


class HyperplaneIndex:
    """An index of unit vectors (N, D), hashed to `planes` bits; the vectors may stay on disk."""

    def __init__(self, unit: Vectors, planes: int, radius: int, seed: int) -> None:
        """Hash the vectors. ValueError unless `planes` is a multiple of 8, since FAISS stores whole bytes."""
        if planes % 8:
            raise ValueError(f"planes = {planes}; must be a multiple of 8")
        self._unit = unit
        self._planes = planes
        self._normals = np.random.default_rng(seed).standard_normal((unit.shape[1], planes))
        self._index = faiss.IndexBinaryHash(planes, planes)
        self._index.nflip = radius
        for _, block in vector_blocks(unit):
            self._index.add(self.hash(block))

    def hash(self, vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the hashes of vectors (n, D), as packed bits (n, planes / 8). A dot product of zero counts as 1."""
        hashes = np.empty((len(vectors), self._planes // 8), dtype=np.uint8)
        for start, block in vector_blocks(vectors):
            hashes[start : start + len(block)] = np.packbits(block.astype(np.float64) @ self._normals >= 0, axis=1)
        return hashes

    def candidates(self, queries: NDArray[np.float32]) -> list[NDArray[np.int64]]:
        """Return for each of the queries (n, D) the numbers of all vectors within `radius` bits, ascending."""
        everything_in_reach = self._planes + 1  # FAISS keeps distances below this; buckets alone decide
        limits, _, found = self._index.range_search(self.hash(queries), everything_in_reach)
        return [np.sort(found[start:stop]) for start, stop in zip(limits[:-1], limits[1:], strict=True)]

    def search(self, queries: NDArray[np.int64], k: int, batch: int = QUERIES_AT_ONCE) -> Iterator[Neighbours]:
        """Yield up to k nearest neighbours of each query, the number of an indexed vector, as `rerank` does.

        At most `batch` queries are worked on at a time, fewer if memory would not suffice for every vector as a
        candidate of every query.
        """
        batch = max(1, min(batch, MAX_CANDIDATES // len(self._unit)))
        for start in range(0, len(queries), batch):
            numbers = queries[start : start + batch]
            found = self.candidates(self._unit[numbers])
            candidates = np.full((len(numbers), max(map(len, found))), NOBODY)
            for row, near in zip(candidates, found, strict=True):
                row[: len(near)] = near
            yield from rerank(self._unit, numbers, candidates, k)
