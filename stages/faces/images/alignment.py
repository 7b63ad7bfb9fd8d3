"""The field's standard crop of a face, 112 x 112, and the similarity transform that brings five landmarks into place.

The landmarks of the crop are those of ArcFace's data sets (Deng et al. 2019, "ArcFace", arXiv:1801.07698; `arcface_src`
in its code), rounded to one decimal.
"""

import numpy as np
from numpy.typing import NDArray

# Left eye, right eye, tip of the nose, left and right corner of the mouth (x, y in pixels of the crop).
TEMPLATE = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], np.float32)


def similarity_transform(source: NDArray[np.floating], target: NDArray[np.floating]) -> tuple[complex, complex]:
    """Return the least-squares (a, b) with target = a * source + b, where points (K, 2) are complex numbers x + iy.

    `a` turns and scales, `b` shifts: S. Umeyama, "Least-squares estimation of transformation parameters between two
    point patterns", 1991, for the plane.
    """
    s = source[:, 0].astype(np.float64) + 1j * source[:, 1]
    t = target[:, 0].astype(np.float64) + 1j * target[:, 1]
    centred = s - s.mean()
    a = (centred.conj() * (t - t.mean())).sum() / (np.abs(centred) ** 2).sum()
    return complex(a), complex(t.mean() - a * s.mean())
