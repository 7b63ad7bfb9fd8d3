import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import train
from faces.training import loop
from faces.training.batches import Batches
from faces.training.loop import LoopParams
from faces.training.model import TrainingModel, build_model
from faces.training.validation import Validation
from small_project import run_stage, write_params
from training_projects import NO_CHANGE, set_aside, train_params

OUTPUTS = [Path("models/backbone.weights.h5"), Path("models/backbone.json"), Path("metrics/train.json")]


def output_bytes() -> dict[str, bytes]:
    curves = sorted(Path("metrics/train/plots").rglob("*.tsv"))
    assert curves
    return {str(path): path.read_bytes() for path in [*OUTPUTS, *curves]}


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


def test_a_split_that_leaves_nothing_to_verify_is_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = pd.read_csv("data/split.csv", dtype=str, keep_default_na=False)
    tested = split["part"] == "test_seen"
    split.loc[tested & split.duplicated(["part", "label"]), "part"] = "train"  # one test image of each person
    split.to_csv("data/split.csv", index=False)
    train.read_data(train_params(), NO_CHANGE)
    people = split.loc[tested, "label"].nunique()
    printed = capsys.readouterr().err
    assert f"nothing is verified after an epoch: the {people} image(s) for that make no genuine and impostor" in printed


def test_a_run_cut_off_after_an_epoch_ends_with_the_bytes_of_one_that_was_not(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = output_bytes()
    whole_epoch, trained = loop.train_epoch, list[int]()

    class Cut(Exception):
        pass

    def cut_off_once(model: TrainingModel, batches: Batches, epoch: int, params: LoopParams) -> dict[str, float]:
        trained.append(epoch)
        if trained == [0, 1]:
            raise Cut
        return whole_epoch(model, batches, epoch, params)

    monkeypatch.setattr(loop, "train_epoch", cut_off_once)
    with pytest.raises(Cut):
        run_stage("train")
    run_stage("train")
    # The finished run before is not taken for its own; the finished epoch was not trained again.
    assert trained == [0, 1, 1]
    assert output_bytes() == expected


def aucs_of(project: Path) -> list[float]:
    curve = pd.read_csv("metrics/train/plots/metrics/validation_auc.tsv", sep="\t", float_precision="round_trip")
    return list(curve["validation_auc"])


def with_aucs(monkeypatch: pytest.MonkeyPatch, aucs: list[float]) -> None:
    """Have the validation report these, in turn."""
    left = iter(aucs)
    monkeypatch.setattr(Validation, "measure", lambda *_: {"validation_auc": next(left)})


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
    assert f"params.yaml: train.{name}: {value}: an epoch is chosen by genuine and impostor pairs of " in message
    assert "`validation_unseen` or `validation` images" in message
    assert "raise split.validation_subjects" in message


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

    started = build_model(train_params(), 4).backbone
    for saved, fresh in zip(load_backbone().weights, started.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(saved), np.asarray(fresh))
    figures = json.loads(Path("metrics/train.json").read_text())
    assert set(figures) == {"epochs", "validation_auc", "validation_eer"} and figures["epochs"] == 0
    assert pd.read_csv("metrics/train/plots/metrics/validation_auc.tsv", sep="\t")["step"].tolist() == [0]


@pytest.mark.slow  # three trainings; test_partial_fc.py and test_model.py check the sample, a test above the cut
def test_a_sampled_run_cut_off_ends_with_the_bytes_of_one_that_was_not(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_params(project, train={"sample_rate": 0.3, "batch_size": 2, "epochs": 2})
    run_stage("train")
    expected, whole_epoch = output_bytes(), loop.train_epoch
    shutil.rmtree("models/checkpoints")

    def cut_off(model: TrainingModel, batches: Batches, epoch: int, params: LoopParams) -> dict[str, float]:
        assert model.trained.layers[-1].directions.shape == (2, 16)  # of 4 classes
        if epoch == 1:
            raise KeyboardInterrupt
        return whole_epoch(model, batches, epoch, params)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "train_epoch", cut_off)
        run_stage("train")
    run_stage("train")
    assert output_bytes() == expected


@pytest.mark.slow  # XLA compiles the network for 20 seconds, twice; test_arcface.py compiles the loss alone
def test_compiled_by_xla_it_trains_alike_and_repeats(project: Path) -> None:
    metrics, weights = Path("metrics/train.json"), Path("models/backbone.weights.h5")

    def train_apart() -> tuple[bytes, bytes]:
        # In a process of its own: TensorFlow's op determinism, which the tests run with, rules XLA out.
        subprocess.run([sys.executable, train.__file__], check=True, capture_output=True)
        return metrics.read_bytes(), weights.read_bytes()

    write_params(project, train={"jit_compile": True, "epochs": 1})
    compiled = train_apart()
    assert train_apart() == compiled
    write_params(project, train={"epochs": 1})
    plain = train_apart()
    assert plain != compiled
    assert json.loads(compiled[0])["loss"] == pytest.approx(json.loads(plain[0])["loss"], rel=0.02)


@pytest.mark.slow  # up to a second a step on a processor that knows neither precision
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
        ({"learning_rate_min": 0.5}, "params.yaml: train: learning_rate_min 0.5 is above learning_rate 0.2"),
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
