import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from faces.core.errors import StageError
from faces.tables.split_table import read_split
from faces.tables.splitting import SplitParams, Splitting, count_images, describe, find_repeats, no_images
from small_project import run_stage, split_images, write_params


def part_images(sizes: dict[str, int], source: str = "s") -> pd.DataFrame:
    rows = [(source, subject, f"{subject}/{n}.png") for subject, size in sizes.items() for n in range(size)]
    table = pd.DataFrame(rows, columns=["source", "subject", "path"])
    table.insert(1, "row", range(len(table)))
    return table


def params(test_size: float = 0.3, unseen: float = 0.2, **changes: Any) -> SplitParams:
    values = {"seed": 0, "validation_size": 0.0, "validation_subjects": 0.0, "validation_sources": []}
    values |= {"same_names": "two_people", "drop_copies": False}
    return SplitParams.model_validate({"test_size": test_size, "unseen_subjects": unseen} | values | changes)


def sizes_of(split: pd.DataFrame) -> dict[str, int]:
    counts = no_images(split["label"].max() + 1)
    count_images(counts, split)
    return describe(counts)


MANY = {f"subject {n}": 10 for n in range(30)}


def test_shares_by_hand() -> None:
    sizes = sizes_of(split_images(part_images(MANY), params()))
    # 6 of 30 subjects are held out; of each of the other 24, 3 of 10 images are tested on.
    assert sizes == {
        "images_train": 168,
        "subjects_train": 24,
        "images_validation": 0,
        "subjects_validation": 0,
        "images_validation_unseen": 0,
        "subjects_validation_unseen": 0,
        "images_test_seen": 72,
        "subjects_test_seen": 24,
        "images_test_unseen": 60,
        "subjects_test_unseen": 6,
        "subjects_with_one_image": 0,
    }


def test_validation_images_come_out_of_training_alone() -> None:
    without, split = (split_images(part_images(MANY), params(validation_size=size)) for size in (0.0, 0.2))
    sizes = sizes_of(split)
    # Of each of the 24 training subjects, 2 of 10 images more are held out; who is tested stays.
    assert sizes["images_train"] == 120 and sizes["images_validation"] == 48 and sizes["subjects_validation"] == 24
    moved = split["part"] != without["part"]
    assert set(without["part"][moved]) == {"train"} and set(split["part"][moved]) == {"validation"}


def test_people_set_aside_come_out_of_training_alone() -> None:
    without, split = (split_images(part_images(MANY), params(validation_subjects=size)) for size in (0.0, 0.1))
    sizes = sizes_of(split)
    # 3 of 30 people are set aside, with all of their images; who is in test_unseen stays.
    assert sizes["subjects_validation_unseen"] == 3 and sizes["images_validation_unseen"] == 30
    assert sizes["subjects_train"] == 21 and sizes["images_test_seen"] == 63
    moved = split["part"] != without["part"]
    assert set(split["part"][moved]) == {"validation_unseen"} and not (without["part"][moved] == "test_unseen").any()
    assert sorted(split.loc[split["part"] == "train", "label"].unique()) == list(range(21))
    people = [set(rows["label"]) for part, rows in split.groupby("part") if part != "test_seen"]
    assert sum(map(len, people)) == len(set().union(*people)) == 30


def test_people_set_aside_are_of_the_sources_that_are_named() -> None:
    sources = params(validation_subjects=0.2, validation_sources=["y"], same_names="one_person")
    split = split_images(two_sources(), sources)
    aside = set(split.loc[split["part"] == "validation_unseen", "subject"])
    assert len(aside) == 6  # a fifth of the 30 people of y, some of whom have images in x too
    assert aside <= set(split.loc[split["source"] == "y", "subject"])
    assert not aside & set(split.loc[split["part"] != "validation_unseen", "subject"])
    with pytest.raises(StageError, match="split.validation_sources: 'z' is none of `sources`"):
        split_images(two_sources(), params(validation_subjects=0.2, validation_sources=["z"]))


