"""The back end of a training: what it learns from, and what it does to the network."""

import json
from pathlib import Path

import numpy as np
import pytest

from faces.network.backbone import load_backbone
from faces.tables.packed_images import PackedImages
from faces.tables.split_table import TRAIN, image_labels, part_images, read_split
from faces.training.back_end import learn_back_end
from faces.training.joint_bayesian import fit_joint_bayesian, linear_map
from small_project import run_stage, write_params
from training_projects import project_batches, train_params

WEIGHTS = Path("models/backbone.weights.h5")


def embeddings_of(numbers: np.ndarray) -> np.ndarray:
    backbone, pixels = load_backbone(), PackedImages(read_split())[numbers].astype(np.float32)
    both = (np.asarray(backbone(faces, training=False), np.float64) for faces in (pixels, pixels[:, :, ::-1]))
    return np.asarray(sum(both)) / 2


def test_it_maps_what_the_network_would_give_without_it_and_repeats(project: Path) -> None:
    split = read_split()
    training, others = part_images(split, TRAIN), part_images(split, "test_unseen")
    plain = json.loads(Path("metrics/train.json").read_text())
    embedded, tested = embeddings_of(training), embeddings_of(others)
    model = fit_joint_bayesian(embedded, image_labels(split)[training])
    expected = (tested - model.mean) @ linear_map(model)

    write_params(project, train={"back_end": "joint_bayesian"})
    run_stage("train")
    np.testing.assert_allclose(embeddings_of(others), expected, rtol=1e-2, atol=1e-2 * np.abs(expected).max())
    metrics = json.loads(Path("metrics/train.json").read_text())
    assert {name: metrics[name] for name in plain} == plain
    assert set(metrics) - set(plain) == {"back_end_validation_auc", "back_end_validation_eer"}
    first = WEIGHTS.read_bytes()
    run_stage("train")
    assert WEIGHTS.read_bytes() == first


def test_without_a_genuine_pair_the_network_stays_and_a_warning_says_so(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    batches = project_batches()
    labels = batches.labels[part_images(read_split(), TRAIN)]
    batches.groups = [part_images(read_split(), TRAIN)[np.unique(labels, return_index=True)[1]]]
    learn_back_end(None, print, batches, train_params(back_end="joint_bayesian"))
    assert "train.back_end: joint_bayesian: no training person has two images" in capsys.readouterr().err


@pytest.mark.parametrize(("spread", "left_out"), [(1e-6, True), (0.01, False)])
def test_embeddings_that_differ_by_rounding_alone_teach_nothing(
    spread: float, left_out: bool, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after one step on a few images. Of 16 numbers near 5, the mean has a length of 20."""
    random, network = np.random.default_rng(0), load_backbone()
    weights = network.get_weights()
    embed = lambda faces: 5 + random.normal(0, spread * 20 / 4, (len(faces), 16))  # noqa: E731
    learn_back_end(network, embed, project_batches(), train_params(back_end="joint_bayesian"))
    same = all(np.array_equal(before, after) for before, after in zip(weights, network.get_weights(), strict=True))
    warned = "it is left out, since all training images have nearly the same embedding" in capsys.readouterr().err
    assert same == warned == left_out
