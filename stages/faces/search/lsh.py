"""Locality-sensitive hashing by random hyperplanes (Charikar, 2002), with an exact cosine re-rank.

A vector's hash has a bit for each hyperplane: 1 on its positive side. A query's candidates are all vectors whose hash
differs from its own in at most `radius` bits; the nearest of them by cosine are its neighbours.
"""

from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

from faces.tables.embeddings import Vectors, blocks_of

Neighbours = tuple[int, NDArray[np.int64], NDArray[np.float32]]  # a query, others near it, their cosines
NOBODY = -1  # what FAISS skips
MOST_CANDIDATES = 16_000_000  # at a time: some 500 MB
MOST_NUMBERS = 2**24  # of candidates' vectors at a time: 64 MB


class HyperplaneIndex:
    """An index of unit vectors (N, D), hashed to `planes` bits; the vectors may stay on disk."""

    def __init__(self, unit: Vectors, planes: int, radius: int, seed: int) -> None:
        """Hash the vectors. `planes` must be a multiple of 8, since FAISS stores whole bytes."""
        if planes % 8:
            raise ValueError(f"planes = {planes}; must be a multiple of 8")
        self._unit = unit
        self._planes = planes
        self._normals = np.random.default_rng(seed).standard_normal((unit.shape[1], planes))
        self._index = faiss.IndexBinaryHash(planes, planes)
        self._index.nflip = radius
        for _, block in blocks_of(unit):
            self._index.add(self.hash(block))

    def hash(self, vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the hashes of (n, D) vectors, bits packed: (n, planes / 8). A zero dot product counts as positive."""
        hashes = np.empty((len(vectors), self._planes // 8), dtype=np.uint8)
        for start, block in blocks_of(vectors):
            hashes[start : start + len(block)] = np.packbits(block.astype(np.float64) @ self._normals >= 0, axis=1)
        return hashes

    def candidates(self, queries: NDArray[np.float32]) -> list[NDArray[np.int64]]:
        """Return for each of (n, D) queries the vectors in all buckets within `radius` flipped bits, ascending."""
        everything_in_reach = self._planes + 1  # FAISS keeps distances below this; buckets alone decide
        limits, _, found = self._index.range_search(self.hash(queries), everything_in_reach)
        return [np.sort(found[start:stop]) for start, stop in zip(limits[:-1], limits[1:], strict=True)]

    def search(self, queries: NDArray[np.int64], k: int, batch: int = 256) -> Iterator[Neighbours]:
        """Yield for each query, a number of an indexed vector: it, up to k neighbours without it, their cosines.

        Nearest first; of equal cosines, the lower number first. `batch` queries are worked on at a time, or fewer, so
        that memory suffices even if every vector is a candidate of every query.
        """
        batch = max(1, min(batch, MOST_CANDIDATES // len(self._unit)))
        for start in range(0, len(queries), batch):
            numbers = queries[start : start + batch]
            found = self.candidates(self._unit[numbers])
            candidates = np.full((len(numbers), max(map(len, found))), NOBODY)
            for row, near in zip(candidates, found, strict=True):
                row[: len(near)] = near
            yield from nearest(self._unit, numbers, candidates, k)


def nearest(unit: Vectors, numbers: NDArray[np.int64], candidates: NDArray[np.int64], k: int) -> Iterator[Neighbours]:
    """Yield for each query, a number of one of `unit` (N, D): it, its k nearest candidates without it, their cosines.

    Nearest first; of equal cosines, the lower number first. `candidates` (n, m) are numbers in rising order, a row a
    query, with NOBODY for none.
    """
    others = np.where(candidates == numbers[:, None], NOBODY, candidates)
    cosines = _cosines(unit, numbers, others)
    best = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    for query, row, near, cosine in zip(numbers.tolist(), best, others, cosines, strict=True):
        row = row[near[row] != NOBODY]
        yield query, near[row], cosine[row]


def _cosines(unit: Vectors, numbers: NDArray[np.int64], candidates: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the dot products of vectors `numbers` (n,) and their `candidates` (n, m); -infinity for NOBODY.

    Vectors on disk are read for so many columns of candidates at a time that they fit into memory.
    """
    queries = np.ascontiguousarray(unit[numbers])
    if isinstance(unit, np.ndarray):
        return _products(queries, np.ascontiguousarray(unit), candidates)
    cosines = np.empty(candidates.shape, dtype=np.float32)
    width = max(1, MOST_NUMBERS // (unit.shape[1] * len(numbers)))
    for start in range(0, candidates.shape[1], width):
        columns = slice(start, start + width)
        needed, places = np.unique(candidates[:, columns], return_inverse=True)
        places = places.reshape(len(numbers), -1) - np.count_nonzero(needed == NOBODY)  # the first, if it is there
        cosines[:, columns] = _products(queries, unit[needed[needed != NOBODY]], places)
    return cosines


def _products(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], places: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the dot products of queries (n, D) and vectors (N, D) at their `places` (n, m); -infinity for NOBODY."""
    products = np.empty(places.shape, dtype=np.float32)
    arrays = (products, queries, vectors, np.ascontiguousarray(places))  # alive while FAISS has their addresses
    by_number = faiss.fvec_inner_products_by_idx  # type: ignore[attr-defined]  # made at import
    by_number(*(faiss.swig_ptr(array) for array in arrays), vectors.shape[1], *places.shape)
    return products


def exact_neighbours(unit: Vectors, queries: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return the k nearest vectors by cosine to each query, a number of one of `unit`, without the query: (n, k).

    A block of vectors is compared with all queries at a time, so that few are in memory.
    """
    asked = np.ascontiguousarray(unit[queries])
    best = faiss.ResultHeap(len(queries), min(k + 1, len(unit)), keep_max=True)
    for start, block in blocks_of(unit):
        cosines, found = faiss.knn(asked, block, min(k + 1, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        best.add_result(cosines, found + start)
    best.finalize()
    is_query = best.I == queries[:, None]
    is_query[~is_query.any(axis=1), -1] = True  # duplicates of the query have pushed it out: the farthest goes
    return best.I[~is_query].reshape(len(queries), -1)
