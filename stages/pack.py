"""Pack one source of face images into one array of 112 x 112 RGB images, and a table of where each came from.

Reads   the folder `sources.<source>.path` of params.yaml, by its `format`
            folder    <subject>/<image> or <subject>/<any folders>/<image>, each image a cropped and aligned face
            photos    the same, each image a photo with a face, which is found and aligned (faces/photos.py)
            recordio  train.rec, train.idx and property, as InsightFace's data sets are
Writes  data/packed/<source>.npy             uint8 (N, 112, 112, 3), RGB
        data/packed/<source>.csv             subject,path: row i is image i; path is relative to the folder, or a key
        data/attributes/<source>.csv         what the folder's attributes.csv, if any, says of each image
        metrics/pack@<source>.json           counts
        data/rejected/<source>.csv           path,reason,detail: what looks like an image and could not be used
        metrics/pack/<source>.png            some images before and after, and some that were rejected; kept by DVC, not
                                             by Git, for it shows faces
Run     python stages/pack.py <source>

What counts as an image: a file that ends in .png, .jpg, .jpeg, .bmp, .webp, .ppm or .pgm, in any case, and holds one of
these formats, whichever; or a record of train.rec that holds one. faces/image_folder.py and faces/recordio.py say how a
source is listed, faces/decoding.py what becomes of an image.

Subjects, and the images of one, are taken in order of code points, those of train.rec in order of labels and keys as
numbers; `max_images_per_subject` keeps the first that can be used and opens no more, `max_subjects` the first subjects
that have `min_images_per_subject` of them.

An interrupted run goes on after the subjects that are finished, if no file of the source has changed since.
"""

import argparse
import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from faces import image_folder, recordio
from faces.attributes import attributes_of, attributes_path, check_rows, find_attributes, key_of
from faces.before_after import Cell, draw_cells
from faces.checkpoints import GrownFile, checkpoint_folder, finish
from faces.decoding import SIDE, DecodingParams, read_image, read_photo, ready_to_read
from faces.files import open_npy, replacing, write_csv, write_metrics
from faces.photos import Detector, PhotosParams, align_photo, check_installed
from faces.rejection import OF_PHOTOS, REASONS, Rejected, Rejection
from faces.sources import Format, Source, images_path, load_sources, rejects_path, sheet_path, table_path
from faces.stage import StageError, load_params, progress, run, say, warn
from faces.threads import available_cores, in_order

SHOWN = 12  # images on the sheet, and as many rejected ones
PART_FILES = 256  # 10 MB of pixels: the most that a worker holds of a subject without a limit


class PackParams(DecodingParams):
    max_subjects: int = Field(ge=0)
    min_images_per_subject: int = Field(ge=1)
    max_images_per_subject: int = Field(ge=0)

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


class SourceFile(Protocol):
    """What should be one image."""

    @property
    def subject(self) -> str: ...
    @property
    def path(self) -> str: ...
    def source(self, root: Path) -> Path | bytes: ...


class Stamp(Protocol):
    """What shows, by being equal or not, whether a file was written to; JSON can hold it."""

    @property
    def path(self) -> str: ...


class Listing(Protocol):
    """What a source holds, before any image is opened; in `files` those of a subject come together."""

    @property
    def files(self) -> Sequence[SourceFile]: ...
    @property
    def subjects(self) -> Collection[str]: ...
    @property
    def stamps(self) -> Sequence[Stamp]: ...
    @property
    def rejected(self) -> list[Rejected]: ...
    @property
    def ignored(self) -> int: ...


class SourceFormat(Protocol):
    """A module that knows one format of source; SUBJECT says what a subject is in it."""

    SUBJECT: str

    def list_images(self, root: Path) -> Listing: ...
    def stamps(self, root: Path) -> Sequence[Stamp]: ...


FORMATS: dict[Format, SourceFormat] = {"folder": image_folder, "photos": image_folder, "recordio": recordio}
Reader = Callable[[Path | bytes], NDArray[np.uint8]]  # of an image: its file, or content -> uint8 (112, 112, 3)


class Part(NamedTuple):
    """Images of one subject, in order: uint8 (112, 112, 3) for each of `files`."""

    images: list[NDArray[np.uint8]]
    files: list[SourceFile]
    rejected: list[Rejected]


