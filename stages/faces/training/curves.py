"""The curves of a training, an epoch a step, by DVCLive: a file a figure in <folder>/plots/metrics."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faces.core.errors import StageError
from faces.core.terminal import say


def open_curves(folder: Path) -> Any:
    """Return DVCLive's context manager on an emptied folder; it makes no experiment and no dvc.yaml of its own.

    StageError if the disk is full.
    """
    from dvclive import Live  # takes half a second

    try:
        return Live(str(folder), save_dvc_exp=False, dvcyaml=None)
    except sqlite3.Error as error:  # it opens DVC's own database, even if only to leave it alone
        raise StageError(f"{folder}: DVC's database cannot be written: {error}") from None


def log_epoch(curves: Any, figures: Mapping[str, float]) -> None:
    """Add a step to every curve, and tell the person at the terminal."""
    for name, value in figures.items():
        curves.log_metric(name, value)
    curves.next_step()
    say(", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