def test_people_set_aside_leave_two_to_train_on() -> None:
    six = part_images({name: 4 for name in "abcdef"})
    assert sizes_of(split_images(six, params(validation_subjects=0.1)))["subjects_train"] == 2
    with pytest.raises(StageError, match=r"split\.validation_subjects: 0\.1: holds out 2 of 5"):
        split_images(part_images({name: 4 for name in "abcde"}), params(validation_subjects=0.1))


def test_a_validation_share_leaves_one_image_to_train_on() -> None:
    split = split_images(part_images({"a": 4, "b": 4}), params(validation_size=0.9, unseen=0.0))
    assert split["part"].value_counts().to_dict() == {"validation": 4, "train": 2, "test_seen": 2}


def test_parts_are_what_their_names_say() -> None:
    split = split_images(part_images(MANY), params())
    subjects = {part: set(group["subject"]) for part, group in split.groupby("part")}
    assert subjects["train"] == subjects["test_seen"]
    assert not subjects["train"] & subjects["test_unseen"]
    labels = split.groupby("subject")["label"].unique()
    assert all(len(label) == 1 for label in labels)
    assert sorted(split.loc[split["part"] == "train", "label"].unique()) == list(range(24))
    assert sorted(split.loc[split["part"] == "test_unseen", "label"].unique()) == list(range(24, 30))


def test_labels_follow_sorted_names() -> None:
    split = split_images(part_images({"b": 4, "10": 4, "9": 4, "a": 4}), params(unseen=0.0))
    assert dict(zip(split["subject"], split["label"], strict=True)) == {"10": 0, "9": 1, "a": 2, "b": 3}


def test_the_same_name_in_two_sources_is_two_people() -> None:
    both = pd.concat([part_images(MANY, "x"), part_images(MANY, "y")], ignore_index=True)
    assert split_images(both, params())["label"].nunique() == 60


def two_sources() -> pd.DataFrame:
    """Images of 30 people in source x; 20 of them, and 10 others, in source y."""
    others = {f"subject {n}": 10 for n in range(10, 40)}
    return pd.concat([part_images(MANY, "x"), part_images(others, "y")], ignore_index=True)


def test_one_name_in_two_sources_is_one_person_if_asked_for() -> None:
    split = split_images(two_sources(), params(same_names="one_person"))
    assert split.groupby("subject")["label"].nunique().eq(1).all()
    assert split.groupby("label")["subject"].nunique().eq(1).all()
    # 8 of 40 people are held out, wherever their images are; 3 of 10 images of each other source and person are tested.
    people = {part: set(rows["subject"]) for part, rows in split.groupby("part")}
    assert len(people["test_unseen"]) == 8 and not people["test_unseen"] & people["train"]
    assert sizes_of(split)["subjects_train"] == 32
    sizes = split[split["part"] == "test_seen"].groupby(["source", "subject"]).size()
    assert sizes.eq(3).all() and len(sizes) == 60 - len(split[split["part"] == "test_unseen"]) / 10


def test_the_table_of_one_person_in_two_sources_is_read(tmp_path: Path) -> None:
    split = split_images(two_sources(), params(same_names="one_person"))
    split.to_csv(tmp_path / "split.csv", index=False)
    assert read_split(tmp_path / "split.csv")["label"].tolist() == split["label"].tolist()


