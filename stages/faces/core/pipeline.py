"""The stages as dvc.yaml declares them: their names, and which files of code each depends on."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]  # of the checkout that this code lies in
DVC_FILES = ("data/synthetic/dvc.yaml", "dvc.yaml")  # in the order in which the pipeline runs them


@cache
def read_stages(root: Path = ROOT) -> dict[str, dict[str, Any]]:
    """Return what dvc.yaml says of each stage, by name, in the order of the pipeline.

    A `foreach` stage is one stage here, described by its `do:`.
    """
    stages: dict[str, dict[str, Any]] = {}
    for name in DVC_FILES:
        if (root / name).exists():
            declared = yaml.safe_load((root / name).read_text(encoding="utf-8"))["stages"]
            stages |= {stage: fields.get("do", fields) for stage, fields in declared.items()}
    return stages


def code_files(stage: str, root: Path = ROOT) -> Iterator[Path]:
    """Yield the files of code among a stage's `deps`, sorted within each folder."""
    for dep in read_stages(root)[stage]["deps"]:
        if dep.startswith("stages/"):
            path = root / dep
            yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]
