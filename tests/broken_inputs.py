"""Broken inputs by the hundred: each with a name, how it is made, and what has to be said about it.

`IMAGES` go into one source folder beside good images; each must be listed with its reason, or packed as it should be.
`FILES` are all other inputs: each breaks one file of a finished project, and the stage that reads it must name the file
or the key, or, where `said` is empty, do exactly what it does with the file as it was.
"""

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import yaml
from PIL import Image

from image_files import encoded, flat, noise
from small_project import small_params

RANDOM = np.random.default_rng(0).bytes(4096)
HUGE = 10**30
WHOLE = noise(112, 112)  # the pixels of every file that is then cut short


class BrokenImage(NamedTuple):
    """An entry of a source folder. `reasons`: those it may be rejected for; none: it must be packed."""

    path: str  # relative to the source, <subject>/<file>
    make: Callable[[str], None]
    reasons: frozenset[str]
    may_be_whole: bool = False  # nothing of the pixels may be missing: then it may be packed, as they are


class BrokenFile(NamedTuple):
    """A file of a finished project, broken. `said`: what the error must hold; empty: the break must do no harm."""

    name: str
    path: str
    make: Callable[[Path], None]
    stage: str  # the one that reads it
    said: tuple[str, ...]


def _write(content: bytes | Callable[[], bytes], path: str) -> None:
    Path(path).write_bytes(content if isinstance(content, bytes) else content())


def _image(name: str, content: bytes | Callable[[], bytes], *reasons: str, may_be_whole: bool = False) -> BrokenImage:
    return BrokenImage(f"broken/{name}", partial(_write, content), frozenset(reasons), may_be_whole)


