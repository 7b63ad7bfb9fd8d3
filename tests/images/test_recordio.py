"""InsightFace's train.rec, written here from the description of its format, with `struct` and nothing else."""

import json
import os
import shutil
import struct
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

import pack
from faces.core.errors import StageError
from faces.images import packing, recordio
from faces.images.listing import check_source
from faces.images.packing import FileChunk, ImageChunk
from faces.images.recordio import Record, list_images, read_payload
from faces.images.rejection import REASONS, Rejected, Rejection
from faces.tables.sources import Source
from image_files import encoded, flat, noise, pack_settings, put

pytestmark = pytest.mark.usefixtures("in_new_folder")

MAGIC = bytes.fromhex("0a23d7ce")  # 0xced7230a, lowest byte first
WHOLE, FIRST, MIDDLE, LAST = range(4)
NAN, INF = float("nan"), float("inf")
ROOT = Path("rec")


def part(kind: int, content: bytes, length: int | None = None) -> bytes:
    """Return one part of a record, which may lie about its length."""
    word = kind * 2**29 + (len(content) if length is None else length)
    return MAGIC + struct.pack("<I", word) + content + bytes(-len(content) % 4)


def record(payload: bytes) -> bytes:
    """Return a payload as a record, in parts where one of its 4-byte words is the magic."""
    pieces, start = [], 0
    for at in range(0, len(payload) - 3, 4):
        if payload[at : at + 4] == MAGIC:
            pieces.append(payload[start:at])
            start = at + 4
    pieces.append(payload[start:])
    if len(pieces) == 1:
        return part(WHOLE, payload)
    kinds = [FIRST, *[MIDDLE] * (len(pieces) - 2), LAST]
    return b"".join(map(part, kinds, pieces))


def image(label: float, content: bytes = b"image", more_labels: Iterable[float] | None = None, key: int = 0) -> bytes:
    """Return the record of an image; with `more_labels`, all its labels follow the header."""
    if more_labels is None:
        return record(struct.pack("<IfQQ", 0, label, key, 0) + content)
    labels = [label, *more_labels]
    return record(struct.pack("<IfQQ", len(labels), 0.0, key, 0) + struct.pack(f"<{len(labels)}f", *labels) + content)


def write(
    records: Iterable[bytes], keys: Iterable[int] | None = None, properties: str = "2,112,112", root: Path = ROOT
) -> None:
    """Write the three files; records have the keys 0, 1, 2, … unless others are given."""
    root.mkdir(exist_ok=True)
    lines, content = [], b""
    records = list(records)
    for key, one in zip(range(len(records)) if keys is None else keys, records, strict=True):
        lines.append(f"{key}\t{len(content)}\n")
        content += one
    (root / "train.rec").write_bytes(content)
    (root / "train.idx").write_text("".join(lines))
    (root / "property").write_text(properties)


def insightface(images: list[bytes], identities: list[tuple[int, int]]) -> list[bytes]:
    """Return all records of a file as InsightFace writes it: header, images, identities."""
    first, last = len(images) + 1, len(images) + 1 + len(identities)
    return [image(first, b"", [last]), *images, *(image(start, b"", [end]) for start, end in identities)]


def listed() -> list[tuple[str, str]]:
    return [(file.subject, file.path) for file in list_images(ROOT).records]


def contents() -> list[bytes]:
    return [file.source(ROOT) for file in list_images(ROOT).records]


def payload_of(content: bytes, max_bytes: int = 10**9) -> bytes:
    Path("one.rec").write_bytes(content)
    with open("one.rec", "rb") as file:
        return read_payload(file.fileno(), 0, max_bytes)


# The parts of a record


@pytest.mark.parametrize("words", ["", "a", "M", "aM", "Ma", "aMb", "MM", "aMMb", "aMbMcMd", "MaM"])
@pytest.mark.parametrize("rest", [b"", b"x", b"xyz"])
def test_parts_are_joined_with_the_magic_between_them(words: str, rest: bytes) -> None:
    payload = b"".join(MAGIC if word == "M" else word.encode() * 4 for word in words) + rest
    content = record(payload)
    assert content.count(MAGIC) == 1 + words.count("M")  # each part has its own, in place of the one that it was cut at
    assert payload_of(content + image(7)) == payload
    for max_bytes in range(len(payload) + 2):
        assert payload_of(content, max_bytes) == payload[:max_bytes]


