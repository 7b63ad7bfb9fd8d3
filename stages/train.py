"""Train MobileFaceNet with ArcFace on the `train` part of the split.

Reads   data/packed, data/split.csv, and the file that train.initial_weights names
Writes  models/backbone.{json,weights.h5}, metrics/train.json, metrics/train/ (curves per epoch)
Run     python stages/train.py

After each epoch the network verifies images that it is not trained on: those of `validation`, by which `keep` and
`patience` choose an epoch, or, where the split sets none aside, those of `test_seen`, by which nothing is chosen.

An interrupted run goes on from its last finished epoch; the last `keep_checkpoints` of them stay in models/checkpoints.
"""

import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, model_validator

from faces.architecture import Architecture
from faces.augmentation import AugmentParams, PhotoAugmenter
from faces.checkpoints import Epochs, checkpoint_folder, finish
from faces.curves import log_epoch, open_curves
from faces.embeddings import unit_length
from faces.files import write_metrics
from faces.packed_images import PackedImages
from faces.split_table import (
    SPLIT_PATH,
    TEST_SEEN,
    TRAIN,
    VALIDATION,
    images_of,
    labels_of,
    read_split,
    training_identities,
)
from faces.stage import StageError, load_params, progress, run, say, warn
from faces.threads import fixed_threads, in_order
from faces.verification import area_under_roc, equal_error_rate

