"""The image files of a folder `<root>/<subject>/…/<image>`, listed without opening one.

What counts as an image is a file with one of `ENDINGS`, in any case. Other files, and hidden files and folders, are
ignored and counted. Links to files and folders are followed; a folder that is reached twice is listed once. Subjects
are the folders directly in the root, named as they are on disk (é in one code point and in two are two subjects).
"""

import hashlib
import heapq
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from faces.images.rejection import Rejected, Rejection, unreadable
from faces.tables.attributes import ATTRIBUTES

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


class Folder(NamedTuple):
    """A folder with images of a subject: how many, and a hash of their names, sizes and dates."""

    path: str
    images: int
    stamp: str


@dataclass
class Listing:
    """What a folder holds, before any file is opened; `rejected` is in no order.

    It remembers folders, not files: those of a subject are listed again when they are asked for.
    """

    root: Path
    subjects: dict[str, list[Folder]] = field(default_factory=dict)  # that have an image, in order of code points
    rejected: list[Rejected] = field(default_factory=list)
    ignored: int = 0

    def images(self, subject: str) -> list[ImageFile]:
        """Return the image files of a subject, sorted by path."""
        found: list[ImageFile] = []
        for folder in self.subjects[subject]:
            with suppress(OSError), os.scandir(self.root / folder.path) as entries:  # gone: it has changed since
                found += _images(entries, folder.path)
        return sorted(found)

    def count(self, subject: str) -> int:
        """Return how many image files a subject has."""
        return sum(folder.images for folder in self.subjects[subject])

    def stamp(self, subject: str) -> list[str]:
        """Return what differs if a file of the subject was written to."""
        return [part for folder in self.subjects[subject] for part in (folder.path, folder.stamp)]

    @property
    def stamps(self) -> dict[str, str]:
        """Return what differs if a file was written to, by folder."""
        return {folder.path: folder.stamp for folders in self.subjects.values() for folder in folders}


def list_images(root: Path) -> Listing:
    """Return what image files are below `root`; nothing is opened.

    Links to folders wait until all else is listed, so that a folder keeps its own name rather than a link's.
    """
    listing = Listing(root)
    folders, links = [""], list[str]()
    seen: set[tuple[int, int]] = set()
    while folders or links:
        folder = folders.pop() if folders else heapq.heappop(links)
        images: list[ImageFile] = []
        try:
            for entry in _entries(root / folder, seen):
                _list_entry(entry, folder, listing, images, folders, links)
        except Rejection as rejection:
            listing.rejected.append(rejection.of(folder or "."))
        if images:
            listing.subjects.setdefault(images[0].subject, []).append(Folder(folder, len(images), _hash(images)))
    listing.subjects = {subject: sorted(listing.subjects[subject]) for subject in sorted(listing.subjects)}
    return listing


def stamps(root: Path) -> dict[str, str]:
    """Return what differs if a file below `root` was added, removed, resized or touched, by folder."""
    return list_images(root).stamps


def _hash(images: list[ImageFile]) -> str:
    return hashlib.blake2b(json.dumps(sorted(images)).encode(), digest_size=16).hexdigest()


def _images(entries: Iterable[os.DirEntry[str]], folder: str) -> Iterator[ImageFile]:
    """Yield those entries of a subject's folder that `_list_entry` takes for images."""
    for entry in entries:
        with suppress(Rejection, OSError):
            if _is_called_like_an_image(entry) and not stat.S_ISDIR((status := entry.stat()).st_mode):
                yield _image_file(f"{folder}/{entry.name}", status)


def _is_called_like_an_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(ENDINGS) and not entry.name.startswith(".")


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


def _list_entry(
    entry: os.DirEntry[str],
    folder: str,
    listing: Listing,
    images: list[ImageFile],
    folders: list[str],
    links: list[str],
) -> None:
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
        elif not _is_called_like_an_image(entry):
            listing.ignored += 1
        else:
            images.append(_image_file(path, status))
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
