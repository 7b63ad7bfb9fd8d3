"""Any index that FAISS builds from a string (exact, HNSW, IVF, product quantisation), with an exact re-rank by cosine.

https://github.com/facebookresearch/faiss/wiki/The-index-factory lists the strings; "Index IO, cloning and hyper
parameter tuning", beside it, lists the parameters.
"""

import re
from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

from faces.core.errors import StageError
from faces.core.sampling import sample_at_most
from faces.search.neighbours import Neighbours, rerank_in_batches
from faces.tables.embeddings import Vectors, vector_blocks


class FactoryIndex:
    """An index of unit vectors (N, D), which may stay on disk: it holds what its factory string says."""

    def __init__(self, unit: Vectors, factory: str, parameters: str, training_images: int, seed: int) -> None:
        """Build the index; it learns its cells or codes from at most `training_images` vectors, drawn by `seed`.

        Vectors are added on one thread, since several would link those of an HNSW in any order.
        """
        self._unit = unit
        self._index = make_empty_index(factory, parameters, unit.shape[1])
        threads = faiss.omp_get_max_threads()
        try:
            if not self._index.is_trained:
                sample = sample_at_most(np.arange(len(unit)), training_images, seed)
                self._index.train(np.ascontiguousarray(unit[sample]))
            faiss.omp_set_num_threads(1)
            for _, block in vector_blocks(unit):
                self._index.add(block)
        except RuntimeError as error:
            raise StageError(
                f"params.yaml: mine.index: {factory!r}: {min(training_images, len(unit))} images of a part do not "
                "suffice to train it; an IVF takes one a cell at least, and PQ 256, in train and in test_seen: "
                f"FAISS says {_shorten(error)}"
            ) from None
        finally:
            faiss.omp_set_num_threads(threads)

    def search(self, queries: NDArray[np.int64], k: int) -> Iterator[Neighbours]:
        """Yield up to k nearest neighbours of each query, the number of an indexed vector, as `rerank` does."""
        _, found = self._index.search(np.ascontiguousarray(self._unit[queries]), min(k + 1, len(self._unit)))
        yield from rerank_in_batches(self._unit, queries, np.sort(found, axis=1), k)


def make_empty_index(factory: str, parameters: str, dimensions: int) -> faiss.Index:
    """Return an empty index by inner product; StageError says what FAISS finds wrong with the strings."""
    try:
        index = faiss.index_factory(dimensions, factory, faiss.METRIC_INNER_PRODUCT)
        if parameters:
            faiss.ParameterSpace().set_index_parameters(index, parameters)  # type: ignore[arg-type]
    except (RuntimeError, AssertionError) as error:
        raise StageError(
            f"params.yaml: mine.index: {factory!r}, index_parameters: {parameters!r}: FAISS says {_shorten(error)}"
        ) from None
    return index


def _shorten(error: Exception) -> str:
    """Return the message of FAISS without the place in its code."""
    return re.sub(r"^Error in .*? at \S+:\d+: (Error: |\S+::\w+:)?", "", " ".join(str(error).split()))[:200]
