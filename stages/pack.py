"""Pack one source of face images into arrays of 112 x 112 RGB images, and tables of where each came from.

Reads   the folder `sources.<source>.path` of params.yaml, by its `format`
            folder    <subject>/<image> or <subject>/<any folders>/<image>, each image a cropped and aligned face
            photos    the same, each image a photo with a face, which is found and aligned (faces/images/detection.py)
            recordio  train.rec, train.idx and property, as InsightFace's data sets are
Writes  data/packed/<source>/<shard>.npy     uint8 (N, 112, 112, 3), RGB; shards are numbered from 00000 on
        data/packed/<source>/<shard>.csv     subject,path: row i is image i; path is relative to the folder, or a key
        data/packed/<source>/shards.csv      shard,images: the shards in order, and how many images each has
        data/attributes/<source>.csv         what the folder's attributes.csv, if any, says of each image
        metrics/pack@<source>.json           counts
        data/rejected/<source>.csv           path,reason,detail: what looks like an image and could not be used
        metrics/pack/<source>.png            some images before and after, and some that were rejected; kept by DVC, not
                                             by Git, for it shows faces
Run     python stages/pack.py <source>

What counts as an image: a file that ends in .png, .jpg, .jpeg, .bmp, .webp, .ppm or .pgm, in any case, and holds one of
these formats, whichever; or a record of train.rec that holds one. In faces/images/, image_folder.py and recordio.py say
how a source is listed, decoding.py what becomes of an image.

Subjects, and the images of one, are taken in order of code points, those of train.rec in order of labels and keys as
numbers; `max_images_per_subject` keeps the first that can be used and opens no more, `max_subjects` the first subjects
that have `min_images_per_subject` of them.

A shard has at most `shard_images` images of whole subjects (faces/images/shards.py). What one was packed from is
remembered, and it is packed again only if that has changed: a new subject costs its shard alone. The shards so kept
are, where the file system has hard links, the same files as those in data/packed. An interrupted run goes on after
the subjects that are finished, if no file of their shard has changed since.
"""

import argparse
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from faces.core.checkpoints import GrownFile, checkpoint_folder
from faces.core.csv_files import read_csv, write_csv
from faces.core.errors import StageError
from faces.core.files import link_or_copy, replacing, write_metrics, write_text
from faces.core.image_size import IMAGE_SHAPE
from faces.core.npy_files import write_npy_header
from faces.core.params import Params, load_params
from faces.core.run import run
from faces.core.terminal import progress_bar, say, warn
from faces.core.threads import available_cores, in_order, load_threads
from faces.images import image_folder, recordio
from faces.images.decoding import DecodingParams, read_image, read_photo, ready_to_read
from faces.images.detection import Detector, PhotosParams, align_photo, check_installed
from faces.images.rejection import OF_PHOTOS, REASONS, UNREADABLE, Rejected, Rejection
from faces.images.shards import plan
from faces.images.sheet import Cell, draw_cells
from faces.tables.attributes import attributes_of, attributes_path, check_rows, find_attributes, key_of
from faces.tables.packed_images import SHARDS, open_shard
from faces.tables.sources import Format, Source, load_sources, packed_folder, rejects_path, sheet_path

PIXELS, FINISHED = "images.npy", "finished"
TABLE_COLUMNS = {"subject": str, "path": str}
NOT_OF_A_SHARD = {"max_subjects", "shard_images"}  # which subjects are in it is in its own name
SHOWN = 12  # images on the sheet, and as many rejected ones
PART_FILES = 256  # 10 MB of pixels: the most that a worker holds of a subject without a limit


class PackParams(Params):
    shard_images: int = Field(ge=16)
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
    def path(self) -> str: ...
    def source(self, root: Path) -> Path | bytes: ...


class Listing(Protocol):
    """What a source holds, before any image is opened.

    Stamps show, by being equal or not, whether something was written to: what they are of is their key in `stamps`.
    """

    @property
    def subjects(self) -> Collection[str]: ...
    @property
    def stamps(self) -> Mapping[str, str]: ...
    @property
    def rejected(self) -> list[Rejected]: ...
    @property
    def ignored(self) -> int: ...
    def images(self, subject: str) -> Sequence[SourceFile]: ...
    def count(self, subject: str) -> int: ...
    def stamp(self, subject: str) -> list[str]: ...


class SourceFormat(Protocol):
    """A module that knows one format of source; SUBJECT says what a subject is in it."""

    SUBJECT: str

    def list_images(self, root: Path) -> Listing: ...
    def stamps(self, root: Path) -> Mapping[str, str]: ...


FORMATS: dict[Format, SourceFormat] = {"folder": image_folder, "photos": image_folder, "recordio": recordio}
Reader = Callable[[Path | bytes], NDArray[np.uint8]]  # of an image: its file, or content -> uint8 (112, 112, 3)


