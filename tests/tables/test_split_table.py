from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from faces.core import csv_files
from faces.core.csv_files import write_csv
from faces.core.errors import StageError
from faces.tables.split_table import COLUMNS, count_training_classes, image_labels, part_images, read_split

ROWS = [
    ("a", 0, "NA", "NA/1,2.png", 0, "train"),
    ("a", 1, "007", '007/"x"\n.png', 1, "train"),
    ("b", 0, "null", "null/ü.png", 2, "test_unseen"),
    ("a", 2, "NA", "NA/3.png", 0, "test_seen"),
]


def table(rows: list[tuple[object, ...]] = ROWS) -> pd.DataFrame:  # type: ignore[assignment]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_awkward_names_come_back_as_they_were(tmp_path: Path) -> None:
    write_csv(tmp_path / "split.csv", table())
    assert list(read_split(tmp_path / "split.csv", names=True).itertuples(index=False, name=None)) == ROWS
    assert list(read_split(tmp_path / "split.csv").columns) == ["source", "row", "label", "part"]


def test_parts_and_labels() -> None:
    assert part_images(table(), "train").tolist() == [0, 1]
    assert part_images(table(), "test_seen").tolist() == [3]
    assert image_labels(table()).tolist() == [0, 1, 2, 0]
    assert count_training_classes(table()) == 2


def test_gaps_in_the_training_labels_are_an_error() -> None:
    with pytest.raises(StageError, match="without gaps"):
        count_training_classes(table().assign(label=np.array([0, 2, 3, 0])))


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("test_unseen", "test", "image 2: part 'test'"),
        ("source,row", "source,line", "columns are"),
        ("null/ü.png,2", "null/ü.png,two", "split.csv"),
        ("a,0,", "a,-1,", "no negative row"),
        ("null/ü.png,2", "null/ü.png,2.5", "split.csv"),
        ("null/ü.png,2", "null/ü.png,99999999999999999999", "split.csv"),
    ],
)
def test_hand_edits_are_found(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "split.csv"
    write_csv(path, table())
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(StageError, match=message):
        read_split(path)


@pytest.mark.parametrize(
    "column, values, message",
    [
        ("label", [0, 1, 0, 0], "every label one name"),
        ("label", [0, 1, 2, 3], "needs one label"),
        ("part", ["train", "train", "test_unseen", "test_unseen"], "label 0 is in `test_unseen` and in another part"),
        ("part", ["train", "test_seen", "test_unseen", "train"], "label 1 is in `test_seen` but not in `train`"),
        ("row", [0, 1, 0, 0], "lists an image twice"),
    ],
)
def test_leaks_between_parts_are_found(
    tmp_path: Path, column: str, values: list[int] | list[str], message: str
) -> None:
    write_csv(tmp_path / "split.csv", table().assign(**{column: np.array(values)}))
    with pytest.raises(StageError, match=message):
        read_split(tmp_path / "split.csv")


def test_missing_and_empty_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    with pytest.raises(StageError, match="split.csv is missing"):
        read_split(path)
    path.write_text("", encoding="utf-8")
    with pytest.raises(StageError, match="split.csv"):
        read_split(path)
    write_csv(path, table([]))
    with pytest.raises(StageError, match="at least one image"):
        read_split(path)


def test_a_table_read_in_pieces_is_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "split.csv"
    write_csv(path, table())
    whole = read_split(path, names=True)
    monkeypatch.setattr(csv_files, "PIECE_ROWS", 3)
    pd.testing.assert_frame_equal(read_split(path, names=True), whole)
    write_csv(path, table().assign(part=["train", "train", "test_unseen", "test"]))
    with pytest.raises(StageError, match="image 3: part 'test'"):
        read_split(path)
