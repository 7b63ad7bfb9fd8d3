"""The source format `recordio`, of InsightFace's data sets: a folder with `train.rec`, `train.idx` and `property`.

train.rec   records of dmlc's RecordIO, all numbers little-endian:
                uint32   0xced7230a, the magic
                uint32   upper 3 bits: 0 a whole record, 1 its first part, 2 a middle part, 3 the last; lower 29: length
                payload  `length` bytes, then zeros to a multiple of 4 bytes
            A payload that contains the magic is cut there; its parts are joined with the magic between them. A payload:
                uint32   flag: the number of labels after the header; 0: the only label is in the header
                float32  label
                uint64   id, and another; both unused
                float32  labels, if any; only the first is used
                image    an image file in one of the formats of faces/images/decoding.py
train.idx   one line per record: <key>, a tab, <offset in bytes>
property    <classes>,<height>,<width>; the sizes are unused

If record 0 has two labels or more, it is a header: the images have the keys from 1 up to its first label, exclusive,
and the records after them describe identities, which are unused. Otherwise every record is an image.

The subject of an image is its label in decimal digits; its path is its key in nine digits, such as 000000017. Subjects
are in order of labels, the images of a subject in order of keys. Listing reads the labels, in one pass over the record
headers; each image is read when it is packed.
"""

import os
import re
import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import StageError
from faces.core.files import file_state
from faces.core.terminal import progress, warn
from faces.images.decoding import MACHINE_ERRORS
from faces.images.rejection import Rejected, Rejection, unreadable

REC, IDX, PROPERTY = FILES = ("train.rec", "train.idx", "property")
SUBJECT = "each a label of records"

MAGIC = 0xCED7230A
PREFIX = struct.Struct("<II")  # magic, kind of part and length
LENGTH_BITS = 29
WHOLE, FIRST, MIDDLE, LAST = range(4)
HEADER = struct.Struct("<IfQQ")
LABEL = struct.Struct("<f")
MAX_RECORD_BYTES = 2**25  # of a payload, so that a hostile file cannot fill the memory; a face takes some 10 kB

MAX_LINE_BYTES = 64  # of a line of train.idx; two numbers of 18 digits fit
LINE = re.compile(rb"([0-9]{1,18})\t([0-9]{1,18})\r?\n?")
MAX_PROPERTY_BYTES = 100
PROPERTIES = re.compile(rb"([0-9]+),[0-9]+,[0-9]+\s*")


class Record(NamedTuple):
    """A record that should hold an image."""

    subject: str
    path: str  # the key
    offset: int

    def source(self, root: Path) -> bytes:
        """Return the image file in the record, for `read_image`; Rejection if there is none. Thread-safe."""
        try:
            with open(root / REC, "rb", buffering=0) as file:
                payload = read_payload(file.fileno(), self.offset, MAX_RECORD_BYTES + 1)
        except OSError as error:
            if error.errno in MACHINE_ERRORS:
                raise
            raise unreadable(error) from None
        if len(payload) > MAX_RECORD_BYTES:
            raise Rejection("too_large", f"a record of over {MAX_RECORD_BYTES} bytes")
        labels, _ = read_label(payload)
        image = payload[HEADER.size + LABEL.size * labels :]
        if not image:
            raise Rejection("empty", "nothing behind the labels")
        return image


@dataclass(frozen=True, eq=False)
class Records(Sequence[Record]):
    """N records in 20 bytes each, as arrays (N,): a slice is a view, an item is made on demand."""

    keys: NDArray[np.int64]
    labels: NDArray[np.float32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.keys)

    @overload
    def __getitem__(self, which: int) -> Record: ...
    @overload
    def __getitem__(self, which: slice) -> "Records": ...
    def __getitem__(self, which: int | slice) -> "Record | Records":
        """Return one record, or a view of several."""
        if isinstance(which, slice):
            return Records(self.keys[which], self.labels[which], self.offsets[which])
        return Record(subject_name(self.labels[which]), key_path(self.keys[which]), int(self.offsets[which]))


