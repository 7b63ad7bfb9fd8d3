"""What a teacher's embeddings are, and that training matches them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper

import train
from faces.core.errors import StageError
from faces.network import mobilefacenet
from faces.network.runtime import keras
from faces.network.weights import load_weights, save_weights
from faces.tables.packed_images import PackedImages
from faces.tables.split_table import TRAIN, image_labels, part_images, read_split
from faces.training import teacher
from faces.training.distribution import ALONE, Devices
from faces.training.teacher import TeacherParams, ask_teacher, check_teacher
from faces.training.training_step import TrainingStep
from small_project import run_command, run_stage, write_params
from training_projects import NO_CHANGE, train_params


def params_of(path: str, **changes: object) -> TeacherParams:
    known = train_params(teacher=path, **changes).model_dump(include=set(TeacherParams.model_fields))
    return TeacherParams.model_validate(known)


def write_onnx(path: str, shape: list[Any], spatial: list[int]) -> None:
    """Write a network that gives the mean of each colour over the axes `spatial`: images of `shape` -> (n, 3)."""
    mean = helper.make_node("ReduceMean", ["faces", "axes"], ["means"], keepdims=0)
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], spatial)
    images = helper.make_tensor_value_info("faces", TensorProto.FLOAT, shape)
    means = helper.make_tensor_value_info("means", TensorProto.FLOAT, [shape[0], 3])
    graph = helper.make_graph([mean], "means", [images], [means], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)


def half_red_half_blue() -> np.ndarray:
    """Return an image whose left half is red, 255, and whose right half has 51 of green and 102 of blue."""
    image = np.zeros((1, 112, 112, 3), np.uint8)
    image[:, :, :56, 0], image[:, :, 56:, 1], image[:, :, 56:, 2] = 255, 51, 102
    return image


@pytest.mark.parametrize(
    ("pixels", "means"),
    [("bytes", (127.5, 25.5, 51)), ("unit", (0.5, 0.1, 0.2)), ("symmetric", (0, -0.8, -0.6))],
)
@pytest.mark.parametrize(
    ("shape", "spatial"), [(["n", 112, 112, 3], [1, 2]), ([1, 3, 112, 112], [2, 3]), (["n", 3, "h", "w"], [2, 3])]
)
def test_an_onnx_network_gets_rgb_in_its_layout_and_range(
    project: Path, pixels: str, means: tuple[float, ...], shape: list[Any], spatial: list[int]
) -> None:
    write_onnx("means.onnx", shape, spatial)
    embed = teacher._embed_by(params_of("means.onnx", teacher_pixels=pixels))
    np.testing.assert_allclose(embed(half_red_half_blue().repeat(2, axis=0)), [means] * 2, atol=1e-4)


def test_the_exported_network_and_its_weights_teach_the_same_as_keras_gives(project: Path) -> None:
    network = mobilefacenet.build(0.125, 16, "linear", "symmetric")
    load_weights(network, Path("models/backbone.weights.h5"))
    shutil.copy("models/backbone.weights.h5", "start.weights.h5")
    split = read_split()
    images, numbers = PackedImages(split), part_images(split, TRAIN)
    pixels = images[numbers].astype(np.float32)
    expected = np.asarray(network(pixels)) + np.asarray(network(pixels[:, :, ::-1]))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    for name in ("start.weights.h5", "models/export/backbone.onnx"):
        taught = ask_teacher(params_of(name), images, numbers, image_labels(split))
        np.testing.assert_allclose(taught, expected, atol=2e-4)


@pytest.mark.parametrize("precision", ["float64", "mixed_bfloat16"])
def test_weights_teach_in_their_own_precision(project: Path, precision: str) -> None:
    shutil.copyfile("models/backbone.weights.h5", "teacher.weights.h5")
    split = read_split()
    images, numbers = PackedImages(split), part_images(split, TRAIN)[:4]
    expected = ask_teacher(params_of("teacher.weights.h5"), images, numbers, image_labels(split))
    shutil.rmtree("models/checkpoints")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        found = ask_teacher(params_of("teacher.weights.h5"), images, numbers, image_labels(split))
        assert keras.config.dtype_policy().name == precision
    finally:
        keras.config.set_dtype_policy(before)
    np.testing.assert_array_equal(found, expected)


def test_a_teacher_is_asked_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = read_split()
    asked = [PackedImages(split), part_images(split, TRAIN), image_labels(split)]
    name = "models/export/backbone.onnx"
    first = ask_teacher(params_of(name), *asked)  # type: ignore[arg-type]
    monkeypatch.setattr(teacher, "_embed_by", lambda _: 1 / 0)
    again = ask_teacher(params_of(name, teacher_weight=9.0, width=0.25), *asked)  # type: ignore[arg-type]
    np.testing.assert_array_equal(again, first)
    with pytest.raises(ZeroDivisionError):  # another network, though its name is the same
        Path(name).write_bytes(Path(name).read_bytes() + b"\x72\x00")
        ask_teacher(params_of(name), *asked)  # type: ignore[arg-type]


@pytest.mark.slow  # it trains twice: 20 s
def test_a_wider_teacher_is_matched_more_closely_than_without_it(project: Path) -> None:
    from faces.network.runtime import keras

    keras.utils.set_random_seed(0)
    wide = mobilefacenet.build(0.25, 16, "linear", "symmetric")
    save_weights(wide, Path("wide.weights.h5"))
    split = read_split()
    pixels = PackedImages(split)[part_images(split, TRAIN)].astype(np.float32)
    target = np.asarray(wide(pixels)) + np.asarray(wide(pixels[:, :, ::-1]))
    found = {}
    for name in ("models/no_teacher", "wide.weights.h5"):
        changes = {
            "teacher": name,
            "epochs": 8,
            "learning_rate": 0.02,
            "warmup_epochs": 0.0,
            "batch_norm_momentum": 0.5,
        }
        write_params(project, train=changes, augment=NO_CHANGE.model_dump())
        run_stage("train")
        student = mobilefacenet.build(0.125, 16, "linear", "symmetric")
        load_weights(student, Path("models/backbone.weights.h5"))
        embedded = np.asarray(student(pixels))
        lengths = np.linalg.norm(embedded, axis=1) * np.linalg.norm(target, axis=1)
        found[name] = np.mean((embedded * target).sum(axis=1) / lengths)
    assert found["wide.weights.h5"] > found["models/no_teacher"] + 0.2
    reported = json.loads(Path("metrics/train.json").read_text())["teacher_cosine"]
    curve = pd.read_csv("metrics/train/plots/metrics/teacher_cosine.tsv", sep="\t", float_precision="round_trip")
    assert curve["teacher_cosine"].iloc[-1] == reported > curve["teacher_cosine"].iloc[0]


def test_a_step_changes_the_weights_by_the_gradient_of_both_losses() -> None:
    """A linear network and a linear head, against differences of the loss written in NumPy."""
    from faces.network.runtime import keras, tf

    random = np.random.default_rng(0)
    images, labels, taught = random.normal(size=(5, 4)), random.integers(2, size=5), random.normal(size=(5, 3))
    taught /= np.linalg.norm(taught, axis=1, keepdims=True)
    first, second = random.normal(size=(4, 3)), random.normal(size=(3, 2))
    layers = [keras.layers.Dense(units, use_bias=False, dtype="float64") for units in (3, 2)]
    model = keras.Sequential([keras.Input((4,), dtype="float64"), *layers])
    model.compile(keras.optimizers.SGD(1.0))
    model.optimizer.build(model.trainable_variables)
    for layer, kernel in zip(layers, (first, second), strict=True):
        layer.kernel.assign(kernel)

    def cosines(first: np.ndarray) -> np.ndarray:
        embeddings = images @ first
        return (embeddings * taught).sum(axis=1) / np.linalg.norm(embeddings, axis=1)

    def loss(first: np.ndarray, second: np.ndarray) -> float:
        logits = images @ first @ second
        classified = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(5), labels]
        return float(np.mean(classified + 3 * (1 - cosines(first))))

    def slope(place: tuple[int, int]) -> float:
        step = np.zeros_like(first)
        step[place] = 1e-5
        return (loss(first + step, second) - loss(first - step, second)) / 2e-5

    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")
    devices = Devices(tf.distribute.get_strategy(), ALONE)
    step = TrainingStep(model, entropy, devices, jit_compile=False, synchronized=True, teacher_weight=3)
    metrics = step(images, labels, taught)
    assert metrics["loss"] == pytest.approx(loss(first, second), rel=1e-6)
    assert metrics["teacher_cosine"] == pytest.approx(cosines(first).mean(), rel=1e-6)
    expected = [[first[row, column] - slope((row, column)) for column in range(3)] for row in range(4)]
    np.testing.assert_allclose(np.asarray(layers[0].kernel), expected, atol=1e-6)


def test_what_cannot_teach_is_named_before_anything_runs(project: Path, fails_with: Callable[..., str]) -> None:
    write_onnx("small.onnx", ["n", 3, 64, 64], [2, 3])
    write_onnx("three.onnx", ["n", 3, 112, 112], [2, 3])
    write_onnx("four.onnx", [4, 3, 112, 112], [2, 3])
    Path("text.onnx").write_text("no network")
    Path("text.weights.h5").write_text("no weights")
    for name, message in {
        "gone.onnx": "train.teacher: 'gone.onnx': no such file",
        "models/backbone.weights.h5": "train.teacher: 'models/backbone.weights.h5': training replaces this file",
        "text.onnx": "train.teacher: 'text.onnx': not an ONNX model",
        "text.weights.h5": "train.teacher: text.weights.h5 is not an HDF5 file",
        "four.onnx": "train.teacher: 'four.onnx': does not embed one image",
        "small.onnx": "takes faces ['n', 3, 64, 64]; a teacher takes images (n, 112, 112, 3) or (n, 3, 112, 112)",
        "three.onnx": "train.embedding_size: 16: the embeddings of train.teacher, 'three.onnx', have 3 numbers",
    }.items():
        write_params(project, train={"teacher": name})
        for failed in (fails_with("faces", "check"), fails_with("train")):
            assert f"error: params.yaml: {message}" in failed or message in failed, failed
    write_params(project, train={"teacher": "models/export/backbone.onnx"})
    run_command("check")


def test_a_teacher_that_knows_nobody_gets_a_warning(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    unit = random.normal(size=(40, 16)).astype(np.float32)
    teacher._tell_how_good(unit, np.arange(40) // 4, params_of("some.onnx"))
    warned = capsys.readouterr().err
    assert "train.teacher: 'some.onnx': hardly tells training people apart" in warned and "teacher_pixels" in warned
    teacher._tell_how_good(np.eye(10, dtype=np.float32).repeat(4, axis=0), np.arange(40) // 4, params_of("some.onnx"))
    said = capsys.readouterr()
    assert "AUC on 40 training images: 1.000" in said.out + said.err and "warning" not in said.err


def test_weights_of_another_network_are_refused(project: Path) -> None:
    with pytest.raises(StageError, match=r"params.yaml: train.teacher: models/similarity.npz is not an HDF5 file"):
        check_teacher(params_of("models/similarity.npz"))
    assert train.NO_TEACHER == Path(params_of("models/no_teacher").teacher)
