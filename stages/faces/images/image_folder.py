"""The source formats `folder` and `photos`: image files `<root>/<subject>/…/<image>`, listed without opening one.

An image is a file with one of `ENDINGS`, in any case. Other files, and hidden files and folders, are ignored and
counted. Links to files and folders are followed; a folder that is reached twice is listed once. Subjects are the
folders directly in the root or, with a depth of 2, those one level below, named by their path as it is on disk (é in
one code point and é in two are two subjects).
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

from faces.core.files import FileState, file_state
from faces.core.terminal import warn
from faces.images.rejection import Rejected, Rejection, unreadable
from faces.tables.attributes import ATTRIBUTES

MOST_NAMED = 5  # subjects in a warning
ENDINGS = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".webp", ".ppm", ".pgm", ".gif", ".tif", ".tiff", ".avif")
SUBJECT = f"each a folder of {', '.join(ENDINGS)} files"


class ImageFile(NamedTuple):
    """A file with the name of an image; sorted by subject, then path, in order of code points."""

    subject: str
    path: str  # relative to the root
    state: FileState

    def source(self, root: Path) -> Path:
        """Return the file, for `read_image` or `read_photo`."""
        return root / self.path


class Folder(NamedTuple):
    """A folder with images of one subject: their number, and a hash of their names and states."""

    path: str
    images: int
    stamp: str


@dataclass
class FolderListing:
    """The images below a folder, before any file is opened; a SourceListing (faces/images/listing.py).

    It remembers folders, not files: `images` lists the files of a subject again. `rejected` is in no order.
    """

    root: Path
    depth: int = 1  # levels below the root at which subjects' folders lie
    subjects: dict[str, list[Folder]] = field(default_factory=dict)  # those with an image, in order of code points
    rejected: list[Rejected] = field(default_factory=list)
    ignored: int = 0
    ignored_endings: dict[str, set[str]] = field(default_factory=dict)  # of files that are no images, by folder in root
    linked: list[str] = field(default_factory=list)  # links to folders that are listed under no other name

    def images(self, subject: str) -> list[ImageFile]:
        """Return the image files of a subject, sorted by path."""
        found: list[ImageFile] = []
        for folder in self.subjects[subject]:
            with suppress(OSError), os.scandir(self.root / folder.path) as entries:  # the folder may be gone since
                found += _find_images(entries, folder.path, self.depth)
        return sorted(found)

    def count(self, subject: str) -> int:
        """Return the number of image files of a subject."""
        return sum(folder.images for folder in self.subjects[subject])

    def stamp(self, subject: str) -> list[str]:
        """Return texts that change when a file of the subject is written to."""
        return [part for folder in self.subjects[subject] for part in (folder.path, folder.stamp)]

    def describe_deeper(self) -> str:
        """Return which subjects have images in folders below their own, and the depth of these; "" if none has."""
        deeper = {
            subject: below
            for subject, folders in self.subjects.items()
            if (below := [folder.path for folder in folders if folder.path != subject])
        }
        if not deeper:
            return ""
        subject, (example, *_) = next(iter(deeper.items()))
        return (
            f"{len(deeper)} of {len(self.subjects)} people have images in folders below their own, such as "
            f"{example!r} of {subject!r}; if those folders are the people, set `depth: {example.count('/') + 1}`"
        )

    @property
    def stamps(self) -> dict[str, str]:
        """Return a text for each folder that changes when a file in it is written to."""
        return {folder.path: folder.stamp for folders in self.subjects.values() for folder in folders}


def list_images(root: Path, depth: int = 1) -> FolderListing:
    """Return the image files below `root`, people's folders being `depth` levels below it; no file is opened.

    Links to folders are followed last, so that a folder is listed under its own name rather than that of a link.
    """
    listing = FolderListing(root, depth)
    folders, links = [""], list[str]()
    seen: set[tuple[int, int]] = set()
    while folders or links:
        is_link = not folders
        folder = heapq.heappop(links) if is_link else folders.pop()
        images: list[ImageFile] = []
        try:
            entries = _entries(root / folder, seen)
            if is_link:
                listing.linked.append(folder)
            for entry in entries:
                _list_entry(entry, folder, listing, images, folders, links)
        except Rejection as rejection:
            listing.rejected.append(rejection.row(folder or "."))
        if images:
            listing.subjects.setdefault(images[0].subject, []).append(Folder(folder, len(images), _hash(images)))
    listing.subjects = {subject: sorted(listing.subjects[subject]) for subject in sorted(listing.subjects)}
    return listing


def without_images(listing: FolderListing) -> dict[str, list[str]]:
    """Return the folders that hold files but no image, by name, with the endings of the files."""
    known = {*listing.subjects, *(subject_in(row.path, listing.depth) for row in listing.rejected)}
    return {name: sorted(found) for name, found in sorted(listing.ignored_endings.items()) if name not in known}


def list_and_warn(root: Path, depth: int = 1) -> FolderListing:
    """Return `list_images`; warn of subjects all of whose files have endings that are not read."""
    listing = list_images(root, depth)
    if vanished := without_images(listing):
        endings = ", ".join(sorted({ending or "none" for found in vanished.values() for ending in found}))
        names = ", ".join(list(vanished)[:MOST_NAMED]) + (", …" if len(vanished) > MOST_NAMED else "")
        warn(
            f"{len(vanished)} folder(s) of {root} hold no image of a known format, so they are not subjects: {names}; "
            f"endings found: {endings}; known: {', '.join(ENDINGS)}"
        )
    return listing


def subject_in(path: str, depth: int) -> str:
    """Return the subject that a path belongs to: its first `depth` folders."""
    return "/".join(path.split("/")[:depth])


def stamps(root: Path, depth: int = 1) -> dict[str, str]:
    """Return a text for each folder below `root` that changes when a file is added, removed, replaced or written to."""
    return list_images(root, depth).stamps


def _hash(images: list[ImageFile]) -> str:
    return hashlib.blake2b(json.dumps(sorted(images)).encode(), digest_size=16).hexdigest()


def _find_images(entries: Iterable[os.DirEntry[str]], folder: str, depth: int) -> Iterator[ImageFile]:
    """Yield the image files among the entries of a subject's folder, by the same rules as `_list_entry`."""
    for entry in entries:
        with suppress(Rejection, OSError):
            if is_image_name(entry.name) and not stat.S_ISDIR((status := entry.stat()).st_mode):
                yield _image_file(f"{folder}/{entry.name}", status, depth)


