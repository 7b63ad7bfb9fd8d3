"""From a listed source to shards of images: threads read the images, one file per shard collects them.

The bytes do not depend on the number of threads. An interrupted run resumes after the last finished subject, and a
shard that an earlier run finished is used again (faces/images/finished_shards.py).
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from faces.core.checkpoints import ResumableFile
from faces.core.image_size import IMAGE_SHAPE
from faces.core.npy_files import write_npy_header
from faces.core.params import Params
from faces.core.terminal import progress_bar, say
from faces.core.threads import available_cores, in_order
from faces.images.decoding import DecodingParams, read_image, read_photo, ready_to_read
from faces.images.detection import Detector, PhotosParams, align_photo
from faces.images.finished_shards import FINISHED, PIXELS, PackedShard, find_finished, finish_shard
from faces.images.listing import SourceFile, SourceListing
from faces.images.rejection import Rejected, Rejection
from faces.images.shards import plan
from faces.tables.sources import Channels

CHUNK_FILES = 256  # 10 MB of pixels: the most that a thread holds if a subject may have any number of images

ReadFace = Callable[[Path | bytes], NDArray[np.uint8]]  # image file, or its content -> uint8 (112, 112, 3), RGB


class ShardParams(Params):
    """How many images a shard, and how many subjects a source, may have."""

    shard_images: int = Field(ge=16)
    max_subjects: int = Field(ge=0)  # 0: all

    @field_validator("max_subjects")
    @classmethod
    def _two_at_least(cls, value: int) -> int:
        if value == 1:
            raise ValueError("Input should be 0 (all) or at least 2")
        return value


class SubjectParams(Params):
    """How many images a subject must have and may have."""

    min_images_per_subject: int = Field(ge=1)
    max_images_per_subject: int = Field(ge=0)  # 0: all

    @model_validator(mode="after")
    def _max_is_not_below_min(self) -> "SubjectParams":
        if 0 < self.max_images_per_subject < self.min_images_per_subject:
            raise ValueError("max_images_per_subject should be 0 (all) or at least min_images_per_subject")
        return self


class Packing(NamedTuple):
    """A source and how its images are read."""

    root: Path
    listing: SourceListing
    read: ReadFace
    limits: SubjectParams
    workers: int  # threads; 0: one per core


class FileChunk(NamedTuple):
    """Files of one subject that one thread reads."""

    subject: str
    files: Sequence[SourceFile]


class ImageChunk(NamedTuple):
    """What a FileChunk holds: images uint8 (112, 112, 3) with their paths, and the files that could not be used."""

    subject: str
    images: list[NDArray[np.uint8]]
    paths: list[str]
    rejected: list[Rejected]


class SubjectNote(NamedTuple):
    """The note on a finished subject in a shard's file: the paths of its images there, none if it was dropped."""

    subject: str
    paths: list[str]
    rejected: list[Rejected]


def face_reader(decoding: DecodingParams, photos: PhotosParams | None = None, channels: Channels = "rgb") -> ReadFace:
    """Return the function that reads an image of a face, or with `photos` finds the face in a photo.

    It raises Rejection if there is no usable image or face.
    """
    order = slice(None, None, -1 if channels == "bgr" else 1)
    if photos:
        detector = Detector(photos)
        return lambda content: align_photo(read_photo(content, decoding.limits)[..., order], detector, photos)
    return lambda content: np.ascontiguousarray(
        read_image(content, decoding.limits, decoding.resize_filter)[..., order]
    )


def pack_source(packing: Packing, params: ShardParams, checkpoints: Path, title: str) -> list[PackedShard]:
    """Return the packed shards of a source, in order, each in a folder below `checkpoints`; some may have no image.

    Stops once `max_subjects` subjects are packed.
    """
    shards: list[PackedShard] = []
    left = params.max_subjects or len(packing.listing.subjects)
    with ready_to_read(), progress_bar(title, len(packing.listing.subjects), "subject") as bar:
        for subjects in plan_shards(packing.listing, packing.limits, params.shard_images):
            max_subjects = min(left, len(subjects))
            folder = checkpoints / _shard_key(packing.listing, subjects, max_subjects)
            shards.append(pack_shard(packing, subjects, folder, max_subjects, bar))
            left -= shards[-1].subjects
            if left == 0:
                break
    return shards


def plan_shards(listing: SourceListing, limits: SubjectParams, shard_images: int) -> Iterator[Sequence[str]]:
    """Yield the subjects of each shard."""
    subjects = list(listing.subjects)
    counts = [listing.count(subject) for subject in subjects]
    if limit := limits.max_images_per_subject:
        counts = [min(count, limit) for count in counts]
    return plan(subjects, counts, shard_images)


