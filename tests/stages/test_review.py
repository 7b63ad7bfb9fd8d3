import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from faces.evaluation.bootstrap import Pairs
from faces.evaluation.every_pair import EveryPair
from review import ReviewParams, errors_by_attribute, groups_of_pairs, in_thirds, part_of, tsne, worst
from small_project import run_stage, write_params


def six_pairs() -> EveryPair:
    """Pairs of images 0 to 3 of people 5, 5, 7, 7."""
    a, b = np.triu_indices(4, k=1)
    person = np.array([5, 5, 7, 7])
    same = (person[a] == person[b]).astype(np.int64)
    return EveryPair(Pairs(np.array([0.2, 0.9, 0.1, 0.8, 0.3, 0.7]), same, person[a], person[b]), a, b)


def test_worst_pairs_by_hand() -> None:
    every = six_pairs()  # genuine: rows 0 and 5; all impostors are of the same two people
    assert worst(every, same=1, count=5) == [0, 5]
    assert worst(every, same=1, count=1) == [0]
    assert worst(every, same=0, count=5) == [1]


def test_errors_by_attribute_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("review.FEWEST_PAIRS", 1)
    known = pd.DataFrame({"hat": ["red", "", "blue", ""]})
    table = errors_by_attribute(six_pairs(), known, threshold=0.5)
    # Red: image 0, in pairs 01 (genuine 0.2, rejected), 02 and 03 (impostor 0.9 and 0.1). Blue: image 2, in 02 and 12
    # (impostor 0.9 and 0.8) and 23 (genuine 0.7).
    assert table.drop(columns="attribute").to_numpy().tolist() == [
        ["hat: blue", "FNMR", 0.0, 1],
        ["hat: blue", "FMR", 1.0, 2],
        ["hat: red", "FNMR", 1.0, 1],
        ["hat: red", "FMR", 0.5, 2],
    ]


def test_rates_of_few_pairs_are_left_out() -> None:
    assert len(errors_by_attribute(six_pairs(), pd.DataFrame({"hat": ["red"] * 4}), 0.5)) == 0


def test_many_numbers_are_cut_into_thirds() -> None:
    values = pd.Series([*map(str, range(-9, 9)), ""])
    groups, names = in_thirds(values)
    assert len(names) == 3 and names[0].startswith("-9 to")
    assert groups.tolist() == [name for name in names for _ in range(6)] + [""]
    few, names = in_thirds(pd.Series(["1", "0", "", "1"]))
    assert few.tolist() == ["1", "0", "", "1"] and names == ["0", "1"]
    assert in_thirds(pd.Series(["0"] * 20 + [*map(str, range(7))]))[1] == []


def test_thirds_of_large_numbers_have_different_names() -> None:
    values = pd.Series([str(1_000_000 + number) for number in range(10)])
    groups, names = in_thirds(values)  # cut at 1,000,003 and 1,000,006; a number on an edge is in the lower third
    assert names == ["1000000 to 1000003", "1000003 to 1000006", "1000006 to 1000009"]
    assert groups.value_counts().to_dict() == {names[0]: 4, names[1]: 3, names[2]: 3}


def test_an_empty_cell_is_no_value() -> None:
    six = [*map(str, range(6))] * 3
    assert in_thirds(pd.Series([*six, ""]))[1] == in_thirds(pd.Series(six))[1] == six[:6]


def test_an_infinite_number_is_a_name() -> None:
    values = [*map(str, range(9)), "inf"]
    assert in_thirds(pd.Series(values))[1] == values


def test_of_many_values_the_most_frequent_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("review.FEWEST_PAIRS", 1)
    monkeypatch.setattr("review.MOST_VALUES", 2)
    hats = ["red", "blue", "green", "blue", "red", "red", "red"]  # the last three images are in no pair
    table = errors_by_attribute(six_pairs(), pd.DataFrame({"hat": hats}), 0.5)
    assert table["value"].unique().tolist() == ["hat: blue", "hat: green"]  # of one image each, green before red
    assert "hat: has 3 values; the 2 of most images are shown" in capsys.readouterr().err


def test_the_part_to_look_at_has_two_people() -> None:
    parts = ["train", "train", "test_seen", "test_seen", "test_unseen", "test_unseen"]
    split = pd.DataFrame({"part": parts, "label": [0, 1, 0, 1, 2, 3]})
    assert part_of(split) == "test_unseen"
    assert part_of(split[:5]) == part_of(split[:4]) == "test_seen"
    assert part_of(split.drop(index=[3, 5])) == "train"


@pytest.mark.parametrize("count", [2, 3, 4, 5, 70])
def test_any_number_of_points_has_a_plot(count: int) -> None:
    unit = np.random.default_rng(0).normal(size=(count, 16)).astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    params = ReviewParams(most_images=9, worst_pairs=1, tsne_subjects=2, tsne_perplexity=20.0, group_by="", seed=0)
    points = tsne(unit, np.array(["x", "y"] * count)[:count], np.arange(count), params)
    assert len(points) == count and np.isfinite(points[["x", "y"]].to_numpy()).all()


