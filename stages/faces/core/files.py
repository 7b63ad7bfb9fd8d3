"""Writing files so that a reader sees the old content or the new, never half of it, and the same bytes every time."""

import csv
import io
import json
import math
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faces.core.stage import StageError

CSV_DECIMALS = "%.9g"  # enough for every float32 to come back as it was
ROWS_IN_PIECE = 65_536  # of a table that is read in pieces: some 20 MB


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and takes the place of `path`, else it goes.

    The temporary name keeps the suffix, since libraries choose their format by it. It is always the same: what a
    killed run left behind, the next one overwrites.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename = str(path)  # a full disk does not say which file it stopped
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with "\\n" line ends."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


Metrics = Mapping[str, "float | int | Metrics"]


def write_metrics(path: Path, metrics: Metrics) -> None:
    """Write a file for `dvc metrics`, flat or of several levels; ValueError names a metric that is not finite."""
    _check_finite(path, "", metrics)
    write_text(path, json.dumps(metrics, indent=2) + "\n")


def _check_finite(path: Path, prefix: str, metrics: Metrics) -> None:
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            _check_finite(path, f"{prefix}{name}.", value)
        elif not math.isfinite(value):
            raise ValueError(f"{path}: metric {prefix}{name} is {value}")


def write_csv(path: Path, table: pd.DataFrame | Iterable[pd.DataFrame]) -> None:
    """Write a table, or its pieces one below the other, with one header and no index.

    Floats keep nine significant digits.
    """
    pieces = [table] if isinstance(table, pd.DataFrame) else table
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        for number, piece in enumerate(pieces):
            header = number == 0
            piece.to_csv(file, header=header, index=False, lineterminator="\n", float_format=CSV_DECIMALS)


def read_csv(path: Path, columns: Mapping[str, type], may_be_empty: Collection[str] = ()) -> pd.DataFrame:
    """Return a whole table; StageError as `read_csv_pieces` says."""
    return pd.concat(read_csv_pieces(path, columns, may_be_empty), ignore_index=True)


def read_csv_pieces(
    path: Path, columns: Mapping[str, type], may_be_empty: Collection[str] = ()
) -> Iterator[pd.DataFrame]:
    """Yield a table as `write_csv` wrote it, names like NA and 007 included, some rows at a time; one piece at least.

    StageError if it is missing, cut short, or has not just these columns, with a value of the type in every cell but
    those of text columns that may be empty. A byte order mark and "\\r\\n", which an editor may have put there, make no
    difference.
    """
    _refuse_pipes(path)
    try:
        taken: list[str] = []
        rows = csv.reader(_noting(_lines(path), taken), strict=True)
        if (header := next(rows, [])) != list(columns):
            raise ValueError(f"columns are {', '.join(header)[:200]}; expected {', '.join(columns)}")
        first, number = "".join(taken), 0
        taken.clear()
        for number, row in enumerate(rows, start=1):
            _check_row(number, row, columns, may_be_empty)
            if number % ROWS_IN_PIECE == 0:
                yield _piece(first, taken, columns)
        if taken or not number:
            yield _piece(first, taken, columns)
    except FileNotFoundError:
        raise StageError(f"{path} is missing; `dvc repro` makes it, `dvc pull` fetches it") from None
    except (ValueError, TypeError, OverflowError, csv.Error) as error:
        raise StageError(f"{path}: {error}") from None


def _lines(path: Path) -> Iterator[str]:
    line = ""
    with open(path, encoding="utf-8-sig", newline="\n") as file:
        for line in file:
            if "\0" in line:
                raise ValueError("holds a zero byte")
            yield line.replace("\r\n", "\n")
    if not line.endswith("\n"):
        raise ValueError("is empty or cut short: the last line has no end")


def _noting(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line


def _check_row(number: int, row: list[str], columns: Mapping[str, type], may_be_empty: Collection[str]) -> None:
    if len(row) != len(columns):
        raise ValueError(f"row {number} has {len(row)} cells; expected {len(columns)}")
    if "" in row:
        empty = [column for column, cell in zip(columns, row, strict=True) if not cell]
        if missing := [column for column in empty if column not in may_be_empty]:
            raise ValueError(f"row {number}: {missing[0]} is empty")


def _piece(header: str, lines: list[str], columns: Mapping[str, type]) -> pd.DataFrame:
    text = header + "".join(lines)
    lines.clear()
    with np.errstate(invalid="ignore"):  # of an infinity among whole numbers, which is an error
        return pd.read_csv(io.StringIO(text), dtype=dict(columns), keep_default_na=False, float_precision="round_trip")


def _refuse_pipes(path: Path) -> None:
    if path.exists() and not (path.is_file() or path.is_dir()):  # a folder is refused when it is opened
        raise StageError(f"{path} is a pipe, socket or device, not a file")  # opening it might wait for ever


def write_npy(path: Path, array: NDArray[np.generic]) -> None:
    """Write one array in NumPy's own format, which holds no dates and no pickle."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)


def link_or_copy(path: Path, target: Path) -> None:
    """Have the file `path` as `target` too: as a hard link, or a copy where the file system has none."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def open_npy(path: Path) -> NDArray[np.generic]:
    """Map an array from disk, read-only; StageError if the file is missing, cut short or not an array."""
    _refuse_pipes(path)
    try:
        return np.lib.format.open_memmap(path, mode="r")  # not np.load, which would take a zip as well
    except FileNotFoundError:
        raise StageError(f"{path} is missing; `dvc repro` makes it, `dvc pull` fetches it") from None
    except OSError:
        raise
    except Exception as error:  # a damaged header raises many kinds
        raise StageError(f"{path} is not a whole .npy file: {str(error)[:500]}") from None
