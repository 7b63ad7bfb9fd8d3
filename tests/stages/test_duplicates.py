import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from duplicates import describe, pair_across_people
from faces.tables.split_table import read_split
from faces.tables.splitting import find_copies_of_training, groups_in_training
from small_project import run_stage, write_params


def test_counts_by_hand() -> None:
    rows = [("s", "a", 0), ("s", "a", 0), ("s", "b", 4), ("t", "b", 4), ("s", "c", 4)]
    copies = pd.DataFrame(rows, columns=["source", "subject", "group"])
    assert describe(copies) == {"images": 5, "groups": 2, "groups_of_several_subjects": 1}
    assert describe(copies[:0]) == {"images": 0, "groups": 0, "groups_of_several_subjects": 0}


def test_copies_across_people_are_paired_with_the_first_of_their_group() -> None:
    rows = [("s", "a", "1", 0), ("s", "a", "2", 0), ("s", "b", "3", 4), ("t", "b", "4", 4), ("s", "b", "5", 4)]
    rows += [("s", "c", "6", 4)]
    copies = pd.DataFrame(rows, columns=["source", "subject", "path", "group"])
    pairs = pair_across_people(copies)
    assert list(pairs) == ["source_a", "subject_a", "path_a", "source_b", "subject_b", "path_b"]
    assert pairs.to_numpy().tolist() == [["s", "b", "3", "t", "b", "4"], ["s", "b", "3", "s", "c", "6"]]


def test_only_test_images_with_a_copy_in_training_count() -> None:
    parts = ["train", "test_seen", "test_unseen", "test_seen", "test_unseen", "train"]
    split = pd.DataFrame({"source": "s", "row": [4, 1, 2, 3, 0, 5], "part": parts})
    groups = pd.DataFrame({"source": "s", "row": [4, 1, 3, 0], "group": [7, 7, 8, 8]})
    trained_on = groups_in_training([split[:2], split[2:]], groups)
    assert trained_on == {7}
    assert find_copies_of_training(split, groups, trained_on).tolist() == [False, True, False, False, False, False]


@pytest.fixture
def leaky(project: Path) -> pd.DataFrame:
    """The project with two test images replaced by copies of training images, packed again; its split before."""
    random = np.random.default_rng(0)
    for path in sorted(Path("images").rglob("*.png")):  # no two alike, with details as faces have
        coarse = Image.fromarray(random.integers(0, 256, (14, 14, 3), dtype=np.uint8))
        coarse.resize((112, 112), Image.Resampling.BICUBIC).save(path)
    split = read_split(names=True)
    train = split[split["part"] == "train"]["path"].iloc[0]
    for part, quality in (("test_seen", 30), ("test_unseen", 0)):
        target = Path("images", split[split["part"] == part]["path"].iloc[0])
        if quality:
            Image.open(Path("images", train)).save("copy.jpg", quality=quality)
            Image.open("copy.jpg").save(target)
        else:
            shutil.copy(Path("images", train), target)
    run_stage("pack", "drawn")
    return split


def test_copies_are_counted_and_warned_about(leaky: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    run_stage("duplicates")
    assert json.loads(Path("metrics/duplicates.json").read_text()) == {
        "images_searched": 36,
        "images": 3,
        "groups": 1,
        "groups_of_several_subjects": 1,
    }
    across = pd.read_csv("data/copies_across_people.csv", dtype=str)
    assert (across["subject_a"] != across["subject_b"]).all() and len(across) >= 1
    assert set(across["path_a"]) | set(across["path_b"]) <= set(leaky["path"])
    run_stage("split")
    sizes = json.loads(Path("metrics/split.json").read_text())
    assert (sizes["copies_test_seen"], sizes["copies_test_unseen"]) == (1, 1)
    pd.testing.assert_frame_equal(read_split(names=True), leaky)
    assert "2 images outside `train` are copies, or near copies, of training images" in capsys.readouterr().err


def test_one_plain_image_in_several_people_is_one_group(leaky: pd.DataFrame) -> None:
    for subject in range(4):
        Image.new("RGB", (112, 112)).save(f"images/subject {subject}/0.png")
    run_stage("pack", "drawn")
    run_stage("duplicates")
    across = pd.read_csv("data/copies_across_people.csv")
    plain = across[across["path_b"].str.endswith("/0.png")]
    assert plain["path_a"].tolist() == ["subject 0/0.png"] * 3
    assert plain["subject_b"].tolist() == ["subject 1", "subject 2", "subject 3"]


def test_copies_are_dropped_if_asked_for(leaky: pd.DataFrame, project: Path) -> None:
    write_params(project, split={"drop_copies": True})
    run_stage("duplicates")
    run_stage("split")
    kept, before = read_split(names=True), leaky.set_index("path")["part"].to_dict()
    dropped = set(before) - set(kept["path"])
    assert sorted(before[path] for path in dropped) == ["test_seen", "test_unseen"]
    assert [before[path] for path in kept["path"]] == kept["part"].tolist()


def test_without_neighbours_no_copy_is_looked_for(
    leaky: pd.DataFrame, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duplicates.group_copies", None)  # a call would fail
    write_params(project, duplicates={"neighbours": 0})
    run_stage("duplicates")
    assert Path("data/duplicates.csv").read_text() == "source,row,group\n"
    assert json.loads(Path("metrics/duplicates.json").read_text()) == {"images_searched": 0}
    assert Path("data/copies_across_people.csv").read_text().count("\n") == 1
    assert "no copies were looked for (duplicates.neighbours: 0)" in capsys.readouterr().err
    run_stage("split")
    assert not any("copies" in name for name in json.loads(Path("metrics/split.json").read_text()))
    pd.testing.assert_frame_equal(read_split(names=True), leaky)


@pytest.mark.parametrize("stage", [("split",), ("faces", "check")])
def test_copies_that_are_not_looked_for_cannot_be_dropped(
    project: Path, stage: tuple[str, ...], fails_with: Callable[..., str]
) -> None:
    write_params(project, duplicates={"neighbours": 0}, split={"drop_copies": True})
    assert "params.yaml: split.drop_copies: true: duplicates.neighbours: 0" in fails_with(*stage)


def test_what_a_source_left_that_is_no_longer_listed_is_removed(project: Path) -> None:
    for source in ("old", "drawn"):
        Path(f"metrics/pack@{source}.json").touch()
        Path(f"metrics/pack/{source}.png").touch()
    for folder in ("data/packed/old", "models/checkpoints/pack/old", "models/checkpoints/pack/drawn"):
        Path(folder).mkdir(parents=True)
    for path in ("packed/old/00000.npy", "packed/drawn.npy", "packed/other.txt", "attributes/old.csv"):
        Path("data", path).touch()
    run_stage("duplicates")
    # What is left is the same as for a colleague, who never had the old source.
    assert sorted(path.name for path in Path("data/packed").iterdir()) == ["drawn", "other.txt"]
    assert [path.name for path in Path("models/checkpoints/pack").iterdir()] == ["drawn"]
    assert [path.name for path in Path("data/attributes").iterdir()] == ["drawn.csv"]
    assert [path.name for path in Path("metrics").glob("pack@*")] == ["pack@drawn.json"]
    assert [path.name for path in Path("metrics/pack").iterdir()] == ["drawn.png"]


def test_without_the_table_of_copies(project: Path, fails_with: Callable[..., str]) -> None:
    Path("data/duplicates.csv").unlink()
    assert "data/duplicates.csv is missing" in fails_with("split")
