"""Time, memory and recall of what `mine.index` may be, on ever more embeddings.

Run     python -m benchmarks.search [--held] [--images 10000 100000] [--index lsh Flat HNSW32:efSearch=128]
Prints  a row an index: seconds to build it, own memory of the process at its peak, recall, queries a second once built

It is `mine` that is measured, on embeddings in a file, as in a run: clusters of 20 round random directions, 512 numbers
each, of which 10 neighbours are looked for; 1,000 queries. Each index has a process of its own. Memory is counted as in
benchmarks.growth: mapped files, which the system drops when it needs room, are not in it. IVF stands for an IVF with
product quantisation whose number of cells fits the number of images.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.growth import run_measured

DIMENSIONS, CLUSTER, QUERIES, NEIGHBOURS = 512, 20, 1000, 10
INDICES = ["lsh", "Flat", "HNSW32:efSearch=128", "IVF"]


def write_embeddings(path: Path, images: int) -> None:
    """Write the embeddings of `images` images, piece by piece."""
    random = np.random.default_rng(0)
    array = np.lib.format.open_memmap(path, "w+", np.float32, (images, DIMENSIONS))
    for start in range(0, images, CLUSTER * 1000):
        count = len(rows := array[start : start + CLUSTER * 1000])
        centres = random.standard_normal((-(-count // CLUSTER), DIMENSIONS), np.float32).repeat(CLUSTER, axis=0)
        rows[:] = centres[:count] + random.standard_normal((count, DIMENSIONS), np.float32)
    array.flush()


def factory_of(name: str, images: int) -> tuple[str, str]:
    """Return index and parameters: as named or, for IVF, 4 sqrt(images) cells, of which one in 32 is searched."""
    if name != "IVF":
        index, _, parameters = name.partition(":")
        return index, parameters
    cells = 2 ** round(np.log2(4 * images**0.5))
    return f"IVF{cells},PQ64", f"nprobe={cells // 32}"


def measure(name: str, images: int, held: bool, path: Path) -> None:
    """Print a part of the row of one index, with embeddings held in memory or not."""
    from faces.core.params import load_params
    from faces.core.threads import fixed_threads, load_threads
    from faces.search.mining import Mining
    from faces.tables.embeddings import UnitVectors, read_embeddings
    from mine import MineParams

    index, parameters = factory_of(name, images)
    changes = {"index": index, "index_parameters": parameters, "queries": QUERIES, "neighbours": NEIGHBOURS}
    params = load_params("mine", MineParams).model_copy(update=changes)
    unit = UnitVectors(read_embeddings(images, path))
    with fixed_threads(load_threads()):
        mining = Mining(unit.held() if held else unit, np.arange(images) // CLUSTER, params)
        for _ in mining.pieces("mining"):
            pass
        recall, speed = mining.recall(), mining.speed()
    described = f"{index} {parameters}".strip()
    print(
        f"{described} | {speed['seconds_to_build']:.1f} | {recall:.3f} | {speed['queries_per_second_once_built']:,.0f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--index", nargs="+", default=INDICES)
    parser.add_argument("--held", action="store_true", help="hold embeddings in memory, as up to mine.held_images")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure(arguments.index[0], arguments.images[0], arguments.held, arguments.one)
        return
    print("| images | index | build, s | recall at 10 | queries/s | own memory at the peak, GB |")
    print("|---|---|---|---|---|---|", flush=True)
    for images in arguments.images:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "embeddings.npy")
            write_embeddings(path, images)
            for name in arguments.index:
                command = [sys.executable, "-m", "benchmarks.search", "--one", str(path)]
                command += ["--images", str(images), "--index", name, *(["--held"] if arguments.held else [])]
                row, _, gigabytes = run_measured(command, Path.cwd())
                print(f"| {images:,} | {row.strip()} | {gigabytes:.2f} |", flush=True)


if __name__ == "__main__":
    main()
