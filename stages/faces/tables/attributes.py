"""Attributes of images beside their subject: glasses, yaw, a demographic group, and the like.

The folder of a source may hold `attributes.csv`. Its key column is `path`, if a row describes one image (path relative
to the folder), or else `subject`, if a row describes all images of a subject. Every other column is an attribute: a
number, or the name of a group. An empty cell means unknown.
"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from faces.core.csv_files import read_text_table
from faces.core.errors import StageError
from faces.core.terminal import warn

ATTRIBUTES = "attributes.csv"
ATTRIBUTES_FOLDER = Path("data/attributes")
MAX_COLUMNS = 200


def attributes_path(source: str) -> Path:
    """Return the file of the attributes of a source's packed images: row i describes image i."""
    return ATTRIBUTES_FOLDER / f"{source}.csv"


def read_attributes(path: Path) -> pd.DataFrame:
    """Return an attributes.csv as text; StageError if it has no key column, or a key twice."""
    table = _read(path)
    if "path" not in table and "subject" not in table:
        raise StageError(f"{path}: has neither a column `path` nor a column `subject`")
    if "row" in table:
        raise StageError(f"{path}: has a column `row`, a name that pack uses to number the images; rename it")
    key = key_column(table)
    repeated = table[key].duplicated()
    if repeated.any():
        raise StageError(f"{path}: {key} {table[key][repeated].iloc[0]!r} comes twice")
    return table


def key_column(table: pd.DataFrame) -> str:
    """Return the column of a table of attributes that says which images a row describes."""
    return "path" if "path" in table else "subject"


def find_attributes(folder: Path) -> pd.DataFrame | None:
    """Return the attributes.csv of a folder by `read_attributes`; None if there is no such file."""
    path = folder / ATTRIBUTES
    return read_attributes(path) if path.exists() else None


def check_rows(table: pd.DataFrame, known: Iterable[str]) -> None:
    """Warn of rows that describe no image; StageError if no row does.

    `known` has the values that the key column may have: the paths of all images, or all subjects.
    """
    key, known = key_column(table), set(known)
    strange = table[key][~table[key].isin(known)]
    if len(strange) == len(table):
        example = min(known, default="")
        raise StageError(
            f"{ATTRIBUTES}: none of its rows, {len(table)} in all, has an image's {key}, such as {example!r}"
        )
    if len(strange):
        warn(f"{ATTRIBUTES}: {len(strange)} of its {len(table)} rows match no image; the first is {strange.iloc[0]!r}")


def match_attributes(table: pd.DataFrame | None, images: pd.DataFrame) -> pd.DataFrame:
    """Return a row of attributes for each of `images`, a table with `subject` and `path`, without these two columns.

    `table` comes from `find_attributes`; without one there are no columns. An image that it does not name has empty
    cells.
    """
    if table is None:
        return pd.DataFrame(index=images.index)
    key = key_column(table)
    others = table.drop(columns=["path", "subject"], errors="ignore")
    return images[[key]].join(others.set_index(table[key]), on=key).drop(columns=key).fillna("")


def read_packed_attributes(source: str, images: int) -> pd.DataFrame:
    """Return the attributes of a source's packed images, as `pack` wrote them; StageError unless there are `images`."""
    path = attributes_path(source)
    table = _read(path).drop(columns="row", errors="ignore")
    if len(table) != images:
        raise StageError(f"{path}: describes {len(table)} images; {source} has {images}")
    return table


def _read(path: Path) -> pd.DataFrame:
    table = read_text_table(path)
    if len(table.columns) > MAX_COLUMNS:
        raise StageError(f"{path}: has {len(table.columns)} columns; {MAX_COLUMNS} at most")
    return table
