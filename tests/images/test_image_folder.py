import errno
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faces.images.image_folder import FolderListing, ImageFile, list_and_warn, list_images, stamps
from faces.images.rejection import REASONS
from image_files import put


@pytest.fixture(autouse=True)
def _in_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("faces").mkdir()


def listing() -> FolderListing:
    return list_images(Path("faces"))


def files() -> list[ImageFile]:
    found = listing()
    images = [found.images(subject) for subject in found.subjects]
    assert [len(of_subject) for of_subject in images] == [found.count(subject) for subject in found.subjects]
    return sum(images, [])


def paths() -> list[str]:
    return [file.path for file in files()]


def rejected() -> dict[str, str]:
    rows = listing().rejected
    assert all(row.detail and row.reason in REASONS for row in rows)
    assert len({row.path for row in rows}) == len(rows)
    return {row.path: row.reason for row in rows}


def test_a_file_is_described_as_the_system_describes_it() -> None:
    status = put("a/deep/x.png", b"seven b").stat()
    state = (7, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    assert files() == [("a", "a/deep/x.png", state)]


def test_an_image_is_told_by_its_ending_in_any_case_and_not_opened() -> None:
    endings = ["png", "PNG", "jpg", "JPEG", "jpeg", "bmp", "Bmp", "webp", "ppm", "pgm", "gif", "TIF", "tiff", "avif"]
    for ending in endings:
        put(f"a/x.{ending}", b"broken")
    for name in ("x.heic", "x.png.txt", "png", "xpng"):
        put(f"a/{name}")
    assert paths() == sorted(f"a/x.{ending}" for ending in endings)
    assert listing().ignored == 4


def test_subjects_without_an_ending_that_is_read_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    for path in ("a/x.jfif", "a/notes.txt", "b/x.JP2", "b/deep/y.heic", "c/x", "e/x.jp2", "e/x.png", "README.txt"):
        put(path)
    put("d/x.png", b"")  # rejected, and listed as such
    list_and_warn(Path("faces"))
    printed = capsys.readouterr().err
    assert "warning: 2 folder(s) of faces hold no image of a known format, so they are not subjects: b, c; " in printed
    assert "endings found: .heic, .jp2, none; known: .png" in printed
    for name in "bc":
        shutil.rmtree(f"faces/{name}")
    list_and_warn(Path("faces"))
    assert capsys.readouterr().err == ""


def test_order_is_by_subject_then_path() -> None:
    for path in ("a b/1.png", "a/2.png", "a/10.png", "a/B.png", "a/c/1.png", "B/1.png"):
        put(path)
    assert paths() == ["B/1.png", "a/10.png", "a/2.png", "a/B.png", "a/c/1.png", "a b/1.png"]


def test_a_folder_may_be_called_like_an_image() -> None:
    put("a/x.png/y.png")
    put("b.jpg/x.png")
    assert [file[:2] for file in files()] == [("a", "a/x.png/y.png"), ("b.jpg", "b.jpg/x.png")]
    assert list(listing().subjects) == ["a", "b.jpg"]


def test_files_beside_the_subjects_are_rejected_and_other_files_ignored() -> None:
    for path in ("a/x.png", "b/x.png", "stray.png"):
        put(path)
    for path in ("README.txt", ".DS_Store", "a/Thumbs.db", "a/._x.png", "a/x.heic", "a/png", ".git/c/x.png"):
        put(path)  # .git is one hidden folder, which is not looked into
    assert paths() == ["a/x.png", "b/x.png"]
    assert rejected() == {"stray.png": "outside_subject"}
    assert listing().ignored == 7


def test_an_empty_file_is_rejected() -> None:
    put("a/x.png", b"")
    assert paths() == []
    assert rejected() == {"a/x.png": "empty"}


@pytest.fixture
def _pipe_and_socket() -> Iterator[None]:
    Path("faces/a").mkdir()
    os.mkfifo("faces/a/pipe.png")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("faces/a/socket.jpg")
    yield
    listener.close()


@pytest.mark.usefixtures("_pipe_and_socket")
@pytest.mark.timeout(20)  # reading a pipe would wait for ever
def test_what_is_not_a_file_is_never_opened() -> None:
    put("a/x.png")
    assert paths() == ["a/x.png"]
    assert rejected() == {"a/pipe.png": "not_a_file", "a/socket.jpg": "not_a_file"}


def test_links_are_followed_once_and_never_in_a_circle() -> None:
    put("a/x.png")
    put("b/deep/y.png")
    outside = Path("elsewhere")
    outside.mkdir()
    (outside / "z.png").write_bytes(b"content")
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
    assert paths() == ["a/again.png", "a/x.png", "b/deep/y.png", "c/z.png"]
    assert rejected() == dict.fromkeys(
        ["a/itself.png", "a/nowhere.png", "a/up", "aa", "b/deep/loop", "d", "e"],
        "link",
    )


def test_a_folder_that_may_not_be_read_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    put("a/x.png")
    put("c/y.png")
    scandir = os.scandir

    def guarded(path: Any) -> Any:
        if str(path) == "faces/c":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    # Not by chmod: root, which tests in a container run as, may read everything.
    monkeypatch.setattr(os, "scandir", guarded)
    assert paths() == ["a/x.png"]
    assert rejected() == {"c": "unreadable"}


def test_names_that_no_table_can_hold_are_rejected() -> None:
    put("a/x.png")
    put("b/line\rend.png")
    put(Path(os.fsdecode(b"\xff\xfe")) / "x.png")
    put(Path("b") / os.fsdecode(b"caf\xe9.png"))
    assert paths() == ["a/x.png"]
    assert rejected() == dict.fromkeys([r"\xff\xfe/x.png", r"b/caf\xe9.png", r"b/line\rend.png"], "bad_name")


def test_a_stamp_tells_which_folder_was_written_to() -> None:
    for path in ("a/x.png", "a/deep/y.png", "b/x.png"):
        put(path)
    before, subjects = stamps(Path("faces")), listing()
    assert set(before) == {"a", "a/deep", "b"}
    assert stamps(Path("faces")) == before
    os.utime("faces/a/deep/y.png", ns=(1, 1))
    assert {folder for folder, _ in stamps(Path("faces")).items() ^ before.items()} == {"a/deep"}
    now = listing()
    assert [subject for subject in now.subjects if now.stamp(subject) != subjects.stamp(subject)] == ["a"]


def test_what_is_gone_since_is_not_listed_again() -> None:
    put("a/x.png")
    put("a/deep/y.png")
    found = listing()
    Path("faces/a/deep/y.png").unlink()
    Path("faces/a/deep").rmdir()
    assert [file.path for file in found.images("a")] == ["a/x.png"]
