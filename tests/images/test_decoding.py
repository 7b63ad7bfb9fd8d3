"""Every image here is made in the test, and what it must become is worked out by hand or in NumPy."""

import errno
import io
import os
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from faces.images import decoding
from faces.images.decoding import RESIZE_FILTERS, Limits, ResizeFilter, read_image, read_photo, ready_to_read
from faces.images.rejection import REASONS, Rejection
from image_files import GREEN, RED, encoded, flat, noise, put

pytestmark = pytest.mark.usefixtures("in_new_folder")


def read(
    content: bytes, resize_filter: ResizeFilter = "lanczos", min_side: int = 8, max_megapixels: float = 50
) -> NDArray[np.uint8]:
    """Read an image file with this content. Its name never matters: see test_image_folder.py."""
    return read_image(put("s/x", content), Limits(min_side, max_megapixels), resize_filter)


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("PPM", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ],
)
def test_lossless_formats_come_back_pixel_by_pixel(file_format: str, options: dict[str, Any]) -> None:
    pixels = noise(112, 112)
    packed = read(encoded(Image.fromarray(pixels), file_format, **options))
    assert packed.dtype == np.uint8
    np.testing.assert_array_equal(packed, pixels)


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "GIF", "AVIF"])
def test_lossy_formats_come_back_nearly(file_format: str) -> None:
    difference = read(encoded(flat((200, 100, 50)), file_format)).astype(int) - (200, 100, 50)
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
    from_pgm = read(pnm("P5", 65535, value))
    assert np.unique(from_png).tolist() == np.unique(from_pgm).tolist() == [expected]


def test_12_bit_grey_is_scaled_by_its_peak() -> None:
    assert np.unique(read(pnm("P5", 4095, 4095))).tolist() == [255]


def test_float_grey_runs_from_0_to_1() -> None:
    pixels = read(pfm(-1, 0, 0.2, 1, 3))
    assert pixels[0, :5].tolist() == [[0] * 3, [0] * 3, [51] * 3, [255] * 3, [255] * 3]  # 0.2 * 255 = 51


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames: dict[str, Any] = {"save_all": True, "append_images": [flat(GREEN)], "duration": 50}
    for file_format in ("PNG", "WEBP", "GIF", "TIFF"):
        content = encoded(flat(RED), file_format, **({"lossless": True} if file_format == "WEBP" else {}), **frames)
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
@pytest.mark.parametrize(("file_format", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_exif_turns_the_image_upright(orientation: int, file_format: str, options: dict[str, Any]) -> None:
    seen = noise(112, 112)
    file = encoded(Image.fromarray(stored(seen, orientation)), file_format, exif=exif(orientation), **options)
    np.testing.assert_array_equal(read(file), seen)
    np.testing.assert_array_equal(read_photo(file, Limits(8, 50)), seen)


@pytest.mark.parametrize("file_format", ["JPEG", "AVIF"])
def test_exif_turns_an_image_that_is_not_square(file_format: str) -> None:
    picture = flat(GREEN).resize((320, 160))
    picture.paste(RED, (0, 0, 160, 160))  # the left half of what is stored
    pixels = read(encoded(picture, file_format, quality=95, exif=exif(6)), resize_filter="box").astype(
        int
    )  # column 0: top
    assert np.abs(pixels[:50] - RED).max() <= 4
    assert np.abs(pixels[62:] - GREEN).max() <= 4


@pytest.mark.parametrize("block", [b"Exif\0\0nonsense", exif(9).tobytes(), exif(0).tobytes()])
def test_a_broken_exif_block_costs_nothing(block: bytes) -> None:
    with ready_to_read():
        pixels = read(encoded(flat(RED), "JPEG", exif=block))
    assert np.abs(pixels.astype(int) - RED).max() <= 4  # JPEG's rounding


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
    results = {read(content, resize_filter=name).tobytes() for name in RESIZE_FILTERS}
    assert len(results) == 4


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100)))