@dataclass
class Packed:
    """What was written: row i of the array is `rows[i]`, its subject and path."""

    rows: list[tuple[str, str]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    subjects: int = 0

    def add(self, subject: str, paths: list[str], rejected: list[Rejected]) -> None:
        """Count a subject whose images, if any, were kept."""
        self.rows += [(subject, path) for path in paths]
        self.rejected += [Rejected(*row) for row in rejected]
        self.subjects += bool(paths)


def check(name: str, source: Source) -> None:
    """Raise StageError if a source cannot be packed, as far as shows in seconds."""
    if source.format == "recordio":  # to read all its headers may take minutes
        with _naming(name, source):
            known = find_attributes(Path(source.path))
            index = recordio.read_index(Path(source.path))
            if known is not None and key_of(known) == "path":
                check_rows(known, map(recordio.path_of, index.keys))
    else:
        list_source(name, source)


def list_source(name: str, source: Source) -> Listing:
    """Return what a source holds; StageError unless two subjects at least have a file like an image."""
    kind = FORMATS[source.format]
    with _naming(name, source):
        if source.format == "photos":
            check_installed()
        known = find_attributes(Path(source.path))
        listing = kind.list_images(Path(source.path))
        if len(listing.subjects) < 2:
            raise StageError(
                f"images of {len(listing.subjects)} subject(s); needed: two at least, {kind.SUBJECT}"
                f"{_summary(listing.rejected)}"
            )
        if known is not None:
            by_path = key_of(known) == "path"
            check_rows(known, (file.path for file in listing.files) if by_path else listing.subjects)
    return listing


@contextmanager
def _naming(name: str, source: Source) -> Iterator[None]:
    """Have a StageError begin with the parameter; raise one if there is no folder to look into."""
    where = _where(name, source)
    if not os.path.exists(source.path):
        raise StageError(f"{where}: there is no such folder")
    if not os.path.isdir(source.path):
        raise StageError(f"{where}: not a folder")
    try:
        yield
    except StageError as error:
        raise StageError(f"{where}: {error}") from None


def check_unchanged(name: str, source: Source, listing: Listing) -> None:
    """Raise StageError if a file of the source was added, removed, resized or touched since it was listed."""
    changed = {stamp.path for stamp in set(listing.stamps) ^ set(FORMATS[source.format].stamps(Path(source.path)))}
    if changed:
        raise StageError(
            f"{_where(name, source)}: {min(changed)} changed while it was being packed ({len(changed)} in all); "
            "run again when nothing writes to the folder"
        )


def _where(name: str, source: Source) -> str:
    return f"params.yaml: sources.{name}.path: {source.path!r}"


def _summary(rejected: list[Rejected]) -> str:
    if not rejected:
        return ""
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(Counter(r.reason for r in rejected).items()))
    first = min(rejected)
    return f"; rejected: {counts}; the first is {first.path} ({first.detail})"


def reader(params: PackParams, photos: PhotosParams | None = None) -> Reader:
    """Return what makes a face of an image file, or of a photo; Rejection says why it cannot."""
    if photos:
        detector = Detector(photos)
        return lambda content: align_photo(read_photo(content, params.limits), detector, photos)
    return lambda content: read_image(content, params.limits, params.resize_filter)


def pack_part(root: Path, read: Reader, params: PackParams, files: Sequence[SourceFile]) -> Part:
    """Read images of one subject until there are `max_images_per_subject` of them."""
    part = Part([], [], [])
    limit = params.max_images_per_subject or len(files)
    for file in files:
        if len(part.files) == limit:
            break
        try:
            part.images.append(read(file.source(root)))
            part.files.append(file)
        except Rejection as rejection:
            part.rejected.append(rejection.of(file.path))
    return part


def parts_of(files: Sequence[SourceFile], params: PackParams) -> list[Sequence[SourceFile]]:
    """Cut files into one slice a subject, or several if no limit bounds the pixels of a subject."""
    parts, start = [], 0
    for _, group in groupby(file.subject for file in files):
        end = start + sum(1 for _ in group)
        size = end - start if params.max_images_per_subject else PART_FILES
        parts += [files[at : min(at + size, end)] for at in range(start, end, size)]
        start = end
    return parts


def append_subjects(grown: GrownFile, parts: Iterable[Part], subjects: list[str], params: PackParams) -> Packed:
    """Append the pixels of subject after subject; take back those of a subject with too few images.

    `subjects` names the subject of each part. Those that the file has notes on are counted first.
    """
    packed, target = Packed(), grown.file
    for note in grown.notes:
        packed.add(*note)
    for subject, group in groupby(zip(subjects, parts, strict=True), key=lambda pair: pair[0]):
        if packed.subjects == params.max_subjects > 0:
            break
        start, kept, rejected = target.tell(), list[str](), list[Rejected]()
        for _, part in group:
            target.writelines(image.data for image in part.images)
            kept += [file.path for file in part.files]
            rejected += part.rejected
        if len(kept) < params.min_images_per_subject:
            target.seek(start)
            target.truncate()
            kept = []
        packed.add(subject, kept, rejected)
        grown.note((subject, kept, rejected))
    return packed


