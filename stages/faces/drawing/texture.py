"""Spots on the texture, an image that is painted on the head's grid at TEXTURE_DENSITY."""

from functools import lru_cache

import numpy as np

from faces.drawing.arrays import Array
from faces.drawing.head import Grid, mean_grid

TEXTURE_DENSITY = 2  # texels per step of the grid, in each direction


def gaussian_spot(grid: Grid, x: float, y: float, spread_x: float, spread_y: float) -> Array:
    """Return a Gaussian spot (rows, columns) around (x, y), all in mm; 0 at the back of the head."""
    value = np.exp(-0.5 * (((grid.x - x) / spread_x) ** 2 + ((grid.y - y) / spread_y) ** 2)) * (grid.z > 0)
    return value.astype(np.float32)


@lru_cache(maxsize=64)
def mirrored_spot(x: float, y: float, spread_x: float, spread_y: float) -> Array:
    """Return a Gaussian spot and its mirror image at -x, at the texture's density."""
    grid = mean_grid(TEXTURE_DENSITY)
    return gaussian_spot(grid, x, y, spread_x, spread_y) + (gaussian_spot(grid, -x, y, spread_x, spread_y) if x else 0)
