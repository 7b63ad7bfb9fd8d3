"""Broken images: each with a name, how it is made, and the reasons for which it may be rejected.

`IMAGES` go into one source folder beside good images; each must be listed with its reason, or packed correctly.
"""

import os
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from image_files import encoded, flat, noise

RANDOM = np.random.default_rng(0).bytes(4096)
WHOLE = noise(112, 112)  # the pixels of every file that is then cut short


class BrokenImage(NamedTuple):
    """An entry of a source folder. `reasons`: those it may be rejected for; none: it must be packed."""

    path: str  # relative to the source, <subject>/<file>
    make: Callable[[str], None]
    reasons: frozenset[str]
    may_be_whole: bool = False  # nothing of the pixels may be missing: then it may be packed, as they are


def _write(content: bytes | Callable[[], bytes], path: str) -> None:
    Path(path).write_bytes(content if isinstance(content, bytes) else content())


def _image(name: str, content: bytes | Callable[[], bytes], *reasons: str, may_be_whole: bool = False) -> BrokenImage:
    return BrokenImage(f"broken/{name}", partial(_write, content), frozenset(reasons), may_be_whole)


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


def _gif_of_size(width: int, height: int) -> bytes:
    content = encoded(Image.fromarray(WHOLE), "GIF")
    return content[:6] + struct.pack("<HH", width, height) + content[10:]


def _tiff(width: int, height: int, next_page: int = 0) -> bytes:
    """Return a TIFF file (6.0, section 2) of RGB that claims this size and holds the pixels of `WHOLE`."""
    values = {256: width, 257: height, 258: 8, 259: 1, 262: 2, 273: 134, 277: 3, 278: height, 279: WHOLE.size}
    values |= {284: 1}
    entries = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in values.items())
    pages = struct.pack("<H", len(values)) + entries + struct.pack("<L", next_page)
    return b"II*\0" + struct.pack("<L", 8) + pages + WHOLE.tobytes()


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
        "gif": encoded(picture, "GIF"),
        "tiff": encoded(picture, "TIFF"),
        "tif": encoded(picture, "TIFF", compression="tiff_lzw"),
        "avif": encoded(picture, "AVIF", quality=100, subsampling="4:4:4"),
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
    for file_format in ("ICO", "TGA", "PCX", "PDF", "ICNS", "JPEG2000", "EPS"):
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
    yield _image("pages in a circle.tiff", partial(_tiff, 112, 112, next_page=8), may_be_whole=True)
    yield _image("a page nowhere.tiff", partial(_tiff, 112, 112, next_page=10**6), "damaged", may_be_whole=True)


def _odd_sizes() -> Iterator[BrokenImage]:
    for width, height in ((20_000, 20_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 16)):
        yield _image(f"header {width} x {height}.png", _png(width, height, _some_pixels()), "too_large")
    yield _image("bomb 20000 x 20000.png", _bomb, "too_large")
    yield _image("header 65000 x 65000.jpg", partial(_jpeg_of_size, 65_000, 65_000), "too_large")
    yield _image("header 20000 x 20000.bmp", partial(_bmp_of_size, 20_000, 20_000), "too_large")
    yield _image("header 20000 x 20000.gif", partial(_gif_of_size, 20_000, 20_000), "too_large")
    for size in (20_000, 60_000, 10**9):
        yield _image(f"header {size} x {size}.tiff", partial(_tiff, size, size), "too_large")
        yield _image(f"header {size} x {size}.ppm", f"P6 {size} {size} 255 ".encode(), "too_large")
        yield _image(f"header {size} x {size}.pgm", f"P5 {size} {size} 65535 ".encode(), "too_large")
    for width, height in ((0, 0), (0, 112), (112, 0)):
        yield _image(f"header {width} x {height}.png", _png(width, height), "damaged", "unrecognised", "too_small")
    small = {"png": "PNG", "jpg": "JPEG", "bmp": "BMP", "webp": "WEBP", "ppm": "PPM", "gif": "GIF", "tif": "TIFF"}
    for ending, file_format in small.items():
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
