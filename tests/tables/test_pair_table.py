from pathlib import Path

import pytest

from faces.core.errors import StageError
from faces.tables.pair_table import read_pair_table

GOOD = "part,a,b,same\ntrain,0,1,1\ntest_seen,2,0,0\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "pairs.csv").write_text(GOOD, encoding="utf-8")
    return tmp_path / "pairs.csv"


def test_a_good_table_comes_back(path: Path) -> None:
    table = read_pair_table(path, images=3)
    assert list(table.itertuples(index=False, name=None)) == [("train", 0, 1, 1), ("test_seen", 2, 0, 0)]


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("train,0", "training,0", "line 2: part is 'training'"),
        ("test_seen,2", "test_seen,3", "line 3: a is 3"),
        ("2,0,0", "2,-1,0", "line 3: b is -1"),
        ("0,1,1", "0,1,2", "line 2: same is 2"),
        ("0,1,1", "0,one,1", "pairs.csv"),
        ("0,1,1", "0,1", "pairs.csv"),
        ("0,1,1", "0,1,1,1,1", "pairs.csv"),
        (",same", ",equal", "columns are part, a, b, equal; expected part, a, b, same"),
        (GOOD[14:], "", "has no pairs"),
        (GOOD, "", "pairs.csv"),
    ],
)
def test_hand_edits_are_named(path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    path.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(StageError, match=message):
        read_pair_table(path, images=3)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="gone.csv is missing"):
        read_pair_table(tmp_path / "gone.csv", images=3)
