"""Training shared by several devices, against the same training by one."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faces.core.errors import StageError
from faces.network.runtime import tf
from faces.training import distribution
from faces.training.distribution import ALONE, Devices, Worker, this_worker
from small_project import ROOT, write_params
from training_projects import (
    NO_CHANGE,
    embeddings_by,
    new_training_project,
    project_batches,
    set_training,
    start_training,
    tf_config,
    trained,
    trained_here,
)

pytestmark = pytest.mark.usefixtures("whole_network")  # as the processes that it starts
NINE_STEPS: dict[str, Any] = {"precision": "float64", "epochs": 3, "epoch_images": 24}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_training_project(tmp_path_factory.mktemp("shared") / "project")


@pytest.fixture(scope="module")
def alone(shared: Path) -> tuple[list[float], np.ndarray]:
    """Loss curve and embeddings of a training in float64 by one device."""
    losses, weights = trained_here(shared, **NINE_STEPS)
    return losses, embeddings_by(weights)


@pytest.mark.slow  # a minute: TensorFlow starts anew, and takes long for a step of the whole network on two devices
@pytest.mark.parametrize("sharing", [{"devices": 2}, {"processes": 2}])
def test_curve_and_embeddings_equal_those_of_one_device(
    shared: Path, alone: tuple[list[float], np.ndarray], sharing: dict[str, int]
) -> None:
    """In float64: every step multiplies rounding errors by five to ten, too much for the digits of float32.

    Sums in another order differ by about 1e-16; 9 steps make at most 1e-7 of that. With `local` batch norm, which is
    another training, even the first loss differs by 4 %.
    """
    losses, weights = trained(shared, **NINE_STEPS, **sharing)
    np.testing.assert_allclose(losses, alone[0], rtol=1e-6)
    np.testing.assert_allclose(embeddings_by(weights), alone[1], atol=1e-5)  # computed in float32 from the weights
    assert losses[0] != alone[0][0]  # so it was another computation


STEP = """
import numpy as np
from faces.training.distribution import ALONE, Devices, make_strategy
from faces.network import runtime
strategy = runtime.start(2, make_strategy=lambda: make_strategy(2, ALONE), devices=2)
from faces.network.runtime import keras
from faces.training.training_step import TrainingStep
devices = Devices(strategy, ALONE)
given = np.load("given.npz")
with strategy.scope():
    layer = keras.layers.Dense(3, use_bias=False, kernel_regularizer=keras.regularizers.L2(0.125), dtype="float64")
    model = keras.Sequential([keras.Input((4,), dtype="float64"), layer])
    model.compile(keras.optimizers.SGD(0.5, momentum=0.75))
    model.optimizer.build(model.trainable_variables)
    layer.kernel.assign(given["kernel"])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none")
step = TrainingStep(model, loss, devices, jit_compile=False, synchronized=True)
metrics = [step(given["inputs"], given["labels"]) for _ in range(2)]
losses, accuracies = ([of_step[name] for of_step in metrics] for name in ("loss", "accuracy"))
np.savez("found.npz", kernel=np.asarray(layer.kernel), losses=losses, accuracies=accuracies)
"""


def test_two_devices_do_the_step_of_the_whole_batch(tmp_path: Path) -> None:
    """Two steps of a linear softmax classifier with L2 and momentum, against NumPy; all factors are exact in binary."""
    random = np.random.default_rng(0)
    inputs, labels, kernel = random.normal(size=(6, 4)), random.integers(3, size=6), random.normal(size=(4, 3))
    np.savez(tmp_path / "given.npz", inputs=inputs, labels=labels, kernel=kernel)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "stages")}
    subprocess.run([sys.executable, "-c", STEP], cwd=tmp_path, env=environment, check=True, capture_output=True)
    found = np.load(tmp_path / "found.npz")

    velocity = np.zeros_like(kernel)
    for loss, accuracy in zip(found["losses"], found["accuracies"], strict=True):
        logits = inputs @ kernel
        probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        right = probability[np.arange(6), labels]
        assert loss == pytest.approx(-np.log(right).mean() + 0.125 * (kernel**2).sum(), rel=1e-6)
        assert accuracy == pytest.approx((logits.argmax(axis=1) == labels).mean())
        gradient = inputs.T @ (probability - np.eye(3)[labels]) / 6 + 2 * 0.125 * kernel
        velocity = 0.75 * velocity - 0.5 * gradient
        kernel = kernel + velocity
    np.testing.assert_allclose(found["kernel"], kernel, rtol=1e-9)


LAYER = """
import sys
import numpy as np
from faces.training.distribution import ALONE, Devices, make_strategy
from faces.network import runtime
strategy = runtime.start(1, make_strategy=lambda: make_strategy(2, ALONE))
from faces.network.layers import BatchNormalization
from faces.network.runtime import tf
devices = Devices(strategy, ALONE)
inputs, upstream = np.load("inputs.npy"), np.load("upstream.npy")
with strategy.scope():
    layer = BatchNormalization(momentum=0.9, synchronized=True)
    layer.build((None, *inputs.shape[1:]))
    layer.moving_mean.assign(np.full(inputs.shape[-1], 1.0, np.float32))
