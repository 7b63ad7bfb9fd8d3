"""The pixels behind data/split.csv, read from the shards of packed arrays a batch at a time.

They are read, not mapped, so a process holds only the batch that it asked for, however large the files are.
"""

import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faces.core.csv_files import read_csv
from faces.core.errors import StageError
from faces.core.image_size import IMAGE_SHAPE
from faces.core.npy_files import open_npy
from faces.tables.split_table import SPLIT_PATH

PACKED = Path("data/packed")
IMAGE_BYTES = math.prod(IMAGE_SHAPE)
SHARDS = "shards.csv"  # a source's shards, in order: name and number of images
SHARDS_COLUMNS = {"shard": str, "images": np.int64}


def open_packed(path: Path) -> NDArray[np.uint8]:
    """Map packed images, uint8 (N, 112, 112, 3), from disk; StageError if the file holds anything else."""
    array = open_npy(path)
    if array.shape[1:] != IMAGE_SHAPE or array.dtype != np.uint8:
        raise StageError(f"{path}: {array.dtype} {array.shape}; expected uint8 (N, 112, 112, 3)")
    return array  # type: ignore[return-value]


class Shard(NamedTuple):
    """A file of packed images; `offset` is the byte at which the pixels of the first one begin."""

    path: Path
    images: int
    offset: int

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the images at `rows` of the file, in that order: uint8 (n, 112, 112, 3); a run of rows is one read."""
        pixels = np.empty((len(rows), *IMAGE_SHAPE), dtype=np.uint8)
        runs = np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1)
        with open(self.path, "rb", buffering=0) as file:
            for run in runs:
                if len(run) == 0:
                    continue
                start = self.offset + int(rows[run[0]]) * IMAGE_BYTES
                into = pixels[run[0] : run[-1] + 1].data.cast("B")
                while len(into):
                    read = os.preadv(file.fileno(), [into], start)
                    if read == 0:
                        raise StageError(f"{self.path} was cut short while it was being read")
                    into, start = into[read:], start + read
        return pixels


def open_shard(path: Path) -> Shard:
    """Open a file of packed images; StageError if it holds anything else."""
    array = open_packed(path)
    if not array.flags.c_contiguous:
        raise StageError(f"{path}: columns come first; expected one image after another")
    return Shard(path, len(array), array.offset)  # type: ignore[attr-defined]


def open_shards(source: str, directory: Path = PACKED) -> list[Shard]:
    """Open the shards of a source, in order; StageError if one is missing or differs from their list."""
    index = directory / source / SHARDS
    listed = read_csv(index, SHARDS_COLUMNS)
    if len(listed) == 0 or listed["shard"].duplicated().any():
        raise StageError(f"{index}: lists no shard, or one twice")
    shards = [open_shard(directory / source / f"{name}.npy") for name in listed["shard"]]
    for shard, images in zip(shards, listed["images"], strict=True):
        if shard.images != images:
            raise StageError(f"{shard.path} holds {shard.images} images; {index} says {images}")
    return shards


class PackedImages:
    """All images of a split, by image number; pixels stay on disk until they are read."""

    def __init__(self, split: pd.DataFrame, directory: Path = PACKED) -> None:
        """Open the shards of every source in `split`; StageError if a source is not packed or has too few images."""
        names, source = np.unique(split["source"], return_inverse=True)
        self._shards: list[Shard] = []
        self._place = split["row"].to_numpy().copy()  # image number -> position among the images of all shards
        for number, name in enumerate(names):
            if not (directory / str(name)).is_dir():
                raise StageError(f"{SPLIT_PATH}: images of source {str(name)!r}, which {directory} does not hold")
            shards, in_source = open_shards(str(name), directory), source == number
            images = sum(shard.images for shard in shards)
            if (last := self._place[in_source].max()) >= images:
                raise StageError(f"{directory / str(name)} holds {images} images; {SPLIT_PATH} asks for row {last}")
            self._place[in_source] += sum(shard.images for shard in self._shards)
            self._shards += shards
        self._ends = np.cumsum([shard.images for shard in self._shards])

    @property
    def paths(self) -> list[Path]:
        """The files that hold the pixels."""
        return [shard.path for shard in self._shards]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._place)

    def __getitem__(self, images: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the pixels of the given image numbers, in that order: uint8 (n, 112, 112, 3), RGB."""
        places = self._place[images]
        shards = np.searchsorted(self._ends, places, side="right")
        if len(images) and (shards == shards[0]).all():
            return self._read(int(shards[0]), places)
        pixels = np.empty((len(images), *IMAGE_SHAPE), dtype=np.uint8)
        for number in np.unique(shards):
            chosen = shards == number
            pixels[chosen] = self._read(int(number), places[chosen])
        return pixels

    def _read(self, number: int, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        shard = self._shards[number]
        return shard.read(places - (self._ends[number] - shard.images))
