"""The section `test_sets:` of params.yaml, and the files that `gather` and `embed_test` write for each test set.

For a test set <name>, data/tests has <name>.npy, the pixels of its images, <name>.images.csv, where each came from,
<name>.rejected.csv, which of them could not be used, and <name>.pairs.csv, its pairs in the order of the protocol, by
image number.
"""

import argparse
from array import array
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, RootModel, model_validator

from faces.core.csv_files import csv_rows, read_csv
from faces.core.errors import StageError
from faces.core.params import Params, load_params
from faces.tables.packed_images import open_packed
from faces.tables.sources import Channels, FilePath, Name

TESTS = Path("data/tests")
NAME_HELP = "a name from the section `test_sets:` of params.yaml"
IMAGE_COLUMNS = {"subject": str, "path": str}

# a, b: image numbers; same: 1 for two images of one person, else 0; fold: 0..F-1, as in cross-validation; group: the
# protocol's own name for a kind of pair, may be empty. A test set without labels has no column `same`.
PAIR_COLUMNS = {"a": np.int64, "b": np.int64, "same": np.int64, "fold": np.int64, "group": str}
UNLABELLED_COLUMNS = {column: kind for column, kind in PAIR_COLUMNS.items() if column != "same"}
REJECTED_COLUMNS = {"path": str, "reason": str, "detail": str}
OF_FRCSYN = ("paths", "group_by", "allow_missing")


class ExternalSet(Params):
    """Where a test set is, and in which format; a relative path starts at the root of the project.

    Images are aligned faces, or photos in which faces are found. `channels` of `bgr` are images that were written with
    red and blue swapped.

    The others are of format `frcsyn`, see faces/external/frcsyn_files.py. `paths` is a pattern that says what a path
    tells, such as {race}/{subject}/{image}. `group_by` names what of that, or of attributes.csv, makes the groups.
    `allow_missing` has the stage go on without images that are missing or cannot be used.
    """

    format: Literal["lfw", "bin", "csv", "frcsyn"]
    images: FilePath
    pairs: FilePath
    faces: Literal["aligned", "photos"] = "aligned"
    channels: Channels = "rgb"
    paths: str = ""
    group_by: list[Annotated[str, Field(min_length=1)]] = []
    allow_missing: bool = False

    @model_validator(mode="after")
    def _one_bin(self) -> "ExternalSet":
        if self.format == "bin" and self.images != self.pairs:
            raise ValueError("images and pairs should be the same .bin file, which holds both")
        return self

    @model_validator(mode="after")
    def _of_frcsyn(self) -> "ExternalSet":
        wrong = [key for key in OF_FRCSYN if key in self.model_fields_set]
        if wrong and self.format != "frcsyn":
            raise ValueError(f"{', '.join(wrong)}: of format frcsyn alone, and this is {self.format}")
        return self


class _ExternalSets(RootModel[dict[Name, ExternalSet]]):
    pass


def load_test_sets() -> dict[str, ExternalSet]:
    """Return the test sets by name, in the order of params.yaml; StageError names the wrong key and value."""
    return load_params("test_sets", _ExternalSets).root


def listed_test_set(name: str) -> ExternalSet:
    """Return the test set of a name; StageError names those of params.yaml if it is none of them."""
    test_sets = load_test_sets()
    if name not in test_sets:
        allowed = ", ".join(test_sets) or "none, since the section is empty"
        raise StageError(f"params.yaml: test_sets: {name!r} is not among them; allowed: {allowed}")
    return test_sets[name]


def named_test_set(description: str | None) -> tuple[str, ExternalSet]:
    """Return the test set that is a script's one argument; `--help` shows `description`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help=NAME_HELP)
    name = parser.parse_args().name
    return name, listed_test_set(name)


def pixels_path(name: str) -> Path:
    """Return where a test set's images are: uint8 (N, 112, 112, 3), RGB, each once, in order of first use."""
    return TESTS / f"{name}.npy"


