"""Any index that FAISS builds from a string (exact, HNSW, IVF, product quantisation), with an exact cosine re-rank.

https://github.com/facebookresearch/faiss/wiki/The-index-factory has the strings, and "Index IO, cloning and
hyper parameter tuning" beside it those of the parameters.
"""

import re
from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

from faces.core.errors import StageError
from faces.search.lsh import Neighbours, exact_neighbours, nearest
from faces.tables.embeddings import Vectors, blocks_of


def check_factory(factory: str, parameters: str, dimensions: int) -> faiss.Index:
    """Return an empty index by inner product; StageError says what FAISS finds wrong with the strings."""
    try:
        index = faiss.index_factory(dimensions, factory, faiss.METRIC_INNER_PRODUCT)
        if parameters:
            faiss.ParameterSpace().set_index_parameters(index, parameters)  # type: ignore[arg-type]
    except (RuntimeError, AssertionError) as error:
        raise StageError(
            f"params.yaml: mine.index: {factory!r}, index_parameters: {parameters!r}: FAISS says {_reason(error)}"
        ) from None
    return index


def _reason(error: Exception) -> str:
    """Return what FAISS says, without the place in its code."""
    return re.sub(r"^Error in .*? at \S+:\d+: (Error: |\S+::\w+:)?", "", " ".join(str(error).split()))[:200]


class ExactIndex:
    """All unit vectors (N, D) compared with every query, block by block from where they lie: it holds none."""

    def __init__(self, unit: Vectors) -> None:
        """Take the vectors."""
        self._unit = unit

    def search(self, queries: NDArray[np.int64], k: int) -> Iterator[Neighbours]:
        """Yield for each query, a number of an indexed vector: it, its k neighbours without it, their cosines.

        Nearest first; of equal cosines, the lower number first.
        """
        found = np.sort(exact_neighbours(self._unit, queries, k), axis=1)
        yield from in_batches(self._unit, queries, found, k)


class FactoryIndex:
    """An index of unit vectors (N, D), which may stay on disk: it holds what its factory string says."""

    def __init__(self, unit: Vectors, factory: str, parameters: str, training: int, seed: int) -> None:
        """Build it; what it learns, as centres of cells, it learns from `training` vectors at most.

        Vectors are added on one thread, since several would link those of an HNSW in any order.
        """
        self._unit = unit
        self._index = check_factory(factory, parameters, unit.shape[1])
        threads = faiss.omp_get_max_threads()
        try:
            if not self._index.is_trained:
                self._index.train(np.ascontiguousarray(unit[sample(len(unit), training, seed)]))
            faiss.omp_set_num_threads(1)
            for _, block in blocks_of(unit):
                self._index.add(block)
        except RuntimeError as error:
            raise StageError(
                f"params.yaml: mine.index: {factory!r}: {min(training, len(unit))} images of a part do not suffice to "
                "train it; an IVF takes one a cell at least, and PQ 256, in train and in test_seen: "
                f"FAISS says {_reason(error)}"
            ) from None
        finally:
            faiss.omp_set_num_threads(threads)

    def search(self, queries: NDArray[np.int64], k: int) -> Iterator[Neighbours]:
        """Yield for each query, a number of an indexed vector: it, up to k neighbours without it, their cosines.

        Nearest first, by the vectors themselves; of equal cosines, the lower number first.
        """
        _, found = self._index.search(np.ascontiguousarray(self._unit[queries]), min(k + 1, len(self._unit)))
        yield from in_batches(self._unit, queries, np.sort(found, axis=1), k)


def sample(images: int, most: int, seed: int) -> NDArray[np.int64]:
    """Return the numbers of all images, or of `most` of them at random, in rising order."""
    if images <= most:
        return np.arange(images)
    return np.sort(np.random.default_rng(seed).choice(images, most, replace=False))


def in_batches(
    unit: Vectors, queries: NDArray[np.int64], found: NDArray[np.int64], k: int, batch: int = 256
) -> Iterator[Neighbours]:
    """Yield what `nearest` does of queries and what was found (n, m), for `batch` of them at a time."""
    for start in range(0, len(queries), batch):
        rows = slice(start, start + batch)
        yield from nearest(unit, queries[rows], found[rows], k)
