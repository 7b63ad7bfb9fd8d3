"""Nearest neighbours by cosine: exact search, and the exact re-rank of what an index has found."""

from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

from faces.tables.embeddings import Vectors, vector_blocks

Neighbours = tuple[int, NDArray[np.int64], NDArray[np.float32]]  # number of a query, numbers of others, their cosines
NOBODY = -1  # stands for no candidate; FAISS skips it
MAX_NUMBERS = 2**24  # of the candidates' vectors at a time: 64 MB
QUERIES_AT_ONCE = 256  # in a re-rank


class ExactIndex:
    """Exact search in unit vectors (N, D): it compares every query with all of them, block by block, and holds none."""

    def __init__(self, unit: Vectors) -> None:
        """Take the vectors, which may stay on disk."""
        self._unit = unit

    def search(self, queries: NDArray[np.int64], k: int) -> Iterator[Neighbours]:
        """Yield the k nearest neighbours of each query, as `rerank` does."""
        found = np.sort(exact_neighbours(self._unit, queries, k), axis=1)
        yield from rerank_in_batches(self._unit, queries, found, k)


def exact_neighbours(unit: Vectors, queries: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return the numbers of the k nearest vectors of each query, by cosine and without the query itself: (n, k).

    Args:
        unit: vectors of length 1, (N, D). A block of them is compared with all queries at a time.
        queries: numbers of vectors among them, (n,).
        k: neighbours of a query; N - 1 if N is not larger.
    """
    asked = np.ascontiguousarray(unit[queries])
    best = faiss.ResultHeap(len(queries), min(k + 1, len(unit)), keep_max=True)
    for start, block in vector_blocks(unit):
        cosines, found = faiss.knn(asked, block, min(k + 1, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        best.add_result(cosines, found + start)
    best.finalize()
    is_query = best.I == queries[:, None]
    is_query[~is_query.any(axis=1), -1] = True  # copies of the query have displaced it: drop the farthest instead
    return best.I[~is_query].reshape(len(queries), -1)


def rerank(unit: Vectors, queries: NDArray[np.int64], candidates: NDArray[np.int64], k: int) -> Iterator[Neighbours]:
    """Yield for each query its number, the numbers of its k nearest candidates, and their cosines.

    Neighbours are in descending order of cosine; of equal cosines, the lower number comes first. The query itself is
    not among them. There are fewer than k if there are not as many candidates.

    Args:
        unit: vectors of length 1, (N, D).
        queries: numbers of vectors among them, (n,).
        candidates: numbers, ascending in each row, NOBODY for none, (n, m).
        k: neighbours of a query.
    """
    others = np.where(candidates == queries[:, None], NOBODY, candidates)
    cosines = _cosines(unit, queries, others)
    best = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    for query, row, near, cosine in zip(queries.tolist(), best, others, cosines, strict=True):
        row = row[near[row] != NOBODY]
        yield query, near[row], cosine[row]


def rerank_in_batches(
    unit: Vectors, queries: NDArray[np.int64], found: NDArray[np.int64], k: int
) -> Iterator[Neighbours]:
    """Yield `rerank` of candidates `found` (n, m), for `QUERIES_AT_ONCE` at a time."""
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        rows = slice(start, start + QUERIES_AT_ONCE)
        yield from rerank(unit, queries[rows], found[rows], k)


def _cosines(unit: Vectors, queries: NDArray[np.int64], candidates: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the dot products of vectors `queries` (n,) with their `candidates` (n, m); -infinity for NOBODY.

    Vectors on disk are read for some columns of candidates at a time, so that at most `MAX_NUMBERS` are in memory.
    """
    asked = np.ascontiguousarray(unit[queries])
    if isinstance(unit, np.ndarray):
        return _dot_products(asked, np.ascontiguousarray(unit), candidates)
    cosines = np.empty(candidates.shape, dtype=np.float32)
    width = max(1, MAX_NUMBERS // (unit.shape[1] * len(queries)))
    for start in range(0, candidates.shape[1], width):
        columns = slice(start, start + width)
        needed, places = np.unique(candidates[:, columns], return_inverse=True)
        places = places.reshape(len(queries), -1) - np.count_nonzero(needed == NOBODY)  # which comes first, if at all
        cosines[:, columns] = _dot_products(asked, unit[needed[needed != NOBODY]], places)
    return cosines


def _dot_products(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], places: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the dot products of queries (n, D) with vectors (N, D) at `places` (n, m); -infinity for NOBODY."""
    products = np.empty(places.shape, dtype=np.float32)
    arrays = (products, queries, vectors, np.ascontiguousarray(places))  # alive while FAISS has their addresses
    by_number = faiss.fvec_inner_products_by_idx  # type: ignore[attr-defined]  # made at import
    by_number(*(faiss.swig_ptr(array) for array in arrays), vectors.shape[1], *places.shape)
    return products