def image_table_path(name: str) -> Path:
    """Return where the table of a test set's images is: columns subject, path; row i describes image i.

    Subjects are "" throughout if the test set does not name them.
    """
    return TESTS / f"{name}.images.csv"


def pair_table_path(name: str) -> Path:
    """Return where the table of a test set's pairs is; it has `PAIR_COLUMNS`, or those without `same`."""
    return TESTS / f"{name}.pairs.csv"


def rejected_table_path(name: str) -> Path:
    """Return where the table of a test set's images is that could not be used; it has `REJECTED_COLUMNS`."""
    return TESTS / f"{name}.rejected.csv"


def embeddings_path(name: str) -> Path:
    """Return where the embeddings of a test set's images are: float32 (N, D), row i of image i."""
    return TESTS / f"{name}.embeddings.npy"


def open_pixels(name: str) -> NDArray[np.uint8]:
    """Map a test set's images from disk, uint8 (N, 112, 112, 3), N > 0; StageError if the file holds anything else."""
    path = pixels_path(name)
    pixels = open_packed(path)
    if len(pixels) == 0:
        raise StageError(f"{path}: holds no images")
    return pixels


def read_image_table(name: str, images: int) -> pd.DataFrame:
    """Return subject and path of each of `images` images; StageError if they are more or fewer, or one comes twice."""
    path = image_table_path(name)
    table = read_csv(path, IMAGE_COLUMNS, may_be_empty=["subject"])
    if len(table) != images:
        raise StageError(f"{path}: describes {len(table)} images; {pixels_path(name)} holds {images}")
    repeated = np.flatnonzero(table["path"].duplicated())
    if len(repeated):
        raise StageError(f"{path}: line {repeated[0] + 2}: path {table['path'].iloc[repeated[0]]!r} comes twice")
    return table


def read_rejected(name: str, images: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which of a test set's images could not be used, (N,); `images` is their table."""
    rejected = read_csv(rejected_table_path(name), REJECTED_COLUMNS, may_be_empty=["detail"])
    return images["path"].isin(rejected["path"]).to_numpy()


def read_test_pairs(name: str, images: int) -> pd.DataFrame:
    """Return a test set's pairs, in the order of the protocol; a pair may come twice, as in some protocols it does.

    `group` is categorical. Without labels, there is no column `same`. A pair takes 36 bytes.

    StageError if the table is missing, cut short or has been edited into nonsense.
    """
    path = pair_table_path(name)
    limits = {"a": images, "b": images, "same": 2, "fold": None}
    numbers, codes, groups = dict[str, array](), array("i"), dict[str, int]()
    for row in csv_rows(path, list(UNLABELLED_COLUMNS), ["same"], complete=True):
        numbers = numbers or {column: array("q") for column in limits if column in row}
        for column, kept in numbers.items():
            kept.append(row.number(column, limits[column]))
        codes.append(groups.setdefault(row["group"], len(groups)))
    if not numbers:
        raise StageError(f"{path}: has no pair")
    table = pd.DataFrame({column: np.frombuffer(kept, np.int64) for column, kept in numbers.items()})
    table["group"] = pd.Categorical.from_codes(np.frombuffer(codes, np.int32), categories=pd.Index(list(groups)))
    check_pairs(table, path)
    return table


def check_pairs(table: pd.DataFrame, path: Path) -> None:
    """Raise StageError, naming `path`, if pairs of one kind are missing, or a fold between the first and the last.

    Of a table without labels, neither can be told.
    """
    if "same" not in table:
        return
    for same, kind in enumerate(("impostor", "genuine")):
        if not (table["same"] == same).any():
            raise StageError(f"{path}: has no {kind} pair")
    folds = np.unique(table["fold"])
    if folds[-1] >= len(folds):
        gap = np.flatnonzero(folds != np.arange(len(folds)))[0]
        raise StageError(f"{path}: no pair is in fold {gap}, but one is in fold {folds[-1]}; folds count from 0")
