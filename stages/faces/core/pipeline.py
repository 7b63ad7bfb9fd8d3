"""The names of all stages, and the files of code that each depends on, as dvc.yaml declares them."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

# In the order in which `dvc repro` runs them.
STAGES = (
    "synthesize",
    "pack",
    "gather",
    "duplicates",
    "split",
    "train",
    "embed",
    "embed_test",
    "identify",
    "mine",
    "similarity",
    "pairs",
    "evaluate",
    "score",
    "review",
    "export",
    "card",
)
TEST_SET_STAGES = ("gather", "embed_test", "score")  # each runs once for every entry of `test_sets:`

ROOT = Path(__file__).parents[3]  # of the checkout that this code lies in
DVC_FILES = ("dvc.yaml", "data/synthetic/dvc.yaml")


@cache
def read_stages(root: Path = ROOT) -> dict[str, dict[str, Any]]:
    """Return what dvc.yaml says of each stage, by name.

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
