"""What an interrupted stage goes on from: finished pieces of its work, in a folder that no other experiment shares.

The folder's name is a hash of all that the work depends on. It lies outside the outputs, which DVC removes before a
stage starts. Deleting models/checkpoints is always safe: it only costs the work in it.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from faces.files import replacing, write_npy

CHECKPOINTS = Path("models/checkpoints")
STAGES = Path(__file__).parent.parent
LIBRARIES = ("keras", "numpy", "opencv-python-headless", "tensorflow")

Number = TypeVar("Number", bound=np.generic)


def checkpoint_folder(stage: str, params: BaseModel, inputs: Iterable[Path] = ()) -> Path:
    """Return the folder of a stage's work: named by its parameters, code, libraries and the content of its inputs."""
    facts = [params.model_dump(mode="json"), {name: version(name) for name in LIBRARIES}, sys.version]
    digest = hashlib.blake2b(json.dumps(facts).encode(), digest_size=8)
    for path in [STAGES / f"{stage}.py", *sorted((STAGES / "faces").glob("*.py")), *inputs]:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return CHECKPOINTS / stage / digest.hexdigest()


def keep_only(folder: Path) -> None:
    """Remove what other experiments of the same stage left behind, now that this one has finished.

    Its own work stays until the next one has: a run may still be cut off before DVC has stored the outputs.
    """
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other)


def remembered(path: Path, compute: Callable[[], NDArray[Number]]) -> NDArray[Number]:
    """Return the array in `path`; if it is not there yet, compute it and write it there."""
    if not path.exists():
        write_npy(path, compute())
    return np.load(path, allow_pickle=False)


@dataclass
class Epochs:
    """Checkpoints of a training: all variables and the figures so far, a file an epoch."""

    folder: Path
    keep: int  # the newest so many files; older ones are removed

    def save(self, variables: list[Any], history: list[dict[str, float]]) -> None:
        """Write the state after epoch `len(history)`, whole or not at all."""
        arrays = {f"variable_{index:04d}": np.asarray(variable) for index, variable in enumerate(variables)}
        with replacing(self.folder / f"epoch_{len(history):04d}.npz") as temporary:
            np.savez(temporary, history=np.array(json.dumps(history)), **arrays)
        for old in sorted(self.folder.glob("epoch_*.npz"))[: -self.keep]:
            old.unlink()

    def restore(self, variables: list[Any]) -> list[dict[str, float]]:
        """Set `variables` to the newest checkpoint and return its history; an empty one if there is none."""
        newest = max(self.folder.glob("epoch_*.npz"), default=None)
        if newest is None:
            return []
        with open(newest, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            for index, variable in enumerate(variables):
                variable.assign(arrays[f"variable_{index:04d}"])
            return json.loads(str(arrays["history"]))
