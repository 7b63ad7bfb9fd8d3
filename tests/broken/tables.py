"""Broken tables and arrays that stages hand to each other."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import NamedTuple

import numpy as np

from broken.files import HUGE, BrokenFile, cut_file, edit_file, keep_bytes, not_even_files, shorten_file
from broken.images import RANDOM


class Table(NamedTuple):
    """A table between two stages: the stage that reads it, its columns, and what is no value of a column."""

    path: str
    stage: str
    columns: dict[str, str]  # name -> kind, a key of NO_VALUES


COMPARISONS = {"a": "number", "b": "number", "cosine": "cosine", "same": "number"}
SPLIT = {"source": "name", "row": "number", "subject": "name", "path": "text", "label": "number", "part": "name"}
TABLES = (
    Table("data/packed/drawn/00000.csv", "split", {"subject": "text", "path": "text"}),
    Table("data/duplicates.csv", "split", {"source": "text", "row": "number", "group": "count"}),
    Table("data/split.csv", "identify", SPLIT),
    Table("data/pairs.csv", "evaluate", {"part": "name", "a": "number", "b": "number", "same": "number"}),
    Table("data/comparisons_train.csv", "similarity", COMPARISONS),
    Table("data/comparisons_test.csv", "similarity", COMPARISONS),
)  # fmt: skip
NO_NUMBERS = {
    "text": "many",
    "empty": "",
    "nan": "nan",
    "infinity": "inf",
    "fraction": "0.5",
    "negative": "-1",
    "huge": str(HUGE),
    "past 64 bits": str(2**63),
    "out of range": "100000",
    "hexadecimal": "0x1",
    "true": "True",
    "other digits": "٣x",
}
NO_COSINES = ("text", "empty", "nan", "infinity", "huge", "hexadecimal", "out of range")
NO_COUNTS = (
    "text",
    "empty",
    "nan",
    "infinity",
    "fraction",
    "huge",
    "past 64 bits",
    "hexadecimal",
    "true",
    "other digits",
)
NO_VALUES = {
    "count": {name: NO_NUMBERS[name] for name in NO_COUNTS},
    "number": NO_NUMBERS,
    "cosine": {name: NO_NUMBERS[name] for name in NO_COSINES} | {"above": "1.1", "below": "-1.1"},
    "name": {"empty": "", "unknown": "strange", "space": " train", "number": "7", "way out": "../../x"},
    "text": {"empty": ""},
}


def _rows(change: Callable[[list[list[str]]], object], path: Path) -> None:
    """Change the cells of a table in place; those of the small project need no quotes."""
    rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
    change(rows)
    path.write_text("".join(",".join(row) + "\n" for row in rows), encoding="utf-8", newline="\n")


def _set_cell(row: int, column: int, text: str, rows: list[list[str]]) -> None:
    rows[row][column] = text


def _set_column(column: int, text: str, rows: list[list[str]]) -> None:
    for row in rows[1:]:
        row[column] = text


def _drop_column(column: int, rows: list[list[str]]) -> None:
    for row in rows:
        del row[column]


def _add_column(name: str, at: int, rows: list[list[str]]) -> None:
    for number, row in enumerate(rows):
        row.insert(at, str(number) if number else name)


def _add_cells(at: int, rows: list[list[str]]) -> None:
    for row in rows[1:]:
        row.insert(at, "7")


def _rename(column: int, name: str, rows: list[list[str]]) -> None:
    rows[0][column] = name


def _swap(first: int, second: int, rows: list[list[str]]) -> None:
    rows[0][first], rows[0][second] = rows[0][second], rows[0][first]


def _broken_cells(table: Table) -> Iterator[tuple[str, Callable[[list[list[str]]], object]]]:
    for column, (name, kind) in enumerate(table.columns.items()):
        for row in (1, 7, -1):
            for what, text in NO_VALUES[kind].items():
                yield f"{name} of row {row}: {what}", partial(_set_cell, row, column, text)
        if kind != "text":
            yield f"{name} of every row: empty", partial(_set_column, column, "")
        yield f"without column {name}", partial(_drop_column, column)
        yield f"column {name} renamed", partial(_rename, column, name.upper())
        yield f"column {name} twice", partial(_add_column, name, column)
    yield "last cell of a row missing", lambda rows: rows[3].pop()
    yield "a cell too many in a row", lambda rows: rows[3].append("7")
    yield "a cell too many in the first row", lambda rows: rows[1].append("7")
    yield "a cell too many at the start of every row", partial(_add_cells, 0)
    yield "a cell too many at the end of every row", partial(_add_cells, len(table.columns))
    yield "a column more", partial(_add_column, "remark", len(table.columns))
    yield "a column more, without a name", partial(_add_column, "", 0)
    yield "header missing", lambda rows: rows.pop(0)
    yield "header twice", lambda rows: rows.insert(1, list(rows[0]))
    yield "header alone", lambda rows: rows.__delitem__(slice(1, None))
    yield "a row twice", lambda rows: rows.insert(2, list(rows[2]))
    yield "every row twice", lambda rows: rows.extend(rows[1:])


def _broken_text(content_of: str) -> dict[str, Callable[[bytes], bytes]]:
    def in_the_middle(extra: bytes) -> Callable[[bytes], bytes]:
        return lambda content: content[: len(content) // 2] + extra + content[len(content) // 2 :]

    return {
        "empty": lambda _: b"",
        "one line end": lambda _: b"\n",
        "random bytes": lambda _: RANDOM,
        "random bytes at the end": lambda content: content + RANDOM,
        "zero bytes at the end": lambda content: content + bytes(512),
        "zero bytes alone": lambda content: bytes(len(content)),
        "a zero byte within": in_the_middle(b"\0"),
        "not UTF-8": in_the_middle(b"\xff\xfe"),
        "UTF-16": lambda content: content.decode().encode("utf-16"),
        "unclosed quote": in_the_middle(b'\n"'),
        "semicolons": lambda content: content.replace(b",", b";"),
        "tabs": lambda content: content.replace(b",", b"\t"),
        "quoted rows": lambda content: b"".join(b'"' + line + b'"\n' for line in content.splitlines()),
        "compressed": zlib.compress,
        "a page of HTML": lambda _: f"<html>404: no {content_of}</html>\n".encode(),
        "a conflict of Git": lambda content: b"<<<<<<< HEAD\n" + content + b"=======\n" + content + b">>>>>>> other\n",
    }


HARMLESS_TEXT: dict[str, Callable[[bytes], bytes]] = {
    "byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "CRLF": lambda content: content.replace(b"\n", b"\r\n"),
    "byte order mark and CRLF": lambda content: b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"),
    "quotes around every cell": lambda content: b"".join(
        b'"' + line.replace(b",", b'","') + b'"\n' for line in content.splitlines()
    ),
}


def _wrong_tables() -> Iterator[BrokenFile]:
    for table in TABLES:
        path, stage = table.path, table.stage
        for name, change in _broken_cells(table):
            if path == "data/duplicates.csv" and name == "header alone":
                continue  # no image has a copy
            yield BrokenFile(f"{path}: {name}", path, partial(_rows, change), stage, (path,))
        for name, edit in _broken_text(path).items():
            yield BrokenFile(f"{path}: {name}", path, partial(edit_file, edit), stage, (path,))
        for name, edit in HARMLESS_TEXT.items():
            yield BrokenFile(f"{path}: {name}", path, partial(edit_file, edit), stage, ())
        for percent in (3, 10, 30, 50, 70, 90):
            yield BrokenFile(f"{path}: cut at {percent}%", path, partial(_cut_in_row, percent), stage, (path,))
        for by in (1, 2, 3, 5):
            yield BrokenFile(f"{path}: {by} bytes short", path, partial(shorten_file, by), stage, (path,))
        yield from not_even_files(path, stage)
    for name, change in {"last row lost": lambda rows: rows.pop(), "a row lost": lambda rows: rows.pop(5)}.items():
        for path, stage in (("data/packed/drawn/00000.csv", "split"), ("data/split.csv", "identify")):
            said = "data/embeddings.npy" if stage == "identify" else path  # what the split no longer fits
            yield BrokenFile(f"{path}: {name}", path, partial(_rows, change), stage, (said,))


def _cut_in_row(percent: int, path: Path) -> None:
    """Cut within a row: just behind a comma or letter, never at its end, where a shorter table would begin."""
    content = path.read_bytes()
    at = len(content) * percent // 100
    while content[at - 1 : at] == b"\n" or content[at : at + 1] == b"\n":
        at += 1
    path.write_bytes(content[:at])


def array_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _array(change: Callable[[np.ndarray], np.ndarray], path: Path) -> None:
    path.write_bytes(array_bytes(change(np.load(path))))


def _with_header(text: str, path: Path) -> None:
    """Replace the description in a .npy file, whose data stay."""
    body = path.read_bytes()[128:]
    header = text.encode("latin1")
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body)


def _objects(path: Path) -> None:
    """Replace an array by one of Python objects, which is a pickle."""
    path.unlink()
    with open(path, "wb") as file:
        np.lib.format.write_array(file, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)


def _npz(path: Path) -> None:
    array = np.load(path)
    with open(path, "wb") as file:
        np.savez(file, array=array)


def _spoil(value: float, row: int, array: np.ndarray) -> np.ndarray:
    array[row, -1] = value
    return array


def _wrong_arrays() -> Iterator[BrokenFile]:
    text = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}\n"
    for path, kind, rows, rest in (
        ("data/packed/drawn/00000.npy", "|u1", 6, "112, 112, 3"),
        ("data/embeddings.npy", "<f4", 36, "16"),
    ):
        shape = f"({rows}, {rest})"
        bytes_of: dict[str, Callable[[bytes], bytes]] = {
            "empty": lambda _: b"",
            "random bytes": lambda _: RANDOM,
            "wrong magic": lambda content: b"\x93NUMPI" + content[6:],
            "unknown version": lambda content: content[:6] + b"\x09\x00" + content[8:],
            "header without end": lambda content: content[:8] + b"\xff\xff" + content[10:],
            "header of no length": lambda content: content[:8] + b"\0\0" + content[10:],
            "start of a zip": lambda content: b"PK\x03\x04" + content,
            "a zip of nothing": lambda _: b"PK\x05\x06" + bytes(18),
            "a pickle": lambda _: b"\x80\x04}\x94.",
            "a text": lambda _: b"1 2 3\n",
        }
        makes: dict[str, Callable[[Path], None]] = {name: partial(edit_file, edit) for name, edit in bytes_of.items()}
        makes |= {f"cut to {size} bytes": partial(keep_bytes, size) for size in (1, 5, 6, 8, 9, 10, 50, 127, 128, 129)}
        makes |= {f"{by} bytes short": partial(shorten_file, by) for by in (1, 100, 112)}
        makes |= {f"cut at {percent}%": partial(cut_file, percent / 100) for percent in (10, 25, 50, 75, 99)}
        headers = {
            "no dictionary": "[1, 2]\n",
            "nothing": "\n",
            "open bracket": "{'descr': (\n",
            "many brackets": "(" * 5000 + "\n",
            "open quote": "{'descr': '''\n",
            "words": "once upon a time\n",
            "call": "__import__('os').getpid()\n",
            "indented": "  {}\n   {}\n  1\n",
            "zero byte": "{\0}\n",
            "mixed keys": "{1: 2, 'descr': 3}\n",
            "no shape": f"{{'descr': '{kind}', 'fortran_order': False}}\n",
            "shape of text": text.format(kind, "'many'"),
            "negative shape": text.format(kind, "(-1, 16)"),
            "huge shape": text.format(kind, f"({HUGE}, 16)"),
            "shape past the file": text.format(kind, f"({rows + 1}, {rest})"),
            "shape of no rows": text.format(kind, f"(0, {rest})"),
            "fewer rows": text.format(kind, f"({rows - 1}, {rest})"),
            "flat shape": text.format(kind, f"({rows},)"),
            "no shape at all": text.format(kind, "()"),
            "one axis more": text.format(kind, f"({rows}, 1, {rest})"),
            "unknown type": text.format("zz9", shape),
            "type of objects": text.format("|O", shape),
            "type of text": text.format("<U1", shape),
            "type of dates": text.format("<M8[D]", shape),
            "type of booleans": text.format("|b1", shape),
            "other bytes first": text.format(">f4", "(36, 16)"),
            "comma for a type": text.format(",", shape),
            "empty type": text.format("", shape),
        }  # fmt: skip
        makes |= {f"header: {name}": partial(_with_header, header) for name, header in headers.items()}
        for to in ("float64", "int64", "complex64"):
            makes[f"as {to}"] = partial(_array, methodcaller("astype", to))
        makes["a row less"] = partial(_array, lambda array: array[:-1])
        makes["turned"] = partial(_array, lambda array: np.ascontiguousarray(array.T))
        makes["flat"] = partial(_array, np.ravel)
        makes["objects"] = _objects
        makes["an .npz"] = _npz
        if kind == "<f4":
            makes["a row more"] = partial(_array, lambda array: np.concatenate([array, array[:1]]))
            makes["rows of no length"] = partial(_array, lambda array: array[:, :0])
            makes["a row of zeros"] = partial(
                _array, lambda array: np.where(np.arange(36)[:, None] == 9, np.float32(0), array)
            )
            for row in (0, 17, 35):
                for value in (np.nan, np.inf, -np.inf):
                    makes[f"{value} in row {row}"] = partial(_array, partial(_spoil, value, row))
        for name, make in makes.items():
            yield BrokenFile(f"{path}: {name}", path, make, "identify", (path,))
        columns_first = partial(_array, np.asfortranarray)
        refused = (path,) if path.startswith("data/packed") else ()
        yield BrokenFile(f"{path}: columns first", path, columns_first, "identify", refused)
        yield from not_even_files(path, "identify")
    for name, value in {"nan": np.nan, "infinity": np.inf}.items():
        for stage in ("mine", "evaluate", "similarity"):
            make = partial(_array, partial(_spoil, value, 3))
            yield BrokenFile(
                f"data/embeddings.npy: {name}, {stage}", "data/embeddings.npy", make, stage, ("data/embeddings.npy",)
            )


TABLES_AND_ARRAYS = [*_wrong_tables(), *_wrong_arrays()]