def test_the_magic_between_words_is_no_end() -> None:
    payload = b"ab" + MAGIC + b"cd"
    assert payload_of(record(payload)) == payload


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "0 of 8 bytes"),
        (MAGIC + b"\0\0\0", "7 of 8 bytes"),
        (b"\0" + part(WHOLE, b"abcd"), "no record at byte 0"),
        (part(MIDDLE, b"abcd"), "no record at byte 0"),
        (part(LAST, b"abcd"), "no record at byte 0"),
        (part(7, b"abcd"), "no record at byte 0"),
        (part(WHOLE, b"abcd", length=5), "5 bytes from byte 8 on, where the file has 12 in all"),
        (part(WHOLE, b"abcd", length=2**29 - 1), "536870911 bytes from byte 8 on"),
        (part(FIRST, b"abcd"), "0 of 8 bytes"),
        (part(FIRST, b"abcd") + part(WHOLE, b"efgh"), "no further part of the record at byte 12"),
        (part(FIRST, b"abcd") + part(FIRST, b"efgh"), "no further part of the record at byte 12"),
        (part(FIRST, b"abcd") + part(MIDDLE, b"efgh"), "0 of 8 bytes"),
        (part(FIRST, b"abcd") + part(LAST, b"efgh", length=400), "400 bytes from byte 20 on"),
    ],
)
def test_a_broken_record_is_damaged(content: bytes, said: str) -> None:
    with pytest.raises(Rejection) as rejection:
        payload_of(content)
    assert rejection.value.reason == "damaged" and said in rejection.value.detail


def test_no_more_is_read_of_a_record_than_an_image_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordio, "MAX_RECORD_BYTES", 100)
    write([image(0, bytes(76)), image(1, bytes(77)), part(FIRST, image(2)) + part(MIDDLE, b"") * 50 + part(LAST, b"")])
    asked = []

    def counted(file: int, count: int, offset: int) -> bytes:
        asked.append(count)
        return os.pread(file, count, offset)

    monkeypatch.setattr(recordio, "_read", counted)
    assert Record("0", "0", 0).source(ROOT) == bytes(76)
    for offset in (108, 108 + 112):
        with pytest.raises(Rejection, match="too_large"):
            Record("1", "1", offset).source(ROOT)
    assert max(asked) == 101


# What is listed


def test_the_label_is_in_the_header_or_the_first_of_those_behind_it() -> None:
    write([image(3, b"a"), image(4, b"b", []), image(5, b"c", [1.5, NAN])])
    assert listed() == [("3", "000000000"), ("4", "000000001"), ("5", "000000002")]
    assert contents() == [b"a", b"b", b"c"]


def test_a_header_that_holds_the_magic_is_read() -> None:
    """The id of an image, and the bytes of its second label, may be anything."""
    magic = struct.unpack("<f", MAGIC)[0]
    write([image(1, b"a"), image(2, b"b", [magic]), image(3, b"c" + MAGIC + b"ccc" + MAGIC, key=0xCED7230A)])
    assert [subject for subject, _ in listed()] == ["1", "2", "3"]
    assert contents() == [b"a", b"b", b"c" + MAGIC + b"ccc" + MAGIC]


def test_header_and_identities_are_no_images() -> None:
    write(insightface([image(0, b"a"), image(0, b"b"), image(1, b"c")], [(1, 3), (3, 4)]))
    assert listed() == [("0", "000000001"), ("0", "000000002"), ("1", "000000003")]
    listing = list_images(ROOT)
    assert (listing.ignored, listing.rejected, list(listing.subjects)) == (3, [], ["0", "1"])


def test_identities_without_a_header_are_called_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """As in a train.idx without the line of record 0: keys 1 to 3 are images, 4 and 5 identities."""
    records = insightface([image(0, b"a"), image(0, b"b"), image(1, b"c")], [(1, 3), (3, 4)])
    write(records[1:], keys=range(1, 6))
    listing = list_images(ROOT)
    assert list(listing.subjects) == ["0", "1"] and "warning" not in capsys.readouterr().err
    said = "2 labels and no image: the record of an identity, not of an image"
    assert listing.rejected == [("000000004", "empty", said), ("000000005", "empty", said)]


