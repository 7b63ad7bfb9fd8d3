"""The tables behind data/packed: what images each source has. Their pixels are the business of packed_images.py."""

from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from faces.files import read_csv
from faces.packed_images import open_packed
from faces.sources import images_path, table_path
from faces.stage import Params, StageError

DUPLICATES_PATH = Path("data/duplicates.csv")
DUPLICATES_COLUMNS = {"source": str, "row": np.int64, "group": np.int64}  # of every image that has a copy


class DuplicatesParams(Params):
    """The section `duplicates:` of params.yaml; without neighbours, no copies are looked for."""

    likeness: float = Field(gt=0, le=1)
    neighbours: int = Field(ge=0, le=1000)
    exact_images: int = Field(ge=1)
    threads: int = Field(ge=1, le=1024)


def read_packed_tables(sources: list[str]) -> pd.DataFrame:
    """Return all packed images as source, row, subject, path, sorted by source, then as packed."""
    tables = []
    for source in sorted(sources):
        path = table_path(source)
        table = read_csv(path, {"subject": str, "path": str})
        if len(table) != (images := len(open_packed(images_path(source)))):
            raise StageError(f"{path} lists {len(table)} images, but {images_path(source)} holds {images}")
        if table["path"].duplicated().any():
            raise StageError(f"{path}: lists an image twice")
        table.insert(0, "source", source)
        table.insert(1, "row", range(len(table)))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def read_duplicates(images: pd.DataFrame) -> pd.DataFrame:
    """Return the groups of copies as source, row and group; StageError unless they are of `images`, each once.

    `images` has source and row of all packed images.
    """
    table = read_csv(DUPLICATES_PATH, DUPLICATES_COLUMNS)
    known = pd.MultiIndex.from_frame(images[["source", "row"]])
    strange = ~pd.MultiIndex.from_frame(table[["source", "row"]]).isin(known)
    for problem, wrong in {
        "names an image that is not packed": pd.Series(strange),
        "lists an image twice": table.duplicated(["source", "row"]),
        "has a group below 0": table["group"] < 0,
        "has a group of one image": ~table["group"].duplicated(keep=False),
    }.items():
        if wrong.any():
            raise StageError(f"{DUPLICATES_PATH}: line {int(wrong.to_numpy().argmax()) + 2}: {problem}")
    return table
