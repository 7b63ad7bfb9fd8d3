"""What is known of images beside who is on them: glasses, yaw, a demographic group, and the like.

A folder of images may hold `attributes.csv`: a column `path` (of an image, relative to the folder) or `subject` (of all
images of one), and any others. A column of numbers stays one; all others are names of groups. Empty cells are unknown.
With both, `path` counts.
"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from faces.core.csv_files import read_text_table
from faces.core.errors import StageError
from faces.core.terminal import warn

ATTRIBUTES = "attributes.csv"
ATTRIBUTES_FOLDER = Path("data/attributes")
MOST_COLUMNS = 200


def attributes_path(source: str) -> Path:
    """Return where the attributes of a source's packed images are: row i is image i, columns as the user named them."""
    return ATTRIBUTES_FOLDER / f"{source}.csv"


def read_attributes(path: Path) -> pd.DataFrame:
    """Return a table of attributes as text, with `path` or `subject`; StageError if it has neither, or one twice."""
    table = _read(path)
    if "path" not in table and "subject" not in table:
        raise StageError(f"{path}: has neither a column `path` nor a column `subject`")
    if "row" in table:
        raise StageError(f"{path}: has a column `row`, which is what pack numbers images by; call it otherwise")
    key = key_of(table)
    repeated = table[key].duplicated()
    if repeated.any():
        raise StageError(f"{path}: {key} {table[key][repeated].iloc[0]!r} comes twice")
    return table


def key_of(table: pd.DataFrame) -> str:
    """Return the column of a table of attributes that says which images a row is of."""
    return "path" if "path" in table else "subject"


def find_attributes(folder: Path) -> pd.DataFrame | None:
    """Return the attributes that a folder of images holds, as `read_attributes`; None if it holds none."""
    path = folder / ATTRIBUTES
    return read_attributes(path) if path.exists() else None


def check_rows(table: pd.DataFrame, known: Iterable[str]) -> None:
    """Warn of rows that are of no image; StageError if all are.

    `known` has the paths of all images of the folder, or the subjects, whichever the table goes by.
    """
    key, known = key_of(table), set(known)
    strange = table[key][~table[key].isin(known)]
    if len(strange) == len(table):
        example = min(known, default="")
        raise StageError(
            f"{ATTRIBUTES}: none of its rows, {len(table)} in all, has an image's {key}, such as {example!r}"
        )
    if len(strange):
        warn(f"{ATTRIBUTES}: {len(strange)} of its {len(table)} rows are of no image; the first is {strange.iloc[0]!r}")


def attributes_of(table: pd.DataFrame | None, images: pd.DataFrame) -> pd.DataFrame:
    """Return the attributes of images, which have `subject` and `path`: a row each, without these two columns.

    `table` is the folder's, as `find_attributes` returns it: no columns if there is none, and empty cells for an image
    that it does not name.
    """
    if table is None:
        return pd.DataFrame(index=images.index)
    key = key_of(table)
    others = table.drop(columns=["path", "subject"], errors="ignore")
    return images[[key]].join(others.set_index(table[key]), on=key).drop(columns=key).fillna("")


def read_known(source: str, images: int) -> pd.DataFrame:
    """Return the attributes of a source's packed images as `pack` wrote them; StageError if it is another number."""
    path = attributes_path(source)
    table = _read(path).drop(columns="row", errors="ignore")
    if len(table) != images:
        raise StageError(f"{path}: describes {len(table)} images; {source} has {images}")
    return table


def _read(path: Path) -> pd.DataFrame:
    table = read_text_table(path)
    if len(table.columns) > MOST_COLUMNS:
        raise StageError(f"{path}: has {len(table.columns)} columns; {MOST_COLUMNS} at most")
    return table
