"""How fast images must come for a GPU: images a second of a training step in PyTorch, and of threads that make batches.

Run     python -m benchmarks.gpu

It does not use TensorFlow. Without a GPU the first table is left out.
"""

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.torch_step import make_step, torch
from faces.core.image_size import IMAGE_SHAPE
from faces.core.params import load_params
from faces.core.threads import available_cores, in_order
from faces.tables.packed_images import Shard, open_shard
from faces.training.augmentation import AugmentParams, PhotoAugmenter

CLASSES = 10_575  # of CASIA-WebFace
BATCHES = (64, 256, 1024)
ROUNDS = 5
FED_BATCH, FED_BATCHES = 512, 32


def train(batch: int, dtype: torch.dtype) -> float:
    """Return images a second, the median over rounds of about a second each."""
    step = make_step(1.0, batch, CLASSES, "cuda", dtype)
    steps = max(3, 8192 // batch)

    def seconds() -> float:
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(steps):
            step()
        torch.cuda.synchronize()
        return time.perf_counter() - began

    seconds()
    return steps * batch / median(seconds() for _ in range(ROUNDS))


def load(shard: Shard, augment: PhotoAugmenter, index: int) -> NDArray[np.float32]:
    """Return a batch, made as in `train`."""
    rows = np.random.default_rng(index).choice(shard.images, FED_BATCH, replace=False)
    return augment(shard.read(rows), (0, index)).astype(np.float32)


def feed(make: Callable[[int], Any], threads: int) -> float:
    """Return images a second made by `threads` threads."""
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for _ in in_order(pool, make, range(FED_BATCHES), ahead=threads + 1):
            pass
    return FED_BATCH * FED_BATCHES / (time.perf_counter() - began)


def main() -> None:
    """Print the tables."""
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        print(f"training step on {name}, width 1.0, {CLASSES:,} people, PyTorch {torch.__version__}")
        print("\n| batch | float32, images/s | bfloat16, images/s |\n|---|---|---|")
        for batch in BATCHES:
            speeds = [train(batch, dtype) for dtype in (torch.float32, torch.bfloat16)]
            print(f"| {batch} | {speeds[0]:,.0f} | {speeds[1]:,.0f} |", flush=True)
    cv2.setNumThreads(1)
    print(f"\nbatches of augmented images from a shard, {available_cores()} cores\n\n| threads | images/s |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "0.npy")
        np.save(path, np.random.default_rng(0).integers(0, 256, (8192, *IMAGE_SHAPE), dtype=np.uint8))
        make = partial(load, open_shard(path), PhotoAugmenter(load_params("augment", AugmentParams)))
        make(0)
        for threads in (2**power for power in range(available_cores().bit_length())):
            print(f"| {threads} | {feed(make, threads):,.0f} |", flush=True)


if __name__ == "__main__":
    main()
