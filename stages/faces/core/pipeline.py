"""The names of all stages, and the code files that each depends on, from dvc.yaml."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

# In the order in which `dvc repro` runs them.
STAGES = (
    "check",
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

ROOT = Path(__file__).parents[3]  # of the project
DVC_FILES = ("dvc.yaml", "data/synthetic/dvc.yaml")


@cache
def read_stages(root: Path = ROOT) -> dict[str, dict[str, Any]]:
    """Return each stage's entry in dvc.yaml by name; of a `foreach` stage, its `do:`."""
    stages: dict[str, dict[str, Any]] = {}
    for name in DVC_FILES:
        if (root / name).exists():
            declared = yaml.safe_load((root / name).read_text(encoding="utf-8"))["stages"]
            stages |= {stage: fields.get("do", fields) for stage, fields in declared.items()}
    return stages


def code_files(stage: str, root: Path = ROOT) -> Iterator[Path]:
    """Yield the code files among a stage's `deps`, sorted within each folder."""
    for dep in read_stages(root)[stage]["deps"]:
        if dep.startswith("stages/"):
            path = root / dep
            yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]
