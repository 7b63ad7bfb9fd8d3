"""The pixels behind data/split.csv, read from the packed arrays a batch at a time."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faces.files import open_npy
from faces.split_table import SPLIT_PATH
from faces.stage import StageError

PACKED_DIRECTORY = Path("data/packed")
IMAGE_SHAPE = (112, 112, 3)


def open_packed(path: Path) -> NDArray[np.uint8]:
    """Map packed images, uint8 (N, 112, 112, 3), from disk; StageError if the file holds anything else."""
    array = open_npy(path)
    if array.shape[1:] != IMAGE_SHAPE or array.dtype != np.uint8:
        raise StageError(f"{path}: {array.dtype} {array.shape}; expected uint8 (N, 112, 112, 3)")
    return array  # type: ignore[return-value]


class PackedImages:
    """All images of a split, by image number; pixels stay on disk until they are asked for."""

    def __init__(self, split: pd.DataFrame, directory: Path = PACKED_DIRECTORY) -> None:
        """Map the packed array of every source in `split`; StageError if one does not fit the split."""
        names, self._source = np.unique(split["source"].to_numpy(dtype=str), return_inverse=True)
        self._row = split["row"].to_numpy()
        self.paths = [directory / f"{name}.npy" for name in names]
        self._arrays = [open_packed(path) for path in self.paths]
        for number, (path, array) in enumerate(zip(self.paths, self._arrays, strict=True)):
            if (last := self._row[self._source == number].max()) >= len(array):
                raise StageError(f"{path} holds {len(array)} images; {SPLIT_PATH} asks for row {last}")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._row)

    def __getitem__(self, images: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the pixels of the given image numbers, in that order: uint8 (n, 112, 112, 3), RGB."""
        pixels = np.empty((len(images), *IMAGE_SHAPE), dtype=np.uint8)
        for number in np.unique(self._source[images]):
            chosen = self._source[images] == number
            pixels[chosen] = self._arrays[number][self._row[images[chosen]]]
        return pixels