class Part(NamedTuple):
    """Images of one subject, in order: uint8 (112, 112, 3) for each of `paths`."""

    images: list[NDArray[np.uint8]]
    paths: list[str]
    rejected: list[Rejected]


class Slice(NamedTuple):
    """Files of one subject that one worker reads."""

    subject: str
    files: Sequence[SourceFile]


class Packed(NamedTuple):
    """A shard in the folder where it was made: its images, in a file of pixels and a table, and what was rejected."""

    folder: Path
    images: int
    subjects: int
    kept: bool = False  # from an earlier run

    @property
    def pixels(self) -> Path:
        """Return the file of pixels."""
        return self.folder / PIXELS

    @property
    def table(self) -> Path:
        """Return the table with subject and path."""
        return self.folder / "images.csv"

    @property
    def rejects(self) -> Path:
        """Return the table of what could not be used."""
        return self.folder / "rejected.csv"

    def read_rejects(self) -> list[Rejected]:
        """Return what could not be used."""
        table = read_csv(self.rejects, dict.fromkeys(Rejected._fields, str))
        return [Rejected(*row) for row in table.itertuples(index=False, name=None)]


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
            check_rows(known, paths_of(listing) if key_of(known) == "path" else listing.subjects)
    return listing


def paths_of(listing: Listing) -> Iterator[str]:
    """Yield the path of every file of a source."""
    for subject in listing.subjects:
        yield from (file.path for file in listing.images(subject))


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
    now = FORMATS[source.format].stamps(Path(source.path))
    changed = {what for what, _ in now.items() ^ listing.stamps.items()}
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


def reader(decoding: DecodingParams, photos: PhotosParams | None = None) -> Reader:
    """Return what makes a face of an image file, or of a photo; Rejection says why it cannot."""
    if photos:
        detector = Detector(photos)
        return lambda content: align_photo(read_photo(content, decoding.limits), detector, photos)
    return lambda content: read_image(content, decoding.limits, decoding.resize_filter)


def pack_part(root: Path, read: Reader, params: PackParams, part: Slice) -> Part:
    """Read images of one subject until there are `max_images_per_subject` of them."""
    packed = Part([], [], [])
    limit = params.max_images_per_subject or len(part.files)
    for file in part.files:
        if len(packed.paths) == limit:
            break
        try:
            packed.images.append(read(file.source(root)))
            packed.paths.append(file.path)
        except Rejection as rejection:
            packed.rejected.append(rejection.of(file.path))
    return packed


def parts_of(listing: Listing, subjects: Iterable[str], params: PackParams) -> Iterator[Slice]:
    """Yield the files of subjects in one slice each, or several if no limit bounds the pixels of a subject."""
    for subject in subjects:
        files = listing.images(subject)
        size = PART_FILES if params.max_images_per_subject == 0 else max(1, len(files))
        for start in range(0, len(files), size):
            yield Slice(subject, files[start : start + size])


def plan_shards(listing: Listing, params: PackParams) -> Iterator[Sequence[str]]:
    """Yield the subjects of each shard."""
    subjects = list(listing.subjects)
    counts = [listing.count(subject) for subject in subjects]
    if limit := params.max_images_per_subject:
        counts = [min(count, limit) for count in counts]
    return plan(subjects, counts, params.shard_images)


Note = tuple[str, list[str], list[Rejected]]  # a subject, the paths that were kept, and what was rejected


def append_subjects(grown: GrownFile, parts: Iterable[tuple[str, Part]], most: int, params: PackParams) -> list[Note]:
    """Append the pixels of subject after subject; take back those of a subject with too few images.

    Ends with `most` subjects, whose notes it returns; those that the file has notes on are counted first.
    """
    notes: list[Note] = [(subject, kept, [Rejected(*row) for row in rows]) for subject, kept, rows in grown.notes]
    target = grown.file
    packed = sum(bool(kept) for _, kept, _ in notes)
    for subject, group in groupby(parts, key=itemgetter(0)):
        if packed == most:
            break
        start, kept, rejected = target.tell(), list[str](), list[Rejected]()
        for _, part in group:
            target.writelines(image.data for image in part.images)
            kept += part.paths
            rejected += part.rejected
        if len(kept) < params.min_images_per_subject:
            target.seek(start)
            target.truncate()
            kept = []
        packed += bool(kept)
        notes.append((subject, kept, rejected))
        grown.note(notes[-1])
    return notes


