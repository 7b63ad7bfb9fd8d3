"""Mining of comparisons: queries -> their nearest neighbours -> pairs of images, each pair once."""

import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from faces.core.terminal import progress
from faces.search.index import IndexParams, build_index
from faces.search.neighbours import NOBODY, Neighbours, exact_neighbours
from faces.tables.embeddings import Vectors

CHUNK = 4096  # queries at a time; their pairs are a piece of the table: 10 MB at 100 neighbours


class MiningParams(IndexParams):
    """The keys of the section `mine:` that choose queries and neighbours."""

    neighbours: int = Field(ge=1)
    queries: int = Field(ge=1)
    recall_queries: int = Field(ge=1)


class Mining:
    """The comparisons of one part, by place in the part. Counts and times are those of the pieces made so far."""

    def __init__(self, unit: Vectors, labels: NDArray[np.int64], params: MiningParams) -> None:
        """Draw the queries, and build the index of unit vectors (N, D) with labels (N,)."""
        self._unit, self._labels, self._params = unit, labels, params
        random = np.random.default_rng(params.seed)
        self.queries = random.choice(len(unit), size=min(params.queries, len(unit)), replace=False)
        self._turn = np.full(len(unit), NOBODY, dtype=np.int32)  # place of each image among the queries
        self._turn[self.queries] = np.arange(len(self.queries))
        self._found = np.full((len(self.queries), min(params.neighbours, len(unit) - 1)), NOBODY, dtype=np.int32)
        self.comparisons, self.positives, self.search_seconds = 0, 0, 0.0
        began = time.perf_counter()
        self._index = build_index(unit, params)
        self.build_seconds = time.perf_counter() - began

    def pieces(self, title: str) -> Iterator[pd.DataFrame]:
        """Yield the comparisons of some queries at a time: columns a, b, cosine, same, with a < b.

        Those of a query are in descending order of cosine. No pair comes twice.
        """
        for start in progress(range(0, len(self.queries), CHUNK), title, unit="chunk"):
            queries = self.queries[start : start + CHUNK]
            began = time.perf_counter()
            found = list(self._index.search(queries, self._params.neighbours))
            self.search_seconds += time.perf_counter() - began
            table = self._tabulate(start, found)
            self.comparisons += len(table)
            self.positives += int(table["same"].sum())
            yield table

    def _tabulate(self, start: int, found: list[Neighbours]) -> pd.DataFrame:
        """Return the new comparisons of the queries from place `start` on, and remember their neighbours."""
        for turn, (_, near, _) in enumerate(found, start):
            self._found[turn, : len(near)] = near
        query = np.repeat([number for number, _, _ in found], [len(near) for _, near, _ in found])
        other = np.concatenate([near for _, near, _ in found])
        cosine = np.concatenate([cosines for _, _, cosines in found])
        new = ~self._found_before(query, other)
        query, other = query[new], other[new]
        same = (self._labels[query] == self._labels[other]).astype(np.int64)
        a, b = np.minimum(query, other), np.maximum(query, other)
        return pd.DataFrame({"a": a, "b": b, "cosine": cosine[new], "same": same})

    def _found_before(self, query: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which pairs are known: `other` was an earlier query, and `query` among its neighbours."""
        before = np.zeros(len(query), dtype=bool)
        earlier = np.flatnonzero((self._turn[other] != NOBODY) & (self._turn[other] < self._turn[query]))
        for rows in np.array_split(earlier, 1 + len(earlier) // CHUNK):
            before[rows] = (self._found[self._turn[other[rows]]] == query[rows, None]).any(axis=1)
        return before

    def recall(self) -> float:
        """Return the share of the exact nearest neighbours that the index found, over `recall_queries` queries."""
        queries = self.queries[: self._params.recall_queries]
        exact = exact_neighbours(self._unit, queries, self._params.neighbours)
        hits = [np.isin(truth, found).mean() for truth, found in zip(exact, self._found, strict=False)]
        return float(np.mean(hits))

    def metrics(self) -> dict[str, float]:
        """Return the metrics, without the name of the part."""
        return {
            f"recall_at_{self._params.neighbours}": self.recall(),
            "comparisons": self.comparisons,
            "positive_share": self.positives / self.comparisons if self.comparisons else 0.0,
        }

    def speed(self) -> dict[str, float]:
        """Return the speed of the search, with and without the time to build the index, and that time in seconds."""
        seconds = self.build_seconds + self.search_seconds
        return {
            "queries_per_second": len(self.queries) / seconds,
            "queries_per_second_once_built": len(self.queries) / self.search_seconds,
            "seconds_to_build": self.build_seconds,
        }
