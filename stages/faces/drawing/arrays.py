"""Functions on float32 arrays that all of drawing shares."""

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def smoothstep(value: Array, start: float | Array, end: float | Array) -> Array:
    """Return the cubic step 3t² - 2t³ from 0 at `start` to 1 at `end`; with `end` below `start` it descends."""
    ramp = np.clip((value - start) / (end - start), 0, 1)
    return (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)


def smoothstep_scalar(value: float, start: float, end: float) -> float:
    """Return the smoothstep of one number."""
    return float(smoothstep(np.float32(value), start, end))  # type: ignore[arg-type]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], rows: int, columns: int) -> Array:
    """Return noise with a standard deviation of about 1: `rows` x `columns` random knots, bicubic between."""
    knots = rng.standard_normal((rows, columns)).astype(np.float32)
    return cv2.resize(knots, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC).astype(np.float32, copy=False)


def blend(canvas: Array, colour: Array, share: Array) -> None:
    """Alpha blending in place: mix `colour` into the canvas (h, w, 3) by its share (h, w), 0 to 1."""
    canvas += share[..., None] * (colour - canvas)


def vector_lengths(vectors: Array) -> Array:
    """Return the lengths of vectors (..., 3), written out because NumPy's sum over an axis of three is slow."""
    return np.sqrt(vectors[..., 0] ** 2 + vectors[..., 1] ** 2 + vectors[..., 2] ** 2)
