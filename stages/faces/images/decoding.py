"""From an image file to 112 x 112 pixels in RGB.

The steps: take the first frame of an animation, or the first page of a TIFF; reduce 16-bit grey to its high byte; put
transparent pixels over black, which face alignment also uses beyond the edge of a photo; convert to RGB, ignoring
colour profiles; stretch to 112 x 112, without a crop, by a filter that averages when it shrinks; turn upright as EXIF
says.
"""

import errno
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from pydantic import Field

from faces.core.image_size import SIDE
from faces.core.params import Params
from faces.images.rejection import Rejection, unreadable

# No others: some of Pillow's decoders run programs or read other files. HEIC would need another package.
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "GIF", "TIFF", "AVIF")
NAMES = "PNG, JPEG, BMP, WebP, PPM, PGM, GIF, TIFF or AVIF"  # as people call them
PILLOW_MEGAPIXELS = 178  # Pillow itself refuses larger images
ORIENTATION = 0x0112  # the EXIF tag
TIFF_BITS, TIFF_PHOTOMETRIC, BLACK_IS_ZERO = 258, 262, 1
MACHINE_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # errors of the machine, which say nothing about the file

Result = TypeVar("Result")

HEAD_BYTES = 64
TEXTS = {  # how files begin that are no images, though their names say so
    b"version https://git-lfs": "a pointer of Git LFS in place of the image; `git lfs pull` fetches it",
    b"<!doctype html": "a web page in place of the image; download it anew",
    b"<html": "a web page in place of the image; download it anew",
}

ResizeFilter = Literal["box", "bilinear", "bicubic", "lanczos"]

RESIZE_FILTERS: dict[ResizeFilter, Image.Resampling] = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# EXIF orientation -> the turn that makes the image upright; ROTATE_ is counterclockwise.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Limits(NamedTuple):
    """The sizes that an image may have, checked by its header, before any pixel is decoded."""

    min_side: int  # pixels
    max_megapixels: float  # at most PILLOW_MEGAPIXELS


class DecodingParams(Params):
    """The section `decoding:` of params.yaml."""

    resize_filter: ResizeFilter
    min_side: int = Field(ge=1)
    max_megapixels: float = Field(gt=0, le=PILLOW_MEGAPIXELS)
    workers: int = Field(ge=0, le=256)  # threads; 0: one per core

    @property
    def limits(self) -> Limits:
        """The sizes that an image may have."""
        return Limits(self.min_side, self.max_megapixels)


@contextmanager
def ready_to_read() -> Iterator[None]:
    """Make `read_image` and `read_photo` thread-safe, and silence Pillow's warnings on files that it can read.

    Both are settings of the whole process: enter this context once, around all threads.
    """
    Image.init()  # finds the formats; not safe in several threads at once
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_image(source: Path | bytes, limits: Limits, resize_filter: ResizeFilter) -> NDArray[np.uint8]:
    """Return an image file, or its content, as uint8 (112, 112, 3), RGB; Rejection if it cannot be used.

    OSError if the machine has no file handles or memory left, which says nothing about the file.
    """
    return _decode(source, limits, lambda image: to_pixels(image, RESIZE_FILTERS[resize_filter]))


def read_photo(source: Path | bytes, limits: Limits) -> NDArray[np.uint8]:
    """Return an image file, or its content, upright and in full size: uint8 (height, width, 3), RGB.

    Errors are those of `read_image`.
    """
    return _decode(source, limits, _full_size)


def read_size(source: Path | bytes) -> tuple[int, int]:
    """Return width and height of an image file, or of its content, as the file has them; no pixel is decoded.

    Errors are those of `read_image`.
    """
    return _decode(source, Limits(1, PILLOW_MEGAPIXELS), lambda image: image.size)


def _decode(source: Path | bytes, limits: Limits, convert: Callable[[Image.Image], Result]) -> Result:
    try:
        opened = io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")
        with opened as file, Image.open(file, formats=FORMATS) as image:
            _check_size(*image.size, limits)
            _check_depth(image)
            return convert(image)
    except (Rejection, MemoryError):
        raise
    except UnidentifiedImageError:
        raise Rejection("unrecognised", text_inside(source) or f"not {NAMES} inside, or cut short") from None
    except Image.DecompressionBombError:
        raise Rejection("too_large", f"over {PILLOW_MEGAPIXELS} megapixels") from None
    except OSError as error:
        if error.errno in MACHINE_ERRORS:
            raise
        raise (unreadable(error) if error.errno else Rejection("damaged", str(error))) from None
    except Exception as error:  # decoders of a broken file may raise anything
        raise Rejection("damaged", str(error) or type(error).__name__) from None


def text_inside(source: Path | bytes) -> str:
    """Return what text stands in place of an image, with what to do; "" if it is none that is known."""
    start = b""
    if isinstance(source, bytes):
        start = source[:HEAD_BYTES]
    else:
        with suppress(OSError), open(source, "rb") as file:
            start = file.read(HEAD_BYTES)
    return next((said for beginning, said in TEXTS.items() if start.lstrip().lower().startswith(beginning)), "")


def _check_size(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.max_megapixels * 1e6:
        raise Rejection("too_large", f"{width} x {height}: over {limits.max_megapixels:g} megapixels")
    if min(width, height) < limits.min_side:
        raise Rejection("too_small", f"{width} x {height}: a side under {limits.min_side} pixels")


def _check_depth(image: Image.Image) -> None:
    """Raise Rejection for a TIFF whose grey has a range that nothing tells, or that Pillow would show as a negative."""
    if not isinstance(image, TiffImageFile):
        return
    kind = image.tag_v2.get(TIFF_BITS), image.tag_v2.get(TIFF_PHOTOMETRIC)
    if image.mode in ("I", "F") or (image.mode.startswith("I;16") and kind != ((16,), BLACK_IS_ZERO)):
        raise Rejection("unrecognised", "a TIFF of grey pixels other than 8 or 16 bits with 0 as black; write it so")


def to_pixels(image: Image.Image, resize_filter: Image.Resampling) -> NDArray[np.uint8]:
    """Return an image of any mode and size as uint8 (112, 112, 3), RGB, upright."""
    small = to_rgb(image).resize((SIDE, SIDE), resize_filter)
    turn = TURNS.get(_orientation(image))
    # Turned last, when the image is smallest; the frame is a square, so the result is the same.
    return np.asarray(small if turn is None else small.transpose(turn))


def _full_size(image: Image.Image) -> NDArray[np.uint8]:
    pixels = to_rgb(image)
    turn = TURNS.get(_orientation(image))  # asked after decoding, in which Pillow turns a TIFF itself
    return np.asarray(pixels if turn is None else pixels.transpose(turn))


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the image in mode RGB, 8 bits per channel."""
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        opaque = Image.new("RGB", image.size)  # black
        opaque.paste(layer, mask=layer.getchannel("A"))
        return opaque
    return image.convert("RGB")


def _to_8_bits(grey: NDArray[Any]) -> NDArray[np.uint8]:
    # Pillow's own conversion clips at 255, so that nearly all of a 16-bit image would be white.
    if grey.dtype.kind == "f":  # 1.0 is white
        if not np.isfinite(grey).all():
            raise Rejection("damaged", "has pixels that are not finite")
        return np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8)
    return (grey.astype(np.int32) >> 8).astype(np.uint8)  # as Pillow does for 16-bit colour: 257 v comes back as v


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # the pixels are usable without the EXIF block
        return 1
