"""What DVC cannot hash of a folder, found without opening a file.

DVC reads every file below a folder that a stage depends on: hidden ones too, and what links to files lead to. It never
looks behind links to folders.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from faces.core.errors import StageError

DVCIGNORE = ".dvcignore"
MOST_NAMED = 5  # files in a message
ENDLESS = ("a pipe", "a device")
KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}


def check_hashable(folder: Path) -> None:
    """Raise StageError, with the first files by name, if DVC cannot hash a folder: it would hang or name no file."""
    if Path.cwd() == (real := folder.resolve()) or real in Path.cwd().parents:
        raise StageError("holds the project itself, whose files change in every run; name a folder inside or beside it")
    problems = list(_unhashable(folder))
    if problems:
        more = [f"and {len(problems) - MOST_NAMED} more like these"] if len(problems) > MOST_NAMED else []
        raise StageError("\n".join([*sorted(problems)[:MOST_NAMED], *more]))


def _unhashable(root: Path) -> Iterator[str]:
    """Yield a line for each entry below a folder that DVC cannot hash; a system call is spent on odd entries alone."""
    folders = [os.fspath(root)]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:  # DVC passes over a folder that it may not read
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                if problem := _problem(entry):
                    name = os.fsencode(os.path.relpath(entry.path, root)).decode("utf-8", "backslashreplace")
                    yield f"{name}: {problem}"


def _problem(entry: os.DirEntry[str]) -> str:
    """Return why DVC cannot hash an entry, with what to do; "" if it can."""
    if not _is_utf8(entry.name):
        return "the name is not UTF-8, which DVC cannot record; rename it (`convmv` renames many)"
    if entry.name == DVCIGNORE:
        return "DVC takes no dependency with such a file in it; remove it"
    if entry.is_dir(follow_symlinks=False) or entry.is_file():
        return ""
    try:
        kind = KINDS.get(stat.S_IFMT(entry.stat().st_mode), "")
    except OSError as error:
        return f"a link that leads nowhere ({error.strerror}), which DVC cannot read; remove it"
    reading = "DVC would read it without end" if kind in ENDLESS else "DVC cannot read it"
    return f"{kind}: {reading}; remove it" if kind else ""  # none: a link to a folder


def _is_utf8(name: str) -> bool:
    return name.isascii() or name == name.encode("utf-8", "ignore").decode("utf-8")


def check_no_linked_folders(links: list[str]) -> None:
    """Raise StageError if there are links to folders among what a stage reads: DVC would not see a change there."""
    if links:
        raise StageError(
            f"{len(links)} link(s) to folders, first {links[0]!r}: DVC does not look behind them, so it would miss "
            "every change there; name the folder that they lead to, or a copy without links (`cp -rL`, or `cp -rlL`, "
            "which takes no room)"
        )


def linked_folders(root: Path, paths: Iterable[str]) -> list[str]:
    """Return the links among the folders that lie between a root and files, given by their paths relative to it."""
    folders = {str(folder) for parent in {PurePosixPath(path).parent for path in paths} for folder in _chain(parent)}
    return sorted(folder for folder in folders if os.path.islink(root / folder))


def _chain(folder: PurePosixPath) -> list[PurePosixPath]:
    """Return a relative folder and those above it, without the root."""
    return [place for place in (folder, *folder.parents) if place.name]
