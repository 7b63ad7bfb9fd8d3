import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from by_hand import six_pairs
from review import ReviewParams, choose_part, tsne, worst_pairs
from small_project import run_stage, write_params


def test_worst_pairs_by_hand() -> None:
    every = six_pairs()  # genuine: rows 0 and 5; all impostors are of the same two people
    assert worst_pairs(every, same=1, count=5) == [0, 5]
    assert worst_pairs(every, same=1, count=1) == [0]
    assert worst_pairs(every, same=0, count=5) == [1]


def test_the_part_to_look_at_has_two_people() -> None:
    parts = ["train", "train", "test_seen", "test_seen", "test_unseen", "test_unseen"]
    split = pd.DataFrame({"part": parts, "label": [0, 1, 0, 1, 2, 3]})
    assert choose_part(split) == "test_unseen"
    assert choose_part(split[:5]) == choose_part(split[:4]) == "test_seen"
    assert choose_part(split.drop(index=[3, 5])) == "train"


@pytest.mark.parametrize("count", [2, 3, 4, 5, 70])
def test_any_number_of_points_has_a_plot(count: int) -> None:
    unit = np.random.default_rng(0).normal(size=(count, 16)).astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    params = ReviewParams(most_images=9, worst_pairs=1, tsne_subjects=2, group_by="", seed=0)
    points = tsne(unit, np.arange(count) % 2, np.arange(count), params)
    assert len(points) == count and np.isfinite(points[["x", "y"]].to_numpy()).all()


@pytest.mark.parametrize("count", [2, 3, 12])
def test_equal_embeddings_have_one_place(count: int) -> None:
    params = ReviewParams(most_images=9, worst_pairs=1, tsne_subjects=2, group_by="", seed=0)
    unit = np.tile(np.array([0.6, 0.8], np.float32), (count, 1))
    points = tsne(unit, np.arange(count) % 2, np.arange(count), params)
    assert len(points) == count and (points[["x", "y"]] == 0).all(axis=None)


def test_one_person_held_out_is_not_looked_at(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = pd.read_csv("data/split.csv")
    unseen = split["part"] == "test_unseen"
    kept = split[~unseen | (split["label"] == split["label"].max())].index
    split.loc[kept].to_csv("data/split.csv", index=False)
    np.save("data/embeddings.npy", np.load("data/embeddings.npy")[kept])
    run_stage("review")
    assert "pairs of test_seen with the worst scores: metrics/review" in capsys.readouterr().err


def test_the_stage_knows_attributes_and_groups(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faces.evaluation.groups.MIN_PAIRS", 1)
    subjects = [f"subject {number}" for number in range(6)]
    groups = pd.DataFrame({"subject": subjects, "group": ["x", "y"] * 3, '=odd, "name"': "1"})
    groups.to_csv("images/attributes.csv", index=False)
    write_params(project, review={"group_by": "group"}, split={"unseen_subjects": 0.7})
    for stage in (("pack", "drawn"), ("duplicates",), ("split",), ("evaluate",), ("review",)):
        run_stage(*stage)
    known = pd.read_csv("data/attributes/drawn.csv")
    packed = pd.concat(pd.read_csv(path) for path in sorted(Path("data/packed/drawn").glob("0*.csv")))
    assert known["group"].tolist() == ["xy"[int(name[-1]) % 2] for name in packed["subject"]]
    metrics = json.loads(Path("metrics/review.json").read_text())
    assert metrics["trade_off"] == pytest.approx(metrics["group_accuracy_mean"] - metrics["group_accuracy_std"])
    assert metrics["group_accuracy_mean"] == pytest.approx(
        (metrics["accuracy_of_group_x"] + metrics["accuracy_of_group_y"]) / 2
    )
    assert sorted(pd.read_csv("metrics/review/tsne.csv")["subject"].unique()) == [0, 1]  # no names, since Git keeps it
    with Image.open("metrics/review/worst_pairs.png") as sheet:
        assert np.asarray(sheet).min() < 128 < 255 == np.asarray(sheet).max()


def test_no_name_and_no_attribute_ends_the_script_of_a_page_of_plots(project: Path) -> None:
    subjects = [f"subject {number}" for number in range(6)]
    evil = "</script><script>alert(1)</script>"
    pd.DataFrame({"subject": subjects, "<!--<script>": evil}).to_csv("images/attributes.csv", index=False)
    Path("images/subject 0").rename("images/<!--<script>")
    for stage in (("pack", "drawn"), ("duplicates",), ("split",), ("review",)):
        run_stage(*stage)
    tables = [Path("metrics/review", name).read_text() for name in ("attributes.csv", "tsne.csv")]
    assert not any("<" in table for table in tables)
    assert "&lt;!--&lt;script>: &lt;/script>&lt;script>alert(1)&lt;/script>" in tables[0]


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
    for stage in (["pack", "drawn"], ["faces", "check"]):
        assert said in fails_with(*stage)


def test_a_pipe_of_attributes_is_not_waited_for(project: Path, fails_with: Callable[..., str]) -> None:
    os.mkfifo("images/attributes.csv")
    assert "images/attributes.csv is not a file" in fails_with("pack", "drawn")


def test_rows_of_no_image_are_counted(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("images/attributes.csv").write_text("path,hat\ngone.png,1\nsubject 2/3.png,7\nsubject 2/9.png,1\n")
    run_stage("pack", "drawn")
    assert "attributes.csv: 2 of its 3 rows match no image; the first is 'gone.png'" in capsys.readouterr().err
    hats = pd.read_csv("data/attributes/drawn.csv", dtype=str, keep_default_na=False)["hat"]
    assert hats[hats != ""].to_dict() == {2 * 6 + 3: "7"}
