import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import train
from faces.core.params import load_params
from faces.evaluation.roc import area_under_roc, equal_error_rate
from faces.network.runtime import tf
from faces.tables.packed_images import PackedImages
from faces.tables.split_table import images_of, labels_of, read_split
from faces.training.augmentation import AugmentParams, PhotoAugmenter
from faces.training.distribution import Devices
from small_project import run_stage, write_params

NO_CHANGE = AugmentParams.model_validate(
    {name: False if name in ("one_of_seven", "flip") else 0 for name in AugmentParams.model_fields}
)
OUTPUTS = [Path("models/backbone.weights.h5"), Path("models/backbone.json"), Path("metrics/train.json")]


def params(**changes: object) -> train.TrainParams:
    return load_params("train", train.TrainParams).model_copy(update=changes)


def output_bytes() -> dict[str, bytes]:
    curves = sorted(Path("metrics/train/plots").rglob("*.tsv"))
    assert curves
    return {str(path): path.read_bytes() for path in [*OUTPUTS, *curves]}


def test_schedule_by_hand(project: Path) -> None:
    shared = {"learning_rate": 0.1, "learning_rate_min": 0.001, "hold_epochs": 10, "cosine_epochs": 5}
    shared["warmup_epochs"] = 0
    cosine = [train.learning_rate(epoch, params(schedule="cosine", **shared)) for epoch in range(17)]
    # Angles after the hold: 0, 36, 72, 108, 144, 180 degrees, and 180 from then on.
    shares = [1.0] * 11 + [0.9045085, 0.6545085, 0.3454915, 0.0954915, 0.0, 0.0]
    np.testing.assert_allclose(cosine, [0.001 + 0.099 * share for share in shares], rtol=1e-6)
    # Between epochs too: 11.25 is a quarter of the way, 45 degrees.
    assert train.learning_rate(11.25, params(schedule="cosine", **shared)) == pytest.approx(0.001 + 0.099 * 0.8535534)
    constant = params(schedule="constant", **shared)
    assert [train.learning_rate(epoch, constant) for epoch in (0, 16)] == [0.1, 0.1]


def test_the_notebooks_schedule_jumps_where_hold_is_no_multiple_of_its_period(project: Path) -> None:
    shared = {"learning_rate": 0.1, "learning_rate_min": 0.001, "schedule": "notebook_cosine", "cosine_epochs": 5}
    shared["warmup_epochs"] = 0
    even, odd = params(hold_epochs=10, **shared), params(hold_epochs=7, **shared)
    assert train.learning_rate(10, even) == pytest.approx(0.1)
    for epoch in (11, 14):
        expected = 0.001 + 0.099 * (1 + math.cos(math.pi * epoch / 5)) / 2
        assert train.learning_rate(epoch, even) == pytest.approx(expected)
    assert train.learning_rate(7, odd) == pytest.approx(0.001 + 0.099 * 0.3454915)  # cos(252 degrees)


def test_it_warms_up_and_falls_to_the_end_of_the_last_epoch(project: Path) -> None:
    rates = params(learning_rate=0.4, learning_rate_min=0.0, warmup_epochs=2, hold_epochs=2, cosine_epochs=0, epochs=6)
    times = (0, 0.5, 1, 2, 3, 4, 6)
    shares = [0, 0.25, 0.5, 1, 0.8535534, 0.5, 0]
    np.testing.assert_allclose([train.learning_rate(time, rates) for time in times], [0.4 * s for s in shares], 1e-6)


def batches_of(project: Path, augmented: bool = True, **changes: object) -> train.Batches:
    split = read_split()
    augmenter = PhotoAugmenter(load_params("augment", AugmentParams) if augmented else NO_CHANGE)
    return train.Batches(
        PackedImages(split), train.groups_of(split, params(**changes)), labels_of(split), params(**changes), augmenter
    )


