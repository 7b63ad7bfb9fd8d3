"""The field's standard crop of a face, 112 x 112, and the transform that brings five landmarks to their places in it.

The places are those of ArcFace's data sets (Deng et al. 2019, "ArcFace", arXiv:1801.07698, whose code has them as
`arcface_src` in two decimals more), rounded.
"""

import numpy as np
from numpy.typing import NDArray

# Left eye, right eye, tip of the nose, left and right corner of the mouth (x, y in pixels of the crop).
TEMPLATE = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], np.float32)


def similarity_transform(source: NDArray[np.floating], target: NDArray[np.floating]) -> tuple[complex, complex]:
    """Return (a, b) with target = a * source + b, least squares, points (K, 2) as complex x + iy: turn, scale, shift.

    S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991, in the plane.
    """
    s = source[:, 0].astype(np.float64) + 1j * source[:, 1]
    t = target[:, 0].astype(np.float64) + 1j * target[:, 1]
    centred = s - s.mean()
    a = (centred.conj() * (t - t.mean())).sum() / (np.abs(centred) ** 2).sum()
    return complex(a), complex(t.mean() - a * s.mean())