def is_image_name(name: str) -> bool:
    """Tell whether a file of this name counts as an image."""
    return name.lower().endswith(ENDINGS) and not name.startswith(".")


def _entries(folder: Path, seen: set[tuple[int, int]]) -> list[os.DirEntry[str]]:
    """Return the entries of a folder; Rejection if it was listed before (is in `seen`) or cannot be read."""
    try:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            raise Rejection("link", "the link leads to a folder that is already packed under another name")
        seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise unreadable(error) from None


def _list_entry(
    entry: os.DirEntry[str],
    folder: str,
    listing: FolderListing,
    images: list[ImageFile],
    folders: list[str],
    links: list[str],
) -> None:
    """Add an entry of `folder` to the list that it belongs to; `links` is a heap."""
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
        elif not is_image_name(entry.name):
            listing.ignored += 1
            if folder:
                ending = os.path.splitext(entry.name)[1].lower()
                listing.ignored_endings.setdefault(subject_in(folder, listing.depth), set()).add(ending)
        else:
            images.append(_image_file(path, status, listing.depth))
    except Rejection as rejection:
        listing.rejected.append(rejection.row(path))
    except OSError as error:
        broken_link = Rejection("link", str(error.strerror))
        listing.rejected.append((broken_link if entry.is_symlink() else unreadable(error)).row(path))


def _image_file(path: str, status: os.stat_result, depth: int) -> ImageFile:
    """Return the image at a path relative to the root; Rejection if it cannot be packed."""
    if path != path.encode("utf-8", "ignore").decode("utf-8"):
        raise Rejection("bad_name", "not UTF-8")
    if "\r" in path:
        raise Rejection("bad_name", "has a carriage return")
    if path.count("/") < depth:
        raise Rejection("outside_subject", "not in a subject's folder")
    if not stat.S_ISREG(status.st_mode):
        raise Rejection("not_a_file", "a pipe, socket or device")
    if status.st_size == 0:
        raise Rejection("empty", "zero bytes")
    return ImageFile(subject_in(path, depth), path, file_state(status))
