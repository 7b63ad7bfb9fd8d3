"""What is packed and counted; listing and decoding have tests of their own in tests/images."""

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

import pack
import small_project
from faces.core.errors import StageError
from faces.images import decoding, packing
from faces.images.listing import check_source, list_source
from faces.images.packing import FileChunk, ImageChunk
from faces.images.rejection import PHOTO_REASONS, REASONS, unreadable
from faces.tables.sources import Source
from image_files import GREEN, RED, encoded, flat, noise, pack_settings, put

pytestmark = pytest.mark.usefixtures("in_new_folder")

SCRIPT = Path(pack.__file__)


def run_stage(**changes: object) -> None:
    """Run `python stages/pack.py faces` without a process of its own."""
    Path("params.yaml").write_text(yaml.safe_dump(pack_settings(**changes)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["pack.py", "faces"])
        pack.main()


def table() -> list[tuple[str, str]]:
    content = pd.read_csv("data/packed/faces/00000.csv", dtype=str, keep_default_na=False)
    assert list(content.columns) == ["subject", "path"]
    return list(content.itertuples(index=False, name=None))


def paths() -> list[str]:
    return [path for _, path in table()]


def rejected() -> dict[str, str]:
    content = pd.read_csv("data/rejected/faces.csv", dtype=str, keep_default_na=False)
    assert (content["detail"] != "").all()
    return dict(zip(content["path"], content["reason"], strict=True))


def metrics() -> dict[str, float]:
    return json.loads(Path("metrics/pack@faces.json").read_text(encoding="utf-8"))


def outputs() -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for folder in ("data", "metrics")
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("name", "file_format", "options"),
    [
        ("x.png", "PNG", {}),
        ("x.PNG", "PNG", {}),
        ("x.Bmp", "BMP", {}),
        ("x.ppm", "PPM", {}),
        ("x.webp", "WEBP", {"lossless": True}),
        ("x.jpg", "PNG", {}),  # the content decides, not the ending
    ],
)
def test_pixels_and_names_come_back(name: str, file_format: str, options: dict[str, Any]) -> None:
    pixels = np.stack([noise(112, 112, seed) for seed in (0, 1)])
    for subject, image in zip("ab", pixels, strict=True):
        put(f"{subject}/{name}", encoded(Image.fromarray(image), file_format, **options))
    run_stage()
    assert table() == [("a", f"a/{name}"), ("b", f"b/{name}")]
    packed = np.load("data/packed/faces/00000.npy")
    assert packed.dtype == np.uint8
    np.testing.assert_array_equal(packed, pixels)
    assert rejected() == {}


