"""The index that `mine.index` in params.yaml asks for."""

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from faces.core.errors import StageError
from faces.core.params import Params
from faces.search.factory_index import FactoryIndex
from faces.search.lsh import HyperplaneIndex
from faces.search.neighbours import ExactIndex, Neighbours
from faces.search.trial import try_index
from faces.tables.embeddings import Vectors

MAX_BUCKETS = 100_000  # some 0.1 s a query
MAX_LETTERS = 200  # of a string for FAISS, whose parser takes minutes for a long one
LSH, EXACT = "lsh", "Flat"


class IndexParams(Params):
    """The keys of the section `mine:` that choose the index."""

    index: str = Field(min_length=1, max_length=MAX_LETTERS)
    index_parameters: str = Field(max_length=MAX_LETTERS)
    training_images: int = Field(ge=1)
    hyperplanes: int = Field(ge=8, le=64, multiple_of=8)
    radius: int = Field(ge=0, le=8)
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _few_enough_buckets(self) -> "IndexParams":
        buckets = sum(math.comb(self.hyperplanes, flips) for flips in range(self.radius + 1))
        if buckets > MAX_BUCKETS:
            raise ValueError(f"Hyperplanes and radius make {buckets} buckets a query; allowed: {MAX_BUCKETS}")
        return self


class Index(Protocol):
    """An index of unit vectors."""

    def search(self, queries: NDArray[np.int64], k: int) -> Iterator[Neighbours]:
        """Yield up to k nearest neighbours of each query, the number of an indexed vector, as `rerank` does."""
        ...


def build_index(unit: Vectors, params: IndexParams) -> Index:
    """Return the index of unit vectors (N, D)."""
    if params.index == LSH:
        return HyperplaneIndex(unit, params.hyperplanes, params.radius, params.seed)
    if params.index == EXACT:
        return ExactIndex(unit)
    return FactoryIndex(unit, params.index, params.index_parameters, params.training_images, params.seed)


def check_index(params: IndexParams, dimensions: int) -> None:
    """Raise StageError if FAISS cannot build such an index of vectors of `dimensions` numbers, or crashes on it."""
    if params.index in (LSH, EXACT):
        return
    if wrong := try_index(params.index, params.index_parameters, dimensions):
        raise StageError(
            f"params.yaml: mine.index: {params.index!r}, index_parameters: {params.index_parameters!r}: {wrong}"
        )
