"""A csv file row by row, for tables whose columns come in any order or are anybody's, or whose cells may be empty.

UTF-8, with or without a byte order mark and with either line end, as an editor or a spreadsheet leaves it. For tables
that `write_csv` wrote and that have a value in every cell, `faces.core.files.read_csv` is faster.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from faces.core.stage import StageError

MOST_DIGITS = 18  # so that any number fits into 64 bits


class Row(dict[str, str]):
    """The cells of one row by column; `where` names the file and the line that the row ends on."""

    def __init__(self, cells: dict[str, str], where: str) -> None:
        """Take the cells as they are."""
        super().__init__(cells)
        self.where = where

    def number(self, column: str, below: int | None = None) -> int:
        """Return a cell as a whole number from 0 to `below`, exclusive; StageError if it is another text."""
        cell = self[column]
        known = cell.isascii() and cell.isdigit() and len(cell) <= MOST_DIGITS
        if not known or (below is not None and int(cell) >= below):
            allowed = "a whole number, 0 or more" if below is None else f"0 to {below - 1}"
            raise StageError(f"{self.where}: {column} is {cell[:100]!r}; expected {allowed}")
        return int(cell)


def csv_rows(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the rows of a csv file with a header.

    StageError, with file and line, unless the header has all `required` columns and no others but `optional` ones, and
    what `csv_cells` says.
    """
    rows = csv_cells(path)
    _, columns = next(rows)
    if not set(required) <= set(columns) <= {*required, *optional}:
        expected = f"{','.join(required)}{''.join(f'[,{column}]' for column in optional)}"
        raise StageError(f"{path}: the first line is {','.join(columns)[:200]!r}; expected {expected}")
    for where, cells in rows:
        yield Row(dict(zip(columns, cells, strict=True)), where)


def csv_cells(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield where each row of a csv file ends, file and line, and its cells; the header, which may be [], comes first.

    StageError unless it is a file of UTF-8 text whose columns have different names, with a cell for each in every row.
    """
    if path.exists() and not path.is_file():  # opening a pipe might wait for ever
        raise StageError(f"{path} is not a file")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if "\0" in text:
            raise ValueError("holds a zero byte")
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        columns = next(rows, [])
        if len(set(columns)) < len(columns):
            raise ValueError(f"the first line is {','.join(columns)[:200]!r}, which has a column twice")
        yield f"{path}: line {rows.line_num}", columns
        for cells in rows:
            where = f"{path}: line {rows.line_num}"
            if len(cells) != len(columns):
                raise StageError(f"{where}: {len(cells)} cells; expected {len(columns)}: {','.join(columns)[:200]}")
            yield where, cells
    except FileNotFoundError:
        raise StageError(f"{path} is missing; `dvc repro` makes it, `dvc pull` fetches it") from None
    except (ValueError, csv.Error) as error:
        raise StageError(f"{path}: {error}") from None
