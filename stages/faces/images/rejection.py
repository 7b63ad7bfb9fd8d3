"""Why a file or folder of a source cannot be used, as listed in data/rejected/<source>.csv."""

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
    "damaged": "cut short or broken, or a record whose label is not a whole number, 0 or more",
    "too_small": "a side under `min_side`",
    "too_large": "over `max_megapixels`, or a record over 32 MiB",
    "no_face": "a photo in which the detector finds none",
    "several_faces": "a photo whose largest face has others beside it that are nearly as large",
    "small_face": "a photo whose face has fewer pixels between the eyes than `min_eye_distance`",
    "turned_face": "a photo whose face looks too far to a side",
}

OF_PHOTOS = ("no_face", "several_faces", "small_face", "turned_face")


class Rejected(NamedTuple):
    """One row of the list of rejects; `reason` is a key of `REASONS`."""

    path: str  # relative to the source, or the key of a record
    reason: str
    detail: str


@dataclass(eq=False)
class Rejection(Exception):
    """One file or folder that cannot be used; `reason` is a key of `REASONS`."""

    reason: str
    detail: str

    def of(self, path: str) -> Rejected:
        """Return the row for the list of rejects, with a path that any csv reader can take."""
        printable = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\r", "\\r")
        return Rejected(printable, self.reason, self.detail)


def unreadable(error: OSError) -> Rejection:
    """Return the rejection of what the system would not let be read."""
    return Rejection(UNREADABLE, str(error.strerror))
