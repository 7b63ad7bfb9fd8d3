"""The images of the default run, as files and packed."""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.tables.packed_images import open_shards


def image_files(most: int) -> list[Path]:
    """Return the first files of the synthetic source; ends the benchmark if it was not drawn."""
    paths = sorted(Path("data/synthetic/images").glob("*/*.png"))[:most]
    if len(paths) < most:
        sys.exit(f"data/synthetic/images holds {len(paths)} images, {most} are needed: run `make repro` first")
    return paths


def pixels(most: int) -> NDArray[np.uint8]:
    """Return the first packed images of the synthetic source: uint8 (most, 112, 112, 3)."""
    return np.concatenate([shard.read(np.arange(shard.images)) for shard in open_shards("synthetic")])[:most]
