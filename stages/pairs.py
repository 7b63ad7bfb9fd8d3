"""Draw the image pairs that verification is scored on, for each part of the split.

Reads   data/split.csv
Writes  data/pairs.csv (part, a, b, same; a and b are image numbers), metrics/pairs.json
Run     python stages/pairs.py

As in the notebook, a subject gives an anchor, three positives and three negatives; unlike there, an image is never
paired with itself, no unordered pair comes twice, and a subject with fewer than four images gives as many negatives as
it has positives, so that both labels weigh the same.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from faces.files import write_csv, write_metrics
from faces.split_table import PARTS, TRAIN, images_of, labels_of, read_split
from faces.stage import Params, StageError, load_params, run, say, warn

PAIRS_PATH = Path("data/pairs.csv")


class PairsParams(Params):
    seed: int = Field(ge=0)
    anchors: int = Field(ge=1)
    positives: int = Field(ge=1)
    negatives: int = Field(ge=1)


def others(start: int, stop: int, total: int, count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draw `count` distinct positions of range(total) outside start..stop; no list of candidates is made."""
    drawn = random.choice(total - (stop - start), size=count, replace=False)
    return np.where(drawn < start, drawn, drawn + (stop - start))


def draw_pairs(labels: NDArray[np.int64], params: PairsParams) -> NDArray[np.int64]:
    """Return pairs (a, b, same), shape (n, 3), of positions in `labels`; no pair {a, b} comes twice.

    Args:
        labels: (N,) subject of each image.
        params: how many anchors a subject, and positives and negatives an anchor, at the most.
    """
    random = np.random.default_rng(params.seed)
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    stops = [*starts[1:], len(labels)][: len(starts)]
    seen: set[tuple[int, int]] = set()
    pairs: list[tuple[int, int, int]] = []
    for start, stop in zip(starts, stops, strict=True):
        size = stop - start
        positives = min(params.positives, size - 1)
        negatives = min(params.negatives, len(labels) - size)
        if positives < params.positives:
            negatives = min(negatives, positives)
        for anchor in random.choice(size, size=min(params.anchors, size), replace=False):
            same = others(anchor, anchor + 1, size, positives, random) + start
            different = others(start, stop, len(labels), negatives, random)
            for other, is_same in [(other, 1) for other in same] + [(other, 0) for other in different]:
                a, b = int(order[start + anchor]), int(order[other])
                if (key := (min(a, b), max(a, b))) not in seen:
                    seen.add(key)
                    pairs.append((a, b, is_same))
    return np.array(pairs, dtype=np.int64).reshape(-1, 3)


def pairs_of_part(split: pd.DataFrame, part: str, params: PairsParams) -> pd.DataFrame:
    """Return the pairs of one part as part, a, b, same, in image numbers of the whole split."""
    images = images_of(split, part)
    positions = draw_pairs(labels_of(split)[images], params)
    table = pd.DataFrame({"a": images[positions[:, 0]], "b": images[positions[:, 1]], "same": positions[:, 2]})
    table.insert(0, "part", part)
    return table


def main() -> None:
    """Write the pairs and their counts."""
    params = load_params("pairs", PairsParams)
    split = read_split()
    tables = {part: pairs_of_part(split, part, params) for part in PARTS}
    counts = {}
    for part, table in tables.items():
        counts[f"genuine_{part}"] = int(table["same"].sum())
        counts[f"impostor_{part}"] = int((table["same"] == 0).sum())
        if counts[f"genuine_{part}"] == 0 and len(images_of(split, part)):
            message = f"no subject has two images in `{part}`, so it has no genuine pair"
            if part == TRAIN:
                raise StageError(f"{message} and no threshold can be chosen: pack more images a subject")
            warn(f"{message} and is not scored")
    write_csv(PAIRS_PATH, pd.concat(tables.values(), ignore_index=True))
    write_metrics(Path("metrics/pairs.json"), counts)
    say(", ".join(f"{name}: {count}" for name, count in counts.items()))


if __name__ == "__main__":
    run(main)
