"""Every image here is made in the test, and what it must become is worked out by hand or in NumPy."""

import errno
import io
import json
import os
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

import pack
from faces.sources import Source
from faces.stage import StageError, check_params

SCRIPT = Path(pack.__file__)
DEFAULTS = {
    "max_subjects": 0,
    "min_images_per_subject": 1,
    "max_images_per_subject": 0,
    "resize_filter": "lanczos",
    "min_side": 8,
    "max_megapixels": 50,
    "workers": 2,
}
RED, GREEN = (255, 0, 0), (0, 255, 0)


@pytest.fixture(autouse=True)
def _in_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def params(**changes: object) -> pack.PackParams:
    return check_params(DEFAULTS | changes, pack.PackParams, "params.yaml: pack")


def flat(colour: tuple[int, ...] | int, mode: str = "RGB", side: int = 112) -> Image.Image:
    return Image.new(mode, (side, side), colour)


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def put(path: str | Path, content: bytes | None = None) -> Path:
    """Write a file below the source folder `faces`; a red image if nothing else is asked for."""
    file = Path("faces") / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encoded(flat(RED)) if content is None else content)
    return file


def read(content: bytes, name: str = "s/x.png", **changes: object) -> NDArray[np.uint8]:
    return pack.read_image(put(name, content), params(**changes))


def run_stage(**changes: object) -> None:
    """Run `python stages/pack.py faces` without a process of its own."""
    settings = {"sources": {"faces": {"path": "faces"}}, "pack": DEFAULTS | changes}
    Path("params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["pack.py", "faces"])
        pack.main()


def table() -> list[tuple[str, str]]:
    content = pd.read_csv("data/packed/faces.csv", dtype=str, keep_default_na=False)
    assert list(content.columns) == ["subject", "path"]
    return list(content.itertuples(index=False, name=None))


def paths() -> list[str]:
    return [path for _, path in table()]


def rejected() -> dict[str, str]:
    content = pd.read_csv("data/packed/faces.rejected.csv", dtype=str, keep_default_na=False)
    assert (content["detail"] != "").all()
    return dict(zip(content["path"], content["reason"], strict=True))


def metrics() -> dict[str, int]:
    return json.loads(Path("metrics/pack@faces.json").read_text(encoding="utf-8"))


def outputs() -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for folder in ("data", "metrics")
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "file_format", "options"),
    [
        ("x.png", "PNG", {}),
        ("x.PNG", "PNG", {}),
        ("x.bmp", "BMP", {}),
        ("x.Bmp", "BMP", {}),
        ("x.ppm", "PPM", {}),
        ("x.webp", "WEBP", {"lossless": True}),
        ("x.jpg", "PNG", {}),  # the content decides, not the ending
    ],
)
def test_lossless_formats_come_back_pixel_by_pixel(name: str, file_format: str, options: dict[str, Any]) -> None:
    pixels = noise(112, 112)
    for subject in ("a", "b"):
        put(f"{subject}/{name}", encoded(Image.fromarray(pixels), file_format, **options))
    run_stage()
    assert table() == [("a", f"a/{name}"), ("b", f"b/{name}")]
    packed = np.load("data/packed/faces.npy")
    assert packed.dtype == np.uint8
    np.testing.assert_array_equal(packed, np.stack([pixels, pixels]))


@pytest.mark.parametrize(
    ("name", "file_format"), [("x.jpg", "JPEG"), ("x.JPEG", "JPEG"), ("x.jpeg", "JPEG"), ("x.webp", "WEBP")]
)
def test_lossy_formats_come_back_nearly(name: str, file_format: str) -> None:
    for subject in ("a", "b"):
        put(f"{subject}/{name}", encoded(flat((200, 100, 50)), file_format))
    run_stage()
    assert len(table()) == 2
    difference = np.load("data/packed/faces.npy").astype(int) - (200, 100, 50)
    assert np.abs(difference).max() <= 4  # a flat colour loses only what rounding in YCbCr costs