# Image files


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(width: int, height: int, *chunks: bytes, bits: int = 8, colour: int = 2) -> bytes:
    """Return a PNG file that claims this size, whatever its chunks hold."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + _chunk(b"IEND", b"")


def _some_pixels() -> bytes:
    return _chunk(b"IDAT", zlib.compress(bytes(100)))


def _bomb() -> bytes:
    """Return 400 megapixels, all of them there, in 50 kB."""
    return _png(20_000, 20_000, _chunk(b"IDAT", zlib.compress(bytes(20_000 * 2_501), 9)), bits=1, colour=0)


def _text_bomb() -> bytes:
    """Return a small image with a comment of 64 MB in 64 kB."""
    comment = _chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(64_000_000), 9))
    rows = b"".join(b"\0" + row.tobytes() for row in WHOLE)
    return _png(112, 112, comment, _chunk(b"IDAT", zlib.compress(rows)))


def _jpeg_of_size(width: int, height: int) -> bytes:
    content = encoded(Image.fromarray(WHOLE), "JPEG")
    at = content.index(b"\xff\xc0") + 5  # start of frame: marker, length, precision, then the size
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


def _bmp_of_size(width: int, height: int) -> bytes:
    content = encoded(Image.fromarray(WHOLE), "BMP")
    return content[:18] + struct.pack("<ii", width, height) + content[26:]


def whole_images() -> dict[str, bytes]:
    """Return one good file a format, all of the same pixels."""
    picture = Image.fromarray(WHOLE)
    return {
        "png": encoded(picture),
        "jpg": encoded(picture, "JPEG", quality=95),
        "bmp": encoded(picture, "BMP"),
        "webp": encoded(picture, "WEBP", lossless=True),
        "ppm": encoded(picture, "PPM"),
        "pgm": encoded(picture.convert("L"), "PPM"),
    }


def _cut_images() -> Iterator[BrokenImage]:
    for ending, content in whole_images().items():
        cuts = {1, 2, 4, 8, 16, 33, 54, 100, len(content) - 1, len(content) - 2, len(content) - 5, len(content) - 13}
        cuts |= {len(content) * percent // 100 for percent in (5, 25, 50, 75, 90, 99)}
        for cut in sorted(cuts):
            name = f"cut at {cut} of {len(content)}.{ending}"
            yield _image(name, content[:cut], "damaged", "unrecognised", "too_small", may_be_whole=True)


def _wrong_images() -> Iterator[BrokenImage]:
    for ending, content in whole_images().items():
        yield _image(f"zero bytes.{ending}", b"", "empty")
        yield _image(f"only zeros.{ending}", bytes(5000), "unrecognised")
        yield _image(f"random.{ending}", RANDOM, "unrecognised")
        yield _image(f"wrong magic.{ending}", b"\xff\x00" + content[2:], "unrecognised")
        yield _image(f"text.{ending}", b"<html>404 not found</html>\n", "unrecognised")
        garbled = content[:60] + RANDOM[:3000] + content[3060:]
        if ending in ("png", "webp"):  # the others have no checksums: there, any bytes are pixels
            yield _image(f"garbled.{ending}", garbled, "damaged", "unrecognised")
    for file_format in ("GIF", "TIFF", "ICO", "TGA", "PCX", "PDF", "ICNS", "JPEG2000", "EPS"):
        yield _image(f"inside {file_format}.png", partial(encoded, flat(9), file_format), "unrecognised")
    yield _image(
        "wrong header checksum.png", _png(112, 112)[:29] + b"\0\0\0\0" + _some_pixels(), "unrecognised", "damaged"
    )
    yield _image("no pixels.png", _png(112, 112), "damaged", "unrecognised")
    yield _image("few pixels.png", _png(112, 112, _some_pixels()), "damaged")
    yield _image("unknown colour type.png", _png(112, 112, _some_pixels(), colour=5), "unrecognised", "damaged")
    yield _image("words.ppm", b"P3 112 112 255 one two three", "damaged")
    yield _image("letters for a size.ppm", b"P6 wide high 255 " + RANDOM, "damaged", "unrecognised")
    yield _image("peak of zero.ppm", b"P6 112 112 0 " + bytes(112 * 112 * 3), "damaged", "unrecognised")
    yield _image(
        "negative size.bmp", partial(_bmp_of_size, -112, 112), "damaged", "unrecognised", "too_small", "too_large"
    )
    for name, value in (("nan", np.nan), ("infinity", np.inf), ("minus infinity", -np.inf)):
        pixels = np.full((112, 112), value, "<f4").tobytes()
        yield _image(f"pixels of {name}.ppm", b"Pf\n112 112\n-1.0\n" + pixels, "damaged")
    yield _image("text bomb.png", _text_bomb, "damaged", "unrecognised")


def _odd_sizes() -> Iterator[BrokenImage]:
    for width, height in ((20_000, 20_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 16)):
        yield _image(f"header {width} x {height}.png", _png(width, height, _some_pixels()), "too_large")
    yield _image("bomb 20000 x 20000.png", _bomb, "too_large")
    yield _image("header 65000 x 65000.jpg", partial(_jpeg_of_size, 65_000, 65_000), "too_large")
    yield _image("header 20000 x 20000.bmp", partial(_bmp_of_size, 20_000, 20_000), "too_large")
    for size in (20_000, 60_000, 10**9):
        yield _image(f"header {size} x {size}.ppm", f"P6 {size} {size} 255 ".encode(), "too_large")
        yield _image(f"header {size} x {size}.pgm", f"P5 {size} {size} 65535 ".encode(), "too_large")
    for width, height in ((0, 0), (0, 112), (112, 0)):
        yield _image(f"header {width} x {height}.png", _png(width, height), "damaged", "unrecognised", "too_small")
    for ending, file_format in (("png", "PNG"), ("jpg", "JPEG"), ("bmp", "BMP"), ("webp", "WEBP"), ("ppm", "PPM")):
        for width, height in ((1, 1), (1, 112), (112, 1), (15, 15), (15, 300)):
            content = encoded(Image.new("RGB", (width, height)), file_format)
            yield _image(f"{width} x {height}.{ending}", content, "too_small")
    for width, height in ((20_000, 1), (1, 20_000)):
        yield _image(f"{width} x {height}.png", encoded(Image.new("RGB", (width, height))), "too_small")


def _pipe(path: str) -> None:
    os.mkfifo(path)


def _socket(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)


def _link(target: str, path: str) -> None:
    os.symlink(target, path)


def _folder_and(content: bytes, path: str) -> None:
    Path(path).parent.mkdir()
    _write(content, path)


def _not_files() -> Iterator[BrokenImage]:
    def entry(path: str, make: Callable[[str], None], *reasons: str) -> BrokenImage:
        return BrokenImage(path, make, frozenset(reasons))

    good = encoded(Image.fromarray(WHOLE))
    yield entry("broken/pipe.png", _pipe, "not_a_file")
    yield entry("broken/socket.png", _socket, "not_a_file")
    yield entry("broken/device.png", partial(_link, "/dev/zero"), "not_a_file")
    yield entry("broken/terminal.png", partial(_link, "/dev/tty"), "not_a_file")
    yield entry("broken/link to nowhere.png", partial(_link, "nowhere.png"), "link")
    yield entry("broken/link to itself.png", partial(_link, "link to itself.png"), "link")
    yield entry("broken/circle a.png", partial(_link, "circle b.png"), "link")
    yield entry("broken/circle b.png", partial(_link, "circle a.png"), "link")
    yield entry("broken/link too long.png", partial(_link, "x" * 300), "link", "unreadable")
    yield entry("broken/link up", partial(_link, ".."), "link")
    yield entry("broken/link to here", partial(_link, "."), "link")
    yield entry("link to a subject", partial(_link, "broken"), "link")
    yield entry("link to nowhere", partial(_link, "nowhere at all"), "link")
    yield entry("beside the subjects.png", partial(_write, good), "outside_subject")
    yield entry("broken/folder.png/good.png", partial(_folder_and, good))
    yield entry("broken/folder.jpg/broken.png", partial(_folder_and, b"broken"), "unrecognised")


NAMES = [
    "007", "1e5", "NA", "nan", "null", "None", "True", "-1", "+1", "#", "~", "*", "?", "%s", "$HOME", "`x`", "a b",
    " before", "after ", "a,b", ",", 'a"b', '"', '""', "'", "a;b", "a\tb", "a\nb", "\n", "a\\nb", "\\", "a|b", "a&b",
    "a\x0bb", "a\x0cb", "a\x01b", "a\x1bb", "a\x7fb", "a\x85b", "a\u2028b", "a\u200bb", "a\u202eb", "\ufeffa", "\ufffd",
    "é", "e\u0301", "ß", "İ", "Ωμέγα", "Жанна", "李小龍", "山田", "ｶﾅ", "김철수", "محمد", "שלום", "अमित", "ก้อง",
    "አበበ", "ხატია", "Հայկ", "ᓄᓇᕗᑦ", "𓂀", "🙂", "👩‍👩‍👧‍👦", "\U0010fffd", "\ue000", "x" * 251,
]  # fmt: skip


def _named_images() -> Iterator[BrokenImage]:
    good = partial(_write, encoded(Image.fromarray(WHOLE)))
    for name in NAMES:
        yield BrokenImage(f"names/{name}.png", good, frozenset())
    for name in NAMES[:-1]:
        yield BrokenImage(f"subject {name}/{name}.png", good, frozenset())
        yield BrokenImage(f"subject {name}/broken {name}.png", partial(_write, b"broken"), frozenset({"unrecognised"}))
    for name in ("a\rb", "\r", "a\r\nb", "\ra,b"):
        yield BrokenImage(f"names/{name}.png", good, frozenset({"bad_name"}))
        yield BrokenImage(f"subject {name}/x.png", good, frozenset({"bad_name"}))
    for raw in (b"\xff", b"\xe9t\xe9", b"\xc0\xaf", b"\xed\xa0\x80", "山".encode("shift_jis"), b"a\xf0\x9f\x99"):
        yield BrokenImage(f"names/{os.fsdecode(raw)}.png", good, frozenset({"bad_name"}))
        yield BrokenImage(f"subject {os.fsdecode(raw)}/x.png", good, frozenset({"bad_name"}))


IMAGES = [*_cut_images(), *_wrong_images(), *_odd_sizes(), *_not_files(), *_named_images()]


# Files of every kind


def _put(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _edit(change: Callable[[bytes], bytes], path: Path) -> None:
    path.write_bytes(change(path.read_bytes()))


def _cut(share: float, path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def _keep(size: int, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:size])


def _shorten(by: int, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-by])


def _become_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _become_circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _not_even_files(path: str, stage: str) -> Iterator[BrokenFile]:
    yield BrokenFile(f"{path}: missing", path, Path.unlink, stage, (path,))
    yield BrokenFile(f"{path}: a folder", path, _become_folder, stage, (path,))
    yield BrokenFile(f"{path}: a link to itself", path, _become_circle, stage, (path,))


# params.yaml

WRONG_FOR: dict[type, dict[str, Any]] = {
    int: {"text": "many", "quoted": "3", "fraction": 1.5, "huge": HUGE, "negative": -1, "boolean": True},
    float: {"text": "many", "quoted": "0.5", "huge": 1e300, "huge whole": HUGE, "negative": -1.0, "boolean": True},
    str: {"number": 3, "fraction": 0.5, "empty": "", "boolean": True, "list of text": ["lanczos"]},
    bool: {"number": 1, "zero": 0, "text": "true", "word": "yes", "fraction": 1.0},
    list: {"text": "many", "number": 1, "of text": ["1"], "of negative": [-1], "of huge": [HUGE], "of list": [[1]]}
    | {"of nan": [float("nan")], "of null": [None], "of infinity": [float("inf")], "of boolean": [True]},
}  # fmt: skip
WRONG_FOR_ALL: dict[str, Any] = {
    "nan": float("nan"),
    "infinity": float("inf"),
    "minus infinity": float("-inf"),
    "null": None,
    "empty list": [],
    "list": [1.5, "a"],
    "mapping": {"value": 1},
}
ARGUMENTS = {"pack": ("drawn",), "gather": ("outside",), "score": ("outside",)}
READ_BY = {
    "sources": "pack",
    "photos": "pack",
    "test_sets": "gather",
    "decoding": "pack",
    "runtime": "duplicates",
    "metrics": "evaluate",
    "augment": "train",
}
MAY_BE_EMPTY = ("ranks", "false_accept_rates", "group_by", "index_parameters", "use", "licence", "contact")


def stage_of(section: str) -> str:
    return READ_BY.get(section, section)


def _params(section: str, values: Any, path: Path) -> None:
    """Write a params.yaml with `values` in place of a section, and as little else as its stage reads."""
    needed = ("sources", "runtime", "decoding", "pack", "metrics", "evaluate", "train")
    listed = {"outside": {"format": "csv", "images": "images", "pairs": "pairs.csv"}}
    content = {name: small_params()[name] for name in needed} | {"test_sets": listed} | {section: values}
    if section == "photos":
        content["sources"] = {"drawn": {"path": "images", "format": "photos"}}
    path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")


def _of_params(name: str, section: str, values: Any, *said: str) -> BrokenFile:
    stage = stage_of(section)
    return BrokenFile(f"params.yaml: {name}", "params.yaml", partial(_params, section, values), stage, said)


def _wrong_params() -> Iterator[BrokenFile]:
    for section, values in small_params().items():
        for name, wrong in {"list": [1], "null": None, "text": "x", "number": 3, "nan": float("nan")}.items():
            yield _of_params(f"{section}: {name}", section, wrong, f"params.yaml: {section}")
        if section in ("sources", "test_sets"):
            continue
        yield _of_params(
            f"{section}: unknown key", section, values | {"zzz": 1}, f"params.yaml: {section}.zzz: unknown"
        )
        yield _of_params(f"{section}: key that is a number", section, values | {1: 1}, f"params.yaml: {section}")
        yield _of_params(f"{section}: empty", section, {}, f"params.yaml: {section}.{next(iter(values))}: missing")
        for key, value in values.items():
            where = f"params.yaml: {section}.{key}"
            for name, wrong in (WRONG_FOR_ALL | WRONG_FOR[type(value)]).items():
                if key in MAY_BE_EMPTY and name in ("empty", "empty list"):
                    continue  # nothing is asked for
                yield _of_params(f"{section}.{key}: {name}", section, values | {key: wrong}, where)
            others = {other: values[other] for other in values if other != key}
            yield _of_params(f"{section}.{key}: missing", section, others, f"{where}: missing")
            misspelt = others | {f"{key}_": value}
            yield _of_params(f"{section}.{key}: misspelt", section, misspelt, f"{where}: missing", f"{where}_: unknown")


def _wrong_sources() -> Iterator[BrokenFile]:
    names = ("", "a b", "a/b", "../a", ".a", "-a", "a.npy", "李", "a\n", "a,b", "_a", 1, 1.5, None, True)
    for name in names:
        yield _of_params(f"source called {name!r}", "sources", {name: {"path": "images"}}, "params.yaml: sources")
    paths = {"null": None, "number": 3, "nan": float("nan"), "list": ["images"], "empty": "", "mapping": {"a": "b"}}
    for kind, path in paths.items():
        yield _of_params(
            f"source: path {kind}", "sources", {"drawn": {"path": path}}, "params.yaml: sources.drawn.path"
        )
    for path in (
        "nowhere",
        "/nowhere/at all",
        "params.yaml",
        "im\0ages",
        "x" * 3000,
        "data",
        "models",
        "images/subject 0",
    ):
        said = "params.yaml: sources.drawn.path"
        yield _of_params(f"source: path {path[:20]!r}", "sources", {"drawn": {"path": path}}, said)
    source = {"drawn": {"path": "images", "zzz": 1}}
    yield _of_params("source: unknown key", "sources", source, "params.yaml: sources.drawn.zzz: unknown key")
    yield _of_params("source: without path", "sources", {"drawn": {}}, "params.yaml: sources.drawn.path: missing")
    yield _of_params("source: a bare path", "sources", {"drawn": "images"}, "params.yaml: sources.drawn")
    yield _of_params("source: none", "sources", {}, "params.yaml: sources")
    yield _of_params("source: another", "sources", {"other": {"path": "images"}}, "params.yaml: sources", "drawn")


def _split_section(text: str) -> bytes:
    return f"sources: {{drawn: {{path: images}}}}\n{text}\n".encode()


def _wrong_yaml() -> Iterator[BrokenFile]:
    rest = "test_size: 0.3, validation_size: 0.0, unseen_subjects: 0.3, drop_copies: false"
    copies = "duplicates: {likeness: 0.98, neighbours: 8, exact_images: 100000}\n"
    fine = f"{copies}sources: {{drawn: {{path: images}}}}\nsplit: {{seed: 0, {rest}}}\n".encode()
    seed = f"split: {{{{seed: {{}}, {rest}}}}}"
    laughs = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 13))
    contents = {
        "empty": b"",
        "only a comment": b"# nothing\n",
        "a list": b"- split\n",
        "a word": b"split\n",
        "a number": b"3\n",
        "random bytes": RANDOM,
        "not UTF-8": fine + b"# \xff\n",
        "UTF-16": fine.decode().encode("utf-16"),
        "zero bytes within": fine.replace(b"seed", b"se\0ed"),
        "tabs": b"split:\n\tseed: 0\n",
        "unclosed brace": fine[:-2],
        "unclosed quote": fine + b"'",
        "two documents": fine + b"---\n" + fine,
        "unknown tag": _split_section(seed.format("!unknown 0")),
        "tag that runs code": _split_section(seed.format("!!python/object/apply:os.getpid []")),
        "unknown alias": _split_section(seed.format("*nothing")),
        "alias of itself": _split_section(seed.format("&a [*a]")),
        "laughs": f"a0: &a0 [1, 2]\n{laughs}".encode() + _split_section(seed.format("*a12")),
        "nested deeply": b"split: " + b"[" * 5000 + b"]" * 5000 + b"\n",
        "nested endlessly": b"split: " + b"[" * 100_000,
        "5000 digits": _split_section(seed.format("9" * 5000)),
        "5000 hexadecimal digits": _split_section(seed.format("0x" + "f" * 5000)),
        "number of many e": _split_section(seed.format("1e" + "9" * 50)),
        "a megabyte of text": _split_section(seed.format("x" * 1_000_000)),
        "key that is a list": _split_section("split: {[seed]: 0}"),
        "merge of a number": _split_section("split: {<<: 3, seed: 0}"),
        "key twice": _split_section(f"split: {{seed: 0, seed: 1, {rest}}}"),
        "section twice": fine + f"split: {{seed: 1, {rest}}}\n".encode(),
        "section missing": b"sources: {drawn: {path: images}}\n",
        "number of YAML 1.1, base 60": _split_section(seed.format("1:30")),
        "number of YAML 1.1, binary": _split_section(seed.format("0b11")),
        "number of YAML 1.1, underscores": _split_section(seed.format("1_000")),
        "number of another script": _split_section(seed.format("٣")),
        "date": _split_section(seed.format("2001-01-01")),
    }
    for name, content in contents.items():
        yield BrokenFile(f"params.yaml: {name}", "params.yaml", partial(_put, content), "split", ("params.yaml",))
    harmless = {
        "byte order mark": b"\xef\xbb\xbf" + fine,
        "CRLF": fine.replace(b"\n", b"\r\n"),
        "CR": fine.replace(b"\n", b"\r"),
    }
    for name, content in harmless.items():
        yield BrokenFile(f"params.yaml: {name}", "params.yaml", partial(_put, content), "split", ())
    yield from _not_even_files("params.yaml", "split")


# Tables


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
            yield BrokenFile(f"{path}: {name}", path, partial(_edit, edit), stage, (path,))
        for name, edit in HARMLESS_TEXT.items():
            yield BrokenFile(f"{path}: {name}", path, partial(_edit, edit), stage, ())
        for percent in (3, 10, 30, 50, 70, 90):
            yield BrokenFile(f"{path}: cut at {percent}%", path, partial(_cut_in_row, percent), stage, (path,))
        for by in (1, 2, 3, 5):
            yield BrokenFile(f"{path}: {by} bytes short", path, partial(_shorten, by), stage, (path,))
        yield from _not_even_files(path, stage)
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


# Arrays


def _save(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _array(change: Callable[[np.ndarray], np.ndarray], path: Path) -> None:
    path.write_bytes(_save(change(np.load(path))))


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
        makes: dict[str, Callable[[Path], None]] = {name: partial(_edit, edit) for name, edit in bytes_of.items()}
        makes |= {f"cut to {size} bytes": partial(_keep, size) for size in (1, 5, 6, 8, 9, 10, 50, 127, 128, 129)}
        makes |= {f"{by} bytes short": partial(_shorten, by) for by in (1, 100, 112)}
        makes |= {f"cut at {percent}%": partial(_cut, percent / 100) for percent in (10, 25, 50, 75, 99)}
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
        yield from _not_even_files(path, "identify")
    for name, value in {"nan": np.nan, "infinity": np.inf}.items():
        for stage in ("mine", "evaluate", "similarity"):
            make = partial(_array, partial(_spoil, value, 3))
            yield BrokenFile(
                f"data/embeddings.npy: {name}, {stage}", "data/embeddings.npy", make, stage, ("data/embeddings.npy",)
            )


# Models


def _similarity(change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]], path: Path) -> None:
    with np.load(path) as arrays:
        changed = change(dict(arrays))
    with open(path, "wb") as file:
        np.savez(file, **changed)


def _with_infinity(array: np.ndarray) -> np.ndarray:
    array.flat[0] = np.inf
    return array


def _change_weight(
    weight: str, change: Callable[[np.ndarray], np.ndarray], arrays: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    return arrays | {weight: change(arrays[weight])}


def _lose_weight(weight: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: arrays[name] for name in arrays if name != weight}


def _wrong_similarity() -> Iterator[BrokenFile]:
    path = "models/similarity.npz"
    weights = ("hidden_kernel", "hidden_bias", "output_kernel", "output_bias")
    makes: dict[str, Callable[[Path], None]] = {
        "empty": partial(_put, b""),
        "random bytes": partial(_put, RANDOM),
        "a zip of nothing": partial(_put, b"PK\x05\x06" + bytes(18)),
        "an array": partial(_put, _save(np.zeros(3))),
        "a pickle": partial(_put, b"\x80\x04}\x94."),
        "a weight more": partial(_similarity, lambda arrays: arrays | {"more": np.zeros(1)}),
        "no weights": partial(_similarity, lambda _: {}),
        "unknown features": partial(_similarity, lambda arrays: arrays | {"features": np.array("zzz")}),
        "other embeddings": partial(
            _similarity, lambda arrays: arrays | {"hidden_kernel": arrays["hidden_kernel"][:-2]}
        ),
        "garbled": partial(_edit, lambda content: content[:400] + RANDOM[:40] + content[440:]),
    }
    makes |= {f"cut at {percent}%": partial(_cut, percent / 100) for percent in (1, 5, 10, 25, 50, 75, 90, 99)}
    makes |= {f"{by} bytes short": partial(_shorten, by) for by in (1, 10, 22)}
    for weight in weights:
        changes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "of NaN": lambda array: np.full_like(array, np.nan),
            "with an infinity": _with_infinity,
            "as float64": lambda array: array.astype(np.float64),
            "as text": lambda array: array.astype(str),
            "of no axis": lambda array: array.ravel()[0],
            "of an axis more": lambda array: array[None],
            "empty": lambda array: array[:0],
            "twice as long": lambda array: np.concatenate([array, array]),
        }  # fmt: skip
        for name, change in changes.items():
            makes[f"{weight} {name}"] = partial(_similarity, partial(_change_weight, weight, change))
        makes[f"without {weight}"] = partial(_similarity, partial(_lose_weight, weight))
    makes["without features"] = partial(_similarity, partial(_lose_weight, "features"))
    for name, make in makes.items():
        yield BrokenFile(f"{path}: {name}", path, make, "evaluate", (path,))
    yield from _not_even_files(path, "evaluate")


def _wrong_architecture() -> Iterator[BrokenFile]:
    path = "models/backbone.json"
    contents: dict[str, str | bytes] = {
        "empty": "",
        "random bytes": RANDOM,
        "not JSON": "width: 1",
        "cut short": '{"width": 0.1',
        "a list": "[0.125, 16]",
        "a number": "3",
        "null": "null",
        "nothing in it": "{}",
        "without embedding_size": '{"width": 0.125}',
        "without width": '{"embedding_size": 16}',
        "unknown key": '{"width": 0.125, "embedding_size": 16, "zzz": 1}',
        "key of the network's": '{"width": 0.125, "embedding_size": 16, "l2": 1}',
        "nested endlessly": "[" * 100_000,
        "5000 digits": '{"width": 0.125, "embedding_size": ' + "9" * 5000 + "}",
    }
    for key, other in (("width", '"embedding_size": 16'), ("embedding_size", '"width": 0.125')):
        values = (
            "null",
            '"x"',
            '"1"',
            "[]",
            "{}",
            "true",
            "NaN",
            "Infinity",
            "-Infinity",
            "-1",
            "0",
            "1e300",
            "1" + "0" * 30,
        )
        contents |= {f"{key} {value}": f'{{"{key}": {value}, {other}}}' for value in values}
    contents["embedding_size 16.5"] = '{"width": 0.125, "embedding_size": 16.5}'
    for name, content in contents.items():
        make = partial(_put, content.encode() if isinstance(content, str) else content)
        yield BrokenFile(f"{path}: {name}", path, make, "embed", (path,))
    yield from _not_even_files(path, "embed")


def _hdf5(change: Callable[[h5py.File], object], path: Path) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def _first_array(file: h5py.File, number: int = 0) -> h5py.Dataset:
    arrays: list[h5py.Dataset] = []
    file.visititems(lambda _, item: arrays.append(item) if isinstance(item, h5py.Dataset) else None)
    return arrays[number]


def _replace_array(change: Callable[[np.ndarray], Any], file: h5py.File) -> None:
    array = _first_array(file)
    name, values = array.name, array[()]
    del file[name]
    file[name] = change(values)


def _remove_array(number: int, file: h5py.File) -> None:
    del file[_first_array(file, number).name]


def _link_array(file: h5py.File) -> None:
    name = _first_array(file).name
    del file[name]
    file[name] = h5py.ExternalLink("elsewhere.h5", "/x")


def _damaged_weights(path: str, stage: str) -> Iterator[BrokenFile]:
    makes: dict[str, Callable[[Path], None]] = {
        "empty": partial(_put, b""),
        "random bytes": partial(_put, RANDOM),
        "a text": partial(_put, b"version https://git-lfs.github.com/spec/v1\n"),
        "an array": partial(_put, _save(np.zeros(3))),
        "wrong magic": partial(_edit, lambda content: b"\x89HDX" + content[4:]),
        "garbled": partial(_edit, lambda content: content[:600] + RANDOM + content[600 + len(RANDOM) :]),
    }
    makes |= {f"cut at {percent}%": partial(_cut, percent / 100) for percent in (1, 5, 25, 50, 75, 95)}
    makes |= {f"{by} bytes short": partial(_shorten, by) for by in (1, 100)}
    changes: dict[str, Callable[[h5py.File], object]] = {
        "no groups": lambda file: file.clear(),
        "a group less": lambda file: file.__delitem__(next(iter(file))),
        "the first weight lost": partial(_remove_array, 0),
        "another weight lost": partial(_remove_array, 5),
        "a weight more": lambda file: file.create_dataset("more", data=np.zeros(3)),
        "a weight of NaN": partial(_replace_array, lambda values: np.full_like(values, np.nan)),
        "a weight with an infinity": partial(_replace_array, lambda values: values + np.float32(np.inf)),
        "a weight of text": partial(_replace_array, lambda _: "text"),
        "a weight of another shape": partial(_replace_array, lambda values: values[..., None]),
        "a weight of no values": partial(_replace_array, lambda values: values[:0]),
        "a link to another file": _link_array,
    }
    makes |= {name: partial(_hdf5, change) for name, change in changes.items()}
    for name, make in makes.items():
        yield BrokenFile(f"{path}: {name}", path, make, stage, (path,))
    yield from _not_even_files(path, stage)


def _other_architecture(path: Path) -> None:
    from faces.network import mobilefacenet, weights

    weights.save_weights(mobilefacenet.build(0.25, 16), path)


WEIGHTS, INITIAL = "models/backbone.weights.h5", "models/start.weights.h5"

SETTINGS = [*_wrong_params(), *_wrong_sources(), *_wrong_yaml()]
HANDED_ON = [*_wrong_tables(), *_wrong_arrays(), *_wrong_similarity()]
NETWORKS = [
    *_wrong_architecture(),
    *_damaged_weights(WEIGHTS, "embed"),
    BrokenFile(f"{WEIGHTS}: of another width", WEIGHTS, _other_architecture, "embed", (WEIGHTS,)),
    *_damaged_weights(INITIAL, "train"),
    BrokenFile(f"{INITIAL}: of another width", INITIAL, _other_architecture, "train", (INITIAL,)),
]
FILES = [*SETTINGS, *HANDED_ON, *NETWORKS]
