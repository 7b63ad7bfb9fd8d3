"""The `sources:` section of params.yaml: which images the pipeline runs on, and where those of each are packed."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, RootModel, StringConstraints

from faces.core.params import Params, load_params

PACKED = Path("data/packed")
REJECTED = Path("data/rejected")  # apart, so that a new reject alone changes nothing that later stages read

# A name becomes a file name and a part of a stage's name, on every system and in every shell.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


Format = Literal["folder", "photos", "recordio"]


class Source(Params):
    """One folder; a relative path starts at the root of the project.

    By `format`, it holds images as `<path>/<subject>/…/<image>`, of faces or of photos with a face on them, or
    train.rec, train.idx and property of InsightFace.
    """

    path: str = Field(min_length=1)
    format: Format = "folder"


class _Sources(RootModel[Annotated[dict[Name, Source], Field(min_length=1)]]):
    pass


def load_sources() -> dict[str, Source]:
    """Return the sources by name, in the order of params.yaml; StageError names what is wrong with one."""
    return load_params("sources", _Sources).root


def packed_folder(name: str) -> Path:
    """Return where a source's shards are: <number>.npy, uint8 (N, 112, 112, 3), RGB, <number>.csv, and their list.

    A table has columns subject and path; its row i describes image i. Read it with `dtype=str, keep_default_na=False`:
    a subject may be called 007 or NA.
    """
    return PACKED / name


def rejects_path(name: str) -> Path:
    """Return where the files that could not be used are listed: columns path, reason, detail."""
    return REJECTED / f"{name}.csv"


def sheet_path(name: str) -> Path:
    """Return where a picture of some of a source's images is, before and after."""
    return Path(f"metrics/pack/{name}.png")