def test_without_a_header_every_record_is_an_image() -> None:
    write([image(1), image(0), image(1)])
    assert listed() == [("0", "000000001"), ("1", "000000000"), ("1", "000000002")]
    write([image(1), image(0)], keys=[5, 2])
    assert listed() == [("0", "000000002"), ("1", "000000005")]


def test_order_is_by_numbers() -> None:
    keys = [3, 1000000000, 20, 100, 7, 1]
    write(map(image, (10, 9, 9, 2, 10, 10)), keys)
    assert listed() == [
        ("2", "000000100"),
        ("9", "000000020"),
        ("9", "1000000000"),
        ("10", "000000001"),
        ("10", "000000003"),
        ("10", "000000007"),
    ]


def test_a_slice_is_a_view_of_the_same_records() -> None:
    write(map(image, (4, 3, 2, 1, 0)))
    files = list_images(ROOT).records
    assert len(files) == 5
    assert list(files[1:4]) == list(files)[1:4]
    assert files[1:4].offsets.base is not None and files[-1] == list(files)[-1]
    with pytest.raises(IndexError):
        files[5]


@pytest.mark.parametrize("label", [NAN, INF, -INF, -1, 0.5, 1e-30])
@pytest.mark.parametrize("more", [None, [], [3]])
def test_a_label_that_is_no_number_of_a_class_is_damaged(label: float, more: list[float] | None) -> None:
    write([image(0), image(label, more_labels=more), image(2)])
    assert listed() == [("0", "000000000"), ("2", "000000002")]
    detail = f"label {label:g}: not a whole number, 0 or more"
    assert list_images(ROOT).rejected == [Rejected("000000001", "damaged", detail)]


@pytest.mark.parametrize("payload", [b"", bytes(23), struct.pack("<IfQQ", 1, 0, 0, 0) + b"abc"])
def test_a_payload_without_a_whole_header_is_damaged(payload: bytes) -> None:
    write([image(0), record(payload), image(2)])
    assert listed() == [("0", "000000000"), ("2", "000000002")]
    assert [row[:2] for row in list_images(ROOT).rejected] == [("000000001", "damaged")]


def test_a_record_without_an_image_is_empty() -> None:
    write([image(0), image(1, b""), image(2, b"", [3]), record(struct.pack("<IfQQf", 2**32 - 1, 0, 0, 0, 3) + b"abc")])
    for file in list_images(ROOT).records[1:]:
        with pytest.raises(Rejection, match="empty"):
            file.source(ROOT)


def test_another_number_of_classes_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    write([image(0), image(1)])
    list_images(ROOT)
    assert "warning" not in capsys.readouterr().err
    write([image(0), image(1)], properties="3,96,112\n")
    assert len(listed()) == 2
    assert "warning: rec/property names 3 classes, but train.rec has images of 2\n" in capsys.readouterr().err


# What stops the stage, with the file and the line


def check() -> None:
    check_source("faces", Source(path="rec", format="recordio"))


@pytest.mark.parametrize(
    "table, said",
    [
        ("hat\n1\n", "rec/attributes.csv: has neither a column `path` nor a column `subject`"),
        ("path,hat\n1,1\n", "none of its rows, 1 in all, has an image's path, such as '000000000'"),
    ],
)
def test_wrong_attributes_are_found_before_the_records_are_read(table: str, said: str) -> None:
    write([image(0), image(1)])
    (ROOT / "attributes.csv").write_text(table)
    with pytest.raises(StageError) as error:
        check()
    assert said in str(error.value)
    (ROOT / "attributes.csv").write_text("path,hat\n000000001,1\n")
    check()


@pytest.mark.parametrize("missing", [["train.rec"], ["train.idx", "property"], ["train.rec", "train.idx", "property"]])
def test_all_missing_files_are_named_at_once(missing: list[str]) -> None:
    write([image(0), image(1)])
    check()
    for name in missing:
        (ROOT / name).unlink()
    with pytest.raises(StageError) as error:
        check()
    hint = "; property is a line, <people>,112,112" if "property" in missing else ""
    needed = f"format recordio needs train.rec, train.idx, property{hint}"
    assert str(error.value) == f"params.yaml: sources.faces.path: 'rec': no file {', '.join(missing)}; {needed}"