def pnm(kind: str, peak: int, *values: int, side: int = 112) -> bytes:
    """Return a flat PGM (P5) or PPM (P6), which hold big-endian 16-bit numbers where the peak is over 255."""
    pixel = np.array(values, ">u2" if peak > 255 else "u1").tobytes()
    return f"{kind}\n{side} {side}\n{peak}\n".encode() + pixel * side * side


def pfm(*values: float) -> bytes:
    row = np.resize(np.array(values, "<f4"), 112).tobytes()
    return b"Pf\n112 112\n-1.0\n" + row * 112


def palette(**options: Any) -> bytes:
    image = flat(1, "P")
    image.putpalette([90, 91, 92, 10, 20, 30])
    return encoded(image, **options)


@pytest.mark.parametrize(
    ("content", "colour"),
    [
        (encoded(flat(100, "L")), (100, 100, 100)),
        (pnm("P5", 255, 100), (100, 100, 100)),
        (b"P2 8 8 255" + b" 100" * 64, (100, 100, 100)),
        (b"P3 8 8 255" + b" 1 2 3" * 64, (1, 2, 3)),
        (encoded(flat(1, "1")), (255, 255, 255)),
        (encoded(flat(0, "1")), (0, 0, 0)),
        (encoded(flat((200, 128), "LA")), (100, 100, 100)),  # 200 * 128 / 255 = 100.4
        (encoded(flat((200, 100, 50, 128), "RGBA")), (100, 50, 25)),  # 100.4, 50.2, 25.1
        (encoded(flat((200, 100, 50, 0), "RGBA")), (0, 0, 0)),
        (encoded(flat((200, 100, 50, 255), "RGBA")), (200, 100, 50)),
        (encoded(flat((200, 100, 50, 128), "RGBA"), "WEBP", lossless=True), (100, 50, 25)),
        (palette(), (10, 20, 30)),
        (palette(transparency=0), (10, 20, 30)),
        (palette(transparency=1), (0, 0, 0)),
        (palette(transparency=b"\xff\x80"), (5, 10, 15)),  # 5.02, 10.04, 15.06
        (encoded(flat((9, 8, 7)), transparency=(9, 8, 7)), (0, 0, 0)),
        (encoded(flat((9, 8, 7)), transparency=(9, 8, 6)), (9, 8, 7)),
        (encoded(flat(100, "L"), transparency=100), (0, 0, 0)),
        (pnm("P6", 65535, 256, 65535, 32768), (1, 255, 128)),
    ],
)
def test_every_mode_becomes_rgb(content: bytes, colour: tuple[int, int, int]) -> None:
    pixels = read(content)
    assert pixels.shape == (112, 112, 3)
    assert pixels.dtype == np.uint8
    assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [list(colour)]


def test_cmyk_becomes_rgb() -> None:
    pixels = read(encoded(flat((0, 255, 255, 0), "CMYK"), "JPEG", quality=100))  # no cyan, all magenta and yellow
    assert np.abs(pixels.astype(int) - RED).max() <= 2  # JPEG's rounding


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 0), (255, 0), (256, 1), (511, 1), (32768, 128), (65535, 255), (257 * 77, 77)]
)
def test_16_bit_grey_keeps_its_high_byte(value: int, expected: int) -> None:
    from_png = read(encoded(Image.fromarray(np.full((112, 112), value, np.uint16))))
    from_pgm = read(pnm("P5", 65535, value), "s/x.pgm")
    assert np.unique(from_png).tolist() == np.unique(from_pgm).tolist() == [expected]


def test_12_bit_grey_is_scaled_by_its_peak() -> None:
    assert np.unique(read(pnm("P5", 4095, 4095))).tolist() == [255]


