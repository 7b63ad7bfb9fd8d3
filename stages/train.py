"""Train MobileFaceNet with ArcFace on the `train` part of the split.

Reads   data/packed, data/split.csv, and the file that train.initial_weights names
Writes  models/backbone.{json,weights.h5}, metrics/train.json, metrics/train/ (curves per epoch)
Run     python stages/train.py

After each epoch the network verifies images that it is not trained on: those of `validation`, by which `keep` and
`patience` choose an epoch, or, where the split sets none aside, those of `test_seen`, by which nothing is chosen.

An interrupted run goes on from its last finished epoch; the last `keep_checkpoints` of them stay in models/checkpoints.

Several devices share each batch by `devices` and `processes` (faces/training/distribution.py). Where TF_CONFIG says
that this is not the first process of a cluster, it takes part in the training of that one, and writes nothing.
"""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, model_validator

from faces.core.checkpoints import Epochs, checkpoint_folder, digest_of_work, finish
from faces.core.errors import StageError
from faces.core.files import write_metrics
from faces.core.params import load_params
from faces.core.run import run
from faces.core.terminal import progress, say, warn
from faces.core.threads import available_cores, fixed_threads, in_order, load_threads
from faces.evaluation.roc import area_under_roc, equal_error_rate
from faces.network.architecture import Architecture
from faces.tables.embeddings import unit_length
from faces.tables.packed_images import PackedImages
from faces.tables.split_table import (
    SPLIT_PATH,
    TEST_SEEN,
    TRAIN,
    VALIDATION,
    images_of,
    labels_of,
    read_split,
    training_identities,
)
from faces.training.augmentation import AugmentParams, PhotoAugmenter
from faces.training.curves import log_epoch, open_curves
from faces.training.distribution import (
    Devices,
    Place,
    check_batch,
    joined,
    lost_a_process,
    make_strategy,
    own_place,
    same_everywhere,
)

CURVES = Path("metrics/train")
FROM_SCRATCH = Path("models/from_scratch")
ALONE = Place()
FEW_STEPS = 200  # after 30, a network of 12 people guessed; after 200, it did not
MOST_LOADERS = 4  # threads that make batches; more wait for each other (docs/scale.md)
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


class TrainParams(Architecture):
    initial_weights: str = Field(min_length=1)
    batch_norm_momentum: float = Field(ge=0, lt=1)
    l2: float = Field(ge=0)
    scale: float = Field(gt=0)
    margin: float = Field(ge=0, le=math.pi / 2)
    epochs: int = Field(ge=0)
    epoch_images: int = Field(ge=0)
    balance: Literal["images", "sources"]
    batch_size: int = Field(ge=2)
    devices: int = Field(ge=0, le=1024)
    processes: int = Field(ge=1, le=1024)
    batch_norm: Literal["synchronized", "local"]
    learning_rate: float = Field(gt=0)
    learning_rate_min: float = Field(ge=0)
    momentum: float = Field(ge=0, lt=1)
    schedule: Literal["cosine", "notebook_cosine", "constant"]
    warmup_epochs: float = Field(ge=0)
    hold_epochs: int = Field(ge=0)
    cosine_epochs: int = Field(ge=0)
    validation_images: int = Field(ge=2)
    keep: Literal["last", "best"]
    patience: int = Field(ge=0)
    keep_checkpoints: int = Field(ge=1)
    sample_rate: float = Field(gt=0, le=1)
    precision: Literal["float32", "float64", "mixed_bfloat16", "mixed_float16"]
    jit_compile: bool
    seed: int = Field(ge=0, lt=2**32)

    @model_validator(mode="after")
    def _falling(self) -> "TrainParams":
        if self.learning_rate_min > self.learning_rate:
            raise ValueError(f"Learning_rate_min {self.learning_rate_min} is above learning_rate {self.learning_rate}")
        return self

    @model_validator(mode="after")
    def _equal_shares(self) -> "TrainParams":
        devices = self.processes * max(1, self.devices)  # as far as is known here: 0 stands for all
        if self.batch_size % devices:
            raise ValueError(f"Batch_size {self.batch_size} should be a multiple of devices * processes, {devices}")
        if self.precision == "mixed_float16" and devices > 1:
            raise ValueError("Precision mixed_float16 is for one device; several can have mixed_bfloat16")
        if self.jit_compile and (self.devices, self.processes) != (1, 1):
            raise ValueError("Jit_compile is for one device: XLA does not compile a step that several share")
        return self


