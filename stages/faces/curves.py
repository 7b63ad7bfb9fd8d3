"""The curves of a training, an epoch a step, by DVCLive: a file a figure in <folder>/plots/metrics."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faces.stage import say


def open_curves(folder: Path) -> Any:
    """Return DVCLive's context manager on an emptied folder; it makes no experiment and no dvc.yaml of its own."""
    from dvclive import Live  # takes half a second

    return Live(str(folder), save_dvc_exp=False, dvcyaml=None)


def log_epoch(curves: Any, figures: Mapping[str, float]) -> None:
    """Add a step to every curve, and tell the person at the terminal."""
    for name, value in figures.items():
        curves.log_metric(name, value)
    curves.next_step()
    say(", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