@dataclass
class RecordListing:
    """The images in train.rec, by the headers of its records; a SourceListing (faces/images/listing.py)."""

    records: Records  # sorted by subject, then key
    subjects: dict[str, slice]  # of `records`
    rejected: list[Rejected]
    ignored: int  # number of records that are no images
    stamps: dict[str, str]
    linked: Sequence[str] = ()  # there are no folders

    def images(self, subject: str) -> Records:
        """Return the records of a subject, in order of keys."""
        return self.records[self.subjects[subject]]

    def count(self, subject: str) -> int:
        """Return the number of records of a subject."""
        return self.subjects[subject].stop - self.subjects[subject].start

    def stamp(self, subject: str) -> list[str]:
        """Return texts that change when a record of the subject is written to: those of the whole file."""
        return [subject, *self.stamps.values()]


class Index(NamedTuple):
    """Keys and byte offsets of the images, arrays (N,), sorted by key."""

    keys: NDArray[np.int64]
    offsets: NDArray[np.int64]
    ignored: int  # number of records that are no images
    classes: int  # number of subjects, by `property`


def subject_name(label: float) -> str:
    """Return the name of the subject with a label, which must be a whole number."""
    return str(int(label))


def key_path(key: int) -> str:
    """Return the key of an image as its path, padded with zeros so that keys below 10**9 sort as numbers."""
    return f"{key:09d}"


def stamps(root: Path) -> dict[str, str]:
    """Return the state of each of the three files that exists, as a text."""
    found = {name: (root / name).stat() for name in FILES if (root / name).is_file()}
    return {name: " ".join(map(str, file_state(status))) for name, status in found.items()}


def read_paths(root: Path) -> Iterator[str]:
    """Return the paths of all images, from the index alone; StageError if a file is missing or the index wrong."""
    return map(key_path, read_index(root).keys)


def list_images(root: Path) -> RecordListing:
    """Return the images by label and key, after one pass over the record headers; warn if `property` does not fit."""
    before = stamps(root)
    index = read_index(root)
    labels, rejected = _read_labels(root / REC, index)
    order = np.argsort(labels, kind="stable")[: len(labels) - len(rejected)]  # the NaN of rejected ones come last
    records = Records(index.keys[order], labels[order], index.offsets[order])
    found, starts = np.unique(records.labels, return_index=True)
    ends = [*starts[1:].tolist(), len(records)]
    subjects = {
        subject_name(label): slice(start, end) for label, start, end in zip(found, starts.tolist(), ends, strict=False)
    }
    if len(subjects) != index.classes:
        warn(f"{root / PROPERTY} names {index.classes} classes, but {REC} has images of {len(subjects)}")
    return RecordListing(records, subjects, rejected, index.ignored, before)


def _read_labels(path: Path, index: Index) -> tuple[NDArray[np.float32], list[Rejected]]:
    """Return the label of each image, float32 (N,), NaN if it is rejected; and the rejected."""
    labels = np.full(len(index.keys), np.nan, np.float32)
    rejected = []
    with open(path, "rb", buffering=0) as file:
        for row, offset in enumerate(progress(index.offsets, "reading labels", len(labels), "record")):
            try:
                labels[row] = _read_whole_label(file.fileno(), int(offset))
            except Rejection as rejection:
                rejected.append(rejection.row(key_path(index.keys[row])))
            except OSError as error:
                rejected.append(unreadable(error).row(key_path(index.keys[row])))
    return labels, rejected


def _read_whole_label(file: int, offset: int) -> float:
    labels, label = read_label(read_payload(file, offset, HEADER.size + LABEL.size))
    if labels > 1:
        _, kind_and_length = PREFIX.unpack(_read(file, PREFIX.size, offset))
        if kind_and_length == HEADER.size + LABEL.size * labels:  # a whole record
            raise Rejection("empty", f"{labels} labels and no image: the record of an identity, not of an image")
    if not (label >= 0 and label.is_integer()):
        raise Rejection("damaged", f"label {label:g}: not a whole number, 0 or more")
    return label


def read_label(payload: bytes) -> tuple[int, float]:
    """Return the number of labels after the header of a payload, and the label of the image."""
    if len(payload) < HEADER.size:
        raise Rejection("damaged", f"a payload of {len(payload)} bytes: too short for its header")
    labels, label, _, _ = HEADER.unpack_from(payload)
    if labels == 0:
        return 0, label
    if len(payload) < HEADER.size + LABEL.size:
        raise Rejection("damaged", f"cut short before the first of {labels} labels")
    return labels, LABEL.unpack_from(payload, HEADER.size)[0]


