"""The curves of a training, by DVCLive: one file a metric in <folder>/plots/metrics, one row an epoch."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faces.core.errors import StageError
from faces.core.terminal import say


def open_curves(folder: Path) -> Any:
    """Return DVCLive's context manager on an emptied folder, told to make no experiment and no dvc.yaml.

    StageError if the disk is full.
    """
    from dvclive import Live  # takes half a second

    try:
        return Live(str(folder), save_dvc_exp=False, dvcyaml=None)
    except sqlite3.Error as error:  # it opens DVC's own database, although it writes nothing there
        raise StageError(f"{folder}: DVC's database cannot be written: {error}") from None


def log_epoch(curves: Any, metrics: Mapping[str, float]) -> None:
    """Add the metrics of an epoch to the curves, and print them."""
    for name, value in metrics.items():
        curves.log_metric(name, value)
    curves.next_step()
    say(", ".join(f"{name} {value:.4g}" for name, value in metrics.items()))
