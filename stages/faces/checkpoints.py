"""What an interrupted stage goes on from: finished pieces of its work, in a folder that no other experiment shares.

The folder's name is a hash of all that the work depends on. It lies outside the outputs, which DVC removes before a
stage starts. Deleting models/checkpoints is always safe: it only costs the work in it.
"""

import hashlib
import json
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from faces.files import replacing, write_npy, write_text
from faces.stage import warn

CHECKPOINTS = Path("models/checkpoints")
STAGES = Path(__file__).parent.parent
LIBRARIES = ("imgaug", "keras", "numpy", "opencv-python-headless", "scikit-image", "scipy", "tensorflow")
FINISHED = "finished"  # the name of the file that says so

Number = TypeVar("Number", bound=np.generic)


def checkpoint_folder(
    stage: str, params: BaseModel, inputs: Iterable[Path] = (), ignored: set[str] | None = None
) -> Path:
    """Return the folder of a stage's work: named by its parameters, code, libraries and the content of its inputs.

    Parameters in `ignored` have no say in the result. What a finished run has left there is cleared, so that a stage
    that is run again, as by `dvc repro --force`, works again.
    """
    versions = {name: version(name) for name in LIBRARIES}
    facts = [params.model_dump(mode="json", exclude=ignored), versions, sys.version]
    digest = hashlib.blake2b(json.dumps(facts).encode(), digest_size=8)
    for path in [STAGES / f"{stage}.py", *sorted((STAGES / "faces").glob("*.py")), *inputs]:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    folder = CHECKPOINTS / stage / digest.hexdigest()
    if (folder / FINISHED).exists():
        shutil.rmtree(folder)
    return folder


def finish(folder: Path, keep: bool = False) -> None:
    """Mark work as finished and remove it, unless to `keep` it for people; remove older finished work of the stage."""
    write_text(folder / FINISHED, "")
    for other in folder.parent.iterdir():
        if (other / FINISHED).exists() and not (keep and other == folder):
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
        """Set `variables` to the newest whole checkpoint and return its history; an empty one if there is none."""
        for path in sorted(self.folder.glob("epoch_*.npz"), reverse=True):
            try:
                with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                    values = [arrays[f"variable_{index:04d}"] for index in range(len(variables))]
                    history = json.loads(str(arrays["history"]))
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                warn(f"{path} is damaged and passed over: {error}")
                continue
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
            return history
        return []