def test_float_grey_runs_from_0_to_1() -> None:
    pixels = read(pfm(-1, 0, 0.2, 1, 3))
    assert pixels[0, :5].tolist() == [[0] * 3, [0] * 3, [51] * 3, [255] * 3, [255] * 3]  # 0.2 * 255 = 51


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames: dict[str, Any] = {"save_all": True, "append_images": [flat(GREEN)], "duration": 50}
    for content in (encoded(flat(RED), "PNG", **frames), encoded(flat(RED), "WEBP", lossless=True, **frames)):
        assert Image.open(io.BytesIO(content)).n_frames == 2  # type: ignore[attr-defined]
        np.testing.assert_array_equal(read(content), np.asarray(flat(RED)))


# EXIF 2.32, table of tag 274: where row 0 and column 0 of the stored image belong in the picture as seen.
ORIENTATIONS = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def stored(seen: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    row, column = ORIENTATIONS[orientation]
    if row in ("left", "right"):
        seen = seen.swapaxes(0, 1)
    return seen[:: -1 if row in ("bottom", "right") else 1, :: -1 if column in ("bottom", "right") else 1]


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[274] = orientation
    return block


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(("file_format", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_exif_turns_the_image_upright(orientation: int, file_format: str, options: dict[str, Any]) -> None:
    seen = noise(112, 112)
    file = encoded(Image.fromarray(stored(seen, orientation)), file_format, exif=exif(orientation), **options)
    np.testing.assert_array_equal(read(file), seen)


def test_exif_turns_a_jpeg_that_is_not_square() -> None:
    picture = flat(GREEN).resize((320, 160))
    picture.paste(RED, (0, 0, 160, 160))  # the left half of what is stored
    pixels = read(encoded(picture, "JPEG", quality=95, exif=exif(6)), resize_filter="box").astype(int)  # column 0: top
    assert np.abs(pixels[:50] - RED).max() <= 4
    assert np.abs(pixels[62:] - GREEN).max() <= 4


@pytest.mark.parametrize("block", [b"Exif\0\0nonsense", exif(9).tobytes(), exif(0).tobytes()])
def test_a_broken_exif_block_costs_nothing(block: bytes) -> None:
    for subject in ("a", "b"):
        put(f"{subject}/x.jpg", encoded(flat(RED), "JPEG", exif=block))
    run_stage()
    assert paths() == ["a/x.jpg", "b/x.jpg"]
    assert rejected() == {}


def test_shrinking_by_box_is_the_mean_of_the_blocks() -> None:
    pixels = noise(224, 336)
    expected = pixels.reshape(112, 2, 112, 3, 3).mean(axis=(1, 3))
    shrunk = read(encoded(Image.fromarray(pixels)), resize_filter="box")
    # Pillow shrinks one axis after the other and rounds to a whole number each time: twice a half.
    assert np.abs(shrunk - expected).max() <= 1


def test_enlarging_by_box_repeats_pixels() -> None:
    small = noise(28, 56)
    expected = small.repeat(4, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(read(encoded(Image.fromarray(small)), resize_filter="box"), expected)


def test_every_resize_filter_gives_its_own_pixels() -> None:
    content = encoded(Image.fromarray(noise(200, 150)))
    results = {read(content, resize_filter=name).tobytes() for name in pack.RESIZE_FILTERS}
    assert len(results) == 4


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100)))


def halved(file_format: str) -> bytes:
    content = encoded(Image.fromarray(noise(112, 112)), file_format)
    return content[: len(content) // 2]


def animation(file_format: str) -> bytes:
    return encoded(flat(RED), file_format, save_all=True, append_images=[flat(GREEN)])


BROKEN = {
    "zero.png": (b"", "empty"),
    "text.png": (b"not an image at all\n", "unrecognised"),
    "gif.png": (encoded(flat(RED), "GIF"), "unrecognised"),
    "tiff.png": (encoded(flat(RED), "TIFF"), "unrecognised"),
    "one_byte.jpg": (b"\xff", "unrecognised"),
    "magic_only.png": (b"\x89PNG\r\n\x1a\n", "unrecognised"),
    "half.png": (halved("PNG"), "damaged"),
    "half.jpg": (halved("JPEG"), "damaged"),
    "half.bmp": (halved("BMP"), "damaged"),
    "half.ppm": (halved("PPM"), "damaged"),
    "half.webp": (halved("WEBP"), "damaged"),
    "headless.png": (png_header(100, 100), "damaged"),
    "words.pgm": (b"P2 112 112 255 one two three", "damaged"),
    "nan.pgm": (pfm(0.5, float("nan")), "damaged"),
    "infinite.pgm": (pfm(0.5, float("inf")), "damaged"),
    "one_by_one.png": (encoded(flat(RED, side=1)), "too_small"),
    "line.png": (encoded(Image.new("RGB", (500, 7))), "too_small"),
    "bomb.png": (png_header(20_000, 20_000), "too_large"),
    "wide.ppm": (b"P6 4000000000 4000000000 255 ", "too_large"),
    "over.pgm": (pnm("P5", 255, 7, side=120).replace(b"120 120", b"7100 7100"), "too_large"),  # 50.4 megapixels
}


def test_broken_images_are_rejected_by_name_and_reason_and_stop_nothing_else() -> None:
    for subject in ("a", "b"):
        put(f"{subject}/good.png")
        for name, (content, _) in BROKEN.items():
            put(f"{subject}/{name}", content)
    run_stage()
    assert paths() == ["a/good.png", "b/good.png"]
    np.testing.assert_array_equal(np.load("data/packed/faces.npy"), np.stack([np.asarray(flat(RED))] * 2))
    assert rejected() == {f"{s}/{name}": reason for s in ("a", "b") for name, (_, reason) in BROKEN.items()}
    reasons = [reason for _, reason in BROKEN.values()]
    assert metrics()["rejected"] == 2 * len(BROKEN)
    assert {r: metrics()[f"rejected_{r}"] for r in pack.REASONS} == {r: 2 * reasons.count(r) for r in pack.REASONS}


def test_a_large_image_within_the_limit_raises_no_alarm() -> None:
    """Pillow warns from 89 megapixels on, and a warning is an error in these tests."""
    put("a/x.png")
    put("b/x.png")
    put("b/y.pgm", b"P5\n9500 9500\n255\ncut short")
    run_stage(max_megapixels=100)
    assert rejected() == {"b/y.pgm": "damaged"}


@pytest.fixture
def _pipe_and_socket() -> Iterator[None]:
    Path("faces/a").mkdir(parents=True)
    os.mkfifo("faces/a/pipe.png")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("faces/a/socket.jpg")
    yield
    listener.close()


@pytest.mark.usefixtures("_pipe_and_socket")
@pytest.mark.timeout(20)  # reading a pipe would wait for ever
def test_what_is_not_a_file_is_never_opened() -> None:
    put("a/x.png")
    put("b/x.png")
    run_stage()
    assert paths() == ["a/x.png", "b/x.png"]
    assert rejected() == {"a/pipe.png": "not_a_file", "a/socket.jpg": "not_a_file"}


def test_links_are_followed_once_and_never_in_a_circle() -> None:
    put("a/x.png")
    put("b/deep/y.png")
    outside = Path("elsewhere")
    outside.mkdir()
    (outside / "z.png").write_bytes(encoded(flat(RED)))
    for link, target in {
        "faces/a/again.png": "x.png",
        "faces/a/itself.png": "itself.png",
        "faces/a/nowhere.png": "missing.png",
        "faces/a/up": "..",
        "faces/aa": "b",
        "faces/b/deep/loop": "../../b",
        "faces/c": "../elsewhere",
        "faces/d": "../elsewhere",
        "faces/e": "missing",
    }.items():
        os.symlink(target, link)
    run_stage()
    assert paths() == ["a/again.png", "a/x.png", "b/deep/y.png", "c/z.png"]
    assert rejected() == dict.fromkeys(
        ["a/itself.png", "a/nowhere.png", "a/up", "aa", "b/deep/loop", "d", "e"],
        "link",
    )


def test_a_folder_may_be_called_like_an_image() -> None:
    put("a/x.png/y.png")
    put("b.jpg/x.png")
    run_stage()
    assert table() == [("a", "a/x.png/y.png"), ("b.jpg", "b.jpg/x.png")]


def test_files_beside_the_subjects_are_rejected_and_other_files_ignored() -> None:
    for path in ("a/x.png", "b/x.png", "stray.png"):
        put(path)
    for path in ("README.txt", ".DS_Store", "a/Thumbs.db", "a/._x.png", "a/x.gif", "a/png", ".git/c/x.png"):
        put(path)  # .git is one hidden folder, which is not looked into
    run_stage()
    assert paths() == ["a/x.png", "b/x.png"]
    assert rejected() == {"stray.png": "outside_subject"}
    assert metrics()["files_ignored"] == 7


def test_what_may_not_be_read_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("a/closed.png", "a/x.png", "b/x.png", "c/y.png"):
        put(path)

    def guarded(real: Callable[..., Any], closed: str) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any) -> Any:
            if str(path) == closed:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return real(path, *arguments)

        return call

    # Not by chmod: root, which tests in a container run as, may read everything.
    monkeypatch.setattr(pack, "open", guarded(open, "faces/a/closed.png"), raising=False)
    monkeypatch.setattr(os, "scandir", guarded(os.scandir, "faces/c"))
    run_stage()
    assert paths() == ["a/x.png", "b/x.png"]
    assert rejected() == {"a/closed.png": "unreadable", "c": "unreadable"}


def test_running_out_of_file_handles_is_no_fault_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_handle(*_: Any) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(pack, "open", no_handle, raising=False)
    with pytest.raises(OSError, match="Too many open files"):
        pack.read_image(Path("faces/x.png"), params())


def test_names_survive_the_table() -> None:
    subjects = [
        "007",
        "7",
        "NA",
        "null",
        "nan",
        "a,b",
        'a"b',
        "a\nb",
        " a ",
        "Ω",
        "李",
        "محمد",
        "é",
        "e\u0301",
        "🙂",
        "-1",
        "#",
    ]
    for subject in subjects:
        put(f"{subject}/x, \"y\"\n'z'.png")
    run_stage()
    assert table() == [(subject, f"{subject}/x, \"y\"\n'z'.png") for subject in sorted(subjects)]
    assert metrics()["subjects"] == len(subjects)


def test_names_that_no_table_can_hold_are_rejected() -> None:
    put("a/x.png")
    put("b/x.png")
    put("b/line\rend.png")
    put(Path(os.fsdecode(b"\xff\xfe")) / "x.png")
    put(Path("b") / os.fsdecode(b"caf\xe9.png"))
    run_stage()
    assert paths() == ["a/x.png", "b/x.png"]
    assert rejected() == dict.fromkeys([r"\xff\xfe/x.png", r"b/caf\xe9.png", r"b/line\rend.png"], "bad_name")


def test_order_is_by_subject_then_path() -> None:
    for path in ("a b/1.png", "a/2.png", "a/10.png", "a/B.png", "a/c/1.png", "B/1.png"):
        put(path)
    run_stage()
    assert paths() == ["B/1.png", "a/10.png", "a/2.png", "a/B.png", "a/c/1.png", "a b/1.png"]


def shade(path: str, grey: int) -> None:
    put(path, encoded(flat(grey, "L")))


def shades() -> list[int]:
    return np.load("data/packed/faces.npy")[:, 5, 5, 0].tolist()


def test_limits_keep_the_first_that_can_be_used() -> None:
    put("a/0.png", b"broken")
    for number in (1, 2, 3):
        shade(f"a/{number}.png", 10 + number)
    put("a/4.png", b"broken, but behind the limit, so never opened")
    shade("b/1.png", 21)
    put("b/2.png", b"broken")
    for subject, base in (("c", 30), ("d", 40)):
        shade(f"{subject}/1.png", base + 1)
        shade(f"{subject}/2.png", base + 2)
    put("d/3.png", b"broken, but the last subject is not opened")

    run_stage(min_images_per_subject=2, max_images_per_subject=2, max_subjects=2)
    assert paths() == ["a/1.png", "a/2.png", "c/1.png", "c/2.png"]
    assert shades() == [11, 12, 31, 32]
    assert rejected() == {"a/0.png": "unrecognised", "b/2.png": "unrecognised"}
    counts = metrics()
    assert (counts["images"], counts["subjects"], counts["subjects_dropped"], counts["rejected"]) == (4, 2, 2, 2)

    run_stage(min_images_per_subject=2)
    assert shades() == [11, 12, 13, 31, 32, 41, 42]
    assert metrics()["subjects_dropped"] == 1

    run_stage()
    assert shades() == [11, 12, 13, 21, 31, 32, 41, 42]


@pytest.mark.parametrize("limit", [0, 4])
def test_a_subject_in_several_parts_is_one_subject(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(pack, "PART_FILES", 2)
    for subject, base in (("a", 0), ("b", 100), ("c", 200)):
        for number in range(3 if subject == "b" else 5):
            shade(f"{subject}/{number}.png", base + number)
    run_stage(min_images_per_subject=4, max_images_per_subject=limit)
    assert shades() == [base + number for base in (0, 200) for number in range(limit or 5)]
    assert metrics()["subjects"] == 2


@pytest.mark.parametrize("workers", [0, 1, 2, 7])
def test_the_number_of_workers_changes_no_byte(workers: int) -> None:
    expected = []
    for subject in "dacb":
        for number in range(4):
            put(f"{subject}/{number}.png", encoded(Image.fromarray(noise(60, 70, seed=ord(subject) + 9 * number))))
        put(f"{subject}/broken.png", b"broken")
    for subject in "abcd":
        for number in range(4):
            expected.append(Image.fromarray(noise(60, 70, seed=ord(subject) + 9 * number)).resize((112, 112), 3))
    run_stage(workers=workers, resize_filter="bicubic")
    whole = io.BytesIO()
    np.save(whole, np.stack([np.asarray(image) for image in expected]))
    assert Path("data/packed/faces.npy").read_bytes() == whole.getvalue()
    assert list(rejected()) == [f"{subject}/broken.png" for subject in "abcd"]


def test_a_second_run_leaves_the_same_bytes() -> None:
    put("a/x.png")
    put("b/x.png")
    put("b/y.png", b"broken")
    run_stage()
    first = outputs()
    run_stage()
    assert outputs() == first
    assert set(first) == {
        "data/packed/faces.npy",
        "data/packed/faces.csv",
        "metrics/pack@faces.json",
        "data/packed/faces.rejected.csv",
    }


def test_results_come_in_order_and_not_far_ahead() -> None:
    started = []

    def slow_for_the_first(item: int) -> int:
        started.append(item)
        time.sleep(0.05 if item == 0 else 0)
        return item * item

    with ThreadPoolExecutor(3) as pool:
        results = pack.in_order(pool, slow_for_the_first, range(10), ahead=3)
        assert next(results) == 0
        assert sorted(started) == [0, 1, 2]
        assert list(results) == [item * item for item in range(1, 10)]


CHANGES: dict[str, Callable[[], object]] = {
    "b/x.png": lambda: put("b/x.png", encoded(flat(GREEN, side=50))),
    "b/y.png": lambda: os.utime("faces/b/y.png", ns=(1, 1)),
    "c/new.png": lambda: put("c/new.png"),
    "a/x.png": lambda: Path("faces/a/x.png").unlink(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_folder_that_changes_while_it_is_packed_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("a/x.png", "a/y.png", "b/x.png", "b/y.png"):
        put(path)
    run_stage()
    before = outputs()
    real = pack.pack_part

    def pack_then_change(*arguments: Any) -> pack.Part:
        part = real(*arguments)
        if part.files[0].subject == "b":
            CHANGES[name]()
        return part

    monkeypatch.setattr(pack, "pack_part", pack_then_change)
    with pytest.raises(StageError, match=rf"sources.faces.path: 'faces': {name} changed while .* \(1 in all\)"):
        run_stage()
    assert outputs() == before


def test_what_is_too_little_to_pack_is_an_error_and_leaves_no_file() -> None:
    where = "params.yaml: sources.faces.path: 'faces': "
    with pytest.raises(StageError, match=f"{where}there is no such folder"):
        run_stage()
    Path("faces").write_bytes(b"")
    with pytest.raises(StageError, match=f"{where}not a folder"):
        run_stage()
    Path("faces").unlink()
    Path("faces/a/empty").mkdir(parents=True)
    with pytest.raises(StageError, match=rf"{where}images of 0 subject\(s\); needed: two"):
        run_stage()
    put("a/x.png")
    put("stray.png")
    with pytest.raises(StageError, match=r"images of 1 subject\(s\); .* 1 outside_subject; the first is stray.png"):
        run_stage()
    put("b/x.png", b"broken")
    with pytest.raises(StageError, match=r"1 subject\(s\) with 1 or more usable .* 1 outside_subject, 1 unrecognised"):
        run_stage()
    put("b/x.png")
    with pytest.raises(
        StageError, match=r"0 subject\(s\) with 2 or more usable images \(pack.min_images_per_subject\)"
    ):
        run_stage(min_images_per_subject=2)
    assert outputs() == {}


def test_check_looks_at_names_alone() -> None:
    put("a/x.png", b"broken")
    put("b/deep/y.JPG", b"broken")
    assert pack.check("faces", Source(path="faces")).subjects == {"a", "b"}


@pytest.mark.parametrize("path", ["a" * 5000, "a\0b", "no/such"])
def test_a_path_that_cannot_be_is_missing(path: str) -> None:
    with pytest.raises(StageError, match="there is no such folder"):
        pack.check("faces", Source(path=path))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"max_subjects": -1}, "pack.max_subjects: -1: input should be greater than or equal to 0"),
        ({"max_subjects": 1}, r"pack.max_subjects: 1: input should be 0 \(all\) or at least 2"),
        ({"max_subjects": 2.5}, "pack.max_subjects: 2.5: input should be a valid integer"),
        ({"min_images_per_subject": 0}, "pack.min_images_per_subject: 0: input should be greater than or equal to 1"),
        ({"max_images_per_subject": 2, "min_images_per_subject": 3}, "max_images_per_subject should be 0"),
        ({"resize_filter": "nearest"}, "pack.resize_filter: 'nearest': input should be 'box'"),
        ({"min_side": 0}, "pack.min_side: 0"),
        ({"max_megapixels": 179}, "pack.max_megapixels: 179: input should be less than or equal to 178"),
        ({"max_megapixels": float("nan")}, "pack.max_megapixels: nan: input should be a finite number"),
        ({"workers": 10**9}, "pack.workers: 1000000000: input should be less than or equal to 256"),
        ({"colour": "grey"}, "pack.colour: unknown key"),
    ],
)
def test_wrong_parameters_are_named(changes: dict[str, object], named: str) -> None:
    with pytest.raises(StageError, match=named):
        run_stage(**changes)


def test_the_script_ends_with_one_line_and_code_1() -> None:
    settings = {"sources": {"faces": {"path": "faces"}}, "pack": DEFAULTS}
    Path("params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    for source, message in {
        "faces": "error: params.yaml: sources.faces.path: 'faces': there is no such folder\n",
        "lfw": "error: params.yaml: sources: 'lfw' is not among them; allowed: faces\n",
    }.items():
        done = subprocess.run([sys.executable, SCRIPT, source], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr, done.stdout) == (1, message, "")
    put("a/x.png")
    put("b/x.png")
    done = subprocess.run([sys.executable, SCRIPT, "faces"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr.endswith("faces: 2 images of 2 subjects\n")
