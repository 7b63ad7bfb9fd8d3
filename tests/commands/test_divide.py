"""`faces divide`."""

from pathlib import Path

import pandas as pd
import pytest

from faces.commands.main import dispatch
from faces.core.errors import StageError
from image_files import flat


def test_people_are_divided_and_paired(in_new_folder: None) -> None:
    for person in range(6):
        for image in range(3):
            path = Path(f"people/person {person}/{image}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            flat((10 * person + image,) * 3).save(path)
        Path(f"people/person {person}/.DS_Store").touch()
        Path(f"people/person {person}/notes.txt").touch()
    Path("people/.git").mkdir()
    dispatch(["divide", "people", "--test-people", "2"])
    names = {part: {path.name for path in Path("data/real", part).iterdir()} for part in ("train", "test")}
    assert len(names["train"]) == 4 and len(names["test"]) == 2 and not names["train"] & names["test"]
    pairs = pd.read_csv("data/real/test.csv")
    # Of 6 images of 2 people: 2 * 3 genuine pairs, and as many of the 3 * 3 impostor pairs.
    assert pairs["same"].tolist() == [1] * 6 + [0] * 6 and not pairs[["a", "b"]].duplicated().any()
    for a, b, same in pairs.itertuples(index=False):
        assert Path("data/real/test", a).is_file() and Path("data/real/test", b).is_file()
        assert (a.split("/")[0] == b.split("/")[0]) == bool(same)


def test_too_few_people_are_named(in_new_folder: None) -> None:
    for person in range(3):
        Path(f"people/{person}").mkdir(parents=True)
    with pytest.raises(StageError, match="--test-people 2: there are 3; leave two to train on"):
        dispatch(["divide", "people", "--test-people", "2"])


def test_people_of_one_image_give_no_genuine_pair(in_new_folder: None) -> None:
    for person in range(6):
        Path(f"people/{person}").mkdir(parents=True)
        flat((person,) * 3).save(f"people/{person}/0.png")
    with pytest.raises(StageError, match="no test person has two images, so there is no genuine pair"):
        dispatch(["divide", "people", "--test-people", "2"])


def test_a_link_is_not_replaced(in_new_folder: None) -> None:
    for person in range(6):
        for image in range(2):
            Path(f"people/{person}").mkdir(parents=True, exist_ok=True)
            flat((person,) * 3).save(f"people/{person}/{image}.png")
    Path("kept").mkdir()
    Path("data").mkdir()
    Path("data/real").symlink_to("../kept")
    with pytest.raises(StageError, match="data/real: is a link"):
        dispatch(["divide", "people", "--test-people", "2"])
    assert list(Path("kept").iterdir()) == []


def test_the_folder_that_is_replaced_is_not_taken_for_the_source(in_new_folder: None) -> None:
    for person in range(6):
        Path(f"data/real/{person}").mkdir(parents=True)
    with pytest.raises(StageError, match="data/real: lies in data/real, which is made anew"):
        dispatch(["divide", "data/real", "--test-people", "2"])
    assert len(list(Path("data/real").iterdir())) == 6


PAIRS = """2\t1
p0\t1\t3
p1\t2\tp2\t1
p3\t1\t2
p3\t3\tp4\t1
"""


@pytest.fixture
def listed(in_new_folder: None) -> None:
    for person in range(7):
        for image in range(1, 4):
            path = Path(f"people/p{person}/p{person}_{image:04}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            flat((10 * person + image,) * 3).save(path)
    Path("people/pairs.txt").write_text(PAIRS)


def test_the_people_of_a_list_of_pairs_are_tested_on(listed: None) -> None:
    dispatch(["divide", "people", "--pairs", "people/pairs.txt", "--folds", "2"])
    names = {part: sorted(path.name for path in Path("data/real", part).iterdir()) for part in ("train", "test")}
    assert names == {"train": ["p0", "p1", "p2", "p5", "p6"], "test": ["p3", "p4"]}
    assert Path("data/real/test.csv").read_text().splitlines() == [
        "a,b,same,fold",
        "p3/p3_0001.png,p3/p3_0002.png,1,1",
        "p3/p3_0003.png,p4/p4_0001.png,0,1",
    ]
    dispatch(["divide", "people", "--pairs", "people/pairs.txt"])
    assert sorted(path.name for path in Path("data/real/train").iterdir()) == ["p5", "p6"]
    assert pd.read_csv("data/real/test.csv")["fold"].tolist() == [0, 0, 1, 1]


def test_folds_without_a_list_of_pairs_are_refused(listed: None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        dispatch(["divide", "people", "--folds", "2"])
    assert "--folds goes with --pairs" in capsys.readouterr().err and not Path("data/real").exists()


def test_a_fold_or_image_that_is_not_there_is_named(listed: None) -> None:
    with pytest.raises(StageError, match="--folds 3: people/pairs.txt has 2, counted from 1"):
        dispatch(["divide", "people", "--pairs", "people/pairs.txt", "--folds", "1", "3"])
    Path("people/p3/p3_0002.png").unlink()
    with pytest.raises(StageError, match="people/pairs.txt: names p3/p3_0002, and there is no such image"):
        dispatch(["divide", "people", "--pairs", "people/pairs.txt"])
    assert not Path("data/real").exists()
