"""Mine comparisons: pairs of images that a search finds close, which is where a similarity model has to decide.

Reads   data/embeddings.npy, data/split.csv
Writes  data/comparisons_train.csv, data/comparisons_test.csv (a, b, cosine, same; a < b are image numbers),
        metrics/mine.json
Run     python stages/mine.py

Queries are drawn from one part and searched within that part: `train` for the training table, `test_seen` for the
test table, so that no test image reaches training. Comparisons are written some at a time and, of a part that has more
than `held_images`, embeddings are read some at a time: what is held is the index, the number of each neighbour of each
query, and a block of either.
"""

import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, model_validator

from faces.core.csv_files import write_csv
from faces.core.errors import StageError
from faces.core.files import write_metrics
from faces.core.params import Params, load_params
from faces.core.run import run
from faces.core.terminal import progress, say
from faces.core.threads import fixed_threads, load_threads
from faces.search.factory_index import ExactIndex, FactoryIndex, check_factory
from faces.search.lsh import NOBODY, HyperplaneIndex, Neighbours, exact_neighbours
from faces.tables.embeddings import UnitVectors, Vectors, read_embeddings
from faces.tables.pair_table import COMPARISONS_PATHS
from faces.tables.split_table import images_of, labels_of, read_split

MOST_BUCKETS = 100_000  # some 0.1 s a query
QUERIES_AT_ONCE = 4096  # what they find becomes a piece of the table: 10 MB at 100 neighbours
LSH, EXACT = "lsh", "Flat"


class MineParams(Params):
    index: str = Field(min_length=1)
    index_parameters: str
    training_images: int = Field(ge=1)
    held_images: int = Field(ge=0)
    hyperplanes: int = Field(ge=8, le=64, multiple_of=8)
    radius: int = Field(ge=0, le=8)
    neighbours: int = Field(ge=1)
    queries: int = Field(ge=1)
    recall_queries: int = Field(ge=1)
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _few_enough_buckets(self) -> "MineParams":
        buckets = sum(math.comb(self.hyperplanes, flips) for flips in range(self.radius + 1))
        if buckets > MOST_BUCKETS:
            raise ValueError(f"Hyperplanes and radius make {buckets} buckets a query; allowed: {MOST_BUCKETS}")
        return self


def check_index(params: MineParams, dimensions: int) -> None:
    """Raise StageError if FAISS makes no index for so many dimensions of what the parameters ask for."""
    if params.index != LSH:
        check_factory(params.index, params.index_parameters, dimensions)


def build(unit: Vectors, params: MineParams) -> HyperplaneIndex | ExactIndex | FactoryIndex:
    """Return the index that the parameters ask for, of unit vectors (N, D)."""
    if params.index == LSH:
        return HyperplaneIndex(unit, params.hyperplanes, params.radius, params.seed)
    if params.index == EXACT:
        return ExactIndex(unit)
    return FactoryIndex(unit, params.index, params.index_parameters, params.training_images, params.seed)