CURVES = Path("metrics/train")
FROM_SCRATCH = Path("models/from_scratch")
FEW_STEPS = 200  # after 30, a network of 12 people guessed; after 200, it did not
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
    threads: int = Field(ge=1, le=1024)
    sample_rate: float = Field(gt=0, le=1)
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"]
    jit_compile: bool
    seed: int = Field(ge=0, lt=2**32)

    @model_validator(mode="after")
    def _falling(self) -> "TrainParams":
        if self.learning_rate_min > self.learning_rate:
            raise ValueError(f"Learning_rate_min {self.learning_rate_min} is above learning_rate {self.learning_rate}")
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

    @property
    def available(self) -> int:
        """Images to train on, in all groups."""
        return sum(map(len, self.groups))

    def __len__(self) -> int:
        """Batches an epoch. Images that fill no whole batch wait for another epoch, whose order differs."""
        return max(1, (self.params.epoch_images or self.available) // self.params.batch_size)

    def load(self, epoch: int, index: int, order: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        chosen = order[index * self.params.batch_size : (index + 1) * self.params.batch_size]
        pixels = self.augmenter(self.images[chosen], (self.params.seed, epoch, index))
        return pixels.astype(np.float32), self.labels[chosen]

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the images of an epoch, as many as there are or `epoch_images`, from all groups in turn.

        Each group goes on where the epoch before ended, in one shuffled row of all its images after another.
        """
        share = max(1, (self.params.epoch_images or self.available) // len(self.groups))
        of_groups = [self._next(number, epoch * share, share) for number in range(len(self.groups))]
        return np.stack(of_groups, axis=1).ravel()

    def _next(self, group: int, first: int, count: int) -> NDArray[np.int64]:
        images = self.groups[group]
        rows = range(first // len(images), (first + count - 1) // len(images) + 1)
        seed = (self.params.seed, group) if group else (self.params.seed,)
        shuffled = [np.random.default_rng((*seed, row)).permutation(images) for row in rows]
        return np.concatenate(shuffled)[first % len(images) :][:count]

    def epoch(self, epoch: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Yield images float32 (B, 112, 112, 3) of 0..255 and labels (B,); the next batch is made meanwhile."""
        order = self.order(epoch)
        with ThreadPoolExecutor(max_workers=1) as worker:
            yield from in_order(worker, lambda index: self.load(epoch, index, order), range(len(self)), ahead=2)


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

    def measure(self, backbone: Any) -> dict[str, float]:
        """Return AUC and EER over all pairs of the validation images; nothing if they are all of one label."""
        if not self.has_both:
            return {}
        batches = np.split(self.numbers, range(self.params.batch_size, len(self.numbers), self.params.batch_size))
        embeddings = np.concatenate([backbone.predict_on_batch(self.images[batch]) for batch in batches])
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
    """The backbone, the compiled model that trains it, and all class directions if a step sees only some of them."""

    backbone: Any
    trained: Any
    sampled: Any

    @property
    def variables(self) -> list[Any]:
        """All that a checkpoint has to hold."""
        outside = self.sampled.variables if self.sampled else []
        return [*self.trained.variables, *self.trained.optimizer.variables, *outside]

    def train_on_batch(
        self, images: NDArray[np.float32], labels: NDArray[np.int64], seed: tuple[int, ...]
    ) -> dict[str, float]:
        """Do one step and return its loss and accuracy."""
        if self.sampled:
            labels = self.sampled.draw(labels, seed)
        figures = self.trained.train_on_batch(images, labels, return_dict=True)
        if self.sampled:
            self.sampled.put_back()
        return figures


def architecture_of(params: TrainParams) -> Architecture:
    """Return what of the parameters a reader of the weights has to know."""
    return Architecture(**params.model_dump(include=set(Architecture.model_fields)))


def build(params: TrainParams, classes: int) -> Model:
    """Return the network, started from `initial_weights`, ready to be trained."""
    from faces import arcface, mobilefacenet, runtime, weights

    runtime.start(params.threads, params.seed, params.jit_compile)
    keras = runtime.keras
    keras.config.set_dtype_policy(params.precision)
    backbone = mobilefacenet.build(
        **architecture_of(params).model_dump(), l2=params.l2, batch_norm_momentum=params.batch_norm_momentum
    )
    if Path(params.initial_weights) != FROM_SCRATCH:
        weights.load_initial_weights(backbone, Path(params.initial_weights))
    regularizer = keras.regularizers.L2(params.l2) if params.l2 else None
    seen = min(classes, max(params.batch_size, math.ceil(params.sample_rate * classes)))
    head = arcface.CosineHead(seen, regularizer)
    model = keras.Sequential([backbone, head])
    model.compile(
        optimizer=keras.optimizers.SGD(params.learning_rate, momentum=params.momentum),
        loss=arcface.ArcFaceLoss(params.scale, params.margin),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        jit_compile=params.jit_compile,
    )
    model.optimizer.build(model.trainable_variables)
    sampled = arcface.SampledDirections(classes, head, model.optimizer, params.seed) if seen < classes else None
    return Model(backbone, model, sampled)


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


def train(params: TrainParams, augment: AugmentParams, split: pd.DataFrame) -> Trained:
    """Train all epochs that a former run has not."""
    images = PackedImages(split)
    batches = Batches(images, groups_of(split, params), labels_of(split), params, PhotoAugmenter(augment))
    if 0 < (steps := len(batches) * params.epochs) < FEW_STEPS:
        warn(
            f"{batches.available} images in batches of {params.batch_size} make {steps} steps "
            f"in all: too few to learn much; raise train.epochs, or set train.epoch_images"
        )
    validation = Validation(images, split, params)
    check_choice(validation.set_aside and validation.has_both, params)
    inputs = [SPLIT_PATH, Path(params.initial_weights), *images.paths]
    seen = augment.model_dump(mode="json")
    folder = checkpoint_folder("train", params, inputs, ignored={"keep_checkpoints"}, seen=seen)
    checkpoints = Epochs(folder, params.keep_checkpoints)
    model = build(params, training_identities(split))
    history = checkpoints.restore(model.variables)

    trained, seconds = 0, 0.0
    with open_curves(CURVES) as curves:
        for figures in history:
            log_epoch(curves, figures)
        while not is_over(history, params):
            began = time.perf_counter()
            figures = train_epoch(model, batches, epoch := len(history), params)
            figures["learning_rate"] = learning_rate(epoch + 1, params)
            seconds += time.perf_counter() - began
            trained += len(batches) * min(params.batch_size, batches.available)
            history.append(figures | validation.measure(model.backbone))
            best = best_epoch(history) if params.keep == "best" else epoch
            checkpoints.save(model.variables, history, kept=best + 1)
            log_epoch(curves, history[-1])
        if not params.epochs:
            log_epoch(curves, untrained := validation.measure(model.backbone))
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
    split = read_split()
    with fixed_threads(params.threads):
        trained = train(params, augment, split)

    from faces.backbone import WEIGHTS_PATH, save_backbone

    save_backbone(trained.backbone, architecture_of(params))
    write_metrics(Path("metrics/train.json"), trained.figures)
    if trained.images_per_second:
        write_metrics(Path("metrics/speed/train.json"), {"images_per_second": trained.images_per_second})
    finish(trained.checkpoints, kept_for=WEIGHTS_PATH)


if __name__ == "__main__":
    run(main)
