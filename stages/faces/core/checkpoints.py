"""What an interrupted stage goes on from: finished pieces of its work, in a folder that no other experiment shares.

The folder's name is a hash of all that the work depends on. It lies outside the outputs, which DVC removes before a
stage starts. Deleting models/checkpoints is always safe: it only costs the work in it.
"""

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
from faces.core.files import replacing, write_text
from faces.core.pipeline import code_files
from faces.core.terminal import say, warn

CHECKPOINTS = Path("models/checkpoints")
LIBRARIES = (
    "ai-edge-litert",
    "imgaug",
    "keras",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "scikit-image",
    "scipy",
    "tensorflow",
)
FINISHED = "finished"  # the name of the file that says so, with the MD5 by which DVC records what was made of it
LOCK = Path("dvc.lock")
DAMAGES = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)  # what reading half a checkpoint raises
SYNC_SECONDS = 2.0  # the most work that a grown file loses


def checkpoint_folder(
    stage: str,
    params: BaseModel,
    inputs: Iterable[Path] = (),
    ignored: set[str] | None = None,
    seen: object = None,
    of: str = "",
) -> Path:
    """Return the folder of a stage's work, named by `digest_of_work`, which has the other arguments.

    `of` names a source, if each has work of its own. What a finished run has left there is cleared if DVC has recorded
    its output, so that a stage that is run again, as by `dvc repro --force`, works again. If DVC was killed before it
    could, the work is still there.
    """
    folder = CHECKPOINTS / stage / of / digest_of_work(stage, params, inputs, ignored, seen)
    if (folder / FINISHED).exists() and _recorded((folder / FINISHED).read_text(encoding="ascii")):
        shutil.rmtree(folder)
    return folder


def digest_of_work(
    stage: str,
    params: BaseModel,
    inputs: Iterable[Path] = (),
    ignored: set[str] | None = None,
    seen: object = None,
) -> str:
    """Return a hash of a stage's parameters, the code that dvc.yaml lists for it, libraries and its inputs' content.

    Parameters in `ignored` have no say in the result; `seen`, anything that JSON can hold, has.
    """
    versions = {name: version(name) for name in LIBRARIES}
    facts = [params.model_dump(mode="json", exclude=ignored), versions, sys.version, seen]
    digest = hashlib.blake2b(json.dumps(facts).encode(), digest_size=8)
    for path in [*code_files(stage), *inputs]:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def _recorded(md5: str) -> bool:
    return LOCK.exists() and md5 in LOCK.read_text(encoding="utf-8")


def finish(folder: Path, kept_for: Path | None = None) -> None:
    """Mark work as finished and remove it, and older finished work of the stage.

    With `kept_for`, the output that the work is for, it is kept until it is done again or other work is finished.
    """
    md5 = ""
    if kept_for:
        with open(kept_for, "rb") as file:
            md5 = hashlib.file_digest(file, "md5").hexdigest()
    write_text(folder / FINISHED, md5)
    for other in folder.parent.iterdir():
        if (other / FINISHED).exists() and not (kept_for and other == folder):
            shutil.rmtree(other)


class GrownFile(AbstractContextManager["GrownFile"]):
    """A file that is written piece by piece, with a note on each piece, and that a later run goes on writing.

    A note is written down only when its piece is safely on disk, so after a crash the notes may lack the last pieces,
    but never tell of one that is not there.
    """

    def __init__(self, path: Path) -> None:
        """Open `path`, without what was written after the last note; `notes` holds those of former runs, in order."""
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
        """Say that the piece up to here is whole; `note` is anything that JSON can hold."""
        self._waiting.append((self.file.tell(), note))
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self._sync()

    def _sync(self) -> None:
        waiting, self._waiting = self._waiting, []  # first: an interrupt must not have them written twice
        lines = "".join(f"{json.dumps(line)}\n" for line in waiting)
        self.file.flush()
        os.fsync(self.file.fileno())
        with open(self._notes_path, "a", encoding="utf-8") as notes:
            notes.write(lines)
        self._synced = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file, with all notes written down unless the disk is full."""
        if isinstance(error, OSError):
            error.filename = error.filename or str(self.path)  # a full disk does not say which file it stopped
            with suppress(OSError):
                self.file.close()
            return
        with self.file:
            self._sync()


@dataclass
class Epochs:
    """Checkpoints of a training: all variables and the figures so far, a file an epoch."""

    folder: Path
    keep: int  # the newest so many files; older ones are removed

    def save(self, variables: list[Any], history: list[dict[str, float]], kept: int = 0) -> None:
        """Write the state after epoch `len(history)`, whole or not at all; epoch `kept` outlives newer ones."""
        arrays = {f"variable_{index:04d}": np.asarray(variable) for index, variable in enumerate(variables)}
        with replacing(self._path(len(history))) as temporary:
            np.savez(temporary, history=np.array(json.dumps(history)), **arrays)
        for old in self._files()[: -self.keep]:
            if old != self._path(kept):
                old.unlink()

    def restore(self, variables: list[Any]) -> list[dict[str, float]]:
        """Set `variables` to the newest whole checkpoint and return its history; an empty one if there is none."""
        for path in reversed(self._files()):
            try:
                history = self._read(path, variables)
            except DAMAGES as error:
                warn(f"{path} is damaged and passed over: {error}")
                continue
            say(f"going on after epoch {len(history)}, from {path}")
            return history
        return []

    def load(self, epoch: int, variables: list[Any]) -> None:
        """Set `variables` to what they were after `epoch`; StageError if its checkpoint is gone or damaged."""
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
