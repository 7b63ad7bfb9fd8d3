"""The section `sources:` of params.yaml, which names the sources of images, and the files of each packed source."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, RootModel, StringConstraints

from faces.core.params import Params, load_params
from faces.tables.packed_images import PACKED

REJECTED = Path("data/rejected")  # not in data/packed, so that a new reject changes nothing that later stages read

# A name becomes a file name and a part of a stage's name, on every system and in every shell.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]

Format = Literal["folder", "photos", "recordio"]  # faces/images/listing.py has the table of formats


class Source(Params):
    """A folder of images; a relative path starts at the root of the project.

    Format `folder` has aligned faces as `<path>/<subject>/…/<image>`, `photos` has photos in such folders, and
    `recordio` has InsightFace's train.rec, train.idx and property.
    """

    path: str = Field(min_length=1)
    format: Format = "folder"


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
