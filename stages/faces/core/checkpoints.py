"""Checkpoints, from which an interrupted stage resumes: one folder per stage and fingerprint of its work.

The fingerprint is a hash of everything that the work depends on, so no two experiments share a folder. The folders lie
outside the outputs, which DVC removes before a stage starts. Deleting models/checkpoints is always safe: it only costs
the work in it.
"""

from faces.core.portable import portable

import hashlib
import json
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from pydantic import BaseModel

from faces.core.errors import StageError
from faces.core.files import write_text
from faces.core.npy_files import write_npz
from faces.core.pipeline import code_files
from faces.core.terminal import say, warn

CHECKPOINTS = Path("models/checkpoints")
LIBRARIES = (
    "ai-edge-litert",
    "imgaug",
    "keras",
    "numpy",
    "onnxruntime",
    "opencv-python-headless",
    "pillow",
    "scikit-image",
    "scipy",
    "tensorflow",
)
FINISHED = "finished"  # file that marks finished work; holds the MD5 under which DVC records the output
LOCK = Path("dvc.lock")
DAMAGES = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)  # what reading half a checkpoint raises
SYNC_SECONDS = 2.0  # a crash loses at most this much work on a ResumableFile


def checkpoint_folder(
    stage: str,
    params: BaseModel,
    inputs: Iterable[Path] = (),
    ignored: set[str] | None = None,
    extra: object = None,
    source: str = "",
) -> Path:
    """Return the folder of a stage's checkpoints, named by `work_fingerprint` of the arguments that they share.

    `source` is for a stage that runs once per source: each source has a folder of its own. If an earlier run finished
    and DVC has recorded its output, its checkpoints are deleted first, so that a forced rerun (`dvc repro --force`)
    works anew. If DVC was killed before it recorded the output, the checkpoints are still there.
    """
    folder = CHECKPOINTS / stage / source / work_fingerprint(stage, params, inputs, ignored, extra)
    if (folder / FINISHED).exists() and _recorded((folder / FINISHED).read_text(encoding="ascii")):
        shutil.rmtree(folder)
    return folder


def work_fingerprint(
    stage: str,
    params: BaseModel,
    inputs: Iterable[Path] = (),
    ignored: set[str] | None = None,
    extra: object = None,
) -> str:
    """Return a hash of a stage's parameters, `runtime.portable`, code (by dvc.yaml), libraries and its inputs' content.

    Args:
        stage: its name in dvc.yaml.
        params: its parameters.
        inputs: files that it reads.
        ignored: names of parameters that do not change the result.
        extra: anything else that changes the result, as JSON can hold it.
    """
    versions = {name: version(name) for name in LIBRARIES}
    facts = [params.model_dump(mode="json", exclude=ignored), versions, sys.version, portable(), extra]
    digest = hashlib.blake2b(json.dumps(facts).encode(), digest_size=8)
    for path in [*code_files(stage), *inputs]:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def _recorded(md5: str) -> bool:
    return LOCK.exists() and md5 in LOCK.read_text(encoding="utf-8")


def finish_checkpoints(folder: Path, output: Path | None = None) -> None:
    """Mark the work of a folder as finished; delete it and all older finished work of the stage.

    With `output`, the file that the work produced, the folder stays until the stage does other work, or until DVC has
    recorded the output and the stage runs again.
    """
    md5 = ""
    if output:
        with open(output, "rb") as file:
            md5 = hashlib.file_digest(file, "md5").hexdigest()
    write_text(folder / FINISHED, md5)
    for other in folder.parent.iterdir():
        if (other / FINISHED).exists() and not (output and other == folder):
            shutil.rmtree(other)


class ResumableFile(AbstractContextManager["ResumableFile"]):
    """A file that is written piece by piece, with a note on each piece; a later run resumes after the last note.

    A note is written only once its piece is safely on disk. After a crash the notes may lack the last pieces, but never
    name a piece that is not there.
    """

    def __init__(self, path: Path) -> None:
        """Open `path` and cut off what was written after the last note; `notes` holds earlier runs' notes, in order."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._notes_path = path, path.with_name(f"{path.name}.notes")
        self.notes: list[Any] = []
        path.touch()
        self._notes_path.touch()
        end = notes_end = 0
        for line in self._notes_path.read_bytes().splitlines(keepends=True):
            try:
                size, note = json.loads(line)
            except ValueError:
                break
            if not end <= size <= path.stat().st_size or not line.endswith(b"\n"):
                break
            self.notes.append(note)
            end, notes_end = size, notes_end + len(line)
        os.truncate(path, end)
        os.truncate(self._notes_path, notes_end)
        self.file = open(path, "r+b")
        self.file.seek(0, os.SEEK_END)
        self._waiting: list[tuple[int, Any]] = []
        self._synced = time.monotonic()

    def note(self, note: object) -> None:
        """Mark the piece that ends here as whole; `note` is anything that JSON can hold."""
        self._waiting.append((self.file.tell(), note))
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self._sync()

    def _sync(self) -> None:
        waiting, self._waiting = self._waiting, []  # first, so that an interrupt cannot write them twice
        lines = "".join(f"{json.dumps(line)}\n" for line in waiting)
        self.file.flush()
        os.fsync(self.file.fileno())
        with open(self._notes_path, "a", encoding="utf-8") as notes:
            notes.write(lines)
        self._synced = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Write the waiting notes, unless the disk is full, and close the file."""
        if isinstance(error, OSError):
            error.filename = error.filename or str(self.path)  # a full disk names no file
            with suppress(OSError):
                self.file.close()
            return
        with self.file:
            self._sync()


@dataclass
class EpochCheckpoints:
    """Checkpoints of a training, one file per epoch: all variables and the history of metrics."""

    folder: Path
    keep: int  # how many of the newest files are kept

    def save(self, variables: list[Any], history: list[dict[str, float]], kept: int = 0) -> None:
        """Write the state after epoch `len(history)`, whole or not at all; delete old files except that of `kept`."""
        arrays = {f"variable_{index:04d}": np.asarray(variable) for index, variable in enumerate(variables)}
        write_npz(self._path(len(history)), history=np.array(json.dumps(history)), **arrays)
        for old in self._files()[: -self.keep]:
            if old != self._path(kept):
                old.unlink()

    def restore(self, variables: list[Any]) -> list[dict[str, float]]:
        """Set `variables` from the newest undamaged checkpoint and return its history; [] if there is none."""
        for path in reversed(self._files()):
            try:
                history = self._read(path, variables)
            except DAMAGES as error:
                warn(f"{path} is damaged and ignored: {error}")
                continue
            say(f"resuming after epoch {len(history)}, from {path}")
            return history
        return []

    def load(self, epoch: int, variables: list[Any]) -> None:
        """Set `variables` to their values after `epoch`; StageError if its checkpoint is missing or damaged."""
        path = self._path(epoch)
        try:
            self._read(path, variables)
        except DAMAGES as error:
            raise StageError(f"{path}: {error}; delete {self.folder} to train anew") from None

    @staticmethod
    def _read(path: Path, variables: list[Any]) -> list[dict[str, float]]:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            values = [arrays[f"variable_{index:04d}"] for index in range(len(variables))]
            history: list[dict[str, float]] = json.loads(str(arrays["history"]))
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return history

    def _path(self, epoch: int) -> Path:
        return self.folder / f"epoch_{epoch:04d}.npz"

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("epoch_*.npz"), key=lambda path: int(path.stem.removeprefix("epoch_")))
