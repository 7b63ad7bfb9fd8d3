"""An epoch of training with a step that needs no network."""

from pathlib import Path

import numpy as np
import pytest

from faces.network.runtime import tf
from faces.training.distribution import ALONE, Devices
from faces.training.loop import train_epoch
from faces.training.model import TrainingModel
from training_projects import project_batches, train_params


def test_an_epochs_metrics_are_means_over_its_batches(project: Path) -> None:
    class Trained:
        class optimizer:
            learning_rate = 0.0

    losses = iter([1.0, 2.0, 6.0])

    def step(images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        assert len(images) == len(labels) == 5
        return {"loss": (loss := next(losses)), "accuracy": loss / 10}

    devices = Devices(tf.distribute.get_strategy(), ALONE)
    model = TrainingModel(None, Trained(), step, embed=np.asarray, sampled=None, devices=devices)
    metrics = train_epoch(model, project_batches(batch_size=5), 0, train_params())
    assert metrics == {"loss": 3.0, "train_accuracy": pytest.approx(0.3)}
