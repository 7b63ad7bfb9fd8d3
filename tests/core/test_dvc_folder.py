import os
import socket
from pathlib import Path

import pytest

from faces.core.dvc_folder import MOST_NAMED, check_hashable, linked_folders
from faces.core.errors import StageError

pytestmark = [pytest.mark.usefixtures("in_new_folder"), pytest.mark.timeout(20)]  # opening a pipe waits for ever


def folder() -> Path:
    """A folder that DVC can hash, with all that it can be: odd names, hidden files, links to files and to folders."""
    root = Path("images")
    (root / "a/.hidden").mkdir(parents=True)
    for name in ("a/x.png", "a/é", "a/.hidden/line\rend", "notes"):
        (root / name).write_bytes(b"content")
    (root / "a/again.png").symlink_to("x.png")
    (root / "loop").symlink_to("a")
    return root


def problems(root: Path) -> list[str]:
    with pytest.raises(StageError) as caught:
        check_hashable(root)
    return str(caught.value).splitlines()


def test_what_dvc_can_hash_passes() -> None:
    check_hashable(folder())


def test_each_kind_that_dvc_cannot_hash_is_named() -> None:
    root = folder()
    os.mkfifo(root / "a/.hidden/pipe")
    (root / "a/endless.png").symlink_to("/dev/zero")
    (root / "a/nowhere.png").symlink_to("missing")
    (root / "a" / os.fsdecode(b"caf\xe9.txt")).touch()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("images/socket")
    said = problems(root)
    assert [line.split(":")[0] for line in said] == [
        "a/.hidden/pipe",
        r"a/caf\xe9.txt",
        "a/endless.png",
        "a/nowhere.png",
        "socket",
    ]
    for words, line in zip(("a pipe", "not UTF-8", "a device", "leads nowhere", "a socket"), said, strict=True):
        assert words in line


def test_a_folder_that_dvc_takes_no_dependency_on_is_named() -> None:
    root = folder()
    (root / "a/.dvcignore").touch()
    assert problems(root)[0].startswith("a/.dvcignore: DVC takes no dependency")
    for path in (".", "..", "/"):
        assert "holds the project itself" in problems(Path(path))[0]


def test_of_many_the_first_are_named() -> None:
    root = folder()
    for number in range(MOST_NAMED + 3):
        (root / f"{number}").symlink_to("missing")
    said = problems(root)
    assert said[0].startswith("0: ") and said[-1] == "and 3 more like these" and len(said) == MOST_NAMED + 1


def test_linked_folders_on_the_way_to_files() -> None:
    root = folder()
    (root / "b").mkdir()
    (root / "b/in").symlink_to("../a")
    paths = ["a/x.png", "loop/x.png", "b/in/.hidden/x.png", "notes"]
    assert linked_folders(root, paths) == ["b/in", "loop"]
    assert linked_folders(root, ["a/x.png", "a/again.png"]) == []  # DVC follows links to files