@pytest.mark.timeout(20)  # reading a pipe would wait for ever
def test_a_pipe_or_folder_is_no_file() -> None:
    write([image(0), image(1)])
    for name in ("train.rec", "train.idx"):
        (ROOT / name).unlink()
    os.mkfifo(ROOT / "train.rec")
    (ROOT / "train.idx").mkdir()
    with pytest.raises(StageError, match="no file train.rec, train.idx;"):
        list_images(ROOT)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"1\t-4", rb"b'1\t-4\n'"),
        (b"-1\t4", rb"b'-1\t4\n'"),
        (b"1\t" + b"9" * 18, rb"b'1\t999999999999999999\n'"),
        (b"1\t" + b"9" * 5000, rb"b'1\t99999"),
        (b"9" * 10**6, rb"b'99999"),
        (b"1\t57", rb"b'1\t57\n'"),  # 64 bytes in all: from 57 on there is no room for a record
        (b"1 32", rb"b'1 32\n'"),
        (b"1\t32\t32", rb"b'1\t32\t32\n'"),
        (b"1\t0x20", rb"b'1\t0x20\n'"),
        (b"1\t1_0", rb"b'1\t1_0\n'"),
        (b"1\t3.0", rb"b'1\t3.0\n'"),
        (b"1\t\xd9\xa3", rb"b'1\t\xd9\xa3\n'"),  # a digit, but not of ASCII
        (b"1", rb"b'1\n'"),
        (b"", rb"b'\n'"),
        (b"\0\xff\r", rb"b'\x00\xff\r\n'"),
    ],
)
def test_a_wrong_line_of_the_index_is_named(line: bytes, said: bytes) -> None:
    write([image(0, bytes(0)), image(1, bytes(0))])
    assert (ROOT / "train.rec").stat().st_size == 64
    (ROOT / "train.idx").write_bytes(b"0\t0\n" + line + b"\n2\t32\n")
    with pytest.raises(StageError) as error:
        check()
    message = str(error.value)
    assert message.startswith(f"params.yaml: sources.faces.path: 'rec': train.idx: line 2: {said.decode()}")
    assert "train.rec has 64 bytes" in message and len(message) < 300


def test_windows_line_ends_and_a_missing_last_one_are_fine() -> None:
    write([image(0, bytes(0)), image(1, bytes(0))])
    (ROOT / "train.idx").write_bytes(b"0\t0\r\n1\t32")
    assert listed() == [("0", "000000000"), ("1", "000000001")]


@pytest.mark.parametrize(
    ("records", "keys", "said"),
    [
        ([], [], "train.idx: is empty"),
        ([image(0)] * 4, [3, 1, 2, 1], "train.idx: line 4: key 1 has a line already"),
        ([b"\0" * 40, image(0)], None, "train.rec: record 0: no record at byte 0"),
        ([image(NAN, b"", [5]), image(0)], None, "record 0: first label nan: should be a key"),
        ([image(-2, b"", [5]), image(0)], None, "record 0: first label -2: should be a key"),
        ([image(2.5, b"", [5]), image(0)], None, "record 0: first label 2.5: should be a key"),
        ([image(1e38, b"", [5]), image(0)], None, "train.idx: lacks 9999999"),
        ([image(5, b"", [6]), *[image(0)] * 3], None, "train.idx: lacks 1 of the keys 1 to 4: images, by record 0"),
        ([image(4, b"", [6]), *[image(0)] * 3], [0, 1, 3, 4], "train.idx: lacks 1 of the keys 1 to 3"),
    ],
)
def test_an_ambiguous_index_is_an_error(records: list[bytes], keys: list[int] | None, said: str) -> None:
    write(records, keys)
    with pytest.raises(StageError) as error:
        check()
    assert said in str(error.value)


@pytest.mark.parametrize("content", ["", "2", "2,112", "2,112,112,3", "-2,112,112", "2 112 112", "x" * 10**6])
def test_a_wrong_property_is_named(content: str) -> None:
    write([image(0), image(1)], properties=content)
    with pytest.raises(StageError, match="property: b'.*': should be <classes>,<height>,<width>") as error:
        check()
    assert len(str(error.value)) < 300


