"""Ways to break a file of any kind, and one broken file of a finished project."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

HUGE = 10**30


class BrokenFile(NamedTuple):
    """A file of a finished project, broken. `said`: what the error must hold; empty: the break must do no harm."""

    name: str
    path: str
    make: Callable[[Path], None]
    stage: str  # the one that reads it
    said: tuple[str, ...]


def put_content(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def edit_file(change: Callable[[bytes], bytes], path: Path) -> None:
    path.write_bytes(change(path.read_bytes()))


def cut_file(share: float, path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def keep_bytes(size: int, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:size])


def shorten_file(by: int, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-by])


def _become_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _become_circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _become_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def not_even_files(path: str, stage: str) -> Iterator[BrokenFile]:
    yield BrokenFile(f"{path}: missing", path, Path.unlink, stage, (path,))
    yield BrokenFile(f"{path}: a folder", path, _become_folder, stage, (path,))
    yield BrokenFile(f"{path}: a pipe", path, _become_pipe, stage, (path,))  # reading it would wait for ever
    yield BrokenFile(f"{path}: a link to itself", path, _become_circle, stage, (path,))
