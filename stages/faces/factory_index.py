"""Any index that FAISS builds from a string (exact, HNSW, IVF, product quantisation), with an exact cosine re-rank.

https://github.com/facebookresearch/faiss/wiki/The-index-factory has the strings, and "Index IO, cloning and
hyper parameter tuning" beside it those of the parameters.
"""

from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

from faces.lsh import Neighbours, nearest
from faces.stage import StageError


def check_factory(factory: str, parameters: str, dimensions: int) -> faiss.Index:
    """Return an empty index by inner product; StageError says what FAISS finds wrong with the strings."""
    try:
        index = faiss.index_factory(dimensions, factory, faiss.METRIC_INNER_PRODUCT)
        if parameters:
            faiss.ParameterSpace().set_index_parameters(index, parameters)  # type: ignore[arg-type]
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split()).rpartition("Error: ")[2] or str(error)
        raise StageError(
            f"params.yaml: mine.index: {factory!r}, index_parameters: {parameters!r}: FAISS says {reason[:200]}"
        ) from None
    return index


class FactoryIndex:
    """An index of unit vectors (N, D)."""

    def __init__(self, unit: NDArray[np.float32], factory: str, parameters: str) -> None:
        """Build it; vectors are added on one thread, since several would link those of an HNSW in any order."""
        self._unit = np.ascontiguousarray(unit)
        self._index = check_factory(factory, parameters, unit.shape[1])
        threads = faiss.omp_get_max_threads()
        try:
            if not self._index.is_trained:
                self._index.train(self._unit)
            faiss.omp_set_num_threads(1)
            self._index.add(self._unit)
        except RuntimeError as error:
            reason = " ".join(str(error).split()).rpartition("Error: ")[2]
            raise StageError(
                f"params.yaml: mine.index: {factory!r}: {len(unit)} images do not suffice: FAISS says {reason[:200]}"
            ) from None
        finally:
            faiss.omp_set_num_threads(threads)

    def search(self, queries: NDArray[np.int64], k: int, batch: int = 256) -> Iterator[Neighbours]:
        """Yield for each query, a number of an indexed vector: it, up to k neighbours without it, their cosines.

        Nearest first, by the vectors themselves; of equal cosines, the lower number first.
        """
        for start in range(0, len(queries), batch):
            numbers = queries[start : start + batch]
            _, found = self._index.search(self._unit[numbers], min(k + 1, len(self._unit)))
            yield from nearest(self._unit, numbers, np.sort(found, axis=1), k)
