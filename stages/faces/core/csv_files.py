"""CSV tables in UTF-8: equal tables are written as equal bytes; reading errors name the file and the line.

Readers accept a byte order mark and \\r\\n, since editors and spreadsheets write them.
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

FLOAT_FORMAT = "%.9g"  # digits that read every float32 back unchanged
PIECE_ROWS = 65_536  # rows per piece of a table: about 20 MB
MAX_DIGITS = 18  # so that the number fits into 64 bits


def write_csv(path: Path, table: pd.DataFrame | Iterable[pd.DataFrame]) -> None:
    """Write a table, or its pieces in order, with one header and no index; floats have nine significant digits."""
    pieces = [table] if isinstance(table, pd.DataFrame) else table
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        for number, piece in enumerate(pieces):
            piece.to_csv(file, header=number == 0, index=False, lineterminator="\n", float_format=FLOAT_FORMAT)


def read_csv(path: Path, columns: Mapping[str, type], may_be_empty: Collection[str] = ()) -> pd.DataFrame:
    """Return a whole table; arguments and StageError as for `read_csv_pieces`."""
    return pd.concat(read_csv_pieces(path, columns, may_be_empty), ignore_index=True)


def read_csv_pieces(
    path: Path, columns: Mapping[str, type], may_be_empty: Collection[str] = ()
) -> Iterator[pd.DataFrame]:
    """Yield a table that `write_csv` wrote, `PIECE_ROWS` rows at a time.

    Cells like NA and 007 in columns of text stay text. A table without rows gives one empty piece.

    Raises:
        StageError: the file is missing or truncated; its header is not `columns`, in this order; or a cell has not the
            type of its column, or is empty in a column that is not in `may_be_empty`.
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
        with np.errstate(invalid="ignore"):  # infinity in an integer column raises; no warning as well
            return pd.read_csv(
                io.StringIO(text), dtype=dict(columns), keep_default_na=False, float_precision="round_trip"
            )
    except (ValueError, TypeError, OverflowError) as error:
        raise StageError(f"{path}: {error}") from None


class Row(dict[str, str]):
    """The cells of a row by column; `where` is the file and the row's last line, for error messages."""

    def __init__(self, cells: dict[str, str], where: str) -> None:
        """Store the cells and their place."""
        super().__init__(cells)
        self.where = where

    def number(self, column: str, below: int | None = None) -> int:
        """Return a cell as an integer, 0 or more and less than `below`; StageError if it is not one."""
        cell = self[column]
        known = cell.isascii() and cell.isdigit() and len(cell) <= MAX_DIGITS
        if not known or (below is not None and int(cell) >= below):
            allowed = "a whole number, 0 or more" if below is None else f"0 to {below - 1}"
            raise StageError(f"{self.where}: {column} is {cell[:100]!r}; expected {allowed}")
        return int(cell)


def csv_rows(
    path: Path, required: Sequence[str], optional: Sequence[str] = (), complete: bool = False
) -> Iterator[Row]:
    """Yield the rows of a CSV file with its columns in any order.

    Raises:
        StageError: the header lacks a `required` column or has an unknown one, a row has too few or too many cells, or,
            with `complete`, the last line has no line end.
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
    """One row of a file."""

    where: str  # the file and the row's last line
    cells: list[str]
    text: str  # with the line end


def _records(path: Path, complete: bool) -> Iterator[_Record]:
    """Yield the header and the rows of a CSV file.

    Raises:
        StageError: the file is missing or not UTF-8, two columns have one name, a row has too few or too many cells,
            or, with `complete`, the last line has no line end.
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
    """Yield the lines of a file with their line ends; append each to `taken`, since csv.reader hides them."""
    line = ""
    for line in file:
        if "\0" in line:
            raise ValueError("holds a zero byte")
        taken.append(line)
        yield line
    if complete and line and not line.endswith("\n"):
        raise ValueError("is cut short: the last line has no end")
