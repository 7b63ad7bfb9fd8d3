"""Mine comparisons: pairs of images that a search finds close, which is where a similarity model has to decide.

Reads   data/embeddings.npy, data/split.csv
Writes  data/comparisons_train.csv, data/comparisons_test.csv (a, b, cosine, same; a < b are image numbers),
        metrics/mine.json
Run     python stages/mine.py

Queries are drawn from one part and searched within that part: `train` for the training table, `test_seen` for the
test table, so that no test image reaches training.
"""

import math
import time
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, model_validator

from faces.embeddings import read_embeddings, unit_length
from faces.factory_index import FactoryIndex, check_factory
from faces.files import write_csv, write_metrics
from faces.lsh import HyperplaneIndex, Neighbours, exact_neighbours
from faces.pair_table import COMPARISONS_PATHS
from faces.split_table import images_of, labels_of, read_split
from faces.stage import Params, StageError, load_params, progress, run, say
from faces.threads import fixed_threads

MOST_BUCKETS = 100_000  # some 0.1 s a query


LSH = "lsh"


class MineParams(Params):
    index: str = Field(min_length=1)
    index_parameters: str
    hyperplanes: int = Field(ge=8, le=64, multiple_of=8)
    radius: int = Field(ge=0, le=8)
    neighbours: int = Field(ge=1)
    queries: int = Field(ge=1)
    recall_queries: int = Field(ge=1)
    threads: int = Field(ge=1, le=1024)
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _few_enough_buckets(self) -> "MineParams":
        buckets = sum(math.comb(self.hyperplanes, flips) for flips in range(self.radius + 1))
        if buckets > MOST_BUCKETS:
            raise ValueError(f"Hyperplanes and radius make {buckets} buckets a query; allowed: {MOST_BUCKETS}")
        return self


def recall(found: dict[int, NDArray[np.int64]], unit: NDArray[np.float32], k: int, sample: int) -> float:
    """Return the share of the k exact nearest neighbours that the search found, over `sample` of the queries."""
    queries = np.array(list(found)[:sample], dtype=np.int64)
    exact = exact_neighbours(unit, queries, k)
    hits = [np.isin(truth, found[query]).mean() for query, truth in zip(queries.tolist(), exact, strict=True)]
    return float(np.mean(hits))


def comparison_table(found: list[Neighbours], labels: NDArray[np.int64]) -> pd.DataFrame:
    """Return what queries found as a, b, cosine, same, by position in `labels`; a < b, and no pair comes twice."""
    queries, near, cosines = zip(*found, strict=True)
    one = np.repeat(np.array(queries), [len(of_query) for of_query in near])
    other = np.concatenate(near)
    table = pd.DataFrame({"a": np.minimum(one, other), "b": np.maximum(one, other), "cosine": np.concatenate(cosines)})
    table = table[~pd.Series(table["a"] * len(labels) + table["b"]).duplicated()].reset_index(drop=True)
    table["same"] = (labels[table["a"]] == labels[table["b"]]).astype(np.int64)
    return table


def mine_part(
    unit: NDArray[np.float32], labels: NDArray[np.int64], params: MineParams, title: str
) -> tuple[pd.DataFrame, dict[str, float], float]:
    """Return the comparisons of one part by position in it, metrics without the part's name, and queries a second."""
    random = np.random.default_rng(params.seed)
    queries = random.choice(len(unit), size=min(params.queries, len(unit)), replace=False)
    began = time.perf_counter()
    index: HyperplaneIndex | FactoryIndex
    if params.index == LSH:
        index = HyperplaneIndex(unit, params.hyperplanes, params.radius, params.seed)
    else:
        index = FactoryIndex(unit, params.index, params.index_parameters)
    found = list(progress(index.search(queries, params.neighbours), title, len(queries), "query"))
    seconds = time.perf_counter() - began
    table = comparison_table(found, labels)
    metrics = {
        f"recall_at_{params.neighbours}": recall(
            {query: near for query, near, _ in found}, unit, params.neighbours, params.recall_queries
        ),
        "comparisons": len(table),
        "positive_share": float(table["same"].mean()) if len(table) else 0.0,
    }
    return table, metrics, len(queries) / seconds


def main() -> None:
    """Write the comparison tables and how well the search did."""
    params = load_params("mine", MineParams)
    split = read_split()
    unit, labels = unit_length(read_embeddings(len(split))), labels_of(split)
    if params.index != LSH:
        check_factory(params.index, params.index_parameters, unit.shape[1])
    metrics: dict[str, float] = {}
    speed: dict[str, float] = {}
    for (part, path), name in zip(COMPARISONS_PATHS.items(), ("train", "test"), strict=True):
        images = images_of(split, part)
        with fixed_threads(params.threads):
            table, of_part, queries_per_second = mine_part(unit[images], labels[images], params, f"mining {name}")
        if table["same"].nunique() < 2:
            raise StageError(
                f"{len(table)} mined comparisons of `{part}` are all of one label, so nothing can be learned from "
                "them: raise mine.queries or mine.radius, or pack more images"
            )
        write_csv(path, table.assign(a=images[table["a"]], b=images[table["b"]]))
        metrics |= {f"{key}_{name}": value for key, value in of_part.items()}
        speed[f"queries_per_second_{name}"] = queries_per_second
    write_metrics(Path("metrics/mine.json"), metrics)
    write_metrics(Path("metrics/speed/mine.json"), speed)
    say(", ".join(f"{name}: {value:.3g}" for name, value in metrics.items()))


if __name__ == "__main__":
    run(main)
