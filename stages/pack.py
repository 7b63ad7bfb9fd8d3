"""Pack one folder of face images into one array of 112 x 112 RGB images, and a table of where each came from.

Reads   the folder `sources.<source>.path` of params.yaml: <subject>/<image> or <subject>/<any folders>/<image>
Writes  data/packed/<source>.npy             uint8 (N, 112, 112, 3), RGB
        data/packed/<source>.csv             subject,path: row i is image i; path is relative to the folder
        metrics/pack@<source>.json           counts
        data/packed/<source>.rejected.csv    path,reason,detail: what looks like an image and could not be used
Run     python stages/pack.py <source>

What counts as an image: a file that ends in .png, .jpg, .jpeg, .bmp, .webp, .ppm or .pgm, in any case, and holds one of
these formats, whichever. Other files, and hidden files and folders, are ignored and counted. Links to files and folders
are followed; a folder that is reached twice is packed once.

What becomes of it: the first frame of an animation; 16-bit grey by its high byte; transparent pixels over black, which
is what face alignment puts beyond the edge of a photo; then RGB, without regard to colour profiles; then stretched to
112 x 112, without a crop, by `resize_filter`, which averages when it shrinks; then turned upright as EXIF says.

Subjects are the folders directly in the source, named as they are on disk (é in one code point and in two are two
subjects). Subjects, and the images of one, are taken in order of code points; `max_images_per_subject` keeps the first
that can be used and opens no more, `max_subjects` the first subjects that have `min_images_per_subject` of them.
"""

import argparse
import errno
import heapq
import os
import stat
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import Field, field_validator, model_validator

from faces.files import replacing, write_csv, write_metrics
from faces.sources import Source, load_sources, packed_images, packed_table, rejected_table
from faces.stage import Params, StageError, load_params, progress, run, say, warn
from faces.threads import available_cores

SIDE = 112  # pixels: what the network takes
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm")
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM")  # no others: some of Pillow's run programs or read further files
PILLOW_MEGAPIXELS = 178  # beyond it Pillow refuses on its own
PART_FILES = 256  # 10 MB of pixels: the most that a worker holds of a subject without a limit
ORIENTATION = 0x0112  # the EXIF tag
MACHINE_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # say nothing about the file

REASONS = {
    "bad_name": "a name that is not UTF-8, or that has a carriage return, where a csv reader ends the row",
    "outside_subject": "a file beside the subjects' folders",
    "not_a_file": "a pipe, socket or device; never opened",
    "link": "a link that leads nowhere, in a circle, or to a folder that is packed already",
    "unreadable": "no permission, or the disk fails",
    "empty": "zero bytes",
    "unrecognised": "none of the image formats, whatever the ending says",
    "damaged": "cut short or broken",
    "too_small": "a side under `min_side`",
    "too_large": "over `max_megapixels`",
}

RESIZE_FILTERS = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# What turns an image upright, by EXIF orientation; ROTATE_ is counterclockwise.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Item = TypeVar("Item")
Result = TypeVar("Result")


class PackParams(Params):
    max_subjects: int = Field(ge=0)
    min_images_per_subject: int = Field(ge=1)
    max_images_per_subject: int = Field(ge=0)
    resize_filter: Literal["box", "bilinear", "bicubic", "lanczos"]
    min_side: int = Field(ge=1)
    max_megapixels: float = Field(gt=0, le=PILLOW_MEGAPIXELS)
    workers: int = Field(ge=0, le=256)

    @field_validator("max_subjects")
    @classmethod
    def _two_at_least(cls, value: int) -> int:
        if value == 1:
            raise ValueError("Input should be 0 (all) or at least 2")
        return value

    @model_validator(mode="after")
    def _room_for_the_fewest(self) -> "PackParams":
        if 0 < self.max_images_per_subject < self.min_images_per_subject:
            raise ValueError("max_images_per_subject should be 0 (all) or at least min_images_per_subject")
        return self


class ImageFile(NamedTuple):
    subject: str
    path: str  # relative to the source
    size: int  # bytes
    mtime_ns: int


class Rejected(NamedTuple):
    path: str
    reason: str
    detail: str


