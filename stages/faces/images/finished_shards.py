"""The files of packed shards: kept below models/checkpoints for later runs, and published to data/packed/<source>.

A finished shard is a folder with its pixels, the table of its images, the table of what was rejected, and a file
FINISHED that holds their sizes and modification times, so that a later run notices if one of them was changed.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faces.core.csv_files import read_csv, write_csv
from faces.core.files import link_or_copy, write_text
from faces.images.rejection import UNREADABLE, Rejected
from faces.tables.packed_images import SHARDS, open_shard

PIXELS, FINISHED = "images.npy", "finished"
TABLE_COLUMNS = {"subject": str, "path": str}


class PackedShard(NamedTuple):
    """A shard in the folder where it was packed."""

    folder: Path
    images: int  # how many
    subjects: int  # how many
    reused: bool = False  # packed by an earlier run

    @property
    def pixels(self) -> Path:
        """The file of its images: uint8 (images, 112, 112, 3), RGB."""
        return self.folder / PIXELS

    @property
    def table(self) -> Path:
        """The table of its images: subject, path; row i describes image i."""
        return self.folder / "images.csv"

    @property
    def rejects(self) -> Path:
        """The table of files that could not be used: path, reason, detail."""
        return self.folder / "rejected.csv"

    def read_table(self) -> pd.DataFrame:
        """Return subject and path of its images."""
        return read_csv(self.table, TABLE_COLUMNS)

    def read_rejects(self) -> list[Rejected]:
        """Return the files that could not be used."""
        table = read_csv(self.rejects, dict.fromkeys(Rejected._fields, str))
        return [Rejected(*row) for row in table.itertuples(index=False, name=None)]


def finish_shard(folder: Path, images: list[tuple[str, str]], rejected: list[Rejected]) -> PackedShard:
    """Write the tables of a shard that has its pixels, `images` being subject and path of each; mark it finished."""
    shard = PackedShard(folder, len(images), len({subject for subject, _ in images}))
    write_csv(shard.table, pd.DataFrame(images, columns=list(TABLE_COLUMNS)))
    write_csv(shard.rejects, pd.DataFrame(rejected, columns=Rejected._fields))
    write_text(folder / FINISHED, json.dumps([shard.images, shard.subjects, *_sizes_and_times(shard)]))
    return shard


def find_finished(folder: Path) -> PackedShard | None:
    """Return the shard in a folder if it is finished, its files are unchanged and no file of the source was unreadable.

    A shard with unreadable files is packed anew, because the source does not show when a disk or a right is back.
    """
    try:
        images, subjects, *recorded = json.loads((folder / FINISHED).read_text(encoding="ascii"))
        shard = PackedShard(folder, images, subjects)
        unchanged = recorded == _sizes_and_times(shard)
    except (OSError, ValueError):
        return None
    if unchanged and all(row.reason != UNREADABLE for row in shard.read_rejects()):
        return shard
    return None


def _sizes_and_times(shard: PackedShard) -> list[int]:
    statuses = [path.stat() for path in (shard.pixels, shard.table, shard.rejects)]
    return [number for status in statuses for number in (status.st_size, status.st_mtime_ns)]


def packed_at(shards: list[PackedShard], places: NDArray[np.int64]) -> Iterator[tuple[str, str, NDArray[np.uint8]]]:
    """Yield subject, path and pixels (112, 112, 3) of the images at `places`, ascending, counted over all shards."""
    ends = np.cumsum([shard.images for shard in shards])
    number = np.searchsorted(ends, places, side="right")
    for which in np.unique(number):
        shard, rows = shards[which], places[number == which] - (ends[which] - shards[which].images)
        table = shard.read_table().iloc[rows]
        yield from zip(table["subject"], table["path"], open_shard(shard.pixels).read(rows), strict=True)


def publish_shards(shards: list[PackedShard], target: Path) -> None:
    """Replace the folder `target` by the files of `shards`, numbered from 00000, and their list; skip empty shards.

    The files are hard links to those of `shards` where the file system has hard links.
    """
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    named = {f"{number:05d}": shard for number, shard in enumerate(shard for shard in shards if shard.images)}
    for name, shard in named.items():
        for path in (shard.pixels, shard.table):
            link_or_copy(path, temporary / f"{name}{path.suffix}")
    images = [shard.images for shard in named.values()]
    write_csv(temporary / SHARDS, pd.DataFrame({"shard": list(named), "images": images}))
    if target.exists():
        shutil.rmtree(target)
    os.replace(temporary, target)


def delete_other_shards(shards: list[PackedShard], checkpoints: Path) -> None:
    """Delete the shards of a source that are not among `shards`, and those packed with other parameters.

    `checkpoints` is the folder of `shards`; shards packed with other parameters are in the folders beside it.
    """
    used = {shard.folder for shard in shards}
    for other in checkpoints.parent.iterdir():
        if other.is_dir() and other != checkpoints:
            shutil.rmtree(other)
    for folder in checkpoints.iterdir():
        if folder.is_dir() and folder not in used:
            shutil.rmtree(folder)
