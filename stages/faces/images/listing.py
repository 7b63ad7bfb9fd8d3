"""What a source holds, whatever its format; no image is opened.

To add a format: write a module that lists its images, returning an object that follows SourceListing, add a row to
FORMATS here, and add the name to `Format` in faces/tables/sources.py.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

from faces.core.dvc_folder import check_hashable, check_no_linked_folders
from faces.core.errors import StageError, errors_named
from faces.core.terminal import warn
from faces.images import image_folder, recordio
from faces.images.decoding import text_inside
from faces.images.detection import check_installed
from faces.images.rejection import Rejected, summarise_rejects
from faces.tables.attributes import check_rows, find_attributes, key_column
from faces.tables.sources import Format, Source

TRIED_SUBJECTS = 5  # whose first files are opened when a source is listed


class SourceFile(Protocol):
    """What should be one image: a file, or a record of a file."""

    @property
    def path(self) -> str: ...  # relative to the source's folder, or a key; unique in the source
    def source(self, root: Path) -> Path | bytes: ...  # the image file, or its content; Rejection if there is none


class SourceListing(Protocol):
    """The subjects of a source and their images, before any image is opened.

    A stamp is a text that changes when what it stands for is written to.
    """

    @property
    def subjects(self) -> Collection[str]: ...  # those with an image, in the order in which they are packed
    @property
    def stamps(self) -> Mapping[str, str]: ...  # of the whole source: folder or file -> stamp
    @property
    def rejected(self) -> list[Rejected]: ...  # what cannot be used, as far as shows without opening it
    @property
    def ignored(self) -> int: ...  # number of files or records that are no images
    @property
    def linked(self) -> Sequence[str]: ...  # links to folders that lead to some of the images
    def images(self, subject: str) -> Sequence[SourceFile]: ...  # in the order in which they are packed
    def count(self, subject: str) -> int: ...  # number of `images`
    def stamp(self, subject: str) -> list[str]: ...  # changes when an image of the subject does


class SourceFormat(NamedTuple):
    """How one format of source is read."""

    subject: str  # what a subject is in this format, for an error message
    list_images: Callable[[Source], SourceListing]  # StageError if the source is unusable
    stamps: Callable[[Source], Mapping[str, str]]  # the same as `SourceListing.stamps`, as of now
    quick_paths: Callable[[Path], Iterable[str]] | None = None  # paths of all images, if `list_images` takes minutes
    photos: bool = False  # whether faces have to be found in the images


def list_folder(source: Source) -> image_folder.FolderListing:
    """Return the image files of a source of folders; warn if they lie deeper than people's folders, unless it says so.

    StageError, with the same sentence, if that leaves fewer than two people.
    """
    listing = image_folder.list_and_warn(Path(source.path), source.depth or 1)
    if source.depth is None and (deeper := listing.describe_deeper()):
        if len(listing.subjects) < 2:
            raise StageError(deeper)
        warn(f"{source.path}: {deeper} for this source, else `depth: 1`")
    return listing


def folder_stamps(source: Source) -> dict[str, str]:
    """Return the stamps of a source of folders, as of now."""
    return image_folder.stamps(Path(source.path), source.depth or 1)


def list_records(source: Source) -> recordio.RecordListing:
    """Return the images of a source of records."""
    return recordio.list_images(Path(source.path))


def record_stamps(source: Source) -> dict[str, str]:
    """Return the stamps of a source of records, as of now."""
    return recordio.stamps(Path(source.path))


FORMATS: dict[Format, SourceFormat] = {
    "folder": SourceFormat(image_folder.SUBJECT, list_folder, folder_stamps),
    "photos": SourceFormat(image_folder.SUBJECT, list_folder, folder_stamps, photos=True),
    "recordio": SourceFormat(recordio.SUBJECT, list_records, record_stamps, recordio.read_paths),
}


def list_source(name: str, source: Source) -> SourceListing:
    """Return the listing of a source; StageError unless at least two subjects have an image, none behind a link."""
    source_format, root = FORMATS[source.format], Path(source.path)
    with _errors_name_the_source(name, source):
        if source_format.photos:
            check_installed()
        attributes = find_attributes(root)
        listing = source_format.list_images(source)
        check_no_linked_folders(list(listing.linked))
        if len(listing.subjects) < 2:
            raise StageError(
                f"images of {len(listing.subjects)} subject(s); needed: two at least, {source_format.subject}"
                f"{summarise_rejects(listing.rejected)}"
            )
        if source_format.quick_paths is None:
            check_first_files(root, listing)
        if attributes is not None:
            check_rows(attributes, _paths(listing) if key_column(attributes) == "path" else listing.subjects)
    return listing


def check_first_files(root: Path, listing: SourceListing) -> None:
    """Raise StageError if the first files of several subjects are no images but text that is known."""
    first = [listing.images(subject)[:1] for subject in islice(listing.subjects, TRIED_SUBJECTS)]
    files = [root / file.path for files in first for file in files if (root / file.path).is_file()]
    said = [text_inside(path) for path in files]
    if said and all(said):
        raise StageError(f"{files[0].relative_to(root)}, like the first of each subject: {said[0]}")


def find_source(root: Path, listing: SourceListing, subject: str, path: str) -> Path | bytes:
    """Return an image of a source by its path, for `read_image` or `read_photo`; Rejection if there is none."""
    (file,) = (file for file in listing.images(subject) if file.path == path)
    return file.source(root)


def _paths(listing: SourceListing) -> Iterator[str]:
    for subject in listing.subjects:
        yield from (file.path for file in listing.images(subject))


def check_source(name: str, source: Source) -> None:
    """Raise StageError if a source cannot be packed, as far as a few seconds can tell."""
    source_format, root = FORMATS[source.format], Path(source.path)
    with _errors_name_the_source(name, source):
        check_hashable(root)
    if source_format.quick_paths is None:
        list_source(name, source)
        return
    with _errors_name_the_source(name, source):
        attributes = find_attributes(root)
        paths = source_format.quick_paths(root)
        if attributes is not None and key_column(attributes) == "path":
            check_rows(attributes, paths)


def check_unchanged(name: str, source: Source, listing: SourceListing) -> None:
    """Raise StageError if a file of the source was added, removed, replaced or written to since it was listed."""
    now = FORMATS[source.format].stamps(source)
    changed = {place for place, _ in now.items() ^ listing.stamps.items()}
    if changed:
        raise StageError(
            f"{path_parameter(name, source)}: {min(changed)} changed while it was being packed "
            f"({len(changed)} in all); run again when nothing writes to the folder"
        )


@contextmanager
def _errors_name_the_source(name: str, source: Source) -> Iterator[None]:
    """Put the parameter before the message of a StageError; raise one if the source's folder is missing."""
    parameter = path_parameter(name, source)
    if not os.path.exists(source.path):
        raise StageError(
            f"{parameter}: there is no such folder; `dvc repro --allow-missing` goes on without it if DVC has what was "
            "made of it"
        )
    if not os.path.isdir(source.path):
        raise StageError(f"{parameter}: not a folder")
    with errors_named(parameter):
        yield


def path_parameter(name: str, source: Source) -> str:
    """Return the parameter that names a source's folder, with its value, for error messages."""
    return f"params.yaml: sources.{name}.path: {source.path!r}"
