"""The image files of a folder `<root>/<subject>/…/<image>`, listed without opening one.

What counts as an image is a file with one of `ENDINGS`, in any case. Other files, and hidden files and folders, are
ignored and counted. Links to files and folders are followed; a folder that is reached twice is listed once. Subjects
are the folders directly in the root, named as they are on disk (é in one code point and in two are two subjects).
"""

import heapq
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from faces.attributes import ATTRIBUTES
from faces.rejection import Rejected, Rejection, unreadable

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm")
SUBJECT = f"each a folder of {', '.join(ENDINGS)} files"


class ImageFile(NamedTuple):
    """A file that is called like an image; sorted by subject, then path, in order of code points."""

    subject: str
    path: str  # relative to the root
    size: int  # bytes
    mtime_ns: int

    def source(self, root: Path) -> Path:
        """Return what `read_image` takes."""
        return root / self.path


@dataclass
class Listing:
    """What a folder holds, before any file is opened; `rejected` is in no order."""

    files: list[ImageFile] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    ignored: int = 0

    @property
    def subjects(self) -> set[str]:
        """Return the subjects that have a file."""
        return {file.subject for file in self.files}

    @property
    def stamps(self) -> list[ImageFile]:
        """Return what differs if a file was written to."""
        return self.files


def list_images(root: Path) -> Listing:
    """Return the image files below `root`, sorted by subject and path; nothing is opened.

    Links to folders wait until all else is listed, so that a folder keeps its own name rather than a link's.
    """
    listing = Listing()
    folders, links = [""], list[str]()
    seen: set[tuple[int, int]] = set()
    while folders or links:
        folder = folders.pop() if folders else heapq.heappop(links)
        try:
            for entry in _entries(root / folder, seen):
                _list_entry(entry, folder, listing, folders, links)
        except Rejection as rejection:
            listing.rejected.append(rejection.of(folder or "."))
    listing.files.sort()
    return listing


def stamps(root: Path) -> list[ImageFile]:
    """Return what differs if a file below `root` was added, removed, resized or touched."""
    return list_images(root).files


def _entries(folder: Path, seen: set[tuple[int, int]]) -> list[os.DirEntry[str]]:
    try:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            raise Rejection("link", "leads to a folder that is packed under another name")
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise unreadable(error) from None


def _list_entry(entry: os.DirEntry[str], folder: str, listing: Listing, folders: list[str], links: list[str]) -> None:
    path = f"{folder}/{entry.name}" if folder else entry.name
    if path == ATTRIBUTES:
        return
    if entry.name.startswith("."):
        listing.ignored += 1
        return
    try:
        status = entry.stat()
        if stat.S_ISDIR(status.st_mode) and entry.is_symlink():
            heapq.heappush(links, path)
        elif stat.S_ISDIR(status.st_mode):
            folders.append(path)
        elif not entry.name.lower().endswith(ENDINGS):
            listing.ignored += 1
        else:
            listing.files.append(_image_file(path, status))
    except Rejection as rejection:
        listing.rejected.append(rejection.of(path))
    except OSError as error:
        broken_link = Rejection("link", str(error.strerror))
        listing.rejected.append((broken_link if entry.is_symlink() else unreadable(error)).of(path))


def _image_file(path: str, status: os.stat_result) -> ImageFile:
    subject, _, below = path.partition("/")
    if path != path.encode("utf-8", "ignore").decode("utf-8"):
        raise Rejection("bad_name", "not UTF-8")
    if "\r" in path:
        raise Rejection("bad_name", "has a carriage return")
    if not below:
        raise Rejection("outside_subject", "not in a subject's folder")
    if not stat.S_ISREG(status.st_mode):
        raise Rejection("not_a_file", "a pipe, socket or device")
    if status.st_size == 0:
        raise Rejection("empty", "zero bytes")
    return ImageFile(subject, path, status.st_size, status.st_mtime_ns)