def test_names_in_two_sources_are_warned_of(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = [table for _, table in two_sources().groupby("source")]
    monkeypatch.setattr("split.read_packed_tables", lambda _: tables)
    Path("data/duplicates.csv").write_text("source,row,group\n")
    write_params(project, split={"unseen_subjects": 0.3})
    run_stage("split")
    table = pd.read_csv("data/split.csv")
    names = {part: rows[["source", "subject"]].drop_duplicates() for part, rows in table.groupby("part")}
    shared = names["test_unseen"]["subject"].isin(names["train"]["subject"]).sum()
    assert shared > 5  # of 18
    printed = capsys.readouterr().err
    assert "warning: 20 name(s) are in several sources: 'subject 10' (x, y), 'subject 11' (x, y), " in printed
    assert f"so {shared} of 18 subjects of test_unseen have the name of a training subject" in printed
    assert "train: " in printed and ": 0 images" not in printed  # no part that is empty
    write_params(project, split={"unseen_subjects": 0.3, "same_names": "one_person"})
    run_stage("split")
    assert "warning" not in capsys.readouterr().err
    assert json.loads(Path("metrics/split.json").read_text())["subjects_test_unseen"] == 12  # of 40


def test_an_image_that_copies_an_earlier_one_of_its_part_is_a_repeat() -> None:
    parts = ["train", "train", "test_seen", "test_seen", "test_unseen", "test_unseen", "test_unseen"]
    split = pd.DataFrame({"source": "s", "row": range(7), "part": parts})
    groups = pd.DataFrame({"source": "s", "row": [0, 1, 2, 3, 4, 6], "group": [5, 5, 8, 9, 8, 8]})
    whole = [False, False, False, False, False, False, True]  # 6 copies 4; 2 does too, but in another part
    assert find_repeats(split, groups, set()).tolist() == whole
    seen = set[tuple[str, int]]()
    pieces = [find_repeats(piece, groups, seen) for piece in (split[:5], split[5:])]
    assert pd.concat(pieces).tolist() == whole


@pytest.mark.parametrize("drop", [False, True])
def test_of_copies_within_a_test_part_one_is_kept(drop: bool) -> None:
    """Each of 10 subjects has 4 photos, each of them twice; a copy has the same name, and `_copy`."""
    photos = part_images({f"subject {n}": 8 for n in range(10)})
    groups = pd.DataFrame({"source": "s", "row": photos["row"], "group": photos["row"] // 2})
    splitting = Splitting(lambda: [photos], params(test_size=0.5, drop_copies=drop))
    split = pd.concat(splitting.pieces(groups))
    unseen = split[split["part"] == "test_unseen"]
    assert splitting.repeats["test_unseen"] == 8  # 2 held-out subjects with 8 images, 4 photos each
    assert len(unseen) == (8 if drop else 16) and splitting.sizes["images_test_unseen"] == len(unseen)
    assert (unseen["row"] // 2).nunique() == 8
    if drop:
        assert not (split["row"] // 2)[split["part"] != "train"].duplicated().any()


def test_the_seed_decides_and_the_order_does_not() -> None:
    images = part_images(MANY)
    split = split_images(images, params())
    shuffled = split_images(images.sample(frac=1, random_state=0), params()).sort_index()
    pd.testing.assert_frame_equal(split, shuffled)
    assert (split["part"] != split_images(images, params(seed=1))["part"]).any()


def test_a_new_image_or_subject_moves_few_others() -> None:
    before = split_images(part_images(MANY), params()).set_index("path")["part"]
    one_more = split_images(part_images(MANY | {"subject 7": 11}), params()).set_index("path")["part"]
    subject_more = split_images(part_images(MANY | {"newcomer": 10}), params()).set_index("path")["part"]
    # 3.3 of 11 rounds to 3, as 3.0 of 10 did: the new image can take one place at the most.
    assert (before != one_more[before.index]).sum() <= 1
    # 6.2 of 31 rounds to 6, as 6.0 of 30 did: the new subject can push out one of 10 images at the most.
    assert (before != subject_more[before.index]).sum() <= 10


@pytest.mark.parametrize("size, tested", [(1, 0), (2, 1), (3, 1), (4, 1), (5, 2), (10, 3), (50, 15)])
def test_every_subject_keeps_an_image_to_train_on(size: int, tested: int) -> None:
    split = split_images(part_images({"a": size, "b": 10}), params(unseen=0.0))
    assert (split.loc[split["subject"] == "a", "part"] == "test_seen").sum() == tested


def test_greedy_test_size_leaves_one_image_each() -> None:
    split = split_images(part_images({"a": 5, "b": 3}), params(test_size=0.99, unseen=0.0))
    assert (split["part"] == "train").sum() == 2


def test_unseen_subjects_are_none_or_at_least_two() -> None:
    five = {name: 4 for name in "abcde"}
    assert sizes_of(split_images(part_images(five), params(unseen=0.01)))["subjects_test_unseen"] == 2
    assert sizes_of(split_images(part_images(five), params(unseen=0.0)))["subjects_test_unseen"] == 0
    with pytest.raises(StageError, match=r"split\.unseen_subjects: 0\.9: holds out 4 of 5"):
        split_images(part_images(five), params(unseen=0.9))


def test_nothing_to_test_on_is_an_error() -> None:
    with pytest.raises(StageError, match=r"split\.test_size: 0\.3: leaves nothing to test on"):
        split_images(part_images({"a": 1, "b": 1}), params(unseen=0.0))
    with pytest.raises(StageError, match=r"split\.test_size: 0\.01: leaves nothing to test on"):
        split_images(part_images(MANY), params(test_size=0.01))


def test_two_images_a_subject_leave_no_genuine_pair_which_is_told_before_training() -> None:
    images = pd.DataFrame(
        [("s", row, f"{row // 2}", f"{row}.png") for row in range(20)], columns=["source", "row", "subject", "path"]
    )
    by_default = params(unseen=0.0)
    none = pd.DataFrame({"source": [], "row": [], "group": []})
    with pytest.raises(StageError, match="no subject has two images in `train`.*three images.*split.test_size: 0.3"):
        list(Splitting(lambda: [images], by_default).paired_pieces(none))
    assert len(list(Splitting(lambda: [images], by_default).pieces(none))) == 1
    third = pd.DataFrame([("s", 20, "9", "20.png")], columns=images.columns)
    more = pd.concat([images, third], ignore_index=True)
    assert sum(map(len, Splitting(lambda: [more], by_default).paired_pieces(none))) == 21


def test_one_subject_is_an_error() -> None:
    with pytest.raises(StageError, match="found 1 subject"):
        split_images(part_images({"a": 9}), params())


def test_the_stage_writes_what_it_counts_and_the_same_bytes(project: Path) -> None:
    before = Path("data/split.csv").read_bytes()
    run_stage("split")
    assert Path("data/split.csv").read_bytes() == before
    split = pd.read_csv("data/split.csv")
    assert json.loads(Path("metrics/split.json").read_text())["images_train"] == (split["part"] == "train").sum()
    assert len(split) == 36


def test_a_source_that_is_no_longer_listed_is_not_read(project: Path) -> None:
    Path("data/packed/old").mkdir()
    Path("data/packed/old/00000.csv").write_text("subject,path\nx,x/1.png\n", encoding="utf-8")
    run_stage("split")
    assert set(pd.read_csv("data/split.csv")["source"]) == {"drawn"}


@pytest.mark.parametrize("unseen, left, warned", [(0.3, 0, True), (0.3, 1, True), (0.3, 2, False), (0.0, 0, False)])
def test_too_few_held_out_people_are_warned_about(
    project: Path, capsys: pytest.CaptureFixture[str], unseen: float, left: int, warned: bool
) -> None:
    """Two of six people are held out, of whom all but `left` are copies of training images, and so dropped."""
    write_params(project, split={"unseen_subjects": unseen, "drop_copies": True})
    Path("data/duplicates.csv").write_text("source,row,group\n")
    run_stage("split")
    before = pd.read_csv("data/split.csv")
    held_out = sorted(before.loc[before["part"] == "test_unseen", "subject"].unique())
    copied = before[before["subject"].isin(held_out[left:])]
    rows = pd.concat([before[before["part"] == "train"][:1], copied]) if len(copied) else copied
    rows[["source", "row"]].assign(group=0).to_csv("data/duplicates.csv", index=False)
    capsys.readouterr()
    run_stage("split")
    assert (f"test_unseen has {left} subject(s)" in capsys.readouterr().err) == warned


@pytest.mark.parametrize("content", ["", "who,path\na,b\n"])
def test_a_damaged_table_is_named(project: Path, content: str, fails_with: Callable[..., str]) -> None:
    Path("data/packed/drawn/00000.csv").write_text(content, encoding="utf-8")
    assert "data/packed/drawn/00000.csv" in fails_with("split")


@pytest.mark.parametrize("test_size", [0.0, 1.0, -0.1, 1.5, "0.3", None])
def test_test_size_out_of_range(project: Path, test_size: object, fails_with: Callable[..., str]) -> None:
    write_params(project, split={"test_size": test_size})
    assert f"params.yaml: split.test_size: {test_size!r}: input should be" in fails_with("split")
