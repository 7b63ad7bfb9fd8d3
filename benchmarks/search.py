"""Time, memory and recall of what `mine.index` may be, on ever more embeddings.

Run     python -m benchmarks.search [--images 10000 100000] [--index lsh Flat HNSW32 IVF1024,PQ64]
Prints  a row an index: seconds to build it, memory it takes, recall of the 100 exact neighbours, queries a second

The embeddings are drawn: clusters of 20 around random directions, 512 numbers each. Every index is built by itself in a
process of its own, whose memory is that of the embeddings and the index.
"""

import argparse
import subprocess
import sys
import time

import numpy as np
import psutil
from numpy.typing import NDArray

DIMENSIONS, CLUSTER, QUERIES, NEIGHBOURS = 512, 20, 200, 100


def drawn(images: int) -> NDArray[np.float32]:
    """Return embeddings of length 1, (images, 512)."""
    random = np.random.default_rng(0)
    unit = np.empty((images, DIMENSIONS), np.float32)
    for start in range(0, images, CLUSTER * 1000):
        count = len(rows := unit[start : start + CLUSTER * 1000])
        centres = random.standard_normal((-(-count // CLUSTER), DIMENSIONS), np.float32).repeat(CLUSTER, axis=0)
        rows[:] = centres[:count] + random.standard_normal((count, DIMENSIONS), np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def measure(name: str, images: int) -> None:
    """Print the row of one index."""
    from faces.factory_index import FactoryIndex
    from faces.lsh import HyperplaneIndex, exact_neighbours

    unit = drawn(images)
    before = psutil.Process().memory_info().rss
    name, _, parameters = name.partition(":")
    began = time.perf_counter()
    index = HyperplaneIndex(unit, 16, 3, 143) if name == "lsh" else FactoryIndex(unit, name, parameters)
    built, memory = time.perf_counter() - began, (psutil.Process().memory_info().rss - before) / 1e9
    queries = np.random.default_rng(1).choice(images, QUERIES, replace=False)
    began = time.perf_counter()
    found = {query: near for query, near, _ in index.search(queries, NEIGHBOURS)}
    speed = QUERIES / (time.perf_counter() - began)
    exact = exact_neighbours(unit, queries, NEIGHBOURS)
    recall = np.mean(
        [np.isin(truth, found[query]).mean() for query, truth in zip(queries.tolist(), exact, strict=True)]
    )
    print(
        f"| {images:,} | {name} {parameters} | {built:.1f} | {memory:.2f} | {recall:.3f} | {speed:,.0f} |", flush=True
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--index", nargs="+", default=["lsh", "Flat", "HNSW32:efSearch=128", "IVF1024,PQ64:nprobe=16"])
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure(arguments.index[0], arguments.images[0])
        return
    print("| images | index | build, s | memory beside the embeddings, GB | recall at 100 | queries/s |")
    print("|---|---|---|---|---|---|", flush=True)
    for images in arguments.images:
        for name in arguments.index:
            command = [sys.executable, "-m", "benchmarks.search", "--one", "--images", str(images), "--index", name]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
