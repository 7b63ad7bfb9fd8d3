"""What is known of images beside who is on them: glasses, yaw, a demographic group, and the like.

A folder of images may hold `attributes.csv`: a column `path` (of an image, relative to the folder) or `subject` (of all
images of one), and any others. A column of numbers stays one; all others are names of groups. Empty cells are unknown.
"""

import csv
from pathlib import Path

import pandas as pd

from faces.stage import StageError

ATTRIBUTES = "attributes.csv"
ATTRIBUTES_FOLDER = Path("data/attributes")
MOST_COLUMNS = 200


def attributes_path(source: str) -> Path:
    """Return where the attributes of a source's packed images are: row i is image i, columns as the user named them."""
    return ATTRIBUTES_FOLDER / f"{source}.csv"


def read_attributes(path: Path) -> pd.DataFrame:
    """Return a table of attributes as text, with `path` or `subject`; StageError if it has neither, or one twice."""
    table = _read(path)
    keys = [column for column in ("path", "subject") if column in table]
    if not keys:
        raise StageError(f"{path}: has neither a column `path` nor a column `subject`")
    if "row" in table:
        raise StageError(f"{path}: has a column `row`, which is what pack numbers images by; call it otherwise")
    repeated = table[keys[0]].duplicated()
    if repeated.any():
        raise StageError(f"{path}: {keys[0]} {table[keys[0]][repeated].iloc[0]!r} comes twice")
    return table


def attributes_of(folder: Path, images: pd.DataFrame) -> pd.DataFrame:
    """Return the attributes of images, a table with `subject` and `path`: a row each, without these two columns.

    No columns if the folder has no `attributes.csv`; empty cells for an image that it does not name.
    """
    path = folder / ATTRIBUTES
    if not path.is_file():
        return pd.DataFrame(index=images.index)
    table = read_attributes(path)
    key = "path" if "path" in table else "subject"
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
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            columns, *rows = csv.reader(file, strict=True)
        if len(set(columns)) < len(columns):
            raise ValueError("has two columns of one name")
        for number, row in enumerate(rows, start=1):
            if len(row) != len(columns):
                raise ValueError(f"row {number} has {len(row)} cells; expected {len(columns)}")
    except FileNotFoundError:
        raise StageError(f"{path} is missing; `dvc repro` makes it, `dvc pull` fetches it") from None
    except (ValueError, csv.Error) as error:  # not UTF-8, or empty, too
        raise StageError(f"{path}: {error}") from None
    table = pd.DataFrame(rows, columns=columns, dtype=str)
    if table.shape[1] > MOST_COLUMNS:
        raise StageError(f"{path}: has {table.shape[1]} columns; {MOST_COLUMNS} at most")
    return table