def test_a_file_cut_short_loses_the_last_record_or_is_refused() -> None:
    write([image(0, bytes(40)), image(1, bytes(40)), image(2, bytes(40))])
    size = (ROOT / "train.rec").stat().st_size
    assert size == 3 * 72
    for end in (size - 1, size - 40, size - 64):
        os.truncate(ROOT / "train.rec", end)
        assert [subject for subject, _ in listed()] == ["0", "1"]
        assert [row[:2] for row in list_images(ROOT).rejected] == [("000000002", "damaged")]
    os.truncate(ROOT / "train.rec", size - 65)
    with pytest.raises(StageError, match=r"train.idx: line 3: b'2\\t144\\n': .* train.rec has 151 bytes"):
        check()


def test_no_byte_can_be_changed_to_an_unexpected_error() -> None:
    split = image(1, b"b" * 4 + MAGIC + b"b" * 5)
    write(insightface([image(0, b"a"), split, image(1, b"c", [2])], [(1, 2), (2, 4)]))
    whole = {name: (ROOT / name).read_bytes() for name in ("train.rec", "train.idx", "property")}
    outcomes = set()
    for name, content in whole.items():
        for at in range(len(content)):
            for value in (0, 0x2D, 0x39, 0x7F, 0xFF, content[at] ^ 1, content[at] ^ 0x80):
                (ROOT / name).write_bytes(content[:at] + bytes([value]) + content[at + 1 :])
                outcomes.add(read_all())
        (ROOT / name).write_bytes(content)
    assert outcomes == {"read", "rejected", "refused"}


def read_all() -> str:
    try:
        listing = list_images(ROOT)
    except StageError:
        return "refused"
    assert all(row.reason in REASONS and row.detail for row in listing.rejected)
    try:
        for file in listing.records:
            file.source(ROOT)
    except Rejection:
        return "rejected"
    return "rejected" if listing.rejected else "read"


# Packing


