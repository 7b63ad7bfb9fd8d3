"""A small project to train in, in this process or in several that share the training."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import train
from faces.core.params import load_params
from faces.network.weights import load_weights
from faces.tables.packed_images import PackedImages
from faces.tables.split_table import image_labels, read_split
from faces.training.augmentation import AugmentParams, PhotoAugmenter
from faces.training.batches import Batches, image_groups
from small_project import draw_images, new_project, run_stage, working_in, write_params

SOURCES = {"drawn": {"path": "people"}}
ALONE: dict[str, Any] = {"epochs": 2, "learning_rate": 0.01, "batch_size": 8, "validation_images": 40}
NO_CHANGE = AugmentParams.model_validate(
    {name: False if field.annotation is bool else 0.0 for name, field in AugmentParams.model_fields.items()}
)
Process = subprocess.Popen[str]


def train_params(**changes: object) -> train.TrainParams:
    """Return the section `train:` of the project in the current folder, changed but not checked again."""
    return load_params("train", train.TrainParams).model_copy(update=changes)


def project_batches(augment: AugmentParams | None = None, **changes: object) -> Batches:
    """Return the training batches of the project in the current folder."""
    split, params = read_split(), train_params(**changes)
    augmenter = PhotoAugmenter(augment or load_params("augment", AugmentParams))
    return Batches(PackedImages(split), image_groups(split, params), image_labels(split), params, augmenter)


def set_aside(project: Path, **train: object) -> None:
    """Write parameters with which the split has a part `validation`, and split again."""
    write_params(project, split={"validation_size": 0.3, "unseen_subjects": 0.3}, train=train)
    run_stage("split")


def new_training_project(folder: Path) -> Path:
    """Return a project of 10 people with 12 images each, split and ready to be trained on."""
    new_project(folder)
    draw_images(folder / "people", subjects=10, images=12, seed=3)
    write_params(folder, sources=SOURCES, train=ALONE)
    with working_in(folder):
        for stage in (("pack", "drawn"), ("duplicates",), ("split",)):
            run_stage(*stage)
    return folder


def set_training(folder: Path, threads: object = 2, **changes: object) -> None:
    """Write the parameters of a training."""
    write_params(folder, sources=SOURCES, runtime={"threads": threads}, train=ALONE | changes)


def tf_config(workers: list[str], index: int) -> str:
    """Return TF_CONFIG for one of the workers, each `host:port`."""
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})


def start_training(folder: Path, environment: dict[str, str] | None = None) -> Process:
    """Start `python stages/train.py` in a project."""
    return subprocess.Popen(
        [sys.executable, train.__file__],
        cwd=folder,
        env=os.environ | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_workers(folders: list[Path]) -> list[Process]:
    """Start a process in each folder, all of which train together; the first is the chief."""
    workers = [f"localhost:{port}" for port in free_ports(len(folders))]
    return [start_training(folder, {"TF_CONFIG": tf_config(workers, i)}) for i, folder in enumerate(folders)]


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nothing listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in sockets]


def run_to_end(processes: list[Process]) -> str:
    """Wait until all processes have ended well; return what the first wrote to stderr."""
    try:
        errors = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(processes), errors
    return errors[0]


def trained(folder: Path, processes: int = 1, **changes: object) -> tuple[list[float], Path]:
    """Train with the given parameters, by one process or several; return the loss curve, and the weights."""
    set_training(folder, **changes)
    run_to_end(start_workers([folder] * processes) if processes > 1 else [start_training(folder)])
    return take_results(folder)


def trained_here(folder: Path, **changes: object) -> tuple[list[float], Path]:
    """Train with the given parameters in this process, which has TensorFlow already; return what `trained` does."""
    from faces.network.runtime import keras

    set_training(folder, **changes)
    try:
        with working_in(folder):
            run_stage("train")
    finally:
        keras.config.set_dtype_policy("float32")
    return take_results(folder)


def take_results(folder: Path) -> tuple[list[float], Path]:
    """Return the loss curve of a training and the file of its weights, under a name that no other training takes."""
    weights = folder / "models/backbone.weights.h5"
    curve = pd.read_csv(folder / "metrics/train/plots/metrics/loss.tsv", sep="\t", float_precision="round_trip")
    return curve["loss"].tolist(), weights.rename(folder / f"{len(list(folder.glob('*.h5')))}.weights.h5")


def embeddings_by(weights: Path) -> np.ndarray:
    """Return the embeddings of some random images by a network with these weights, each of length 1: (20, D)."""
    from faces.network import mobilefacenet

    network = mobilefacenet.build(0.125, 16, head="linear", pixel_range="symmetric")
    load_weights(network, weights)
    images = np.random.default_rng(0).integers(0, 256, (20, 112, 112, 3)).astype(np.float32)
    embeddings = np.asarray(network(images, training=False))
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
