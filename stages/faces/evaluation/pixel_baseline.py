"""What has to be beaten: two faces compared by their pixels alone, without a network."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

PAIRS_AT_ONCE = 512  # some 150 MB


def pixel_likeness(
    load: Callable[[NDArray[np.int64]], NDArray[np.uint8]], a: NDArray[np.int64], b: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the correlation of the pixel values of image pairs, (n,), -1 to 1: 0 if an image has but one value.

    `load` gives images (k, H, W, 3) by their numbers. (Pearson's coefficient: brightness and contrast do not count.)
    """
    likeness = np.empty(len(a), dtype=np.float64)
    for start in range(0, len(a), PAIRS_AT_ONCE):
        rows = slice(start, start + PAIRS_AT_ONCE)
        numbers, places = np.unique(np.stack([a[rows], b[rows]]), return_inverse=True)
        pixels = load(numbers).reshape(len(numbers), -1).astype(np.float32)
        pixels -= pixels.mean(axis=1, keepdims=True)
        pixels /= np.maximum(np.linalg.norm(pixels, axis=1, keepdims=True), 1e-6)
        first, second = places.reshape(2, -1)
        likeness[rows] = np.einsum("ij,ij->i", pixels[first], pixels[second])
    return likeness