def test_an_epoch_shows_each_training_image_once_with_its_label(project: Path) -> None:
    batches = batches_of(project, augmented=False, batch_size=4)
    split = read_split(names=True)
    pixels = [np.asarray(Image.open(Path("images") / path)) for path in split["path"]]
    shown = []
    for images, labels in batches.epoch(3):
        assert images.shape == (4, 112, 112, 3) and images.dtype == np.float32
        for image, label in zip(images, labels, strict=True):
            (number,) = [n for n, known in enumerate(pixels) if np.array_equal(image, known)]
            assert split["label"][number] == label and split["part"][number] == "train"
            shown.append(number)
    assert len(set(shown)) == len(shown) == 4 * len(batches)
    assert len(images_of(split, "train")) - len(shown) < 4


def test_epochs_differ_and_repeat(project: Path) -> None:
    batches = batches_of(project)
    again = batches_of(project)
    first, second = (np.concatenate([images for images, _ in batches.epoch(epoch)]) for epoch in (0, 1))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(second, np.concatenate([images for images, _ in again.epoch(1)]))


@pytest.mark.parametrize("one_of_seven", [False, True])
def test_an_epoch_is_the_same_by_any_number_of_threads(
    project: Path, monkeypatch: pytest.MonkeyPatch, one_of_seven: bool
) -> None:
    write_params(project, augment={"one_of_seven": one_of_seven, "flip": True})
    batches = batches_of(project, batch_size=1, epoch_images=64)
    epochs = []
    for cores in (1, 64):
        monkeypatch.setattr(train, "available_cores", lambda cores=cores: cores)
        epochs.append([np.concatenate(of_kind) for of_kind in zip(*batches.epoch(0), strict=True)])
    for one, many in zip(*epochs, strict=True):
        np.testing.assert_array_equal(one, many)


def test_epochs_of_so_many_images_go_through_all_of_them_in_turn(project: Path) -> None:
    batches = batches_of(project, epoch_images=10, batch_size=5)
    everything = sorted(images_of(read_split(), "train"))
    assert len(batches) == 2 and len(everything) == 16
    row = np.concatenate([batches.order(epoch) for epoch in range(8)])
    assert len(row) == 80
    assert [sorted(row[start : start + 16]) for start in range(0, 80, 16)] == [everything] * 5
    large = batches_of(project, epoch_images=40)
    np.testing.assert_array_equal(np.concatenate([large.order(0), large.order(1)]), row)


def test_balanced_sources_give_as_many_images_to_every_batch(project: Path) -> None:
    split = read_split().astype({"source": str})
    train_images = images_of(split, "train")
    split.loc[train_images[:4], "source"] = "few"
    batches = batches_of(project, augmented=False)
    batches.params = params(epoch_images=24, batch_size=8, balance="sources")
    batches.groups = train.groups_of(split, batches.params)
    assert [len(group) for group in batches.groups] == [12, 4]
    for epoch in range(3):
        order = batches.order(epoch)
        few = np.isin(order, train_images[:4]).reshape(3, 8)
        assert few.sum(axis=1).tolist() == [4, 4, 4]
        # 12 images of either source: all of the larger one once, and all of the smaller one three times.
        assert sorted(order) == sorted([*train_images[4:], *np.repeat(train_images[:4], 3)])
    assert batches.order(0).tolist() != batches.order(1).tolist()


def test_fewer_images_than_a_batch_are_one_batch(project: Path) -> None:
    batches = batches_of(project, batch_size=500)
    ((images, labels),) = batches.epoch(0)
    assert len(images) == len(labels) == len(images_of(read_split(), "train"))


def test_validation_is_verification_of_held_out_images(project: Path) -> None:
    split = read_split()
    validation = train.Validation(PackedImages(split), split, params(validation_images=5))
    # Subjects have two test_seen images each: three subjects make the five, rounded up to whole ones.
    assert split.loc[validation.numbers].groupby("label").size().tolist() == [2, 2, 2]
    assert set(split["part"][validation.numbers]) == {"test_seen"}

    def first_pixels(images: np.ndarray) -> np.ndarray:
        return images[:, 0, 0:10:2, 0]

    vectors = PackedImages(split)[validation.numbers][:, 0, 0:10:2, 0].astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = labels_of(split)[validation.numbers]
    pairs = [(float(vectors[i] @ vectors[j]), labels[i] == labels[j]) for i in range(6) for j in range(i + 1, 6)]
    scores, same = map(np.array, zip(*pairs, strict=True))
    figures = validation.measure(first_pixels)
    assert figures["validation_auc"] == pytest.approx(area_under_roc(scores, same))
    assert figures["validation_eer"] == pytest.approx(equal_error_rate(scores, same))