@dataclass(eq=False)
class Rejection(Exception):
    """One file or folder that cannot be used; `reason` is a key of `REASONS`."""

    reason: str
    detail: str

    def of(self, path: str) -> Rejected:
        """Return the row for the list of rejects, with a path that any csv reader can take."""
        printable = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\r", "\\r")
        return Rejected(printable, self.reason, self.detail)


@dataclass
class Listing:
    """What a source holds, before any file is opened."""

    files: list[ImageFile] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    ignored: int = 0

    @property
    def subjects(self) -> set[str]:
        return {file.subject for file in self.files}


class Part(NamedTuple):
    """Images of one subject, in order: uint8 (112, 112, 3) for each of `files`."""

    images: list[NDArray[np.uint8]]
    files: list[ImageFile]
    rejected: list[Rejected]


@dataclass
class Packed:
    """What was written: row i of the array is `files[i]`."""

    files: list[ImageFile] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    subjects: int = 0


def list_images(root: Path) -> Listing:
    """Return the image files below `root`, sorted by subject and path; nothing is opened.

    Links to folders wait until all else is listed, so that a folder keeps its own name rather than a link's.
    """
    listing = Listing()
    folders, links = [""], list[str]()
    seen: set[tuple[int, int]] = set()
    while folders or links:
        folder = folders.pop() if folders else heapq.heappop(links)
        try:
            for entry in _entries(root / folder, seen):
                _list_entry(entry, folder, listing, folders, links)
        except Rejection as rejection:
            listing.rejected.append(rejection.of(folder or "."))
    listing.files.sort()
    return listing


def _entries(folder: Path, seen: set[tuple[int, int]]) -> list[os.DirEntry[str]]:
    try:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            raise Rejection("link", "leads to a folder that is packed under another name")
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise _unreadable(error) from None


def _list_entry(entry: os.DirEntry[str], folder: str, listing: Listing, folders: list[str], links: list[str]) -> None:
    path = f"{folder}/{entry.name}" if folder else entry.name
    if entry.name.startswith("."):
        listing.ignored += 1
        return
    try:
        status = entry.stat()
        if stat.S_ISDIR(status.st_mode) and entry.is_symlink():
            heapq.heappush(links, path)
        elif stat.S_ISDIR(status.st_mode):
            folders.append(path)
        elif not entry.name.lower().endswith(ENDINGS):
            listing.ignored += 1
        else:
            listing.files.append(_image_file(path, status))
    except Rejection as rejection:
        listing.rejected.append(rejection.of(path))
    except OSError as error:
        broken_link = Rejection("link", str(error.strerror))
        listing.rejected.append((broken_link if entry.is_symlink() else _unreadable(error)).of(path))


def _image_file(path: str, status: os.stat_result) -> ImageFile:
    subject, _, below = path.partition("/")
    if path != path.encode("utf-8", "ignore").decode("utf-8"):
        raise Rejection("bad_name", "not UTF-8")
    if "\r" in path:
        raise Rejection("bad_name", "has a carriage return")
    if not below:
        raise Rejection("outside_subject", "not in a subject's folder")
    if not stat.S_ISREG(status.st_mode):
        raise Rejection("not_a_file", "a pipe, socket or device")
    if status.st_size == 0:
        raise Rejection("empty", "zero bytes")
    return ImageFile(subject, path, status.st_size, status.st_mtime_ns)


def _unreadable(error: OSError) -> Rejection:
    return Rejection("unreadable", str(error.strerror))


def check(name: str, source: Source) -> Listing:
    """Return what the folder of a source holds; StageError unless two subjects at least have a file like an image."""
    where = _where(name, source)
    if not os.path.exists(source.path):
        raise StageError(f"{where}: there is no such folder")
    if not os.path.isdir(source.path):
        raise StageError(f"{where}: not a folder; images are looked for in <path>/<subject>/")
    listing = list_images(Path(source.path))
    if len(listing.subjects) < 2:
        raise StageError(
            f"{where}: images of {len(listing.subjects)} subject(s); needed: two at least, each a folder of "
            f"{', '.join(ENDINGS)} files{_summary(listing.rejected)}"
        )
    return listing


