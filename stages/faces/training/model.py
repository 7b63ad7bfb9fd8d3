"""Builds what a training changes: backbone, head, optimizer, and the step with its loss."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from faces.core.errors import StageError
from faces.core.threads import load_threads
from faces.network.architecture import extract_architecture
from faces.training.batches import Seed
from faces.training.distribution import ALONE, Devices, SharingParams, Worker, check_batch, make_strategy
from faces.training.losses import LossParams, make_loss
from faces.training.teacher import TeacherParams

FROM_SCRATCH = Path("models/from_scratch")  # names no weights: the network starts from random ones


class ModelParams(TeacherParams, LossParams, SharingParams):
    """Parameters of the network and its optimizer, part of the section `train:`."""

    initial_weights: str = Field(min_length=1)
    batch_norm_momentum: float = Field(ge=0, lt=1)
    l2: float = Field(ge=0)
    learning_rate: float = Field(gt=0)
    momentum: float = Field(ge=0, lt=1)
    sample_rate: float = Field(gt=0, le=1)
    seed: Seed


class TrainingModel(NamedTuple):
    """A backbone in training.

    Attributes:
        backbone: Keras model, images -> embeddings.
        trained: Keras model, images -> cosines: the backbone and the head, with the optimizer.
        step: One training step on this process's share of a batch.
        embed: The backbone at inference, as a compiled function.
        sampled: The directions of all classes if a step trains only a sample of them, else None.
        devices: The devices that share a batch.
    """

    backbone: Any
    trained: Any
    step: Callable[..., dict[str, float]]
    embed: Callable[[NDArray[np.uint8]], Any]
    sampled: Any
    devices: Devices

    @property
    def variables(self) -> list[Any]:
        """Everything that a checkpoint must hold."""
        outside = self.sampled.variables if self.sampled else []
        return [*self.trained.variables, *self.trained.optimizer.variables, *outside]

    def train_on_batch(
        self,
        images: NDArray[np.float32],
        labels: NDArray[np.int64],
        seed: tuple[int, ...],
        *taught: NDArray[np.float32],
    ) -> dict[str, float]:
        """Do a step on this process's share of the images and the labels of the whole batch; return its metrics.

        `taught` are the teacher's embeddings of the share (n, D), if there is one.
        """
        if self.sampled:
            labels = self.sampled.draw(labels, seed)
        metrics = self.step(images, labels[self.devices.share(len(labels))], *taught)
        if self.sampled:
            self.sampled.put_back()
        return metrics

    def broadcast_variables(self) -> None:
        """Set all variables of every process to the chief's."""
        for variable in self.variables if self.devices.worker.count > 1 else ():
            variable.assign(self.devices.broadcast_array(np.asarray(variable)))


def head_precision(params: SharingParams) -> str:
    """Return the precision of the head: float32 at least, since small angles need the digits."""
    return "float64" if params.precision == "float64" else "float32"


def build_model(params: ModelParams, classes: int, worker: Worker = ALONE) -> TrainingModel:
    """Return a network that starts from `initial_weights`, ready to be trained by the devices of all processes."""
    from faces.network import runtime
    from faces.training.training_step import TrainingStep

    strategy = runtime.start(
        load_threads(),
        params.seed,
        params.jit_compile,
        partial(make_strategy, params.devices, worker),
        devices=max(1, params.devices),
    )
    keras, devices = runtime.keras, Devices(strategy, worker)
    check_batch(params.batch_size, devices.count)
    if params.precision == "mixed_float16" and devices.count > 1:
        raise StageError(f"params.yaml: train.precision: mixed_float16 is for one device; there are {devices.count}")
    keras.config.set_dtype_policy(params.precision)
    with strategy.scope():
        backbone = _build_backbone(params, devices)
        head = _build_head(params, classes)
        model = keras.Sequential([backbone, head])
        model.compile(keras.optimizers.SGD(params.learning_rate, momentum=params.momentum))
        model.optimizer.build(model.trainable_variables)
    sampled = _sample(params, classes, head, model.optimizer)
    synchronized = params.batch_norm == "synchronized"
    step = TrainingStep(model, make_loss(params), devices, params.jit_compile, synchronized, params.teacher_weight)
    embed = runtime.tf.function(lambda images: backbone(images, training=False), reduce_retracing=True)
    return TrainingModel(backbone, model, step, embed, sampled, devices)


def _build_backbone(params: ModelParams, devices: Devices) -> Any:
    from faces.network import mobilefacenet, weights

    backbone = mobilefacenet.build(
        **extract_architecture(params).model_dump(),
        l2=params.l2,
        batch_norm_momentum=params.batch_norm_momentum,
        synchronized=params.batch_norm == "synchronized" and devices.count > 1,
    )
    if Path(params.initial_weights) != FROM_SCRATCH:
        weights.load_initial_weights(backbone, Path(params.initial_weights))
    return backbone


def _build_head(params: ModelParams, classes: int) -> Any:
    """Return a head of all classes, or of the sample that a step sees: at least as many as a batch has images."""
    from faces.network.runtime import keras
    from faces.training.arcface import CosineHead

    seen = min(classes, max(params.batch_size, math.ceil(params.sample_rate * classes)))
    regularizer = keras.regularizers.L2(params.l2) if params.l2 else None
    return CosineHead(seen, regularizer, dtype=head_precision(params))


def _sample(params: ModelParams, classes: int, head: Any, optimizer: Any) -> Any:
    """Return the directions of all classes if the head has fewer, else None."""
    from faces.training.partial_fc import SampledDirections

    return SampledDirections(classes, head, optimizer, params.seed) if head.classes < classes else None
