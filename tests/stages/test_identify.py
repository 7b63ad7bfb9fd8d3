import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from by_hand import vote
from faces.evaluation.identification import knn_vote
from faces.tables.kept_scores import IDENTIFIED_PATH, name_split_images, read_decisions
from faces.tables.split_table import image_labels, read_split
from small_project import run_stage, write_params


def test_the_stage_reports_embeddings_beside_pixels(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_stage("identify")
    printed = capsys.readouterr().err
    (line,) = (line for line in printed.splitlines() if line.startswith("test_unseen: left out: "))
    assert "dir_at_far_0.01 (needs 100 probes of strangers, there are" in line
    assert "seen: rank_5 is always 1, since only 4 people are enrolled" in printed
    metrics = json.loads(Path("metrics/identify.json").read_text())
    split = read_split(names=True)
    part, labels = split["part"].to_numpy(), image_labels(split)
    pixels = np.array([np.asarray(Image.open(Path("images") / path)).ravel() for path in split["path"]], float)
    pixels /= np.linalg.norm(pixels, axis=1, keepdims=True)
    gallery, probes = np.flatnonzero(part == "train"), np.flatnonzero(part == "test_seen")
    right = [vote(pixels[gallery], labels[gallery], pixels[probe], 3) == labels[probe] for probe in probes]
    assert metrics["knn_accuracy_pixels"] == np.mean(right)
    assert metrics["probes"] == metrics["probes_pixels"] == len(probes)
    vectors = np.load("data/embeddings.npy").astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    right = [vote(vectors[gallery], labels[gallery], vectors[probe], 3) == labels[probe] for probe in probes]
    assert metrics["knn_accuracy"] == np.mean(right)
    kept = read_decisions(IDENTIFIED_PATH.read_bytes(), "")
    assert list(kept) == [
        ("test_seen", "knn_accuracy"),
        ("test_seen", "rank_1"),
        ("test_seen", "dir_at_far_0.1"),
        ("test_unseen", "rank_1"),
    ]
    votes, names = kept["test_seen", "knn_accuracy"], name_split_images(split)
    assert votes.scores.tolist() == right and votes.images[votes.a].tolist() == names.images[probes].tolist()
    own = [vectors[gallery[labels[gallery] == name]] for name in range(4)]
    best = np.array([[(images @ vectors[probe]).max() for images in own] for probe in probes])
    right = [np.argsort(-row)[0] == labels[probe] for row, probe in zip(best, probes, strict=True)]
    assert metrics["rank_1"] == np.mean(right)
    strangers = np.flatnonzero(part == "test_unseen")
    of_strangers = [max((images @ vectors[probe]).max() for images in own) for probe in strangers]
    searched = kept["test_seen", "dir_at_far_0.1"]
    assert searched.images[searched.a].tolist() == names.images[np.concatenate([probes, strangers])].tolist()
    assert searched.same.tolist() == [1] * len(probes) + [0] * len(strangers)
    expected = [*np.where(right, best.max(axis=1), -2), *of_strangers]
    np.testing.assert_allclose(searched.scores, expected, atol=1e-6)
    assert metrics["rank_5"] == 1.0  # there are four people
    curves = pd.read_csv("metrics/identify/cmc.csv")
    seen = curves[curves["set"] == "test_seen"]
    assert seen["rank"].tolist() == list(range(1, 51)) and seen["rate"].iloc[0] == pytest.approx(metrics["rank_1"])
    unseen = labels[part == "test_unseen"]
    assert metrics["probes_test_unseen"] + metrics["strangers_test_unseen"] == len(unseen) - 3  # of one person of two
    assert metrics["strangers"] == len(unseen)
    assert (metrics["enrolled"], metrics["enrolled_test_unseen"]) == (4, 1)
    for name in ("rank_1", "dir_at_far_0.1", "rank_1_test_unseen"):  # the suffix of the search comes before the end's
        assert metrics[f"{name}_low"] <= metrics[name] <= metrics[f"{name}_high"]


def test_a_vote_of_people_with_one_image_is_warned_of(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = pd.read_csv("data/split.csv")
    again = split["part"].eq("train") & split.duplicated(["part", "label"])
    split[~again].to_csv("data/split.csv", index=False)
    np.save("data/embeddings.npy", np.load("data/embeddings.npy")[~again])
    said = "params.yaml: identify.neighbours: 3: people have 1 images each in `train`, so ties decide the vote"
    run_stage("identify")
    assert said in capsys.readouterr().err
    write_params(project, identify={"neighbours": 1})
    run_stage("identify")
    assert "identify.neighbours" not in capsys.readouterr().err


def test_many_people_with_one_image_raise_no_warning_of_scikit_learn() -> None:
    """It takes more labels than 20, and than half of the images, for numbers; a warning is an error in these tests."""
    unit = np.eye(30, dtype=np.float32)
    assert knn_vote(unit, np.arange(30), unit, np.arange(30), neighbours=1).all()


def test_probes_are_bounded(project: Path) -> None:
    write_params(project, identify={"probe_images": 4})
    run_stage("identify")
    metrics = json.loads(Path("metrics/identify.json").read_text())
    # Of test_seen and of the strangers, test_unseen, 4 each; and 4 of those of test_unseen who are not enrolled.
    assert metrics["probes"] == 4 and metrics["strangers"] == 4
    assert metrics["probes_test_unseen"] + metrics["strangers_test_unseen"] == 4
