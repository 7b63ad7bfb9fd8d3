"""Locality-sensitive hashing by random hyperplanes (Charikar, 2002), with an exact cosine re-rank.

A vector's hash has a bit for each hyperplane: 1 on its positive side. A query's candidates are all vectors whose hash
differs from its own in at most `radius` bits; the nearest of them by cosine are its neighbours.
"""

from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray


class HyperplaneIndex:
    """An index of unit vectors (N, D), hashed to `planes` bits."""

    def __init__(self, unit: NDArray[np.float32], planes: int, radius: int, seed: int) -> None:
        """Hash the vectors. `planes` must be a multiple of 8, since FAISS stores whole bytes."""
        if planes % 8:
            raise ValueError(f"planes = {planes}; must be a multiple of 8")
        self._unit = unit
        self._planes = planes
        self._normals = np.random.default_rng(seed).standard_normal((unit.shape[1], planes))
        self._index = faiss.IndexBinaryHash(planes, planes)
        self._index.nflip = radius
        self._index.add(self.hash(unit))

    def hash(self, vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the hashes of (n, D) vectors, bits packed: (n, planes / 8). A zero dot product counts as positive."""
        return np.packbits(vectors.astype(np.float64) @ self._normals >= 0, axis=1)

    def candidates(self, queries: NDArray[np.float32]) -> list[NDArray[np.int64]]:
        """Return for each of (n, D) queries the vectors in all buckets within `radius` flipped bits, ascending."""
        everything_in_reach = self._planes + 1  # FAISS keeps distances below this; buckets alone decide
        limits, _, found = self._index.range_search(self.hash(queries), everything_in_reach)
        return [np.sort(found[start:stop]) for start, stop in zip(limits[:-1], limits[1:], strict=True)]

    def search(
        self, queries: NDArray[np.int64], k: int, batch: int = 256
    ) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.float32]]]:
        """Yield for each query, a number of an indexed vector: it, up to k neighbours without it, their cosines.

        Nearest first; of equal cosines, the lower number first.
        """
        for start in range(0, len(queries), batch):
            numbers = queries[start : start + batch]
            for query, near in zip(numbers, self.candidates(self._unit[numbers]), strict=True):
                near = near[near != query]
                cosines = self._unit[near] @ self._unit[query]
                best = np.lexsort((near, -cosines))[:k]
                yield int(query), near[best], cosines[best]


def exact_neighbours(unit: NDArray[np.float32], queries: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return the k nearest vectors by cosine to each query, a number of one of `unit`, without the query: (n, k)."""
    index = faiss.IndexFlatIP(unit.shape[1])
    index.add(unit)
    _, found = index.search(unit[queries], min(k + 1, len(unit)))
    rows = []
    for query, near in zip(queries, found, strict=True):
        others = near[near != query]  # a duplicate of the query may push it out of its own list
        rows.append(others[: found.shape[1] - 1])
    return np.array(rows, dtype=np.int64).reshape(len(queries), -1)