class Mining:
    """The comparisons of one part, by position in it; counts and times are of the pieces made so far."""

    def __init__(self, unit: Vectors, labels: NDArray[np.int64], params: MineParams) -> None:
        """Build the index of unit vectors (N, D), whose labels are (N,), and draw the queries."""
        self._unit, self._labels, self._params = unit, labels, params
        random = np.random.default_rng(params.seed)
        self.queries = random.choice(len(unit), size=min(params.queries, len(unit)), replace=False)
        self._turn = np.full(len(unit), NOBODY, dtype=np.int32)  # of an image as a query
        self._turn[self.queries] = np.arange(len(self.queries))
        self._found = np.full((len(self.queries), min(params.neighbours, len(unit) - 1)), NOBODY, dtype=np.int32)
        self.comparisons, self.positives, self.search_seconds = 0, 0, 0.0
        began = time.perf_counter()
        self._index = build(unit, params)
        self.build_seconds = time.perf_counter() - began

    def pieces(self, title: str) -> Iterator[pd.DataFrame]:
        """Yield what queries found as a, b, cosine, same: a < b, nearest first, and no pair comes twice."""
        for start in progress(range(0, len(self.queries), QUERIES_AT_ONCE), title, unit="chunk"):
            queries = self.queries[start : start + QUERIES_AT_ONCE]
            began = time.perf_counter()
            found = list(self._index.search(queries, self._params.neighbours))
            self.search_seconds += time.perf_counter() - began
            table = self._table(start, found)
            self.comparisons += len(table)
            self.positives += int(table["same"].sum())
            yield table

    def _table(self, start: int, found: list[Neighbours]) -> pd.DataFrame:
        for turn, (_, near, _) in enumerate(found, start):
            self._found[turn, : len(near)] = near
        query = np.repeat([of for of, _, _ in found], [len(near) for _, near, _ in found])
        other = np.concatenate([near for _, near, _ in found])
        cosine = np.concatenate([cosines for _, _, cosines in found])
        new = ~self._found_before(query, other)
        query, other = query[new], other[new]
        same = (self._labels[query] == self._labels[other]).astype(np.int64)
        a, b = np.minimum(query, other), np.maximum(query, other)
        return pd.DataFrame({"a": a, "b": b, "cosine": cosine[new], "same": same})

    def _found_before(self, query: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which pairs an earlier query has found: the other image, if it was one and found this one."""
        before = np.zeros(len(query), dtype=bool)
        earlier = np.flatnonzero((self._turn[other] != NOBODY) & (self._turn[other] < self._turn[query]))
        for rows in np.array_split(earlier, 1 + len(earlier) // QUERIES_AT_ONCE):
            before[rows] = (self._found[self._turn[other[rows]]] == query[rows, None]).any(axis=1)
        return before

    def recall(self) -> float:
        """Return the share of the exact nearest neighbours that the search found, over `recall_queries` queries."""
        queries = self.queries[: self._params.recall_queries]
        exact = exact_neighbours(self._unit, queries, self._params.neighbours)
        hits = [np.isin(truth, found).mean() for truth, found in zip(exact, self._found, strict=False)]
        return float(np.mean(hits))

    def figures(self) -> dict[str, float]:
        """Return the metrics, without the part's name."""
        return {
            f"recall_at_{self._params.neighbours}": self.recall(),
            "comparisons": self.comparisons,
            "positive_share": self.positives / self.comparisons if self.comparisons else 0.0,
        }

    def speed(self) -> dict[str, float]:
        """Return what took how long."""
        seconds = self.build_seconds + self.search_seconds
        return {
            "queries_per_second": len(self.queries) / seconds,
            "queries_per_second_once_built": len(self.queries) / self.search_seconds,
            "seconds_to_build": self.build_seconds,
        }


def in_split(pieces: Iterable[pd.DataFrame], images: NDArray[np.int64]) -> Iterator[pd.DataFrame]:
    """Yield pieces with image numbers of the whole split, those of the part being `images`."""
    for piece in pieces:
        yield piece.assign(a=images[piece["a"]], b=images[piece["b"]])


def mine_part(
    path: Path,
    embeddings: NDArray[np.float32],
    images: NDArray[np.int64],
    labels: NDArray[np.int64],
    params: MineParams,
) -> tuple[dict[str, float], dict[str, float]]:
    """Write the comparisons of one part, some `images` of all those that have `embeddings` and `labels`.

    Returns metrics and speeds, and holds nothing of the part any more. StageError if all are of one label.
    """
    unit = UnitVectors(embeddings, images)
    mining = Mining(unit.held() if len(unit) <= params.held_images else unit, labels[images], params)

    def checked() -> Iterator[pd.DataFrame]:
        yield from in_split(mining.pieces(f"mining {path.stem}"), images)
        if mining.positives in (0, mining.comparisons):
            raise StageError(
                f"{mining.comparisons} mined comparisons for {path} are all of one label, so nothing can be learned "
                "from them: raise mine.queries or mine.radius, or pack more images"
            )

    write_csv(path, checked())
    return mining.figures(), mining.speed()


def main() -> None:
    """Write the comparison tables and how well the search did."""
    params = load_params("mine", MineParams)
    split = read_split()
    embeddings, labels = read_embeddings(len(split)), labels_of(split)
    check_index(params, embeddings.shape[1])
    metrics: dict[str, float] = {}
    speed: dict[str, float] = {}
    for part, path in COMPARISONS_PATHS.items():
        images, name = images_of(split, part), path.stem.removeprefix("comparisons_")
        with fixed_threads(load_threads()):
            of_part = mine_part(path, embeddings, images, labels, params)
        for figures, values in zip((metrics, speed), of_part, strict=True):
            figures |= {f"{key}_{name}": value for key, value in values.items()}
    write_metrics(Path("metrics/mine.json"), metrics)
    write_metrics(Path("metrics/speed/mine.json"), speed)
    say(", ".join(f"{name}: {value:.3g}" for name, value in metrics.items()))


if __name__ == "__main__":
    run(main)