def read_payload(file: int, offset: int, max_bytes: int) -> bytes:
    """Return the payload of the record at an offset, joined from its parts, or its first `max_bytes` bytes.

    `file` is a descriptor; its position is neither used nor moved. Rejection if there is no whole record.
    """
    size, payload, continued = os.fstat(file).st_size, bytearray(), False
    while True:
        magic, kind_and_length = PREFIX.unpack(_read(file, PREFIX.size, offset))
        kind, length = kind_and_length >> LENGTH_BITS, kind_and_length % 2**LENGTH_BITS
        if magic != MAGIC or kind not in ((MIDDLE, LAST) if continued else (WHOLE, FIRST)):
            raise Rejection("damaged", f"no {'further part of the ' if continued else ''}record at byte {offset}")
        offset += PREFIX.size
        if length > size - offset:
            raise Rejection("damaged", f"{length} bytes from byte {offset} on, where the file has {size} in all")
        payload += _read(file, min(length, max(max_bytes - len(payload), 0)), offset)
        if kind in (WHOLE, LAST) or len(payload) >= max_bytes:
            return bytes(payload[:max_bytes])
        payload += MAGIC.to_bytes(4, "little")
        offset += length + -length % 4
        continued = True


def _read(file: int, count: int, offset: int) -> bytes:
    content = os.pread(file, count, offset)
    if len(content) < count:
        raise Rejection("damaged", f"cut short: {len(content)} of {count} bytes from byte {offset} on")
    return content


def read_index(root: Path) -> Index:
    """Return where the images are, by `train.idx` and record 0.

    StageError names the missing files, or the wrong line of `train.idx`.
    """
    missing = [name for name in FILES if not (root / name).is_file()]
    if missing:
        hint = "; property is a line, <people>,112,112" if PROPERTY in missing else ""
        raise StageError(f"no file {', '.join(missing)}; format recordio needs {', '.join(FILES)}{hint}")
    keys, offsets = _read_lines(root / IDX, (root / REC).stat().st_size)
    images = np.ones(len(keys), np.bool_)
    if keys[0] == 0 and (end := _end_of_images(root / REC, int(offsets[0]))) is not None:
        images = (keys >= 1) & (keys < end)
        if (lacking := int(end) - 1 - int(images.sum())) > 0:
            raise StageError(f"{IDX}: lacks {lacking} of the keys 1 to {end - 1:.0f}: images, by record 0 of {REC}")
    return Index(keys[images], offsets[images], int((~images).sum()), _classes(root / PROPERTY))


def _read_lines(path: Path, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return keys and offsets, sorted by key; StageError if a line is wrong for a train.rec of `size` bytes."""
    numbers = array("q")
    with open(path, "rb") as file:
        for count, line in enumerate(iter(partial(file.readline, MAX_LINE_BYTES), b""), start=1):
            match = LINE.fullmatch(line)
            if not match or int(match[2]) > size - PREFIX.size:
                raise StageError(
                    f"{IDX}: line {count}: {line!r}: should be a key, a tab and the offset of a record; {REC} has "
                    f"{size} bytes"
                )
            numbers.extend((int(match[1]), int(match[2])))
    if not numbers:
        raise StageError(f"{IDX}: is empty")
    keys, offsets = np.array(numbers, np.int64).reshape(-1, 2).T
    order = np.argsort(keys, kind="stable")
    twice = np.flatnonzero(np.diff(keys[order]) == 0)
    if twice.size:
        line_index = order[twice[0] + 1]
        raise StageError(f"{IDX}: line {line_index + 1}: key {keys[line_index]} has a line already")
    return keys[order], offsets[order]


def _end_of_images(path: Path, offset: int) -> float | None:
    """Return the first key behind the images, from record 0; None if that is an image like any other."""
    try:
        with open(path, "rb", buffering=0) as file:
            labels, label = read_label(read_payload(file.fileno(), offset, HEADER.size + LABEL.size))
    except Rejection as rejection:
        raise StageError(f"{REC}: record 0: {rejection.detail}") from None
    if labels < 2:
        return None
    if not (label >= 1 and label.is_integer()):
        raise StageError(f"{REC}: record 0: first label {label:g}: should be a key, the first that is no image")
    return label


def _classes(path: Path) -> int:
    with open(path, "rb") as file:
        content = file.read(MAX_PROPERTY_BYTES)
    match = PROPERTIES.fullmatch(content)
    if not match:
        raise StageError(f"{PROPERTY}: {content!r}: should be <classes>,<height>,<width>, such as 10572,112,112")
    return int(match[1])