def pack_shard(packing: "Packing", subjects: Sequence[str], folder: Path, most: int, bar: Any) -> Packed:
    """Pack the subjects of one shard in `folder`, `most` of them, going on where a former run was cut off.

    The bytes do not depend on `workers`. Threads, not processes: Pillow lets go of Python's lock while it decodes and
    resizes.
    """
    if finished := read_finished(folder):
        bar.update(len(subjects))
        return finished._replace(kept=True)
    if (folder / FINISHED).exists():  # but it is to be packed anew
        shutil.rmtree(folder)
    params, workers = packing.params, packing.decoding.workers or available_cores()
    with ThreadPoolExecutor(workers) as pool, GrownFile(folder / PIXELS) as grown:
        done = {subject for subject, *_ in grown.notes}
        if done:
            say(f"going on after {len(done)} subjects, from {folder}")
        else:
            write_npy_header(grown.file, np.uint8, (0, *IMAGE_SHAPE))
        bar.update(len(done))
        slices = parts_of(packing.listing, (subject for subject in subjects if subject not in done), params)
        read = partial(pack_part, packing.root, packing.read, params)
        parts = in_order(pool, lambda part: (part.subject, read(part)), slices, ahead=2 * workers)
        notes = append_subjects(grown, _ticking(parts, bar), most, params)
        grown.file.seek(0)
        rows = [(subject, path) for subject, kept, _ in notes for path in kept]
        write_npy_header(grown.file, np.uint8, (len(rows), *IMAGE_SHAPE))
    packed = Packed(folder, len(rows), len({subject for subject, _ in rows}))
    write_csv(packed.table, pd.DataFrame(rows, columns=["subject", "path"]))
    rejected = [row for _, _, of_subject in notes for row in of_subject]
    write_csv(packed.rejects, pd.DataFrame(rejected, columns=Rejected._fields))
    write_finished(packed)
    return packed


def _ticking(parts: Iterable[tuple[str, Part]], bar: Any) -> Iterator[tuple[str, Part]]:
    for _, group in groupby(parts, key=itemgetter(0)):
        yield from group
        bar.update()


def write_finished(packed: Packed) -> None:
    """Note that a shard is whole, and sizes and times of its files, by which a change would show."""
    write_text(packed.folder / FINISHED, json.dumps([packed.images, packed.subjects, *_state(packed)]))


def _state(packed: Packed) -> list[int]:
    statuses = [path.stat() for path in (packed.pixels, packed.table, packed.rejects)]
    return [number for status in statuses for number in (status.st_size, status.st_mtime_ns)]


def read_finished(folder: Path) -> Packed | None:
    """Return the shard in a folder if it is whole, its files what they were, and none of a source was unreadable.

    What made a file unreadable, such as rights or a disk that was away, does not show in the file when it is over.
    """
    try:
        images, subjects, *state = json.loads((folder / FINISHED).read_text(encoding="ascii"))
        packed = Packed(folder, images, subjects)
        unchanged = state == _state(packed)
    except (OSError, ValueError):
        return None
    if unchanged and all(row.reason != UNREADABLE for row in packed.read_rejects()):
        return packed
    return None


class Packing(NamedTuple):
    """What is packed, and how."""

    root: Path
    listing: Listing
    read: Reader
    params: PackParams
    decoding: DecodingParams


def pack(packing: Packing, base: Path, title: str) -> list[Packed]:
    """Return the shards of a source that have an image, in order, each in a folder below `base`."""
    shards: list[Packed] = []
    left = packing.params.max_subjects or len(packing.listing.subjects)
    with ready_to_read(), progress_bar(title, len(packing.listing.subjects), "subject") as bar:
        for subjects in plan_shards(packing.listing, packing.params):
            most = min(left, len(subjects))
            shards.append(pack_shard(packing, subjects, base / _key(packing.listing, subjects, most), most, bar))
            left -= shards[-1].subjects
            if left == 0:
                break
    return shards


def _key(listing: Listing, subjects: Sequence[str], most: int) -> str:
    facts = [most, [(subject, listing.stamp(subject)) for subject in subjects]]
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()


def publish(shards: list[Packed], target: Path) -> None:
    """Have the files of `shards`, numbered, as the content of the folder `target`, and nothing else."""
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    named = {f"{number:05d}": shard for number, shard in enumerate(shard for shard in shards if shard.images)}
    for name, shard in named.items():
        for path in (shard.pixels, shard.table):
            link_or_copy(path, temporary / f"{name}{path.suffix}")
    images = [shard.images for shard in named.values()]
    write_csv(temporary / SHARDS, pd.DataFrame({"shard": list(named), "images": images}))
    if target.exists():
        shutil.rmtree(target)
    os.replace(temporary, target)


def keep_only(shards: list[Packed], base: Path) -> None:
    """Remove the shards of a source that are no longer needed, of other parameters too."""
    used = {shard.folder for shard in shards}
    for other in base.parent.iterdir():
        if other.is_dir() and other != base:
            shutil.rmtree(other)
    for folder in base.iterdir():
        if folder.is_dir() and folder not in used:
            shutil.rmtree(folder)


