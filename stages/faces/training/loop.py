"""The epochs of a training: the steps of each, its metrics and checkpoint, and when training ends.

An interrupted run resumes after its last finished epoch. If several processes train together, the chief restores,
validates and saves; the others repeat its steps and get its metrics by broadcast.
"""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import Field

from faces.core.checkpoints import EpochCheckpoints
from faces.core.errors import StageError
from faces.core.terminal import progress, say
from faces.training.batches import Batches
from faces.training.curves import log_epoch, open_curves
from faces.training.model import TrainingModel
from faces.training.schedule import Schedule, learning_rate_at
from faces.training.validation import Diverged, Validation, ValidationParams, best_epoch


class LoopParams(Schedule, ValidationParams):
    """Parameters of the epochs, part of the section `train:`."""

    keep_checkpoints: int = Field(ge=1)


class Trained(NamedTuple):
    """The metrics of the epoch that is kept, and images a second if this run trained any epoch."""

    metrics: dict[str, float]
    images_per_second: float | None


@dataclass
class Training:
    """What every epoch works with."""

    model: TrainingModel
    batches: Batches
    validation: Validation
    params: LoopParams

    def __post_init__(self) -> None:
        """Have this process load only its share of each batch; StageError if a device would get no image."""
        self.batches.share, self.batches.devices = self.model.devices.share, self.model.devices.count
        if not self.batches.images_per_batch:
            raise StageError(
                f"params.yaml: train: {self.batches.devices} devices have less than an image each an epoch"
            )

    def epoch(self, number: int) -> tuple[dict[str, float], float]:
        """Train epoch `number`, from 0; return its metrics, and the seconds without validation.

        The chief validates.
        """
        began = time.perf_counter()
        metrics = train_epoch(self.model, self.batches, number, self.params)
        seconds = time.perf_counter() - began
        metrics["learning_rate"] = learning_rate_at(number + 1, self.params)
        measured = self.validation.measure(self.model.embed) if self.model.devices.worker.is_chief else {}
        return metrics | self.model.devices.broadcast(measured), seconds


def train_epoch(model: TrainingModel, batches: Batches, epoch: int, params: LoopParams) -> dict[str, float]:
    """Do the steps of an epoch; return the means of their metrics; Diverged if the loss is not finite."""
    title = f"epoch {epoch + 1}/{params.epochs}"
    history: dict[str, list[float]] = {}
    for step, (images, labels, *taught) in enumerate(progress(batches.epoch(epoch), title, len(batches), "batch")):
        model.trained.optimizer.learning_rate = learning_rate_at(epoch + (step + 1) / len(batches), params)
        for name, value in model.train_on_batch(images, labels, (params.seed, epoch, step), *taught).items():
            history.setdefault(name, []).append(value)
    means = {name: float(np.mean(values)) for name, values in history.items()}
    loss, accuracy = means.pop("loss"), means.pop("accuracy")
    if not math.isfinite(loss):
        raise Diverged(f"the loss of epoch {epoch + 1} is {loss}")
    return {"loss": loss, "train_accuracy": accuracy, **means}


def is_over(history: list[dict[str, float]], params: LoopParams) -> bool:
    """Return whether all epochs are trained, or the last `patience` ones brought no better validation AUC."""
    if len(history) == params.epochs:
        return True
    return 0 < params.patience <= len(history) and len(history) - 1 - best_epoch(history) >= params.patience


def train_as_chief(training: Training, checkpoint_folder: Path, curves_folder: Path) -> Trained:
    """Train all epochs that no former run has finished; leave the model as it was after the epoch that is kept."""
    model, params = training.model, training.params
    checkpoints = EpochCheckpoints(checkpoint_folder, params.keep_checkpoints)
    history = model.devices.broadcast(checkpoints.restore(model.variables))
    model.broadcast_variables()
    images, seconds = 0, 0.0
    with open_curves(curves_folder) as curves:
        for metrics in history:
            log_epoch(curves, metrics)
        while not is_over(history, params):
            metrics, epoch_seconds = training.epoch(len(history))
            history.append(metrics)
            images += len(training.batches) * training.batches.images_per_batch
            seconds += epoch_seconds
            kept = best_epoch(history) if params.keep == "best" else len(history) - 1
            checkpoints.save(model.variables, history, kept=kept + 1)
            log_epoch(curves, metrics)
        if not params.epochs:
            log_epoch(curves, untrained := training.validation.measure(model.embed))
            return Trained({"epochs": 0, **untrained}, None)
    metrics = _restore_kept_epoch(model, history, checkpoints, params)
    return Trained(metrics, images / seconds if images else None)


def train_as_worker(training: Training) -> None:
    """Take part in a training that another process is the chief of."""
    history: list[dict[str, float]] = training.model.devices.broadcast(None)
    training.model.broadcast_variables()
    while not is_over(history, training.params):
        metrics, _ = training.epoch(len(history))
        history.append(metrics)


def _restore_kept_epoch(
    model: TrainingModel, history: list[dict[str, float]], checkpoints: EpochCheckpoints, params: LoopParams
) -> dict[str, float]:
    """Set the model to the epoch that is kept, and return its metrics."""
    if params.keep == "last":
        return {"epochs": len(history), **history[-1]}
    best = best_epoch(history)
    checkpoints.load(best + 1, model.variables)
    say(f"epoch {best + 1} was the best of {len(history)}, and is kept")
    return {"epochs": len(history), "kept_epoch": best + 1, **history[best]}