def _shard_key(listing: SourceListing, subjects: Sequence[str], max_subjects: int) -> str:
    facts = [max_subjects, [(subject, listing.stamp(subject)) for subject in subjects]]
    return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()


def pack_shard(packing: Packing, subjects: Sequence[str], folder: Path, max_subjects: int, bar: Any) -> PackedShard:
    """Return the shard of `subjects`, at most `max_subjects` of them, in `folder`; reuse it if it is finished there."""
    if finished := find_finished(folder):
        bar.update(len(subjects))
        return finished._replace(reused=True)
    if (folder / FINISHED).exists():  # finished, but its files have changed since
        shutil.rmtree(folder)
    notes = write_pixels(packing, subjects, folder / PIXELS, max_subjects, bar)
    images = [(note.subject, path) for note in notes for path in note.paths]
    return finish_shard(folder, images, [row for note in notes for row in note.rejected])


def write_pixels(
    packing: Packing, subjects: Sequence[str], path: Path, max_subjects: int, bar: Any
) -> list[SubjectNote]:
    """Write the images of subjects to a .npy file, resuming where an earlier run was interrupted; return the notes.

    Threads suffice: Pillow releases Python's lock while it decodes and resizes.
    """
    workers = packing.workers or available_cores()
    with ThreadPoolExecutor(workers) as pool, ResumableFile(path) as target:
        done = {subject for subject, *_ in target.notes}
        if done:
            say(f"resuming after {len(done)} subjects, from {path.parent}")
        else:
            write_npy_header(target.file, np.uint8, (0, *IMAGE_SHAPE))
        bar.update(len(done))
        left = (subject for subject in subjects if subject not in done)
        files = split_into_chunks(packing.listing, left, packing.limits)
        read = partial(read_chunk, packing.root, packing.read, packing.limits)
        chunks = _count_subjects(in_order(pool, read, files, ahead=2 * workers), bar)
        notes = append_subjects(target, chunks, max_subjects, packing.limits)
        target.file.seek(0)
        write_npy_header(target.file, np.uint8, (sum(len(note.paths) for note in notes), *IMAGE_SHAPE))
    return notes


def split_into_chunks(listing: SourceListing, subjects: Iterable[str], limits: SubjectParams) -> Iterator[FileChunk]:
    """Yield the files of each subject: as one chunk, or in several if nothing limits the images of a subject."""
    for subject in subjects:
        files = listing.images(subject)
        size = CHUNK_FILES if limits.max_images_per_subject == 0 else max(1, len(files))
        for start in range(0, len(files), size):
            yield FileChunk(subject, files[start : start + size])


def read_chunk(root: Path, read: ReadFace, limits: SubjectParams, chunk: FileChunk) -> ImageChunk:
    """Read images of one subject until there are `max_images_per_subject`."""
    packed = ImageChunk(chunk.subject, [], [], [])
    limit = limits.max_images_per_subject or len(chunk.files)
    for file in chunk.files:
        if len(packed.paths) == limit:
            break
        try:
            packed.images.append(read(file.source(root)))
            packed.paths.append(file.path)
        except Rejection as rejection:
            packed.rejected.append(rejection.row(file.path))
    return packed


def _count_subjects(chunks: Iterable[ImageChunk], bar: Any) -> Iterator[ImageChunk]:
    """Yield the chunks, and advance a progress bar after each subject."""
    for _, group in groupby(chunks, key=attrgetter("subject")):
        yield from group
        bar.update()


def append_subjects(
    target: ResumableFile, chunks: Iterable[ImageChunk], max_subjects: int, limits: SubjectParams
) -> list[SubjectNote]:
    """Append the images of subject after subject, until `max_subjects` are kept; return the notes on all subjects.

    A subject with too few images is dropped: its pixels are cut off again. Subjects that the file already has notes on
    count.
    """
    notes = [SubjectNote(subject, paths, [Rejected(*row) for row in rows]) for subject, paths, rows in target.notes]
    kept = sum(bool(note.paths) for note in notes)
    for subject, group in groupby(chunks, key=attrgetter("subject")):
        if kept == max_subjects:
            break
        start, note = target.file.tell(), SubjectNote(subject, [], [])
        for chunk in group:
            target.file.writelines(image.data for image in chunk.images)
            note.paths.extend(chunk.paths)
            note.rejected.extend(chunk.rejected)
        if len(note.paths) < limits.min_images_per_subject:
            target.file.seek(start)
            target.file.truncate()
            note.paths.clear()
        kept += bool(note.paths)
        notes.append(note)
        target.note(note)
    return notes