@tf.function
def on_device(inputs, upstream):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
        total = tf.reduce_sum(outputs * upstream)
    return outputs, tape.gradient(total, inputs)
both = strategy.run(on_device, (devices.spread(inputs), devices.spread(upstream)))
outputs, gradients = (np.concatenate([np.asarray(value) for value in each.values]) for each in both)
np.savez("found.npz", outputs=outputs, gradients=gradients, mean=layer.moving_mean, variance=layer.moving_variance)
"""


def test_synchronized_batch_norm_equals_that_of_the_whole_batch(tmp_path: Path) -> None:
    """Against NumPy in float64, with a mean of fifty deviations, where means of squares would lose four digits.

    The mean of 60 numbers near 50 is wrong by a few units in the last place of their sum, 2e-4 / 60.
    """
    random = np.random.default_rng(0)
    inputs = random.normal(50, 1, (6, 5, 4, 3)).astype(np.float32)
    inputs[3:] += 2  # the two halves differ
    upstream = random.normal(size=inputs.shape).astype(np.float32)
    np.save(tmp_path / "inputs.npy", inputs)
    np.save(tmp_path / "upstream.npy", upstream)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "stages")}
    subprocess.run([sys.executable, "-c", LAYER], cwd=tmp_path, env=environment, check=True, capture_output=True)
    found = np.load(tmp_path / "found.npz")

    x, dy, axes, n = inputs.astype(np.float64), upstream.astype(np.float64), (0, 1, 2), 6 * 5 * 4
    mean, variance = x.mean(axes), x.var(axes)
    deviation = np.sqrt(variance + 1e-3)
    normal = (x - mean) / deviation
    # The textbook gradient of batch norm (Ioffe, Szegedy 2015), with gamma 1.
    gradient = (dy - dy.mean(axes) - normal * (dy * normal).mean(axes)) / deviation
    np.testing.assert_allclose(found["outputs"], normal, atol=5e-4)
    np.testing.assert_allclose(found["gradients"], gradient, atol=5e-4)
    np.testing.assert_allclose(found["mean"], 0.9 * 1.0 + 0.1 * mean, rtol=1e-6)
    np.testing.assert_allclose(found["variance"], 0.9 * 1.0 + 0.1 * variance * n / (n - 1), rtol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [{"flip": True, "shift_pixels": 3.0, "brightness": 20.0, "erase_probability": 0.5}, {"one_of_seven": True}],
)
def test_shares_of_a_batch_make_up_the_whole_batch(project: Path, changes: dict[str, object]) -> None:
    batches = project_batches(NO_CHANGE.model_copy(update=changes))
    order = batches.order(0)
    whole, labels = batches.load(0, 0, order)
    assert len(whole) == 8
    shares = []
    for number in range(4):
        batches.share = Devices(tf.distribute.get_strategy(), Worker(number, 4)).share
        pixels, of_all = batches.load(0, 0, order)
        np.testing.assert_array_equal(of_all, labels)
        shares.append(pixels)
    assert [len(pixels) for pixels in shares] == [2] * 4
    np.testing.assert_array_equal(np.concatenate(shares), whole)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"cluster": {}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": 3}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_a_tf_config_that_makes_no_sense_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(StageError, match="TF_CONFIG: "):
        this_worker()


def test_the_index_in_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    assert this_worker() == ALONE == Worker(0, 1) and this_worker().is_chief
    monkeypatch.setenv("TF_CONFIG", tf_config(["a:1", "b:1", "c:1"], 2))
    assert this_worker() == Worker(2, 3) and not this_worker().is_chief


@pytest.mark.parametrize(("devices", "expected"), [(0, "abcd"), (1, "a"), (4, "abcd")])
def test_a_process_has_the_first_gpus_of_its_machine(devices: int, expected: str) -> None:
    assert distribution.choose_gpus(list("abcd"), devices) == list(expected)


def test_too_few_gpus_are_named() -> None:
    with pytest.raises(StageError, match="train.devices: 5: this machine has 4 GPU"):
        distribution.choose_gpus(list("abcd"), 5)
    assert distribution.choose_gpus([], 5) == []  # parts of the CPU instead


def test_processes_without_gpus_are_one_device_each() -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("there are GPUs")
    with pytest.raises(StageError, match="train.devices: 2: without GPUs, each of several processes is one device"):
        distribution.make_strategy(2, Worker(0, 2))


@pytest.mark.parametrize(
    ("changes", "devices", "images"),
    [({"epoch_images": 5}, 1, 5), ({"epoch_images": 5}, 2, 4), ({"epoch_images": 1}, 1, 1), ({"batch_size": 6}, 2, 6)],
)
def test_images_per_batch(project: Path, changes: dict[str, int], devices: int, images: int) -> None:
    batches = project_batches(NO_CHANGE, **changes)
    batches.devices = devices
    assert batches.images_per_batch == images == len(batches.load(0, 0, batches.order(0))[0])


def test_an_epoch_that_devices_cannot_share_is_named(shared: Path) -> None:
    set_training(shared, devices=2, epoch_images=1)
    _, errors = (process := start_training(shared)).communicate(timeout=50)
    assert process.returncode == 1 and "Traceback" not in errors
    assert "error: params.yaml: train: 2 devices have less than an image each an epoch" in errors


def test_another_fingerprint_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = Devices(tf.distribute.get_strategy(), Worker(1, 2))
    monkeypatch.setattr(devices, "broadcast", lambda _: "of the chief")
    with pytest.raises(StageError, match="process 1 has other parameters, code, .* data/split.csv"):
        distribution.check_same_work(devices, "own")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"devices": 3}, "train: batch_size 8 should be a multiple of devices * processes, 3"),
        ({"devices": -1}, "train.devices: -1: input should be greater than or equal to 0"),
        ({"batch_norm": "global"}, "train.batch_norm: 'global': input should be 'synchronized' or 'local'"),
        ({"devices": 2, "precision": "mixed_float16"}, "precision mixed_float16 is for one device"),
        ({"devices": 2, "jit_compile": True}, "jit_compile is for one device"),
        ({"devices": 0, "jit_compile": True}, "jit_compile is for one device"),
    ],
)
def test_what_cannot_be_shared_is_named(
    project: Path, changes: dict[str, object], message: str, fails_with: Callable[..., str]
) -> None:
    write_params(project, train=changes)
    assert message in fails_with("train")


@pytest.mark.parametrize(
    ("changes", "processes", "message"),
    [
        ({}, 3, "train: batch_size 8 should be a multiple of devices * processes, 3"),
        ({"devices": 4}, 4, "multiple of devices * processes, 16"),
        ({"precision": "mixed_float16"}, 2, "precision mixed_float16 is for one device"),
        ({"jit_compile": True}, 2, "jit_compile is for one device"),
    ],
)
def test_what_processes_cannot_share_is_named(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    processes: int,
    message: str,
    fails_with: Callable[..., str],
) -> None:
    write_params(project, train=changes)
    monkeypatch.setenv("TF_CONFIG", tf_config([f"host{index}:1" for index in range(processes)], 0))
    assert message in fails_with("train")
