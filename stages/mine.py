"""Mine comparisons: pairs of images that an index finds close, on which a similarity model has to decide.

Reads   data/embeddings.npy, data/split.csv
Writes  data/comparisons_train.csv, data/comparisons_test.csv (a, b, cosine, same; a < b are image numbers),
        metrics/mine.json
Run     python stages/mine.py

Queries are drawn from one part and searched within it: `train` for the training table, `test_seen` for the test table,
so that no test image reaches training. Comparisons are written in pieces, and the embeddings of a part with more than
`held_images` images are read in blocks. In memory are the index, the numbers of the neighbours of each query, and one
piece and one block.

The search is in faces/search: mining.py makes comparisons, index.py chooses the index, lsh.py is the default one.
"""

import faces.core.portable  # noqa: F401  first, since NumPy and others read its settings when they are imported

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from faces.core.csv_files import write_csv
from faces.core.errors import StageError
from faces.core.files import write_metrics
from faces.core.params import load_params
from faces.core.run import run
from faces.core.terminal import say
from faces.core.threads import fixed_threads, load_threads
from faces.search.index import check_index
from faces.search.mining import Mining, MiningParams
from faces.tables.embeddings import UnitVectors, read_embeddings
from faces.tables.pair_table import COMPARISONS_PATHS
from faces.tables.split_table import image_labels, part_images, read_split


class MineParams(MiningParams):
    held_images: int = Field(ge=0)


def mine_part(
    path: Path,
    embeddings: NDArray[np.float32],
    images: NDArray[np.int64],
    labels: NDArray[np.int64],
    params: MineParams,
) -> tuple[dict[str, float], dict[str, float]]:
    """Write the comparisons of one part to `path`; return its metrics and its speeds.

    StageError if all comparisons are of one label.

    Args:
        path: the CSV file.
        embeddings: of all images, (N, D).
        images: image numbers of the part, (n,).
        labels: of all images, (N,).
        params: of the stage.
    """
    unit = UnitVectors(embeddings, images)
    mining = Mining(unit.held() if len(unit) <= params.held_images else unit, labels[images], params)

    def pieces_of_both_labels() -> Iterator[pd.DataFrame]:
        for piece in mining.pieces(f"mining {path.stem}"):
            yield piece.assign(a=images[piece["a"]], b=images[piece["b"]])  # image numbers of the whole split
        if mining.positives in (0, mining.comparisons):
            raise StageError(
                f"{mining.comparisons} mined comparisons for {path} are all of one label, so nothing can be learned "
                "from them: raise mine.queries or mine.radius, or pack more images"
            )

    write_csv(path, pieces_of_both_labels())
    return mining.metrics(), mining.speed()


def main() -> None:
    """Write both tables of comparisons, the metrics and the speeds."""
    params = load_params("mine", MineParams)
    split = read_split()
    embeddings, labels = read_embeddings(len(split)), image_labels(split)
    check_index(params, embeddings.shape[1])
    metrics: dict[str, float] = {}
    speed: dict[str, float] = {}
    for part, path in COMPARISONS_PATHS.items():
        images, name = part_images(split, part), path.stem.removeprefix("comparisons_")
        with fixed_threads(load_threads()):
            part_metrics, part_speed = mine_part(path, embeddings, images, labels, params)
        metrics |= {f"{key}_{name}": value for key, value in part_metrics.items()}
        speed |= {f"{key}_{name}": value for key, value in part_speed.items()}
    write_metrics(Path("metrics/mine.json"), metrics)
    write_metrics(Path("metrics/speed/mine.json"), speed)
    shown = {name: f"{value:,}" if isinstance(value, int) else f"{value:.3g}" for name, value in metrics.items()}
    say(", ".join(f"{name}: {value}" for name, value in shown.items()))


if __name__ == "__main__":
    run(main)
