"""A small project whose training can be run in processes of its own, as several devices need it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import train
from faces.network.weights import load_weights
from small_project import draw_images, new_project, run_stage, working_in, write_params

SOURCES = {"drawn": {"path": "people"}}
ALONE: dict[str, Any] = {"epochs": 2, "learning_rate": 0.01, "batch_size": 8, "validation_images": 40}


def new_training_project(folder: Path) -> Path:
    """Return a project of 10 people with 12 images each, split and ready to be trained on."""
    new_project(folder)
    draw_images(folder / "people", subjects=10, images=12, seed=3)
    write_params(folder, sources=SOURCES, train=ALONE)
    with working_in(folder):
        for stage in (("pack", "drawn"), ("duplicates",), ("split",)):
            run_stage(*stage)
    return folder


def start_training(folder: Path, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start `python stages/train.py` in a project."""
    return subprocess.Popen(
        [sys.executable, train.__file__],
        cwd=folder,
        env=os.environ | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def set_training(folder: Path, **changes: object) -> None:
    """Write the parameters of a training."""
    write_params(folder, sources=SOURCES, train=ALONE | changes)


def trained(folder: Path, **changes: object) -> tuple[list[float], Path]:
    """Train with the given parameters; return the loss curve, and the weights."""
    set_training(folder, **changes)
    process = start_training(folder)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    weights = folder / "models/backbone.weights.h5"
    curve = pd.read_csv(folder / "metrics/train/plots/metrics/loss.tsv", sep="\t", float_precision="round_trip")
    return curve["loss"].tolist(), weights.rename(folder / f"{len(list(folder.glob('*.h5')))}.weights.h5")


def embeddings_by(weights: Path) -> np.ndarray:
    """Return what a network with these weights makes of some images, each of length 1: (20, D)."""
    from faces.network import mobilefacenet

    network = mobilefacenet.build(0.125, 16, head="linear", pixel_range="symmetric")
    load_weights(network, weights)
    images = np.random.default_rng(0).integers(0, 256, (20, 112, 112, 3)).astype(np.float32)
    embeddings = np.asarray(network(images, training=False))
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
