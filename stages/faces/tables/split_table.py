"""data/split.csv: every image of the pipeline, a row an image.

Row i is image i of every later table, and row i of data/embeddings.npy.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faces.core.csv_files import read_csv_pieces
from faces.core.errors import StageError

SPLIT_PATH = Path("data/split.csv")
TRAIN, VALIDATION, VALIDATION_UNSEEN, TEST_SEEN, TEST_UNSEEN = PARTS = (
    "train",
    "validation",
    "validation_unseen",
    "test_seen",
    "test_unseen",
)
SCORED = (TRAIN, TEST_SEEN, TEST_UNSEEN)  # the others serve choices: of an epoch, and of thresholds
HELD_OUT = (VALIDATION_UNSEEN, TEST_UNSEEN)  # the parts of people that training never sees

# source, row: place of the pixels in the shards of data/packed/<source>; subject, path: the user's names; label: class
# index, 0..C-1 for the C training identities, C and above for identities that training never sees.
COLUMNS = {"source": str, "row": np.int64, "subject": str, "path": str, "label": np.int64, "part": str}


def read_split(path: Path = SPLIT_PATH, names: bool = False) -> pd.DataFrame:
    """Return the split; `source` and `part` are categories.

    Without `names`, the columns subject and path are left out: 18 bytes an image are held instead of some 200.

    Raises:
        StageError: the file is missing or damaged, or breaks a rule: a subject has one label, and a label one name,
            though perhaps in several sources; an image is listed once; people of `validation_unseen` and `test_unseen`
            are in no other part.
    """
    read = _SplitReader(path)
    pieces = [read.piece(piece, names) for piece in read_csv_pieces(path, COLUMNS)]
    read.check_labels()
    table = {column: np.concatenate([piece[column] for piece in pieces]) for column in pieces[0]}
    if len(table["row"]) == 0 or table["row"].min() < 0 or table["label"].min() < 0:
        raise StageError(f"{path}: needs at least one image, and no negative row or label")
    sources = list(read.sources)
    table["source"] = pd.Categorical.from_codes(table["source"], pd.Index(sources))
    table["part"] = pd.Categorical.from_codes(table["part"], pd.Index(PARTS))
    split = pd.DataFrame({column: table[column] for column in COLUMNS if column in table})
    _check_parts(split, path)
    return split


class _SplitReader:
    """Reads a split piece by piece; `sources` maps each source to its code, in order of appearance."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sources: dict[str, int] = {}
        self._labels: dict[tuple[int, str], int] = {}
        self._inconsistent = False
        self._read = 0

    def piece(self, table: pd.DataFrame, names: bool) -> dict[str, NDArray[Any]]:
        """Return the columns of a piece of the file, with source and part as codes."""
        part = pd.Index(PARTS).get_indexer(pd.Index(table["part"])).astype(np.int8)
        if (part < 0).any():
            row = int((part < 0).argmax())
            raise StageError(
                f"{self.path}: image {self._read + row}: part {table['part'].iloc[row]!r}; allowed: {', '.join(PARTS)}"
            )
        self._read += len(table)
        codes, sources = pd.factorize(table["source"])
        source = np.array([self.sources.setdefault(name, len(self.sources)) for name in sources], np.int16)
        small: dict[str, NDArray[Any]] = {"source": source[codes] if len(codes) else codes.astype(np.int16)}
        small |= {"row": table["row"].to_numpy(), "label": table["label"].to_numpy(), "part": part}
        self._add_people(table.assign(source=small["source"]))
        return small | ({name: table[name].to_numpy(object) for name in ("subject", "path")} if names else {})

    def _add_people(self, table: pd.DataFrame) -> None:
        people = table[["source", "subject", "label"]].drop_duplicates()
        for source, subject, label in people.itertuples(index=False, name=None):
            self._inconsistent |= self._labels.setdefault((source, subject), label) != label

    def check_labels(self) -> None:
        """Raise StageError if a subject of a source has two labels, or a label two names."""
        named = {(label, subject) for (_, subject), label in self._labels.items()}
        if self._inconsistent or len(set(self._labels.values())) < len(named):
            raise StageError(f"{self.path}: every subject of a source needs one label, and every label one name")


def _check_parts(table: pd.DataFrame, path: Path) -> None:
    """Raise StageError if an identity or an image is in a part where it must not be."""
    labels = {part: set(image_labels(table)[part_images(table, part)].tolist()) for part in PARTS}
    for part in HELD_OUT:
        if shared := labels[part] & set().union(*(labels[other] for other in PARTS if other != part)):
            raise StageError(f"{path}: label {min(shared)} is in `{part}` and in another part")
    for part in (VALIDATION, TEST_SEEN):
        if unknown := labels[part] - labels[TRAIN]:
            raise StageError(f"{path}: label {min(unknown)} is in `{part}` but not in `{TRAIN}`")
    if table.duplicated(["source", "row"]).any():
        raise StageError(f"{path}: lists an image twice")


def part_images(split: pd.DataFrame, part: str) -> NDArray[np.int64]:
    """Return the image numbers of one part, ascending, shape (n,)."""
    return np.flatnonzero(split["part"] == part)


def image_labels(split: pd.DataFrame) -> NDArray[np.int64]:
    """Return the label of every image, shape (N,)."""
    return split["label"].to_numpy()


def count_training_classes(split: pd.DataFrame) -> int:
    """Return the number of classes C; StageError if the labels of `train` are not 0 to C - 1."""
    labels = np.unique(image_labels(split)[part_images(split, TRAIN)])
    if not np.array_equal(labels, np.arange(len(labels))):
        raise StageError(f"{SPLIT_PATH}: labels of `train` must be 0 to {len(labels) - 1} without gaps")
    return len(labels)