def test_one_person_held_out_is_not_looked_at(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = pd.read_csv("data/split.csv")
    unseen = split["part"] == "test_unseen"
    kept = split[~unseen | (split["label"] == split["label"].max())].index
    split.loc[kept].to_csv("data/split.csv", index=False)
    np.save("data/embeddings.npy", np.load("data/embeddings.npy")[kept])
    run_stage("review")
    assert "test_seen: metrics/review" in capsys.readouterr().err


def test_groups_of_pairs_by_hand() -> None:
    known = pd.DataFrame({"hat": ["red", "red", "blue", ""]})
    groups = groups_of_pairs(six_pairs(), known, "hat")
    assert list(groups.categories) == ["blue", "red"] and groups.codes.tolist() == [1, -1, -1, -1, -1, -1]


def test_the_stage_knows_attributes_and_groups(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faces.evaluation.metrics.FEWEST_OF_KIND", 1)
    subjects = [f"subject {number}" for number in range(6)]
    groups = pd.DataFrame({"subject": subjects, "group": ["x", "y"] * 3, '=odd, "name"': "1"})
    groups.to_csv("images/attributes.csv", index=False)
    write_params(project, review={"group_by": "group"}, split={"unseen_subjects": 0.7})
    for stage in (("pack", "drawn"), ("duplicates",), ("split",), ("evaluate",), ("review",)):
        run_stage(*stage)
    known = pd.read_csv("data/attributes/drawn.csv")
    packed = pd.concat(pd.read_csv(path) for path in sorted(Path("data/packed/drawn").glob("0*.csv")))
    assert known["group"].tolist() == ["xy"[int(name[-1]) % 2] for name in packed["subject"]]
    figures = json.loads(Path("metrics/review.json").read_text())
    assert figures["trade_off"] == pytest.approx(figures["group_accuracy_mean"] - figures["group_accuracy_std"])
    assert figures["group_accuracy_mean"] == pytest.approx(
        (figures["accuracy_of_group_x"] + figures["accuracy_of_group_y"]) / 2
    )
    assert len(pd.read_csv("metrics/review/tsne.csv")["subject"].unique()) == 2
    with Image.open("metrics/review/worst_pairs.png") as sheet:
        assert np.asarray(sheet).min() < 128 < 255 == np.asarray(sheet).max()


def test_the_same_bytes_again(project: Path) -> None:
    paths = [Path("metrics/review", name) for name in ("tsne.csv", "attributes.csv", "worst_pairs.png")]
    before = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    run_stage("review")
    assert [path.read_bytes() for path in paths] == before


def test_an_unknown_group_is_named(project: Path, fails_with: Callable[..., str]) -> None:
    write_params(project, review={"group_by": "shoe size"})
    assert "params.yaml: review.group_by: 'shoe size'" in fails_with("review")


@pytest.mark.parametrize(
    "content, said",
    [
        ("name,hat\nx,1\n", "neither a column `path` nor a column `subject`"),
        ("subject,hat\nsubject 1,1\nsubject 1,2\n", "subject 'subject 1' comes twice"),
        ("subject,row\nsubject 1,1\n", "has a column `row`"),
        ("", "attributes.csv"),
        ("subject,hat\nsubject 1,1,1,1\n", "attributes.csv"),
        ("subject,hat\nsubject \xff,1\n", "attributes.csv"),
        ("subject,hat,hat\nsubject 1,1,1\n", "has a column twice"),
        ("subject,hat\nsubject 1,\0\n", "holds a zero byte"),
        ("path,hat\nsubject 1/7.png,1\n", "none of its rows, 1 in all, has an image's path, such as 'subject 0/0.png'"),
        (
            "subject,hat\nperson 1,1\nperson 2,1\n",
            "none of its rows, 2 in all, has an image's subject, such as 'subject 0'",
        ),
        ("path,hat\n", "none of its rows, 0 in all, has an image's path, such as 'subject 0/0.png'"),
    ],
)
def test_wrong_attributes_are_named_before_anything_is_packed(
    project: Path, content: str, said: str, fails_with: Callable[..., str]
) -> None:
    Path("images/attributes.csv").write_bytes(content.encode("latin-1"))
    for stage in (["pack", "drawn"], ["check"]):
        assert said in fails_with(*stage)


def test_a_pipe_of_attributes_is_not_waited_for(project: Path, fails_with: Callable[..., str]) -> None:
    os.mkfifo("images/attributes.csv")
    assert "images/attributes.csv is not a file" in fails_with("pack", "drawn")


def test_rows_of_no_image_are_counted(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("images/attributes.csv").write_text("path,hat\ngone.png,1\nsubject 2/3.png,7\nsubject 2/9.png,1\n")
    run_stage("pack", "drawn")
    assert "attributes.csv: 2 of its 3 rows are of no image; the first is 'gone.png'" in capsys.readouterr().err
    hats = pd.read_csv("data/attributes/drawn.csv", dtype=str, keep_default_na=False)["hat"]
    assert hats[hats != ""].to_dict() == {2 * 6 + 3: "7"}
