"""What 20,000 queries found, into one table of comparisons."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks import notebook
from benchmarks.timing import alternate, table
from faces.core.params import load_params
from faces.search.mining import Mining
from faces.search.neighbours import Neighbours
from mine import MineParams

IMAGES, QUERIES, NEIGHBOURS, NOTEBOOK_QUERIES = 50_000, 20_000, 100, 50


def main() -> None:
    """Print the table."""
    random = np.random.default_rng(0)
    labels = np.arange(IMAGES) // 20
    near = random.integers(0, IMAGES, (QUERIES, NEIGHBOURS))
    cosines = -np.sort(-random.random((QUERIES, NEIGHBOURS), dtype=np.float32), axis=1)
    users, names = labels.astype(str), np.arange(IMAGES).astype(str)
    frames = [pd.DataFrame({"id": near[query], "distance": 1 - cosines[query]}) for query in range(NOTEBOOK_QUERIES)]

    def row_by_row() -> None:
        tables = [notebook.comparisons_of(query, frame, users, names, NEIGHBOURS) for query, frame in enumerate(frames)]
        pd.concat(tables, ignore_index=True)

    class Known:
        """An index whose answers are known."""

        def search(self, queries: NDArray[np.int64], _: int) -> Iterator[Neighbours]:
            return ((query, near[turn[query]], cosines[turn[query]]) for query in queries.tolist())

    params = load_params("mine", MineParams).model_copy(update={"queries": QUERIES, "index": "Flat"})

    def ours() -> None:
        mining = Mining(unit, labels, params)
        turn[mining.queries] = np.arange(QUERIES)
        mining._index = Known()
        list(mining.pieces("mining"))

    unit, turn = np.ones((IMAGES, 1), np.float32), np.zeros(IMAGES, np.int64)
    ways = {
        "ours": ours,
        "notebook: a DataFrame a query": row_by_row,
    }
    work = {"ours": float(QUERIES), "notebook: a DataFrame a query": float(NOTEBOOK_QUERIES)}
    table("comparisons of 20,000 queries into a table", "queries/s", alternate(ways, rounds=5), work, "ours")


if __name__ == "__main__":
    main()