def test_an_epochs_figures_are_means_over_its_batches(project: Path) -> None:
    class Trained:
        class optimizer:
            learning_rate = 0.0

    losses = iter([1.0, 2.0, 6.0])

    def step(images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        assert len(images) == len(labels) == 5
        return {"loss": (loss := next(losses)), "accuracy": loss / 10}

    devices = Devices(tf.distribute.get_strategy(), train.ALONE)
    model = train.Model(None, Trained(), step, embed=np.asarray, sampled=None, devices=devices)
    figures = train.train_epoch(model, batches_of(project, batch_size=5), 0, params())
    assert figures == {"loss": 3.0, "train_accuracy": pytest.approx(0.3)}


def test_training_learns_and_reports(project: Path) -> None:
    write_params(
        project, train={"epochs": 8, "learning_rate": 0.02, "warmup_epochs": 0}, augment=NO_CHANGE.model_dump()
    )
    run_stage("train")
    history = pd.read_csv("metrics/train/plots/metrics/loss.tsv", sep="\t", float_precision="round_trip")
    assert history["step"].tolist() == list(range(8))
    assert history["loss"].iloc[-1] < 0.5 * history["loss"].iloc[0]
    figures = json.loads(Path("metrics/train.json").read_text())
    assert figures["epochs"] == 8 and figures["loss"] == history["loss"].iloc[-1]
    assert figures["train_accuracy"] > 0.9
    assert json.loads(Path("metrics/speed/train.json").read_text())["images_per_second"] > 0


def test_a_run_cut_off_after_an_epoch_ends_with_the_bytes_of_one_that_was_not(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = output_bytes()
    whole_epoch, trained = train.train_epoch, list[int]()

    class Cut(Exception):
        pass

    def cut_off_once(
        model: train.Model, batches: train.Batches, epoch: int, params: train.TrainParams
    ) -> dict[str, float]:
        trained.append(epoch)
        if trained == [0, 1]:
            raise Cut
        return whole_epoch(model, batches, epoch, params)

    monkeypatch.setattr(train, "train_epoch", cut_off_once)
    with pytest.raises(Cut):
        run_stage("train")
    run_stage("train")
    # The finished run before is not taken for its own; the finished epoch was not trained again.
    assert trained == [0, 1, 1]
    assert output_bytes() == expected


def aucs_of(project: Path) -> list[float]:
    curve = pd.read_csv("metrics/train/plots/metrics/validation_auc.tsv", sep="\t", float_precision="round_trip")
    return list(curve["validation_auc"])


def set_aside(project: Path, **train: object) -> None:
    write_params(project, split={"validation_size": 0.3, "unseen_subjects": 0.3}, train=train)
    run_stage("split")


def test_validation_goes_by_the_images_set_aside_for_it(project: Path) -> None:
    set_aside(project)
    split = read_split()
    validation = train.Validation(PackedImages(split), split, params())
    assert set(split["part"][validation.numbers]) == {"validation"}


def with_aucs(monkeypatch: pytest.MonkeyPatch, aucs: list[float]) -> None:
    """Have the validation report these, in turn."""
    left = iter(aucs)
    monkeypatch.setattr(train.Validation, "measure", lambda *_: {"validation_auc": next(left)})


def test_the_best_epoch_is_kept_also_by_a_run_that_was_cut_off(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = {"schedule": "constant", "keep_checkpoints": 1}
    set_aside(project, epochs=2, **schedule)
    run_stage("train")
    after_two = Path("models/backbone.weights.h5").read_bytes()
    set_aside(project, epochs=5, keep="best", **schedule)
    with_aucs(monkeypatch, [0.6, 0.9, 0.7])
    with pytest.raises(StopIteration):  # in the fourth epoch, as from a cut-off run
        run_stage("train")
    with_aucs(monkeypatch, [0.9, 0.8])
    run_stage("train")
    figures = json.loads(Path("metrics/train.json").read_text())
    assert (figures["epochs"], figures["kept_epoch"], figures["validation_auc"]) == (5, 2, 0.9)
    assert Path("models/backbone.weights.h5").read_bytes() == after_two
    assert aucs_of(project) == [0.6, 0.9, 0.7, 0.9, 0.8]


def test_training_ends_when_nothing_better_comes(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_aside(project, epochs=6, patience=2)
    with_aucs(monkeypatch, [0.6, 0.7, 0.7, 0.65])
    run_stage("train")
    figures = json.loads(Path("metrics/train.json").read_text())
    assert figures["epochs"] == 4 and figures["validation_auc"] == 0.65 and "kept_epoch" not in figures


@pytest.mark.parametrize("changes", [{"keep": "best"}, {"patience": 1}])
def test_an_epoch_is_not_chosen_by_images_of_the_test(
    project: Path, changes: dict[str, object], fails_with: Callable[..., str]
) -> None:
    write_params(project, train=changes)
    ((name, value),) = changes.items()
    message = fails_with("train")
    assert (
        f"params.yaml: train.{name}: {value}: an epoch is chosen by genuine and impostor pairs of `validation` images"
        in message
    )
    assert "raise split.validation_size" in message


def test_a_warm_start_begins_where_the_other_ended(project: Path) -> None:
    shutil.copy("models/backbone.weights.h5", "start.weights.h5")
    # A learning rate this small moves no float32 weight by a visible amount.
    write_params(
        project,
        train={"initial_weights": "start.weights.h5", "learning_rate": 1e-12, "learning_rate_min": 0.0, "epochs": 1},
    )
    run_stage("train")
    from faces.network import weights
    from faces.network.backbone import load_backbone
    from faces.network.runtime import keras

    trained = load_backbone()
    started = keras.models.clone_model(trained)
    weights.load_initial_weights(started, Path("start.weights.h5"))
    for variable, old in zip(trained.trainable_variables, started.trainable_variables, strict=True):
        np.testing.assert_allclose(np.asarray(variable), np.asarray(old), atol=1e-6)


def test_without_epochs_the_network_stays_as_it_was(project: Path) -> None:
    write_params(project, train={"epochs": 0, "seed": 5})
    run_stage("train")
    from faces.network.backbone import load_backbone

    started = train.build(params(), 4).backbone
    for saved, fresh in zip(load_backbone().weights, started.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(saved), np.asarray(fresh))
    figures = json.loads(Path("metrics/train.json").read_text())
    assert set(figures) == {"epochs", "validation_auc", "validation_eer"} and figures["epochs"] == 0
    assert pd.read_csv("metrics/train/plots/metrics/validation_auc.tsv", sep="\t")["step"].tolist() == [0]


def losses_of(model: train.Model, steps: int, classes: int) -> list[float]:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (8, 112, 112, 3)).astype(np.float32)
    labels = random.integers(0, classes, 8)
    return [float(model.train_on_batch(images, labels, (step,))["loss"]) for step in range(steps)]


def test_a_sample_of_all_classes_is_no_sample(project: Path) -> None:
    from faces.training.arcface import SampledDirections

    plain = train.build(params(), 20)
    sampled = train.build(params(), 20)
    head = sampled.trained.layers[-1]
    outside = SampledDirections(20, head, sampled.trained.optimizer, seed=0)
    assert len(outside.variables) == 2  # the directions, and their momentum
    for variable, own in zip(sampled.trained.variables, plain.trained.variables, strict=True):
        variable.assign(own)
    outside.variables[0].assign(np.asarray(head.directions))
    losses = losses_of(plain, 4, 20)
    assert losses_of(sampled._replace(sampled=outside), 4, 20) == losses
    assert losses[-1] != losses[0]
    np.testing.assert_array_equal(np.asarray(outside.variables[0]), np.asarray(plain.trained.layers[-1].directions))


def test_a_sampled_run_cut_off_ends_with_the_bytes_of_one_that_was_not(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_params(project, train={"sample_rate": 0.3, "batch_size": 2, "epochs": 2})
    run_stage("train")
    expected, whole_epoch = output_bytes(), train.train_epoch
    shutil.rmtree("models/checkpoints")

    def cut_off(model: train.Model, batches: train.Batches, epoch: int, params: train.TrainParams) -> dict[str, float]:
        assert model.trained.layers[-1].directions.shape == (2, 16)  # of 4 classes
        if epoch == 1:
            raise KeyboardInterrupt
        return whole_epoch(model, batches, epoch, params)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train, "train_epoch", cut_off)
        run_stage("train")
    run_stage("train")
    assert output_bytes() == expected


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_starts_where_float32_does_and_learns(project: Path, precision: str) -> None:
    from faces.network.runtime import keras

    (expected,) = losses_of(train.build(params(), 20), 1, 20)
    try:
        # The first steps in float16 are skipped: they find the factor at which gradients neither vanish nor overflow.
        losses = losses_of(train.build(params(precision=precision, learning_rate=0.01), 20), 24, 20)
    finally:
        keras.config.set_dtype_policy("float32")
    assert losses[0] == pytest.approx(expected, rel=0.05)  # 8 to 11 bits of mantissa, through some 50 layers
    assert losses[0] != expected
    assert losses[-1] < 0.8 * losses[0]


def test_compiled_by_xla_it_trains_alike_and_repeats(project: Path) -> None:
    write_params(project, train={"jit_compile": True, "epochs": 1})
    metrics, weights = Path("metrics/train.json"), Path("models/backbone.weights.h5")
    seen = []
    for _ in range(2):
        # In a process of its own: TensorFlow's op determinism, which the tests run with, rules XLA out.
        subprocess.run([sys.executable, train.__file__], check=True, capture_output=True)
        seen.append((metrics.read_bytes(), weights.read_bytes()))
    assert seen[0] == seen[1]
    write_params(project, train={"epochs": 1})
    run_stage("train")
    assert json.loads(seen[0][0])["loss"] == pytest.approx(json.loads(metrics.read_text())["loss"], rel=0.02)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_a_network_of_mixed_precision_is_saved_in_float32(project: Path, precision: str) -> None:
    from faces.network.runtime import keras

    write_params(project, train={"precision": precision, "epochs": 1})
    try:
        run_stage("train")
    finally:
        keras.config.set_dtype_policy("float32")
    run_stage("embed")
    assert np.load("data/embeddings.npy").dtype == np.float32


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"epochs": -1}, "train.epochs: -1: input should be greater than or equal to 0"),
        ({"learning_rate_min": 0.5}, "params.yaml: train: learning_rate_min 0.5 is above learning_rate 0.1"),
        ({"seed": 2**32}, "train.seed: 4294967296: input should be less than 4294967296"),
        ({"initial_weights": "models/../models/backbone.weights.h5"}, "training replaces this file"),
        ({"margin": 2.0}, "train.margin: 2.0: input should be less than or equal to 1.57"),
        ({"schedule": "step"}, "train.schedule: 'step': input should be 'cosine', 'notebook_cosine' or 'constant'"),
        ({"initial_weights": "models/none.h5"}, "train.initial_weights: 'models/none.h5': no such file"),
    ],
)
def test_bad_parameters_are_named(
    project: Path, changes: dict[str, object], message: str, fails_with: Callable[..., str]
) -> None:
    before = output_bytes()
    write_params(project, train=changes)
    assert message in fails_with("train")
    assert output_bytes() == before


def test_divergence_is_an_error(project: Path, fails_with: Callable[..., str]) -> None:
    write_params(project, train={"learning_rate": 1e9})
    assert "train.learning_rate: 1000000000.0: training diverged (" in fails_with("train")