def learning_rate(time: float, params: TrainParams) -> float:
    """Return the learning rate after `time` epochs of training, which need not be whole.

    It rises in a line for `warmup_epochs`, stays at `learning_rate` until `hold_epochs`, then falls along half a cosine
    to `learning_rate_min`, reached `cosine_epochs` later (0: at the end of the last epoch) and kept. The notebook's
    cosine changes between epochs alone, counts from the first one instead of from the hold's end, and goes on past its
    half period: it jumps at the end of the hold unless that is a multiple of twice `cosine_epochs`.
    """
    if time < params.warmup_epochs:
        return params.learning_rate * time / params.warmup_epochs
    if params.schedule == "constant" or time < params.hold_epochs:
        return params.learning_rate
    falling = params.cosine_epochs or max(1, params.epochs - params.hold_epochs)
    elapsed = int(time) if params.schedule == "notebook_cosine" else min(time - params.hold_epochs, falling)
    share = (1 + math.cos(math.pi * elapsed / falling)) / 2
    return params.learning_rate_min + (params.learning_rate - params.learning_rate_min) * share


@dataclass
class Batches:
    """The training batches of any epoch: a function of the seed and the epoch alone, so a resumed run sees the same."""

    images: PackedImages
    groups: list[NDArray[np.int64]]  # image numbers; every group gives as many images to an epoch
    labels: NDArray[np.int64]
    params: TrainParams
    augmenter: PhotoAugmenter
    share: Callable[[int], slice] = lambda images: slice(0, images)  # of a batch of so many, what is loaded here

    @property
    def available(self) -> int:
        """Images to train on, in all groups."""
        return sum(map(len, self.groups))

    def __len__(self) -> int:
        """Batches an epoch. Images that fill no whole batch wait for another epoch, whose order differs."""
        return max(1, len(self.groups) * self._of_group // self.params.batch_size)

    @property
    def images_at_once(self) -> int:
        """Images of a batch: `batch_size`, or all of an epoch if these are fewer."""
        return min(self.params.batch_size, len(self.groups) * self._of_group)

    @property
    def _of_group(self) -> int:
        return max(1, (self.params.epoch_images or self.available) // len(self.groups))

    def load(self, epoch: int, index: int, order: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        chosen = order[index * self.params.batch_size : (index + 1) * self.params.batch_size]
        share, seed = self.share(len(chosen)), (self.params.seed, epoch, index)
        if self.augmenter.needs_whole_batch:
            pixels = self.augmenter(self.images[chosen], seed)[share]
        else:
            pixels = self.augmenter(self.images[chosen[share]], seed, share, len(chosen))
        return pixels.astype(np.float32), self.labels[chosen]

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the images of an epoch, as many as there are or `epoch_images`, from all groups in turn.

        Each group goes on where the epoch before ended, in one shuffled row of all its images after another.
        """
        share = self._of_group
        of_groups = [self._next(number, epoch * share, share) for number in range(len(self.groups))]
        return np.stack(of_groups, axis=1).ravel()

    def _next(self, group: int, first: int, count: int) -> NDArray[np.int64]:
        images = self.groups[group]
        rows = range(first // len(images), (first + count - 1) // len(images) + 1)
        seed = (self.params.seed, group) if group else (self.params.seed,)
        shuffled = [np.random.default_rng((*seed, row)).permutation(images) for row in rows]
        return np.concatenate(shuffled)[first % len(images) :][:count]

    def epoch(self, epoch: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Yield images float32 (n, 112, 112, 3) of 0..255, this process's share of B, and labels (B,), those of all.

        The next batches are made meanwhile.
        """
        order, loaders = self.order(epoch), min(MOST_LOADERS, available_cores())
        with ThreadPoolExecutor(loaders) as pool:
            yield from in_order(pool, lambda index: self.load(epoch, index, order), range(len(self)), ahead=loaders + 1)


def groups_of(split: pd.DataFrame, params: TrainParams) -> list[NDArray[np.int64]]:
    """Return the training images, in a group a source if sources are to be balanced."""
    images = images_of(split, TRAIN)
    if params.balance == "images":
        return [images]
    sources = split["source"].to_numpy()[images]
    return [images[sources == source] for source in sorted(set(sources))]


@dataclass
class Validation:
    """Verification of held-out images of some training subjects, whole ones, so that there are genuine pairs."""

    images: PackedImages
    split: pd.DataFrame
    params: TrainParams

    def __post_init__(self) -> None:
        labels, candidates = labels_of(self.split), images_of(self.split, VALIDATION)
        self.set_aside = len(candidates) > 0
        if not self.set_aside:
            candidates = images_of(self.split, TEST_SEEN)
        subjects = np.random.default_rng(self.params.seed).permutation(np.unique(labels[candidates]))
        sizes = np.bincount(labels[candidates], minlength=subjects.max() + 1)[subjects]
        chosen = subjects[: 1 + np.searchsorted(np.cumsum(sizes), self.params.validation_images)]
        self.numbers = candidates[np.isin(labels[candidates], chosen)]
        of_images = labels[self.numbers]
        self.a, self.b = np.triu_indices(len(self.numbers), k=1)
        self.same = of_images[self.a] == of_images[self.b]
        self.has_both = bool(0 < self.same.sum() < len(self.same))

    def measure(self, embed: Callable[[NDArray[np.uint8]], Any]) -> dict[str, float]:
        """Return AUC and EER over all pairs of the validation images; nothing if they are all of one label."""
        if not self.has_both:
            return {}
        batches = np.split(self.numbers, range(self.params.batch_size, len(self.numbers), self.params.batch_size))
        embeddings = np.concatenate([np.asarray(embed(self.images[batch])) for batch in batches])
        embeddings = embeddings.astype(np.float32)  # of a network of mixed precision
        if not np.isfinite(embeddings).all():
            raise diverged(self.params, "embeddings are not finite")
        unit = unit_length(embeddings)
        cosines = (unit @ unit.T)[self.a, self.b]
        return {
            "validation_auc": area_under_roc(cosines, self.same),
            "validation_eer": equal_error_rate(cosines, self.same),
        }


class Model(NamedTuple):
    """The backbone, the model that trains it, its step, and all class directions if a step sees only some of them."""

    backbone: Any
    trained: Any
    step: Callable[[NDArray[np.float32], NDArray[np.int64]], dict[str, float]]
    embed: Callable[[NDArray[np.uint8]], Any]
    sampled: Any
    devices: Devices

    @property
    def variables(self) -> list[Any]:
        """All that a checkpoint has to hold."""
        outside = self.sampled.variables if self.sampled else []
        return [*self.trained.variables, *self.trained.optimizer.variables, *outside]

    def train_on_batch(
        self, images: NDArray[np.float32], labels: NDArray[np.int64], seed: tuple[int, ...]
    ) -> dict[str, float]:
        """Do one step, on this process's share of the images and the labels of all; return its loss and accuracy."""
        if self.sampled:
            labels = self.sampled.draw(labels, seed)
        figures = self.step(images, labels[self.devices.share(len(labels))])
        if self.sampled:
            self.sampled.put_back()
        return figures

    def take_over(self) -> None:
        """Have in every process what the leader's variables are."""
        for variable in self.variables if self.devices.place.processes > 1 else ():
            variable.assign(self.devices.from_leader(np.asarray(variable)))


def architecture_of(params: TrainParams) -> Architecture:
    """Return what of the parameters a reader of the weights has to know."""
    return Architecture(**params.model_dump(include=set(Architecture.model_fields)))


def head_precision(params: TrainParams) -> str:
    """Return the precision of the head, in which the digits of small angles count: never a lower one than float32."""
    return "float64" if params.precision == "float64" else "float32"


def build(params: TrainParams, classes: int, place: Place = ALONE) -> Model:
    """Return the network, started from `initial_weights`, ready to be trained by the devices of all processes."""
    from faces.network import mobilefacenet, runtime, weights
    from faces.training import arcface
    from faces.training.training_step import TrainingStep

    strategy = runtime.start(
        load_threads(), params.seed, params.jit_compile, partial(make_strategy, params.devices, place)
    )
    keras, devices = runtime.keras, Devices(strategy, place)
    check_batch(params.batch_size, devices.count, f"train.batch_size: {params.batch_size}")
    if params.precision == "mixed_float16" and devices.count > 1:
        raise StageError(f"params.yaml: train.precision: mixed_float16 is for one device; there are {devices.count}")
    synchronized = params.batch_norm == "synchronized"
    keras.config.set_dtype_policy(params.precision)
    with strategy.scope():
        backbone = mobilefacenet.build(
            **architecture_of(params).model_dump(),
            l2=params.l2,
            batch_norm_momentum=params.batch_norm_momentum,
            synchronized=synchronized and devices.count > 1,
        )
        if Path(params.initial_weights) != FROM_SCRATCH:
            weights.load_initial_weights(backbone, Path(params.initial_weights))
        regularizer = keras.regularizers.L2(params.l2) if params.l2 else None
        seen = min(classes, max(params.batch_size, math.ceil(params.sample_rate * classes)))
        head = arcface.CosineHead(seen, regularizer, dtype=head_precision(params))
        model = keras.Sequential([backbone, head])
        model.compile(keras.optimizers.SGD(params.learning_rate, momentum=params.momentum))
        model.optimizer.build(model.trainable_variables)
    sampled = arcface.SampledDirections(classes, head, model.optimizer, params.seed) if seen < classes else None
    loss = arcface.ArcFaceLoss(params.scale, params.margin)
    step = TrainingStep(model, loss, devices, params.jit_compile, synchronized)
    embed = runtime.tf.function(lambda images: backbone(images, training=False), reduce_retracing=True)
    return Model(backbone, model, step, embed, sampled, devices)


def train_epoch(model: Model, batches: Batches, epoch: int, params: TrainParams) -> dict[str, float]:
    """Train one epoch and return the means of loss and accuracy over it; StageError if the loss is not finite."""
    title = f"epoch {epoch + 1}/{params.epochs}"
    losses, accuracies = [], []
    for step, batch in enumerate(progress(batches.epoch(epoch), title, len(batches), "batch")):
        model.trained.optimizer.learning_rate = learning_rate(epoch + (step + 1) / len(batches), params)
        of_batch = model.train_on_batch(*batch, (params.seed, epoch, step))
        losses.append(of_batch["loss"])
        accuracies.append(of_batch["accuracy"])
    loss = float(np.mean(losses))
    if not math.isfinite(loss):
        raise diverged(params, f"the loss of epoch {epoch + 1} is {loss}")
    return {"loss": loss, "train_accuracy": float(np.mean(accuracies))}


def diverged(params: TrainParams, sign: str) -> StageError:
    """Return the error for a training that ran away."""
    return StageError(
        f"params.yaml: train.learning_rate: {params.learning_rate}: training diverged ({sign}); choose a lower one"
    )


def best_epoch(history: list[dict[str, float]]) -> int:
    """Return the first of the epochs, from 0, whose validation AUC no other exceeds."""
    return int(np.argmax([figures["validation_auc"] for figures in history]))


def is_over(history: list[dict[str, float]], params: TrainParams) -> bool:
    """Return whether all epochs are trained, or the last `patience` ones brought nothing better."""
    if len(history) == params.epochs:
        return True
    return 0 < params.patience <= len(history) and len(history) - 1 - best_epoch(history) >= params.patience


def check_choice(set_aside: bool, params: TrainParams) -> None:
    """Raise StageError if an epoch is to be chosen, and no pairs are `set_aside` for that."""
    asked = "keep: best" if params.keep == "best" else f"patience: {params.patience}" if params.patience else ""
    if asked and not set_aside:
        raise StageError(
            f"params.yaml: train.{asked}: an epoch is chosen by genuine and impostor pairs of "
            f"`{VALIDATION}` images, and there are none; raise split.validation_size"
        )


class Trained(NamedTuple):
    """A trained network, its figures, images a second if any epoch was left to train, and the checkpoints."""

    backbone: Any
    figures: dict[str, float]
    images_per_second: float | None
    checkpoints: Path


class Data(NamedTuple):
    """What a training runs on: its batches, the images that it is measured on, and the files of both."""

    batches: Batches
    validation: Validation
    classes: int
    files: list[Path]


def read_data(params: TrainParams, augment: AugmentParams) -> Data:
    """Return the images of the split; warn if they make few steps."""
    split = read_split()
    images = PackedImages(split)
    batches = Batches(images, groups_of(split, params), labels_of(split), params, PhotoAugmenter(augment))
    if 0 < (steps := len(batches) * params.epochs) < FEW_STEPS:
        warn(
            f"{batches.available} images in batches of {params.batch_size} make {steps} steps "
            f"in all: too few to learn much; raise train.epochs, or set train.epoch_images"
        )
    validation = Validation(images, split, params)
    check_choice(validation.set_aside and validation.has_both, params)
    files = [SPLIT_PATH, Path(params.initial_weights), *images.paths]
    return Data(batches, validation, training_identities(split), files)


def train(params: TrainParams, augment: AugmentParams, place: Place) -> Trained | None:
    """Train all epochs that a former run has not; None in a process that follows another."""
    data = read_data(params, augment)
    work: Any = {"ignored": {"keep_checkpoints"}, "seen": [augment.model_dump(mode="json"), load_threads()]}
    folder = checkpoint_folder("train", params, data.files, **work) if place.leads else None
    digest = folder.name if folder else digest_of_work("train", params, data.files, **work)
    model = build(params, data.classes, place)
    same_everywhere(model.devices, digest)
    trained = None
    if folder:
        trained = lead(model, data, params, folder)
    else:
        follow(model, data, params)
    model.devices.agree(None)  # that all are done: none ends while the leader still saves
    return trained


def one_epoch(model: Model, data: Data, epoch: int, params: TrainParams) -> tuple[dict[str, float], float]:
    """Train an epoch; return its figures, those of validation measured by the leader, and the seconds of training."""
    images = data.batches.images_at_once
    check_batch(images, model.devices.count, f"train: {images} images an epoch")
    data.batches.share = model.devices.share
    began = time.perf_counter()
    figures = train_epoch(model, data.batches, epoch, params)
    seconds = time.perf_counter() - began
    figures["learning_rate"] = learning_rate(epoch + 1, params)
    measured = data.validation.measure(model.embed) if model.devices.place.leads else {}
    return figures | model.devices.agree(measured), seconds


def follow(model: Model, data: Data, params: TrainParams) -> None:
    """Take part in a training that another process leads."""
    history: list[dict[str, float]] = model.devices.agree(None)
    model.take_over()
    while not is_over(history, params):
        figures, _ = one_epoch(model, data, len(history), params)
        history.append(figures)


def lead(model: Model, data: Data, params: TrainParams, folder: Path) -> Trained:
    """Train, going on where a former run was cut off."""
    checkpoints = Epochs(folder, params.keep_checkpoints)
    history = model.devices.agree(checkpoints.restore(model.variables))
    model.take_over()
    trained, seconds = 0, 0.0
    with open_curves(CURVES) as curves:
        for figures in history:
            log_epoch(curves, figures)
        while not is_over(history, params):
            figures, of_epoch = one_epoch(model, data, epoch := len(history), params)
            history.append(figures)
            seconds += of_epoch
            trained += len(data.batches) * data.batches.images_at_once
            best = best_epoch(history) if params.keep == "best" else epoch
            checkpoints.save(model.variables, history, kept=best + 1)
            log_epoch(curves, history[-1])
        if not params.epochs:
            log_epoch(curves, untrained := data.validation.measure(model.embed))
            return Trained(model.backbone, {"epochs": 0, **untrained}, None, folder)
    figures = {"epochs": len(history), **history[-1]}
    if params.keep == "best":
        best = best_epoch(history)
        checkpoints.load(best + 1, model.variables)
        figures = {"epochs": len(history), "kept_epoch": best + 1, **history[best]}
        say(f"epoch {best + 1} was the best of {len(history)}, and is kept")
    return Trained(model.backbone, figures, trained / seconds if trained else None, folder)


def check_initial_weights(params: TrainParams) -> None:
    """Raise StageError if the file to start from is not there."""
    path = Path(params.initial_weights)
    if path.resolve() == Path("models/backbone.weights.h5").resolve():
        raise StageError(
            f"params.yaml: train.initial_weights: {str(path)!r}: training replaces this file; start from a copy of it"
        )
    if not path.is_file():
        raise StageError(
            f"params.yaml: train.initial_weights: {str(path)!r}: no such file; "
            f"name a weights file, or {FROM_SCRATCH} to start from random weights"
        )
    with open(path, "rb") as file:
        if path != FROM_SCRATCH and file.read(len(HDF5_SIGNATURE)) != HDF5_SIGNATURE:
            raise StageError(f"params.yaml: train.initial_weights: {str(path)!r}: not an HDF5 file, as weights are")


def main() -> None:
    """Write the trained backbone and its curves."""
    params, augment = load_params("train", TrainParams), load_params("augment", AugmentParams)
    check_initial_weights(params)
    with joined(params.processes) as place, fixed_threads(load_threads()):
        trained = train_with_others(params, augment, place) if params.processes > 1 else train(params, augment, place)
    if trained is None:
        return

    from faces.network.backbone import WEIGHTS_PATH, save_backbone

    save_backbone(trained.backbone, architecture_of(params))
    write_metrics(Path("metrics/train.json"), trained.figures)
    if trained.images_per_second:
        write_metrics(Path("metrics/speed/train.json"), {"images_per_second": trained.images_per_second})
    finish(trained.checkpoints, kept_for=WEIGHTS_PATH)


def train_with_others(params: TrainParams, augment: AugmentParams, place: Place) -> Trained | None:
    """Do as `train`; StageError if TensorFlow finds another process gone."""
    from faces.network.runtime import tf

    try:
        return train(params, augment, place)
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.InternalError,
        tf.errors.CancelledError,
    ) as error:
        raise lost_a_process(error) from None


if __name__ == "__main__":
    run(main, alone=lambda: own_place().leads)