def check_unchanged(name: str, source: Source, listing: Listing) -> None:
    """Raise StageError if a file of the source was added, removed, resized or touched since it was listed."""
    changed = set(listing.files) ^ set(list_images(Path(source.path)).files)
    if changed:
        first = min(changed).path
        raise StageError(
            f"{_where(name, source)}: {first} changed while it was being packed ({len({c.path for c in changed})} "
            "in all); run again when nothing writes to the folder"
        )


def _where(name: str, source: Source) -> str:
    return f"params.yaml: sources.{name}.path: {source.path!r}"


def _summary(rejected: list[Rejected]) -> str:
    if not rejected:
        return ""
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(Counter(r.reason for r in rejected).items()))
    first = min(rejected)
    return f"; rejected: {counts}; the first is {first.path} ({first.detail})"


def read_image(path: Path, params: PackParams) -> NDArray[np.uint8]:
    """Return an image file as uint8 (112, 112, 3), RGB; Rejection says why it cannot be."""
    try:
        with open(path, "rb") as file, Image.open(file, formats=FORMATS) as image:
            _check_size(*image.size, params)  # known from the header, before any pixel is decoded
            return to_pixels(image, RESIZE_FILTERS[params.resize_filter])
    except (Rejection, MemoryError):
        raise
    except UnidentifiedImageError:
        raise Rejection("unrecognised", "not PNG, JPEG, BMP, WebP, PPM or PGM inside") from None
    except Image.DecompressionBombError:
        raise Rejection("too_large", f"over {PILLOW_MEGAPIXELS} megapixels") from None
    except OSError as error:
        if error.errno in MACHINE_ERRORS:
            raise
        raise (_unreadable(error) if error.errno else Rejection("damaged", str(error))) from None
    except Exception as error:  # a broken file leads decoders to raise anything
        raise Rejection("damaged", str(error) or type(error).__name__) from None


def _check_size(width: int, height: int, params: PackParams) -> None:
    if width * height > params.max_megapixels * 1e6:
        raise Rejection("too_large", f"{width} x {height}: over {params.max_megapixels:g} megapixels")
    if min(width, height) < params.min_side:
        raise Rejection("too_small", f"{width} x {height}: a side under {params.min_side} pixels")


def to_pixels(image: Image.Image, resize_filter: Image.Resampling) -> NDArray[np.uint8]:
    """Return an image of any mode and size as uint8 (112, 112, 3), RGB, upright."""
    small = to_rgb(image).resize((SIDE, SIDE), resize_filter)
    turn = TURNS.get(_orientation(image))
    # Turned last, when there is least to turn: the frame is a square, so the picture comes out the same.
    return np.asarray(small if turn is None else small.transpose(turn))


def to_rgb(image: Image.Image) -> Image.Image:
    """Return the image in mode RGB, 8 bits a channel."""
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
    except Exception:  # a broken EXIF block is no reason to lose the pixels
        return 1


def pack_part(root: Path, params: PackParams, files: list[ImageFile]) -> Part:
    """Read images of one subject until there are `max_images_per_subject` of them."""
    part = Part([], [], [])
    limit = params.max_images_per_subject or len(files)
    for file in files:
        if len(part.files) == limit:
            break
        try:
            part.images.append(read_image(root / file.path, params))
            part.files.append(file)
        except Rejection as rejection:
            part.rejected.append(rejection.of(file.path))
    return part


def parts_of(files: list[ImageFile], params: PackParams) -> list[list[ImageFile]]:
    """Cut sorted files into one list a subject, or several if no limit bounds the pixels of a subject."""
    parts = []
    for _, group in groupby(files, key=lambda file: file.subject):
        own = list(group)
        size = len(own) if params.max_images_per_subject else PART_FILES
        parts += [own[start : start + size] for start in range(0, len(own), size)]
    return parts