def pack(root: Path, files: Sequence[SourceFile], read: Reader, params: PackParams, path: Path, title: str) -> Packed:
    """Write the pixels of `files` to the .npy file `path`, going on where a former run was cut off.

    The bytes do not depend on `workers`. Threads, not processes: Pillow lets go of Python's lock while it decodes and
    resizes.
    """
    workers = params.workers or available_cores()
    with ready_to_read(), ThreadPoolExecutor(workers) as pool, GrownFile(path) as grown:
        done = {subject for subject, *_ in grown.notes}
        if done:
            say(f"going on after {len(done)} subjects, from {path.parent}")
        else:
            _write_header(grown.file, 0)
        parts = [part for part in parts_of(files, params) if part[0].subject not in done]
        results = in_order(pool, partial(pack_part, root, read, params), parts, ahead=2 * workers)
        bar = progress(results, title, total=len(parts), unit="subject")
        packed = append_subjects(grown, bar, [part[0].subject for part in parts], params)
        grown.file.seek(0)
        _write_header(grown.file, len(packed.rows))
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


def write_sheet(
    name: str, root: Path, listing: Listing, packed: Packed, images: NDArray[Any], params: PackParams
) -> None:
    """Write a picture of some images before and after, and of some in which no face could be taken."""
    kept = np.unique(np.linspace(0, len(images) - 1, SHOWN).round().astype(int))
    shown: list[tuple[str, NDArray[np.uint8] | None]] = [(packed.rows[row][1], images[row]) for row in kept]
    reasons = {row.path: row.reason for row in packed.rejected if row.reason in OF_PHOTOS}
    shown += [(path, None) for path in list(reasons)[:SHOWN]]
    wanted = {path for path, _ in shown}
    files = {file.path: file for file in listing.files if file.path in wanted}
    cells = []
    with ready_to_read():
        for path, after in shown:
            before = read_photo(files[path].source(root), params.limits)
            cells.append(Cell(before, after, path if after is not None else f"{reasons[path]}: {path}"))
    with replacing(sheet_path(name)) as temporary:
        draw_cells(cells).save(temporary)


def describe(packed: Packed, listing: Listing) -> dict[str, int]:
    """Return the counts; `subjects_dropped` had too few usable images, or came after `max_subjects` others."""
    counts = Counter(row.reason for row in packed.rejected)
    return {
        "images": len(packed.rows),
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
    listing = list_source(name, source)
    photos = load_params("photos", PhotosParams) if source.format == "photos" else None
    seen = [name, source.path, listing.stamps, photos.model_dump() if photos else None]
    folder = checkpoint_folder("pack", params, ignored={"workers"}, seen=seen)
    read = reader(params, photos)
    packed = pack(Path(source.path), listing.files, read, params, folder / "images.npy", f"packing {name}")
    packed.rejected = sorted(listing.rejected + packed.rejected)
    try:
        check_unchanged(name, source, listing)
        check_packed(name, source, packed, params)
    except StageError:
        shutil.rmtree(folder)
        raise
    images = pd.DataFrame(packed.rows, columns=["subject", "path"])
    write_csv(table_path(name), images)
    known = attributes_of(Path(source.path), images)
    known.insert(0, "row", range(len(images)))
    write_csv(attributes_path(name), known)
    rejects = rejects_path(name)
    write_csv(rejects, pd.DataFrame(packed.rejected, columns=Rejected._fields))
    write_metrics(Path(f"metrics/pack@{name}.json"), describe(packed, listing))
    write_sheet(name, Path(source.path), listing, packed, open_npy(folder / "images.npy"), params)
    with replacing(images_path(name)) as temporary:  # last, since this takes the work from where it could go on
        shutil.move(folder / "images.npy", temporary)
    finish(folder)
    if packed.rejected:
        warn(f"{len(packed.rejected)} rejected, listed in {rejects}")
    say(f"{name}: {len(packed.rows)} images of {packed.subjects} subjects")


if __name__ == "__main__":
    run(main, takes_arguments=True)
