"""Validation of the small project, against the functions of verification."""

from pathlib import Path

import numpy as np
import pytest

from faces.evaluation.roc import area_under_roc, equal_error_rate
from faces.tables.packed_images import PackedImages
from faces.tables.split_table import image_labels, read_split
from faces.training.validation import Validation
from small_project import run_stage, write_params
from training_projects import set_aside, train_params


def test_validation_is_verification_of_held_out_images(project: Path) -> None:
    split = read_split()
    validation = Validation(PackedImages(split), split, train_params(validation_images=7))
    # Subjects have two test_seen images each, and a fourth would make eight.
    assert split.loc[validation.numbers].groupby("label").size().tolist() == [2, 2, 2]
    assert set(split["part"][validation.numbers]) == {"test_seen"}

    def first_pixels(images: np.ndarray) -> np.ndarray:
        return images[:, 0, 0:10:2, 0]

    vectors = PackedImages(split)[validation.numbers][:, 0, 0:10:2, 0].astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = image_labels(split)[validation.numbers]
    pairs = [(float(vectors[i] @ vectors[j]), labels[i] == labels[j]) for i in range(6) for j in range(i + 1, 6)]
    scores, same = map(np.array, zip(*pairs, strict=True))
    metrics = validation.measure(first_pixels)
    assert metrics["validation_auc"] == pytest.approx(area_under_roc(scores, same))
    assert metrics["validation_eer"] == pytest.approx(equal_error_rate(scores, same))


def test_a_genuine_pair_is_validated_if_there_is_any(project: Path) -> None:
    split = read_split()
    seen = np.flatnonzero(split["part"] == "test_seen")
    twice = image_labels(split)[seen[-1]]
    split.loc[[number for number in seen[::2] if split["label"][number] != twice], "part"] = "train"
    assert sorted(split.loc[split["part"] == "test_seen"].groupby("label").size()) == [1, 1, 1, 2]
    for seed in range(5):
        validation = Validation(PackedImages(split), split, train_params(validation_images=2, seed=seed))
        assert validation.has_both and twice in split["label"][validation.numbers].tolist()


def test_validation_goes_by_the_images_set_aside_for_it(project: Path) -> None:
    set_aside(project)
    split = read_split()
    validation = Validation(PackedImages(split), split, train_params())
    assert set(split["part"][validation.numbers]) == {"validation"}


def test_validation_goes_by_the_people_set_aside(project: Path) -> None:
    write_params(project, split={"validation_size": 0.3, "validation_subjects": 0.1, "unseen_subjects": 0.3})
    run_stage("split")
    split = read_split()
    validation = Validation(PackedImages(split), split, train_params())
    assert set(split["part"][validation.numbers]) == {"validation_unseen"}
    assert not set(split["label"][validation.numbers]) & set(split["label"][split["part"] == "train"])