def in_order(pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int) -> Iterator[Result]:
    """Yield `function(item)` in the order of `items`, at most `ahead` of them computed before they are asked for."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) == ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def append_subjects(target: BinaryIO, parts: Iterable[Part], subjects: list[str], params: PackParams) -> Packed:
    """Append the pixels of subject after subject; take back those of a subject with too few images.

    `subjects` names the subject of each part.
    """
    packed = Packed()
    for _, group in groupby(zip(subjects, parts, strict=True), key=lambda pair: pair[0]):
        start, kept = target.tell(), list[ImageFile]()
        for _, part in group:
            target.writelines(image.data for image in part.images)
            kept += part.files
            packed.rejected += part.rejected
        if len(kept) < params.min_images_per_subject:
            target.seek(start)
            target.truncate()
            continue
        packed.files += kept
        packed.subjects += 1
        if packed.subjects == params.max_subjects:  # never, if 0
            break
    return packed


def pack(root: Path, files: list[ImageFile], params: PackParams, path: Path, title: str) -> Packed:
    """Write the pixels of `files` to the .npy file `path`; the bytes do not depend on `workers`.

    Threads, not processes: Pillow lets go of Python's lock while it decodes and resizes.
    """
    workers = params.workers or available_cores()
    parts = parts_of(files, params)
    Image.init()  # finds the formats; not safe in several threads at once
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool, open(path, "wb") as target:
        warnings.simplefilter("ignore")  # Pillow's, on files that it reads all the same
        _write_header(target, 0)
        results = in_order(pool, partial(pack_part, root, params), parts, ahead=2 * workers)
        bar = progress(results, title, total=len(parts), unit="subject")
        packed = append_subjects(target, bar, [part[0].subject for part in parts], params)
        target.seek(0)
        _write_header(target, len(packed.files))
    return packed


def _write_header(target: BinaryIO, images: int) -> None:
    # NumPy pads the header for a first axis of any length, so that the final one fits where the first was.
    shape = (images, SIDE, SIDE, 3)
    np.lib.format.write_array_header_1_0(target, {"descr": "|u1", "fortran_order": False, "shape": shape})


def check_packed(name: str, source: Source, packed: Packed, params: PackParams) -> None:
    """Raise StageError if fewer than two subjects are left."""
    if packed.subjects < 2:
        raise StageError(
            f"{_where(name, source)}: {packed.subjects} subject(s) with {params.min_images_per_subject} or more "
            f"usable images (pack.min_images_per_subject); needed: two at least{_summary(packed.rejected)}"
        )


def describe(packed: Packed, listing: Listing) -> dict[str, int]:
    """Return the counts; `subjects_dropped` had too few usable images, or came after `max_subjects` others."""
    counts = Counter(row.reason for row in packed.rejected)
    return {
        "images": len(packed.files),
        "subjects": packed.subjects,
        "subjects_dropped": len(listing.subjects) - packed.subjects,
        "files_ignored": listing.ignored,
        "rejected": len(packed.rejected),
        **{f"rejected_{reason}": counts[reason] for reason in REASONS},
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, epilog=_reasons()
    )
    parser.add_argument("source", help="a name from the section `sources:` of params.yaml")
    return parser.parse_args()


def _reasons() -> str:
    return "\n".join(["reasons for rejection:", *(f"  {reason:16} {text}" for reason, text in REASONS.items())])


def main() -> None:
    """Pack the source named on the command line."""
    name = _arguments().source
    sources, params = load_sources(), load_params("pack", PackParams)
    if name not in sources:
        raise StageError(f"params.yaml: sources: {name!r} is not among them; allowed: {', '.join(sources)}")
    source = sources[name]
    listing = check(name, source)
    with replacing(packed_images(name)) as temporary:
        packed = pack(Path(source.path), listing.files, params, temporary, f"packing {name}")
        packed.rejected = sorted(listing.rejected + packed.rejected)
        check_unchanged(name, source, listing)
        check_packed(name, source, packed, params)
    rows = [(file.subject, file.path) for file in packed.files]
    write_csv(packed_table(name), pd.DataFrame(rows, columns=["subject", "path"]))
    rejects = rejected_table(name)
    write_csv(rejects, pd.DataFrame(packed.rejected, columns=Rejected._fields))
    write_metrics(Path(f"metrics/pack@{name}.json"), describe(packed, listing))
    if packed.rejected:
        warn(f"{len(packed.rejected)} rejected, listed in {rejects}")
    say(f"{name}: {len(packed.files)} images of {packed.subjects} subjects")


if __name__ == "__main__":
    run(main)
