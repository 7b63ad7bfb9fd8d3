"""The tables of images in data/packed, and data/duplicates.csv; packed_images.py reads the pixels."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from faces.core.csv_files import read_csv
from faces.core.errors import StageError
from faces.core.params import Params
from faces.tables.packed_images import open_shards

DUPLICATES_PATH = Path("data/duplicates.csv")
DUPLICATES_COLUMNS = {"source": str, "row": np.int64, "group": np.int64}  # a row for each image that has a copy


class DuplicatesParams(Params):
    """The section `duplicates:` of params.yaml; with 0 neighbours, no copies are searched."""

    likeness: float = Field(gt=0, le=1)
    neighbours: int = Field(ge=0, le=1000)
    exact_images: int = Field(ge=1)


def read_packed_tables(sources: list[str]) -> Iterator[pd.DataFrame]:
    """Yield a table for each shard: source, row, subject, path. Sources are sorted, shards are in packed order.

    Raises:
        StageError: a table does not match its file of pixels, or a subject has images in two shards.
    """
    for source in sorted(sources):
        first, seen = 0, set[str]()
        for shard in open_shards(source):
            path = shard.path.with_suffix(".csv")
            table = read_csv(path, {"subject": str, "path": str})
            if len(table) != shard.images:
                raise StageError(f"{path} lists {len(table)} images, but {shard.path} holds {shard.images}")
            if table["path"].duplicated().any():
                raise StageError(f"{path}: lists an image twice")
            subjects = set(table["subject"])
            if again := seen & subjects:
                raise StageError(f"{path}: subject {min(again)!r} has images in an earlier table as well")
            seen |= subjects
            table.insert(0, "source", source)
            table.insert(1, "row", range(first, first + len(table)))
            first += len(table)
            yield table


def read_duplicates(images: Mapping[str, int]) -> pd.DataFrame:
    """Return the groups of copies: source, row, group.

    Args:
        images: number of packed images of each source.

    Raises:
        StageError: the table lists an image twice or one that is not packed, or has a group of one image.
    """
    table = read_csv(DUPLICATES_PATH, DUPLICATES_COLUMNS)
    packed = table["source"].map(images).fillna(0).astype(np.int64)
    for problem, wrong in {
        "names an image that is not packed": (table["row"] < 0) | (table["row"] >= packed),
        "lists an image twice": table.duplicated(["source", "row"]),
        "has a group below 0": table["group"] < 0,
        "has a group of one image": ~table["group"].duplicated(keep=False),
    }.items():
        if wrong.any():
            raise StageError(f"{DUPLICATES_PATH}: line {int(wrong.to_numpy().argmax()) + 2}: {problem}")
    return table
