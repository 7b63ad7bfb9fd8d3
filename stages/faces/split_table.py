"""data/split.csv: every image of the pipeline, one a row. Row i is image i of every later table and embedding i."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faces.files import read_csv
from faces.stage import StageError

SPLIT_PATH = Path("data/split.csv")
TRAIN, VALIDATION, TEST_SEEN, TEST_UNSEEN = PARTS = ("train", "validation", "test_seen", "test_unseen")
SCORED = (TRAIN, TEST_SEEN, TEST_UNSEEN)  # `validation` is for choices in training alone

# source, row: where the pixels are (row of data/packed/<source>.npy); subject, path: what the user called them;
# label: class index, 0..C-1 for the C training identities, from C on for those that training never sees.
COLUMNS = {"source": str, "row": np.int64, "subject": str, "path": str, "label": np.int64, "part": str}


def read_split(path: Path = SPLIT_PATH) -> pd.DataFrame:
    """Return the split as a table with `COLUMNS`; StageError if it is missing or has been edited into nonsense."""
    table = read_csv(path, COLUMNS)
    for row, part in enumerate(table["part"]):
        if part not in PARTS:
            raise StageError(f"{path}: image {row}: part {part!r}; allowed: {', '.join(PARTS)}")
    if len(table) == 0 or table["row"].min() < 0 or table["label"].min() < 0:
        raise StageError(f"{path}: needs at least one image, and no negative row or label")
    _check_labels(table, path)
    return table


def _check_labels(table: pd.DataFrame, path: Path) -> None:
    """Raise StageError where a label is not one person, or a person or an image is in a part that it must not be in."""
    people = table.groupby(["source", "subject"], sort=False)["label"].agg(["min", "max"])
    if (people["min"] != people["max"]).any() or people["min"].duplicated().any():
        raise StageError(f"{path}: every subject of a source needs one label, and every label one subject")
    labels = {part: set(table.loc[table["part"] == part, "label"]) for part in PARTS}
    if shared := labels[TEST_UNSEEN] & (labels[TRAIN] | labels[VALIDATION] | labels[TEST_SEEN]):
        raise StageError(f"{path}: label {min(shared)} is in `{TEST_UNSEEN}` and in another part")
    for part in (VALIDATION, TEST_SEEN):
        if strange := labels[part] - labels[TRAIN]:
            raise StageError(f"{path}: label {min(strange)} is in `{part}` but not in `{TRAIN}`")
    if table.duplicated(["source", "row"]).any():
        raise StageError(f"{path}: lists an image twice")


def images_of(split: pd.DataFrame, part: str) -> NDArray[np.int64]:
    """Return the image numbers of one part, ascending, shape (n,)."""
    return np.flatnonzero(split["part"].to_numpy() == part)


def labels_of(split: pd.DataFrame) -> NDArray[np.int64]:
    """Return the label of every image, shape (N,)."""
    return split["label"].to_numpy()


def training_identities(split: pd.DataFrame) -> int:
    """Return the number of classes: labels 0 to this, exclusive, occur in `train`; StageError if one does not."""
    labels = np.unique(labels_of(split)[images_of(split, TRAIN)])
    if not np.array_equal(labels, np.arange(len(labels))):
        raise StageError(f"{SPLIT_PATH}: labels of `train` must be 0 to {len(labels) - 1} without gaps")
    return len(labels)