def check_packed(name: str, source: Source, shards: list[Packed], params: PackParams, rejected: list[Rejected]) -> None:
    """Raise StageError if fewer than two subjects are left."""
    if (subjects := sum(shard.subjects for shard in shards)) < 2:
        raise StageError(
            f"{_where(name, source)}: {subjects} subject(s) with {params.min_images_per_subject} or more "
            f"usable images (pack.min_images_per_subject); needed: two at least{_summary(rejected)}"
        )


class Shown(NamedTuple):
    """An image for the sheet: whose it is, its path, and its pixels (112, 112, 3), or why there are none."""

    subject: str
    path: str
    after: NDArray[np.uint8] | None
    caption: str


def shown_images(shards: list[Packed], rejected: list[Rejected]) -> list[Shown]:
    """Return some images of all shards, evenly spread, and some photos in which no face could be taken."""
    ends = np.cumsum([shard.images for shard in shards])
    shown = []
    for place in np.unique(np.linspace(0, ends[-1] - 1, SHOWN).round().astype(int)):
        shard = shards[number := int(np.searchsorted(ends, place, side="right"))]
        row = int(place - (ends[number] - shard.images))
        subject, path = read_csv(shard.table, TABLE_COLUMNS).iloc[row]
        shown.append(Shown(subject, path, open_shard(shard.pixels).read(np.array([row]))[0], path))
    of_photos = [row for row in rejected if row.reason in OF_PHOTOS][:SHOWN]
    return shown + [Shown(row.path.split("/")[0], row.path, None, f"{row.reason}: {row.path}") for row in of_photos]


def write_sheet(name: str, packing: Packing, shown: list[Shown]) -> None:
    """Write a picture of images before and after, and of some in which no face could be taken."""
    cells = []
    with ready_to_read():
        for image in shown:
            (file,) = (file for file in packing.listing.images(image.subject) if file.path == image.path)
            before = read_photo(file.source(packing.root), packing.decoding.limits)
            cells.append(Cell(before, image.after, image.caption))
    with replacing(sheet_path(name)) as temporary:
        draw_cells(cells).save(temporary)


def attribute_tables(root: Path, shards: list[Packed]) -> Iterator[pd.DataFrame]:
    """Yield what the folder's attributes.csv says of the images of each shard, with their row among all images."""
    first, known = 0, find_attributes(root)
    for shard in shards:
        table = attributes_of(known, read_csv(shard.table, TABLE_COLUMNS))
        table.insert(0, "row", range(first, first + len(table)))
        first += len(table)
        yield table


def describe(shards: list[Packed], listing: Listing, rejected: list[Rejected]) -> dict[str, int]:
    """Return the counts; `subjects_dropped` had too few usable images, or came after `max_subjects` others."""
    counts = Counter(row.reason for row in rejected)
    subjects = sum(shard.subjects for shard in shards)
    return {
        "images": sum(shard.images for shard in shards),
        "subjects": subjects,
        "subjects_dropped": len(listing.subjects) - subjects,
        "files_ignored": listing.ignored,
        "rejected": len(rejected),
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
    decoding = load_params("decoding", DecodingParams)
    if name not in sources:
        raise StageError(f"params.yaml: sources: {name!r} is not among them; allowed: {', '.join(sources)}")
    source = sources[name]
    listing = list_source(name, source)
    photos = load_params("photos", PhotosParams) if source.format == "photos" else None
    packing = Packing(Path(source.path), listing, reader(decoding, photos), params, decoding)
    seen = [
        source.path,
        source.format,
        decoding.model_dump(exclude={"workers"}),
        [photos.model_dump(), load_threads()] if photos else None,
    ]
    base = checkpoint_folder("pack", params, ignored=NOT_OF_A_SHARD, seen=seen, of=name)
    shards = pack(packing, base, f"packing {name}")
    rejected = sorted([*listing.rejected, *(row for shard in shards for row in shard.read_rejects())])
    check_unchanged(name, source, listing)
    check_packed(name, source, shards, params, rejected)
    write_sheet(name, packing, shown_images(shards, rejected))
    write_csv(attributes_path(name), attribute_tables(packing.root, shards))
    rejects = rejects_path(name)
    write_csv(rejects, pd.DataFrame(rejected, columns=Rejected._fields))
    counts = describe(shards, listing, rejected)
    write_metrics(Path(f"metrics/pack@{name}.json"), counts)
    publish(shards, packed_folder(name))
    keep_only(shards, base)
    if rejected:
        warn(f"{len(rejected)} rejected, listed in {rejects}")
    kept = sum(shard.kept for shard in shards)
    say(
        f"{name}: {counts['images']} images of {counts['subjects']} subjects, in {len(shards)} shard(s)"
        f"{f', {kept} of them packed before' if kept else ''}"
    )


if __name__ == "__main__":
    run(main, takes_arguments=True)