def halved(file_format: str) -> bytes:
    content = encoded(Image.fromarray(noise(112, 112)), file_format)
    return content[: len(content) // 2]


BROKEN = {
    "text": (b"not an image at all\n", "unrecognised"),
    "ico": (encoded(flat(RED), "ICO"), "unrecognised"),
    "integers": (encoded(flat(200, "I"), "TIFF"), "unrecognised"),
    "floats": (encoded(flat(200, "F"), "TIFF"), "unrecognised"),
    "negative": (encoded(Image.fromarray(np.zeros((112, 112), "<u2")), "TIFF", tiffinfo={262: 0}), "unrecognised"),
    "one_byte": (b"\xff", "unrecognised"),
    "magic_only": (b"\x89PNG\r\n\x1a\n", "unrecognised"),
    "half_png": (halved("PNG"), "damaged"),
    "half_jpeg": (halved("JPEG"), "damaged"),
    "half_bmp": (halved("BMP"), "damaged"),
    "half_ppm": (halved("PPM"), "damaged"),
    "half_webp": (halved("WEBP"), "damaged"),
    "half_gif": (halved("GIF"), "damaged"),
    "half_tiff": (halved("TIFF"), "damaged"),
    "half_avif": (halved("AVIF"), "unrecognised"),
    "headless": (png_header(100, 100), "damaged"),
    "words": (b"P2 112 112 255 one two three", "damaged"),
    "nan": (pfm(0.5, float("nan")), "damaged"),
    "infinite": (pfm(0.5, float("inf")), "damaged"),
    "one_by_one": (encoded(flat(RED, side=1)), "too_small"),
    "line": (encoded(Image.new("RGB", (500, 7))), "too_small"),
    "bomb": (png_header(20_000, 20_000), "too_large"),
    "wide": (b"P6 4000000000 4000000000 255 ", "too_large"),
    "over": (pnm("P5", 255, 7, side=120).replace(b"120 120", b"7100 7100"), "too_large"),  # 50.4 megapixels
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_image_is_rejected_with_its_reason(name: str) -> None:
    content, reason = BROKEN[name]
    with ready_to_read(), pytest.raises(Rejection) as rejection:
        read(content)
    assert rejection.value.reason == reason
    assert reason in REASONS
    assert rejection.value.detail


@pytest.mark.parametrize(
    ("limits", "size", "reason"),
    [
        ({"min_side": 20}, (19, 200), "too_small"),
        ({"min_side": 20}, (20, 200), None),
        ({"max_megapixels": 0.02}, (100, 201), "too_large"),  # 0.0201
        ({"max_megapixels": 0.02}, (100, 200), None),
    ],
)
def test_a_size_at_the_limit_is_taken(limits: dict[str, Any], size: tuple[int, int], reason: str | None) -> None:
    content = encoded(Image.new("RGB", size))
    if reason is None:
        assert read(content, **limits).shape == (112, 112, 3)
        return
    with pytest.raises(Rejection) as rejection:
        read(content, **limits)
    assert rejection.value.reason == reason
    assert f"{size[0]} x {size[1]}" in rejection.value.detail


def test_a_large_image_within_the_limit_raises_no_alarm() -> None:
    """Pillow warns from 89 megapixels on, and a warning is an error in these tests."""
    with ready_to_read(), pytest.raises(Rejection) as rejection:
        read(b"P5\n9500 9500\n255\ncut short", max_megapixels=100)
    assert rejection.value.reason == "damaged"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_what_the_system_will_not_read_is_unreadable(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Any, *_: Any) -> Any:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(decoding, "open", refused, raising=False)  # not by chmod: root may read everything
    with pytest.raises(Rejection) as rejection:
        read(encoded(flat(RED)))
    assert (rejection.value.reason, rejection.value.detail) == ("unreadable", os.strerror(number))


def test_running_out_of_file_handles_is_no_fault_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_handle(*_: Any) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(decoding, "open", no_handle, raising=False)
    with pytest.raises(OSError, match="Too many open files"):
        read(encoded(flat(RED)))
