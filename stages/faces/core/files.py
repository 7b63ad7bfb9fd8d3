"""Writing files atomically: a reader sees the old content or the new, never a part."""

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from faces.core.errors import StageError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and replaces `path`, on failure it is removed.

    The temporary name keeps the suffix, since libraries choose their format by it, and is always the same, so that the
    next run overwrites what a killed run left.
    """
    temporary = path.with_name(f".{path.name}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename = str(path)  # "No space left on device" comes without a file name
        raise
    finally:
        with suppress(NotADirectoryError):  # a file lies where a folder should be made
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with "\\n" line ends, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


Metrics = Mapping[str, "float | int | Metrics"]


def write_metrics(path: Path, metrics: Metrics) -> None:
    """Write JSON for `dvc metrics`, flat or nested; ValueError names a metric that is not finite."""
    _check_finite(path, "", metrics)
    write_text(path, json.dumps(metrics, indent=2) + "\n")


def _check_finite(path: Path, prefix: str, metrics: Metrics) -> None:
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            _check_finite(path, f"{prefix}{name}.", value)
        elif not math.isfinite(value):
            raise ValueError(f"{path}: metric {prefix}{name} is {value}")


class FileState(NamedTuple):
    """What tells that a file was written to or replaced, without reading it.

    Size and modification time do not suffice: files of one size from an archive with fixed dates, swapped by `mv`, keep
    both. Then the inodes differ. A file that was rewritten in place, its time set back, has another change time. DVC
    goes by less, so that where it finds a change, the state has changed too.
    """

    size: int  # bytes
    modified_ns: int
    changed_ns: int  # no program can set this time
    inode: int


def file_state(status: os.stat_result) -> FileState:
    """Return the state of a file, from what `os.stat` says of it."""
    return FileState(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def require_file(path: Path) -> None:
    """Raise StageError if `path` is a folder, pipe, socket or device: opening a pipe could block forever."""
    if path.exists() and not path.is_file():
        raise StageError(f"{path} is not a file")


def missing_metrics(path: Path) -> StageError:
    """Return the error of a file that Git keeps, below metrics/, and that is missing."""
    return StageError(f"{path} is missing; `dvc repro` makes it, `git checkout metrics && dvc checkout` brings it")


def link_or_copy(path: Path, target: Path) -> None:
    """Make `target` a hard link to the file `path`, or a copy where the file system has no hard links."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)
