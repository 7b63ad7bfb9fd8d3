"""Eyeballs, painted on the texture for each image, since gaze and lids change."""

from functools import lru_cache

import numpy as np

from faces.drawing.arrays import Array, blend, smoothstep, smoothstep_scalar
from faces.drawing.expression import lid_lines
from faces.drawing.head import EYE_X, mean_grid
from faces.drawing.look import Look
from faces.drawing.texture import TEXTURE_DENSITY


def paint_eyes(albedo: Array, look: Look, gaze: tuple[float, float], closed: float) -> None:
    """Paint both eyeballs into `albedo`.

    `gaze` is how far the irises move to the right and up, in mm; `closed` is how far
    the lids are closed, 0 to 1.
    """
    gaze_x, gaze_y = gaze
    grid = mean_grid(TEXTURE_DENSITY)
    rows, sides = _eye_windows()
    for columns, sign in zip(sides, (-1, 1), strict=True):
        x, y = grid.x[rows, columns], grid.y[rows, columns]
        upper, lower = lid_lines(sign * x - EYE_X)
        opening = smoothstep(np.minimum(upper - y, y - lower), -0.3, 0.7)
        radius = np.hypot(x - sign * EYE_X - gaze_x, y - 1.0 - gaze_y)
        eye = np.empty((*x.shape, 3), np.float32)
        eye[:] = look.eye_whites * (1 - 0.35 * smoothstep(upper - y, 3, 0))[..., None]
        ring = 1 - 0.6 * smoothstep(radius, look.iris_radius - 1.6, look.iris_radius)
        blend(eye, look.iris * ring[..., None], smoothstep(radius, look.iris_radius + 0.5, look.iris_radius - 0.4))
        blend(eye, np.full(3, 0.006, np.float32), smoothstep(radius, 2.9, 2.1))
        glint = np.exp(-0.5 * (np.hypot(x - sign * EYE_X - gaze_x - 1.6, y - 3.0 - gaze_y) / 0.9) ** 2)
        blend(eye, np.full(3, 0.8, np.float32), (0.85 * glint).astype(np.float32))
        # Closed lids squeeze the eyeball's texels into a line, which must not be bright.
        blend(eye, look.skin * np.float32(0.3), np.full_like(x, smoothstep_scalar(closed, 0.45, 0.8)))
        blend(albedo[rows, columns], eye, opening)


@lru_cache(maxsize=1)
def _eye_windows() -> tuple[slice, tuple[slice, slice]]:
    """Return the rows of the texture that hold the eyeballs, and the columns of each eye, left of the picture first."""
    grid = mean_grid(TEXTURE_DENSITY)
    front = (grid.z > 0) & (np.abs(grid.y) < 12)
    rows = np.flatnonzero((front & (np.abs(grid.x) < 10)).any(1))
    slices = []
    for sign in (-1, 1):
        row = grid.x[(rows[0] + rows[-1]) // 2]
        found = np.flatnonzero((np.abs(row * sign - EYE_X) < 20) & (np.abs(grid.longitude[0]) < 80))
        slices.append(slice(int(found[0]), int(found[-1]) + 1))
    return slice(int(rows[0]), int(rows[-1]) + 1), (slices[0], slices[1])
