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
    dispatch(["divide", "people", "--test-people", "2"])
    names = {part: {path.name for path in Path("data/real", part).iterdir()} for part in ("train", "test")}
    assert len(names["train"]) == 4 and len(names["test"]) == 2 and not names["train"] & names["test"]
    pairs = pd.read_csv("data/real/test.csv")
    # Of 6 images of 2 people: 2 * 3 genuine pairs, 3 * 3 impostor pairs.
    assert pairs["same"].tolist() == [1] * 6 + [0] * 9 and not pairs[["a", "b"]].duplicated().any()
    for a, b, same in pairs.itertuples(index=False):
        assert Path("data/real/test", a).is_file() and Path("data/real/test", b).is_file()
        assert (a.split("/")[0] == b.split("/")[0]) == bool(same)


def test_too_few_people_are_named(in_new_folder: None) -> None:
    for person in range(3):
        Path(f"people/{person}").mkdir(parents=True)
    with pytest.raises(StageError, match="--test-people 2: people has 3; leave two to train on"):
        dispatch(["divide", "people", "--test-people", "2"])


def test_the_folder_that_is_replaced_is_not_taken_for_the_source(in_new_folder: None) -> None:
    for person in range(6):
        Path(f"data/real/{person}").mkdir(parents=True)
    with pytest.raises(StageError, match="data/real: lies in data/real, which is made anew"):
        dispatch(["divide", "data/real", "--test-people", "2"])
    assert len(list(Path("data/real").iterdir())) == 6
