"""The section `sources:` of params.yaml, which names the sources of images, and the files of each packed source."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, RootModel, StringConstraints, model_validator

from faces.core.params import Params, load_params
from faces.tables.packed_images import PACKED

SYNTHETIC = Path("data/synthetic")  # what the stage `synthesize` draws; images are in its folder `images`
REJECTED = Path("data/rejected")  # not in data/packed, so that a new reject changes nothing that later stages read

MAX_DEPTH = 20  # of people's folders

# A name becomes a file name and a part of a stage's name, on every system and in every shell.
# File systems take 255 bytes, and files have more than it in their names.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=100)]

MAX_PATH_BYTES, MAX_PART_BYTES = 4095, 255  # of Linux


def _possible(path: str) -> str:
    """Return a path; ValueError if no file can have it."""
    if "\0" in path:
        raise ValueError("holds a zero byte, which no path has")
    if len(path.encode()) > MAX_PATH_BYTES or any(len(part.encode()) > MAX_PART_BYTES for part in path.split("/")):
        raise ValueError(f"is longer than a path can be: {MAX_PATH_BYTES} bytes, {MAX_PART_BYTES} between slashes")
    return path


# A relative one starts at the root of the project.
FilePath = Annotated[str, Field(min_length=1), AfterValidator(_possible)]
Channels = Literal["rgb", "bgr"]
Format = Literal["folder", "photos", "recordio"]  # faces/images/listing.py has the table of formats


class Source(Params):
    """A folder of images; a relative path starts at the root of the project.

    Format `folder` has aligned faces as `<path>/<subject>/…/<image>`, `photos` has photos in such folders, and
    `recordio` has InsightFace's train.rec, train.idx and property. In folders, people lie `depth` levels below `path`.
    `channels` of `bgr` are images that were written with red and blue swapped.
    """

    path: FilePath
    format: Format = "folder"
    depth: int | None = Field(default=None, ge=1, le=MAX_DEPTH)  # None: 1, with a warning if images lie deeper
    channels: Channels = "rgb"

    @model_validator(mode="after")
    def _depth_of_folders(self) -> "Source":
        if self.depth is not None and self.format == "recordio":
            raise ValueError("depth is of folders, and format recordio has none")
        return self


class _Sources(RootModel[Annotated[dict[Name, Source], Field(min_length=1)]]):
    pass


def load_sources() -> dict[str, Source]:
    """Return the sources by name, in the order of params.yaml; StageError names every wrong entry."""
    return load_params("sources", _Sources).root


def packed_folder(name: str) -> Path:
    """Return the folder of a source's shards: <shard>.npy, uint8 (N, 112, 112, 3), RGB, <shard>.csv, and shards.csv.

    A shard's table has the columns subject and path; row i describes image i. Read it with
    `dtype=str, keep_default_na=False`, since a subject may be called 007 or NA.
    """
    return PACKED / name


def rejects_path(name: str) -> Path:
    """Return the table of a source's files that could not be used: path, reason, detail."""
    return REJECTED / f"{name}.csv"


def sheet_path(name: str) -> Path:
    """Return the picture of some of a source's images before and after packing."""
    return Path(f"metrics/pack/{name}.png")
