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
from faces.core.quiet import quiet_stderr
from faces.core.sampling import sample_at_most
from faces.core.terminal import warn
from faces.search.neighbours import Neighbours, rerank_in_batches
from faces.tables.embeddings import Vectors, vector_blocks

TOO_FEW = r"WARNING clustering .* please provide at least (\d+) training points"  # as FAISS writes it


class FactoryIndex:
    """An index of unit vectors (N, D), which may stay on disk: it holds what its factory string says."""

    def __init__(self, unit: Vectors, factory: str, parameters: str, training_images: int, seed: int) -> None:
        """Build the index; it learns its cells or codes from at most `training_images` vectors, drawn by `seed`.

        Vectors are added on one thread, since several would link those of an HNSW in any order.
        """
        self._unit = unit
        self._index = make_empty_index(factory, parameters, unit.shape[1])
        threads = faiss.omp_get_max_threads()
        if not self._index.is_trained:
            self._train(factory, min(training_images, len(unit)), seed)
        faiss.omp_set_num_threads(1)
        try:
            for _, block in vector_blocks(unit):
                self._index.add(block)
        finally:
            faiss.omp_set_num_threads(threads)

    def _train(self, factory: str, images: int, seed: int) -> None:
        """Have the index learn from some of its vectors; warn if FAISS advises more, StageError if it needs more."""
        wrong, sample = "", sample_at_most(np.arange(len(self._unit)), images, seed)
        with quiet_stderr() as said:  # FAISS warns on stderr, once for each of its parts
            try:
                self._index.train(np.ascontiguousarray(self._unit[sample]))
            except RuntimeError as error:
                wrong = _shorten(error)
        if wrong:
            raise StageError(
                f"params.yaml: mine.index: {factory!r}: {images} images of a part do not suffice to train it; an IVF "
                f"takes one a cell at least, and PQ 256, in train and in test_seen: FAISS says {wrong}"
            )
        advised = max(map(int, re.findall(TOO_FEW, "\n".join(said))), default=0)
        if images < advised:
            cure = "raise mine.training_images" if images < len(self._unit) else "name one of fewer cells or codes"
            warn(
                f"params.yaml: mine.index: {factory!r}: it learns its cells or codes from {images} images of a part, "
                f"and FAISS advises {advised} at least, else recall may be low: {cure}"
            )

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
