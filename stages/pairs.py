"""Draw the image pairs that verification is scored on, for each part of the split.

Reads   data/split.csv
Writes  data/pairs.csv (part, a, b, same; a and b are image numbers), metrics/pairs.json
Run     python stages/pairs.py

Every subject gives anchors, and each anchor is paired with positives (same person) and negatives (another person).
Unlike in the notebook, an image is never paired with itself and no unordered pair comes twice. An anchor with fewer
positives than `pairs.positives` gets fewer negatives in proportion, so that both labels keep their weight.
"""

import faces.core.portable  # noqa: F401  first, since NumPy and others read its settings when they are imported

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from faces.core.csv_files import write_csv
from faces.core.errors import StageError
from faces.core.files import write_metrics
from faces.core.params import Params, load_params
from faces.core.run import run
from faces.core.terminal import say, warn
from faces.tables.pair_table import PAIRS_PATH
from faces.tables.split_table import SCORED, TRAIN, image_labels, part_images, read_split


class PairsParams(Params):
    seed: int = Field(ge=0)
    anchors: int = Field(ge=1)
    positives: int = Field(ge=1)
    negatives: int = Field(ge=1)


def draw_outside(start: int, stop: int, total: int, count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return `count` distinct random positions in range(total) outside start..stop, without a list of candidates."""
    drawn = random.choice(total - (stop - start), size=count, replace=False)
    return np.where(drawn < start, drawn, drawn + (stop - start))


def draw_pairs(labels: NDArray[np.int64], params: PairsParams) -> NDArray[np.int64]:
    """Return pairs (a, b, same), shape (n, 3), of positions in `labels`; no pair {a, b} comes twice.

    Args:
        labels: (N,) subject of each image.
        params: anchors per subject, positives and negatives per anchor.
    """
    random = np.random.default_rng(params.seed)
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    stops = [*starts[1:], len(labels)][: len(starts)]
    seen: set[tuple[int, int]] = set()
    pairs: list[tuple[int, int, int]] = []

    def add(anchor: int, others: NDArray[np.int64], same: int, most: int) -> int:
        """Pair the anchor with the first `most` others that make a new pair; return the number of pairs added."""
        added = 0
        for other in others.tolist():
            pair = min(anchor, other), max(anchor, other)
            if added < most and pair not in seen:
                seen.add(pair)
                pairs.append((int(order[anchor]), int(order[other]), same))
                added += 1
        return added

    for start, stop in zip(starts.tolist(), stops, strict=True):
        size, outside = stop - start, len(labels) - (stop - start)
        for anchor in (start + random.choice(size, size=min(params.anchors, size), replace=False)).tolist():
            same = start + draw_outside(anchor - start, anchor - start + 1, size, size - 1, random)
            positives = add(anchor, same, 1, params.positives)
            negatives = round(params.negatives * positives / params.positives)
            different = draw_outside(start, stop, len(labels), min(2 * negatives, outside), random)
            add(anchor, different, 0, negatives)  # twice as many are drawn, for some may have been met
    return np.array(pairs, dtype=np.int64).reshape(-1, 3)


def pairs_of_part(split: pd.DataFrame, part: str, params: PairsParams) -> pd.DataFrame:
    """Return the pairs of one part as part, a, b, same, in image numbers of the whole split."""
    images = part_images(split, part)
    positions = draw_pairs(image_labels(split)[images], params)
    table = pd.DataFrame({"a": images[positions[:, 0]], "b": images[positions[:, 1]], "same": positions[:, 2]})
    table.insert(0, "part", part)
    return table


def main() -> None:
    """Write the pairs and their counts."""
    params = load_params("pairs", PairsParams)
    split = read_split()
    tables = {part: pairs_of_part(split, part, params) for part in SCORED}
    counts = {}
    for part, table in tables.items():
        counts[f"genuine_{part}"] = int(table["same"].sum())
        counts[f"impostor_{part}"] = int((table["same"] == 0).sum())
        if counts[f"genuine_{part}"] == 0 and len(part_images(split, part)):
            message = f"no subject has two images in `{part}`, so it has no genuine pair"
            if part == TRAIN:
                raise StageError(f"{message} and no threshold can be chosen: pack more images a subject")
            warn(f"{message} and is not scored")
    write_csv(PAIRS_PATH, pd.concat(tables.values(), ignore_index=True))
    write_metrics(Path("metrics/pairs.json"), counts)
    say(", ".join(f"{name}: {count}" for name, count in counts.items()))


if __name__ == "__main__":
    run(main)
