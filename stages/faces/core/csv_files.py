"""CSV tables: written with the same bytes every time, and read with an error that names file and line.

UTF-8. A reader accepts a byte order mark and either line end, as an editor or a spreadsheet leaves them.
"""

import csv
import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from faces.core.errors import StageError
from faces.core.files import replacing, require_file

FLOAT_FORMAT = "%.9g"  # enough digits for every float32 to be read back unchanged
PIECE_ROWS = 65_536  # of a table that is read in pieces: some 20 MB
MAX_DIGITS = 18  # so that any number fits into 64 bits


def write_csv(path: Path, table: pd.DataFrame | Iterable[pd.DataFrame]) -> None:
    """Write a table, or its pieces one below the other, with one header and no index.

    Floats keep nine significant digits.
    """
    pieces = [table] if isinstance(table, pd.DataFrame) else table
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        for number, piece in enumerate(pieces):
            piece.to_csv(file, header=number == 0, index=False, lineterminator="\n", float_format=FLOAT_FORMAT)


def read_csv(path: Path, columns: Mapping[str, type], may_be_empty: Collection[str] = ()) -> pd.DataFrame:
    """Return a whole table; StageError as `read_csv_pieces` says."""
    return pd.concat(read_csv_pieces(path, columns, may_be_empty), ignore_index=True)


def read_csv_pieces(
    path: Path, columns: Mapping[str, type], may_be_empty: Collection[str] = ()
) -> Iterator[pd.DataFrame]:
    """Yield a table that `write_csv` wrote, `PIECE_ROWS` rows at a time; names like NA and 007 stay text.

    A table without rows gives one empty piece.

    Raises:
        StageError: the file is missing or cut short, its columns are not these, in this order, or a cell is empty or
            not of its column's type. Text columns in `may_be_empty` may have empty cells.
    """
    records = _records(path, complete=True)
    header = next(records)
    if header.cells != list(columns):
        if not header.cells:
            raise StageError(f"{path}: is empty")
        raise StageError(f"{path}: columns are {', '.join(header.cells)[:200]}; expected {', '.join(columns)}")
    count, lines = 0, list[str]()
    for count, record in enumerate(records, start=1):
        if "" in record.cells:
            _check_empty_cells(record, columns, may_be_empty)
        lines.append(record.text)
        if count % PIECE_ROWS == 0:
            yield _parse(path, header, lines, columns)
    if lines or not count:
        yield _parse(path, header, lines, columns)


def _check_empty_cells(record: "_Record", columns: Iterable[str], may_be_empty: Collection[str]) -> None:
    for column, cell in zip(columns, record.cells, strict=True):
        if not cell and column not in may_be_empty:
            raise StageError(f"{record.where}: {column} is empty")


def _parse(path: Path, header: "_Record", lines: list[str], columns: Mapping[str, type]) -> pd.DataFrame:
    text = header.text + "".join(lines)
    lines.clear()
    try:
        with np.errstate(invalid="ignore"):  # an infinity in a column of whole numbers is an error, without a warning
            return pd.read_csv(
                io.StringIO(text), dtype=dict(columns), keep_default_na=False, float_precision="round_trip"
            )
    except (ValueError, TypeError, OverflowError) as error:
        raise StageError(f"{path}: {error}") from None


class Row(dict[str, str]):
    """The cells of one row by column; `where` names the file and the line that the row ends on."""

    def __init__(self, cells: dict[str, str], where: str) -> None:
        """Take the cells as they are."""
        super().__init__(cells)
        self.where = where

    def number(self, column: str, below: int | None = None) -> int:
        """Return a cell as a whole number from 0 to `below`, exclusive; StageError if it is another text."""
        cell = self[column]
        known = cell.isascii() and cell.isdigit() and len(cell) <= MAX_DIGITS
        if not known or (below is not None and int(cell) >= below):
            allowed = "a whole number, 0 or more" if below is None else f"0 to {below - 1}"
            raise StageError(f"{self.where}: {column} is {cell[:100]!r}; expected {allowed}")
        return int(cell)


def csv_rows(
    path: Path, required: Sequence[str], optional: Sequence[str] = (), complete: bool = False
) -> Iterator[Row]:
    """Yield the rows of a CSV file whose columns come in any order.

    Raises:
        StageError: the header lacks a `required` column or has one that is not `optional` either, a row has another
            number of cells, or, with `complete`, the last line has no end.
    """
    records = _records(path, complete)
    columns = next(records).cells
    if not set(required) <= set(columns) <= {*required, *optional}:
        expected = f"{','.join(required)}{''.join(f'[,{column}]' for column in optional)}"
        raise StageError(f"{path}: the first line is {','.join(columns)[:200]!r}; expected {expected}")
    for record in records:
        yield Row(dict(zip(columns, record.cells, strict=True)), record.where)


def read_text_table(path: Path) -> pd.DataFrame:
    """Return a CSV file with any columns, all cells as text; StageError if it is not a table."""
    (_, columns, _), *records = _records(path, complete=False)
    return pd.DataFrame([record.cells for record in records], columns=columns, dtype=str)


class _Record(NamedTuple):
    """One row: the file and line that it ends on, its cells, and its text with the line end."""

    where: str
    cells: list[str]
    text: str


def _records(path: Path, complete: bool) -> Iterator[_Record]:
    """Yield the rows of a CSV file, the header first, as text.

    StageError unless it is a UTF-8 file whose columns have different names, with a cell for each in every row, and
    whose last line has an end if it should be `complete`.
    """
    require_file(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            taken: list[str] = []
            rows = csv.reader(_lines(file, taken, complete), strict=True)
            columns = next(rows, [])
            if len(set(columns)) < len(columns):
                raise ValueError(f"the first line is {','.join(columns)[:200]!r}, which has a column twice")
            yield _Record(f"{path}: line {rows.line_num}", columns, "".join(taken))
            taken.clear()
            for cells in rows:
                where = f"{path}: line {rows.line_num}"
                if len(cells) != len(columns):
                    raise StageError(f"{where}: {len(cells)} cells; expected {len(columns)}: {','.join(columns)[:200]}")
                yield _Record(where, cells, "".join(taken))
                taken.clear()
    except FileNotFoundError:
        raise StageError(f"{path} is missing; `dvc repro` makes it, `dvc pull` fetches it") from None
    except (ValueError, csv.Error) as error:
        raise StageError(f"{path}: {error}") from None


def _lines(file: Iterable[str], taken: list[str], complete: bool) -> Iterator[str]:
    """Yield the lines of a file with their ends, and append each to `taken` before it is parsed."""
    line = ""
    for line in file:
        if "\0" in line:
            raise ValueError("holds a zero byte")
        taken.append(line)
        yield line
    if complete and line and not line.endswith("\n"):
        raise ValueError("is cut short: the last line has no end")
