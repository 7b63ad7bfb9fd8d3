"""Tables of image pairs: data/pairs.csv, on which verification is evaluated, and the mined comparisons.

A row has the image numbers a and b, and same: 1 if both images show one person, else 0.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from faces.core.csv_files import read_csv
from faces.core.errors import StageError
from faces.tables.split_table import SCORED, TEST_SEEN, TRAIN

PAIRS_PATH = Path("data/pairs.csv")
PAIRS_COLUMNS = {"part": str, "a": np.int64, "b": np.int64, "same": np.int64}
COMPARISONS_COLUMNS = {"a": np.int64, "b": np.int64, "cosine": np.float64, "same": np.int64}
COMPARISONS_PATHS = {
    TRAIN: Path("data/comparisons_train.csv"),
    TEST_SEEN: Path("data/comparisons_test.csv"),
}


def read_pair_table(path: Path, images: int) -> pd.DataFrame:
    """Return a table of pairs; StageError if it is missing or damaged, or has an image number of `images` or above."""
    table = read_csv(path, PAIRS_COLUMNS if path.name == PAIRS_PATH.name else COMPARISONS_COLUMNS)
    allowed = {"part": SCORED, "a": range(images), "b": range(images), "same": (0, 1)}
    for column in table.columns.intersection(list(allowed)):
        wrong = table[~table[column].isin(allowed[column])]
        if len(wrong):
            raise StageError(f"{path}: line {wrong.index[0] + 2}: {column} is {wrong[column].iloc[0]!r}")
    if "cosine" in table and not table["cosine"].abs().le(1 + 1e-5).all():  # a little over 1 by rounding
        raise StageError(f"{path}: has a cosine that is not a number in -1..1")
    if len(np.unique(np.sort(table[["a", "b"]].to_numpy(), axis=1), axis=0)) < len(table):
        raise StageError(f"{path}: lists a pair twice")
    if len(table) == 0:
        raise StageError(f"{path}: has no pairs")
    return table