def pack_source(path: str, file_format: str | None, **changes: object) -> None:
    source = {"path": path} | ({"format": file_format} if file_format else {})
    settings = pack_settings(**changes) | {"sources": {"faces": source}}
    Path("params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["pack.py", "faces"])
        pack.main()


pack_rec = partial(pack_source, "rec", "recordio")


def packed() -> bytes:
    return Path("data/packed/faces/00000.npy").read_bytes()


def table(name: str) -> list[tuple[str, ...]]:
    path = f"data/{name}/faces{'/00000' if name == 'packed' else ''}.csv"
    content = pd.read_csv(path, dtype=str, keep_default_na=False)
    return [tuple(row) for row in content.itertuples(index=False)]


def metrics() -> dict[str, int]:
    return json.loads(Path("metrics/pack@faces.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("limit", [0, 2])
@pytest.mark.parametrize("workers", [1, 7])
def test_a_rec_and_a_folder_of_the_same_files_give_the_same_pixels(limit: int, workers: int) -> None:
    images = []
    for number in range(12):  # of three subjects, scattered
        content = encoded(Image.fromarray(noise(50, 60, seed=number)), "PNG" if number % 2 else "JPEG")
        put(f"{number % 3}/{number:02d}.{'png' if number % 2 else 'jpg'}", content)
        images.append(image(number % 3, content + MAGIC * (number % 2)))  # what follows a PNG is no matter
    pack_source("faces", "folder" if limit else None, max_images_per_subject=limit)
    expected, counts = packed(), metrics()
    write(insightface(images, [(1, 5), (5, 9), (9, 13)]), properties="3,112,112")
    pack_rec(max_images_per_subject=limit, workers=workers)
    assert packed() == expected
    assert metrics() == counts | {"files_ignored": 4}
    order = [number for subject in range(3) for number in range(subject, 12, 3)[: limit or None]]
    assert table("packed") == [(str(number % 3), f"{number + 1:09d}") for number in order]
    assert table("rejected") == []


def shade(label: float, grey: int) -> bytes:
    return image(label, encoded(flat(grey, "L")))


def test_limits_and_rejects_are_those_of_any_source() -> None:
    broken_magic = b"\0" + shade(10, 1)[1:]
    records = [
        shade(10, 1),
        image(10, b"broken"),
        shade(9, 2),
        shade(NAN, 3),
        shade(10, 4),
        broken_magic,
        shade(10, 5),
        shade(11, 6),
        shade(11, 7),
        image(9, b""),
        shade(12, 8),
        shade(12, 9),
    ]
    write(records, properties="4,112,112")
    pack_rec(min_images_per_subject=2, max_images_per_subject=2, max_subjects=2)
    assert table("packed") == [("10", "000000000"), ("10", "000000004"), ("11", "000000007"), ("11", "000000008")]
    assert np.load("data/packed/faces/00000.npy")[:, 5, 5, 0].tolist() == [1, 4, 6, 7]
    assert [row[:2] for row in table("rejected")] == [
        ("000000001", "unrecognised"),
        ("000000003", "damaged"),
        ("000000005", "damaged"),
        ("000000009", "empty"),
    ]
    assert all(detail for *_, detail in table("rejected"))
    counts = metrics()
    assert (counts["images"], counts["subjects"], counts["subjects_dropped"], counts["rejected"]) == (4, 2, 2, 4)


def test_fewer_than_two_subjects_is_an_error() -> None:
    write([image(0), image(0), image(NAN)])
    with pytest.raises(
        StageError,
        match=r"sources.faces.path: 'rec': images of 1 subject\(s\); .* 1 damaged; the first is 000000002 \(label nan",
    ):
        pack_rec()


@pytest.mark.parametrize("name", ["train.rec", "train.idx", "property"])
@pytest.mark.parametrize("gone", [False, True])
def test_a_file_that_changes_while_it_is_packed_is_noticed(
    name: str, gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    write([shade(0, 1), shade(1, 2), shade(2, 3)], properties="3,112,112")
    real = packing.read_chunk

    def pack_then_change(*arguments: Any) -> ImageChunk:
        chunk = real(*arguments)
        (ROOT / name).unlink(missing_ok=True) if gone else os.utime(ROOT / name, ns=(1, 1))
        return chunk

    monkeypatch.setattr(packing, "read_chunk", pack_then_change)
    with pytest.raises(StageError, match=rf"path: 'rec': {name} changed while it was being packed \(1 in all\)"):
        pack_rec(workers=1)
    assert not Path("data").exists()


@pytest.mark.parametrize("by_name", [True, False], ids=["by mv", "in place"])
def test_a_rec_of_the_same_size_and_time_is_packed_again(by_name: bool) -> None:
    """As two data sets from an archive with fixed dates: 112 x 112 pixels of one grey, as BMP, have one size."""
    other = Path("other")
    for root, greys in ((ROOT, (1, 2)), (other, (3, 4))):
        write([image(label, encoded(flat(grey, "L"), "BMP")) for label, grey in enumerate(greys)], root=root)
        os.utime(root / "train.rec", ns=(1, 1))
    assert (ROOT / "train.rec").stat().st_size == (other / "train.rec").stat().st_size
    pack_rec()
    assert np.load("data/packed/faces/00000.npy")[:, 5, 5, 0].tolist() == [1, 2]
    if by_name:
        (other / "train.rec").replace(ROOT / "train.rec")
    else:
        (ROOT / "train.rec").write_bytes((other / "train.rec").read_bytes())
        os.utime(ROOT / "train.rec", ns=(1, 1))
    pack_rec()
    assert np.load("data/packed/faces/00000.npy")[:, 5, 5, 0].tolist() == [3, 4]


def test_an_interrupted_run_goes_on_to_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    write([shade(number % 4, number) for number in range(12)], properties="4,112,112")
    pack_rec()
    expected, rows = packed(), table("packed")
    real, opened = packing.read_chunk, list[str]()

    def pack_or_stop(root: Path, read: Any, limits: Any, chunk: FileChunk) -> ImageChunk:
        opened.append(chunk.subject)
        if opened.count("2") == 1 and opened[-1] == "2":
            raise KeyboardInterrupt
        return real(root, read, limits, chunk)

    monkeypatch.setattr(packing, "read_chunk", pack_or_stop)
    shutil.rmtree("models")
    with pytest.raises(KeyboardInterrupt):
        pack_rec(workers=1)
    opened[:] = ["2"]
    pack_rec(workers=1)
    assert opened[1:] == ["1", "2", "3"]  # 1 is known to be whole only once 2 comes
    assert packed() == expected and table("packed") == rows