def test_every_reason_is_listed_and_counted_and_stops_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("a/good.png", "b/good.png", "stray.png", "a/closed.png", "a/line\rend.png"):
        put(path)
    os.mkfifo("faces/a/pipe.png")
    os.symlink("missing.png", "faces/a/link.png")
    put("b/empty.png", b"")
    put("b/text.png", b"not an image at all\n")
    put("b/half.png", (whole := encoded(Image.fromarray(noise(112, 112))))[: len(whole) // 2])
    put("b/small.png", encoded(flat(RED, side=7)))
    put("b/large.png", encoded(flat(RED, side=150)))  # 0.0225 megapixels

    def guarded(path: Path, mode: str) -> Any:
        if path == Path("faces/a/closed.png"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return open(path, mode)

    # Not by chmod: root, which tests in a container run as, may read everything.
    monkeypatch.setattr(decoding, "open", guarded, raising=False)
    run_stage(max_megapixels=0.02)
    assert paths() == ["a/good.png", "b/good.png"]
    np.testing.assert_array_equal(np.load("data/packed/faces/00000.npy"), np.stack([np.asarray(flat(RED))] * 2))
    expected = {
        "a/closed.png": "unreadable",
        r"a/line\rend.png": "bad_name",
        "a/link.png": "link",
        "a/pipe.png": "not_a_file",
        "b/empty.png": "empty",
        "b/half.png": "damaged",
        "b/large.png": "too_large",
        "b/small.png": "too_small",
        "b/text.png": "unrecognised",
        "stray.png": "outside_subject",
    }
    assert list(rejected().items()) == list(expected.items())  # sorted
    assert set(expected.values()) == set(REASONS) - set(PHOTO_REASONS)
    assert metrics()["rejected"] == 10
    assert {reason: metrics()[f"rejected_{reason}"] for reason in expected.values()} == dict.fromkeys(
        expected.values(), 1
    )


def test_a_warning_of_pillow_stops_nothing() -> None:
    """It warns of broken EXIF, and from 89 megapixels on; a warning is an error in these tests."""
    put("a/x.jpg", encoded(flat(RED), "JPEG", exif=b"Exif\0\0nonsense"))
    put("b/x.png")
    put("b/y.pgm", b"P5\n9500 9500\n255\ncut short")
    run_stage(max_megapixels=100)
    assert paths() == ["a/x.jpg", "b/x.png"]
    assert rejected() == {"b/y.pgm": "damaged"}


def test_the_resize_filter_is_the_one_asked_for() -> None:
    for subject in ("a", "b"):
        put(f"{subject}/x.png", encoded(Image.fromarray(noise(28, 56))))
    run_stage(resize_filter="box")
    enlarged = noise(28, 56).repeat(4, axis=0).repeat(2, axis=1)  # a box that enlarges repeats pixels
    np.testing.assert_array_equal(np.load("data/packed/faces/00000.npy"), np.stack([enlarged] * 2))


SKIN = np.full((112, 112, 3), (138, 105, 90), np.uint8)


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_swapped_channels_are_warned_of_and_put_right(channels: str, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(20):  # written as OpenCV writes pixels in RGB
        put(f"{number % 2}/{number}.png", encoded(Image.fromarray(SKIN[..., ::-1])))
    settings = pack_settings()
    settings["sources"]["faces"]["channels"] = channels
    Path("params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    small_project.run_stage("pack", "faces")
    packed = np.load("data/packed/faces/00000.npy")
    assert (packed == (SKIN if channels == "bgr" else SKIN[..., ::-1])).all()
    warned = "20 of 20 images in colour that were looked at have more blue than red (means 138 and 90)"
    assert (warned in capsys.readouterr().err) == (channels == "rgb")


def test_photos_in_a_source_of_crops_are_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(5):
        put(f"{number % 2}/{number}.png", encoded(flat(RED, side=250 if number == 3 else 112)))
    run_stage()
    said = "faces: 1 of 5 images looked at have not the shape or size of aligned crops, as 1/3.png (250 x 250)"
    assert f"{said}; if they are photos, `format: photos`" in capsys.readouterr().err


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


def shade(path: str, grey: int) -> None:
    put(path, encoded(flat(grey, "L")))


def shades() -> list[int]:
    return np.load("data/packed/faces/00000.npy")[:, 5, 5, 0].tolist()


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
    assert counts["failure_to_enrol"] == 2 / 6

    run_stage(min_images_per_subject=2)
    assert shades() == [11, 12, 13, 31, 32, 41, 42]
    assert metrics()["subjects_dropped"] == 1

    run_stage()
    assert shades() == [11, 12, 13, 21, 31, 32, 41, 42]


@pytest.mark.parametrize("limit", [0, 4])
def test_a_subject_in_several_chunks_is_one_subject(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(packing, "CHUNK_FILES", 2)
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
    assert Path("data/packed/faces/00000.npy").read_bytes() == whole.getvalue()
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
        "data/attributes/faces.csv",
        "data/packed/faces/00000.npy",
        "data/packed/faces/00000.csv",
        "data/packed/faces/shards.csv",
        "metrics/pack@faces.json",
        "metrics/pack/faces.png",
        "data/rejected/faces.csv",
    }


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The subject of each chunk of files that is read."""
    real, subjects = packing.read_chunk, list[str]()

    def noting(root: Path, read: Any, limits: Any, chunk: FileChunk) -> ImageChunk:
        subjects.append(chunk.subject)
        return real(root, read, limits, chunk)

    monkeypatch.setattr(packing, "read_chunk", noting)
    return subjects


def shards() -> list[list[str]]:
    """Return the subjects of each shard; check that the pixels have the subject's colour."""
    found = []
    for path in sorted(Path("data/packed/faces").glob("*.npy")):
        rows = pd.read_csv(path.with_suffix(".csv"), dtype=str)
        np.testing.assert_array_equal(np.load(path)[:, 0, 0, 0], rows["subject"].astype(int))
        found.append(list(dict.fromkeys(rows["subject"])))
    return found


def put_subject(number: int, images: int = 4) -> None:
    for image in range(images):
        put(f"{number:03d}/{image}.png", encoded(flat(number, "L")))


def test_a_new_subject_repacks_its_shard_alone(opened: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(0, 200, 2):
        put_subject(number)
    run_stage(shard_images=64)
    before = shards()
    assert sum(before, []) == [f"{number:03d}" for number in range(0, 200, 2)]
    assert len(before) > 5 and max(map(len, before)) <= 16
    opened.clear()
    run_stage(shard_images=64)
    assert opened == [] and shards() == before

    number, shard = next((number, shard) for number, shard in enumerate(before) if 3 < len(shard) < 16)
    newcomer = int(shard[1]) + 1  # odd, so between two of the shard
    put_subject(newcomer)
    run_stage(shard_images=64)
    assert f"{len(before) - 1} of them packed before" in capsys.readouterr().err
    assert set(opened) == {*shard, f"{newcomer:03d}"}
    assert shards() == [*before[:number], sorted([*shard, f"{newcomer:03d}"]), *before[number + 1 :]]

    opened.clear()
    shutil.rmtree(f"faces/{newcomer:03d}")
    run_stage(shard_images=64)
    assert set(opened) == set(shard) and shards() == before
    kept = list(Path("models/checkpoints/pack/faces").glob("*/*"))
    assert len(kept) == len(before)  # what is of no use any more is gone


def test_a_subject_larger_than_a_shard_is_not_cut() -> None:
    put_subject(1, images=3)
    put_subject(2, images=40)
    put_subject(3, images=3)
    run_stage(shard_images=16)
    assert ["002"] in shards() and sum(shards(), []) == ["001", "002", "003"]


def test_a_kept_shard_that_was_written_to_is_packed_again(opened: list[str]) -> None:
    put_subject(1)
    put_subject(2)
    run_stage()
    first = outputs()
    path = Path("data/packed/faces/00000.npy")
    with open(path, "r+b") as file:  # in place, so that the kept shard, the same file, changes too
        file.seek(5000)
        file.write(b"\xff")
    opened.clear()
    run_stage()
    assert set(opened) == {"001", "002"} and outputs() == first


@pytest.mark.parametrize("by_name", [True, False], ids=["by mv", "in place"])
def test_files_of_one_size_and_time_that_were_swapped_are_packed_again(by_name: bool) -> None:
    """As from an archive with fixed dates; a BMP of 112 x 112 has one size, whatever is on it."""
    for number in (1, 2):
        os.utime(put(f"{number:03d}/0.bmp", encoded(flat(number, "L"), "BMP")), ns=(1, 1))
    run_stage()
    assert shades() == [1, 2]
    if by_name:
        Path("faces/001/0.bmp").rename("spare")
        Path("faces/002/0.bmp").rename("faces/001/0.bmp")
        Path("spare").rename("faces/002/0.bmp")
    else:
        swap_in_place(Path("faces/001/0.bmp"), Path("faces/002/0.bmp"))
    run_stage()
    assert shades() == [2, 1]


def swap_in_place(one: Path, other: Path) -> None:
    contents = one.read_bytes(), other.read_bytes()
    for path, content in zip((other, one), contents, strict=True):
        path.write_bytes(content)
        os.utime(path, ns=(1, 1))


def test_a_person_behind_a_link_is_refused_since_dvc_would_miss_every_change() -> None:
    for path in ("a/x.png", "b/x.png"):
        put(path)
    os.symlink("a", "faces/same")  # leads to a person who is hashed under the real name: listed, but no harm
    run_stage()
    assert rejected() == {"same": "link"}
    put("../elsewhere/c/x.png")
    os.symlink("../elsewhere/c", "faces/c")
    with pytest.raises(StageError, match=r"sources.faces.path: 'faces': 1 link\(s\) to folders, first 'c'"):
        run_stage()
    shutil.copytree("faces", "copy")
    shutil.rmtree("faces")
    os.symlink("copy", "faces")  # DVC follows a source that is itself a link
    run_stage()
    assert paths() == ["a/x.png", "b/x.png", "c/x.png", "same/x.png"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "a pointer of Git LFS .* `git lfs pull`",
        ),
        (b"\n<!DOCTYPE html>\n<title>404</title>", "a web page in place of the image"),
        (b"<html><head>", "a web page in place of the image"),
    ],
)
def test_text_in_place_of_images_is_told_by_the_first_files(content: bytes, said: str) -> None:
    for number in range(8):
        put(f"{number}/x.jpg", content)
    with pytest.raises(StageError, match=f"'faces': 0/x.jpg, like the first of each subject: {said}"):
        run_stage()
    put("1/x.jpg")
    put("2/x.jpg")  # some are images: the others are rejected one by one
    run_stage()
    assert paths() == ["1/x.jpg", "2/x.jpg"]
    detail = pd.read_csv("data/rejected/faces.csv")["detail"]
    assert len(detail) == 6 and detail.str.contains("in place of the image").all()


def test_a_kept_table_that_was_written_to_is_made_again() -> None:
    put_subject(1)
    put_subject(2)
    run_stage()
    first = outputs()
    with open("data/packed/faces/00000.csv", "a") as file:
        file.write("003,003/x.png\n")
    run_stage()
    assert outputs() == first


def test_a_file_that_can_be_read_again_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    put_subject(1)
    put_subject(2)
    with monkeypatch.context() as patch:
        patch.setattr(packing, "read_image", failing_once(packing.read_image))
        run_stage()
    assert metrics()["images"] == 7 and metrics()["rejected_unreadable"] == 1
    run_stage()
    assert metrics()["images"] == 8 and metrics()["rejected"] == metrics()["failure_to_enrol"] == 0


def failing_once(read: Callable[..., Any]) -> Callable[..., Any]:
    """Return `read`, except that the first call fails as on a disk that is gone."""
    failures = iter([unreadable(OSError(5, "Input/output error"))])

    def fail_or_read(*arguments: Any) -> Any:
        for failure in failures:
            raise failure
        return read(*arguments)

    return fail_or_read


def test_other_files_among_the_kept_shards_stay() -> None:
    put_subject(1)
    put_subject(2)
    run_stage()
    (folder,) = Path("models/checkpoints/pack/faces").iterdir()
    stray = [folder / ".DS_Store", folder.parent / ".DS_Store"]
    for path in stray:
        path.touch()
    run_stage()
    assert all(path.exists() for path in stray)


def test_limits_count_over_all_shards() -> None:
    for number in range(30):
        put_subject(number, images=1 if number % 5 == 0 else 4)
    run_stage(shard_images=16, min_images_per_subject=2, max_images_per_subject=3, max_subjects=10)
    kept = [f"{number:03d}" for number in range(30) if number % 5][:10]
    assert sum(shards(), []) == kept and len(shards()) > 1
    assert len(table_of_all()) == 30 and metrics()["subjects"] == 10


def table_of_all() -> pd.DataFrame:
    return pd.concat(pd.read_csv(path) for path in Path("data/packed/faces").glob("0*.csv"))


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
    real = packing.read_chunk

    def pack_then_change(*arguments: Any) -> ImageChunk:
        chunk = real(*arguments)
        if chunk.paths[0].startswith("b/"):
            CHANGES[name]()
        return chunk

    monkeypatch.setattr(packing, "read_chunk", pack_then_change)
    shutil.rmtree("models")  # else nothing would be left to pack
    folder = name.split("/")[0]
    with pytest.raises(StageError, match=rf"sources.faces.path: 'faces': {folder} changed while .* \(1 in all\)"):
        run_stage()
    assert outputs() == before


def test_an_interrupted_run_goes_on_to_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("a/x.png", "a/y.png", "b/x.png", "c/x.png", "c/y.png", "d/x.png", "d/y.png"):
        put(path, encoded(flat((ord(path[0]), ord(path[2]), 0))))
    put("a/z.png", b"broken")
    choice = {"min_images_per_subject": 2, "max_subjects": 3, "workers": 1}
    run_stage(**choice)
    expected = outputs()
    real, opened = packing.read_chunk, list[str]()

    def pack_or_stop(root: Path, read: Any, limits: Any, chunk: FileChunk) -> ImageChunk:
        opened.append(chunk.subject)
        if opened.count("c") == 1 and opened[-1] == "c":
            raise KeyboardInterrupt
        return real(root, read, limits, chunk)

    monkeypatch.setattr(packing, "read_chunk", pack_or_stop)
    shutil.rmtree("data")
    shutil.rmtree("models")
    with pytest.raises(KeyboardInterrupt):
        run_stage(**choice)
    assert opened[:3] == ["a", "b", "c"]
    opened[:] = ["c"]
    run_stage(**choice)
    assert opened[1:] == ["b", "c", "d"]  # b is known to be whole only once c comes
    assert outputs() == expected
    assert paths() == ["a/x.png", "a/y.png", "c/x.png", "c/y.png", "d/x.png", "d/y.png"]


def test_too_little_to_pack_is_an_error_and_leaves_no_file() -> None:
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
    check_source("faces", Source(path="faces"))
    assert list(list_source("faces", Source(path="faces")).subjects) == ["a", "b"]


def test_a_path_of_no_folder_is_missing() -> None:
    with pytest.raises(StageError, match="there is no such folder"):
        check_source("faces", Source(path="no/such"))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"shard_images": 15}, "pack.shard_images: 15: input should be greater than or equal to 16"),
        ({"max_subjects": -1}, "pack.max_subjects: -1: input should be greater than or equal to 0"),
        ({"max_subjects": 1}, r"pack.max_subjects: 1: input should be 0 \(all\) or at least 2"),
        ({"max_subjects": 2.5}, "pack.max_subjects: 2.5: input should be a valid integer"),
        ({"min_images_per_subject": 0}, "pack.min_images_per_subject: 0: input should be greater than or equal to 1"),
        ({"max_images_per_subject": 2, "min_images_per_subject": 3}, "max_images_per_subject should be 0"),
        ({"resize_filter": "nearest"}, "decoding.resize_filter: 'nearest': input should be 'box'"),
        ({"min_side": 0}, "decoding.min_side: 0"),
        ({"max_megapixels": 179}, "decoding.max_megapixels: 179: input should be less than or equal to 178"),
        ({"max_megapixels": float("nan")}, "decoding.max_megapixels: nan: input should be a finite number"),
        ({"workers": 10**9}, "decoding.workers: 1000000000: input should be less than or equal to 256"),
        ({"colour": "grey"}, "pack.colour: unknown key"),
    ],
)
def test_wrong_parameters_are_named(changes: dict[str, object], named: str) -> None:
    with pytest.raises(StageError, match=named):
        run_stage(**changes)


def test_the_script_ends_with_one_line_and_code_1() -> None:
    Path("params.yaml").write_text(yaml.safe_dump(pack_settings()), encoding="utf-8")
    for source, message in {
        "faces": "error: params.yaml: sources.faces.path: 'faces': there is no such folder; `dvc repro "
        "--allow-missing` goes on without it if DVC has what was made of it\n",
        "lfw": "error: params.yaml: sources: 'lfw' is not among them; allowed: faces\n",
    }.items():
        done = subprocess.run([sys.executable, SCRIPT, source], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr, done.stdout) == (1, message, "")
    put("a/x.png")
    put("b/x.png")
    done = subprocess.run([sys.executable, SCRIPT, "faces"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr.endswith("faces: 2 images of 2 subjects, in 1 shard(s)\n")
