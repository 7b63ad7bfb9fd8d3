"""Why a file, folder or record of a source cannot be used, as listed in data/rejected/<source>.csv."""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

UNREADABLE = "unreadable"
REASONS = {
    "bad_name": "a name that is not UTF-8, or that has a carriage return, where a csv reader ends the row",
    "outside_subject": "a file beside the subjects' folders",
    "not_a_file": "a pipe, socket or device; never opened",
    "link": "a link that leads nowhere, in a circle, or to a folder that is packed already",
    UNREADABLE: "no permission, or the disk fails",
    "empty": "zero bytes, or a record without an image",
    "unrecognised": "none of the image formats, whatever the ending says",
    "damaged": "cut short or broken, or a record with a label that is not a whole number, 0 or more",
    "too_small": "a side under `min_side`",
    "too_large": "over `max_megapixels`, or a record over 32 MiB",
    "no_face": "a photo in which the detector finds no face",
    "several_faces": "a photo with several faces, the second nearly as large as the largest",
    "small_face": "a photo with fewer pixels between the eyes of its face than `min_eye_distance`",
    "turned_face": "a photo with a face that looks too far to a side",
}

PHOTO_REASONS = ("no_face", "several_faces", "small_face", "turned_face")  # only for photos, which are whole images


class Rejected(NamedTuple):
    """One row of the table of rejects; `reason` is a key of `REASONS`."""

    path: str  # relative to the source, or the key of a record
    reason: str
    detail: str


@dataclass(eq=False)
class Rejection(Exception):
    """A file, folder or record cannot be used; `reason` is a key of `REASONS`."""

    reason: str
    detail: str

    def row(self, path: str) -> Rejected:
        """Return the row of the table of rejects, with the path made printable for any csv reader."""
        printable = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\r", "\\r")
        return Rejected(printable, self.reason, self.detail)


def unreadable(error: OSError) -> Rejection:
    """Return the rejection of a file that the operating system failed to read."""
    return Rejection(UNREADABLE, str(error.strerror))


def summarise_rejects(rejected: list[Rejected]) -> str:
    """Return the end of an error message: how many were rejected for each reason, and the first; "" if none were."""
    if not rejected:
        return ""
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(Counter(row.reason for row in rejected).items()))
    first = min(rejected)
    return f"; rejected: {counts}; the first is {first.path} ({first.detail})"
