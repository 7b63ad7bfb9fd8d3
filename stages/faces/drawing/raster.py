"""A software rasteriser for one grid of points: which place of the grid each pixel shows, and how light falls there.

Triangles are drawn in classes of similar size, each class as one NumPy operation: about 20,000 triangles take a few
milliseconds.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.drawing.arrays import Array, vector_lengths

BOX_SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256)  # pixels, the sides of the classes' bounding boxes
EDGE_TOLERANCE = 1e-3  # in barycentric coordinates: neighbours overlap slightly, so that no cracks are left
SHADOW_CELL, SHADOW_SOFTNESS = 5.0, 6.0  # mm


class Visible(NamedTuple):
    """The place of the grid that each pixel shows; all fields are (size, size)."""

    row: Array  # of the grid, with fractions
    column: Array
    hit: NDArray[np.bool_]  # whether the pixel shows the grid at all


def rasterize(x: Array, y: Array, depth: Array, size: int) -> Visible:
    """Rasterise the front faces of a grid on `size` x `size` pixels; back faces are culled.

    `x`, `y` are in pixels, y down, pixel centres at whole numbers; the larger depth is nearer. Visibility is decided
    by the triangles' mean depths, as they are small.
    """
    (x0, x1, x2), (y0, y1, y2), (z0, z1, z2) = _corners(x), _corners(y), _corners(depth)
    ux, uy, vx, vy = x1 - x0, y1 - y0, x2 - x0, y2 - y0
    area = ux * vy - uy * vx
    # Pairwise minima: far faster than .min(axis=1) over three.
    low_x = np.ceil(np.minimum(np.minimum(x0, x1), x2)).clip(0)
    low_y = np.ceil(np.minimum(np.minimum(y0, y1), y2)).clip(0)
    high_x = np.floor(np.maximum(np.maximum(x0, x1), x2)).clip(max=size - 1)
    high_y = np.floor(np.maximum(np.maximum(y0, y1), y2)).clip(max=size - 1)
    extent = np.maximum(high_x - low_x, high_y - low_y) + 1
    drawn = np.flatnonzero((area < -1e-6) & (high_x >= low_x) & (high_y >= low_y) & (extent <= BOX_SIZES[-1]))
    drawn = drawn[np.argsort((z0 + z1 + z2)[drawn], kind="stable")]  # far to near
    x0, y0, ux, uy, vx, vy = (part[drawn] for part in (x0, y0, ux, uy, vx, vy))
    # Barycentric weights of corners 1 and 2 are linear in the pixel: w = w_x * px + w_y * py + w_0.
    w1 = np.stack([vy, -vx, vx * y0 - vy * x0]) / area[drawn]
    w2 = np.stack([-uy, ux, uy * x0 - ux * y0]) / area[drawn]
    owner = _nearest_triangles(w1, w2, low_x[drawn], low_y[drawn], extent[drawn], size)
    return _grid_coordinates(owner, w1, w2, drawn, x.shape, size)


def _corners(field: Array) -> tuple[Array, Array, Array]:
    """Return a field's values (T,) at the three corners of all triangles.

    A cell with corners a b above c d has two: a, c, b (upper left) and b, c, d (lower right). All upper left ones come
    first.
    """
    a, b, c, d = (part.ravel() for part in (field[:-1, :-1], field[:-1, 1:], field[1:, :-1], field[1:, 1:]))
    return np.concatenate([a, b]), np.concatenate([c, c]), np.concatenate([b, d])


def _nearest_triangles(w1: Array, w2: Array, low_x: Array, low_y: Array, extent: Array, size: int) -> NDArray[np.int32]:
    """Return for each pixel (size * size,) the last triangle that covers it, which is the nearest; -1 for none."""
    owner = np.full(size * size, -1, np.int32)
    smallest = 0
    for box in BOX_SIZES:
        chosen = np.flatnonzero((extent > smallest) & (extent <= box))
        smallest = box
        if not len(chosen):
            continue
        step = np.arange(box, dtype=np.float32)[:, None]
        # Arrays are (y, x, triangle): boxes are small and triangles many, and NumPy is fast along a long last axis.
        px, py = (low_x[chosen] + step)[None], (low_y[chosen] + step)[:, None]
        first = w1[0, chosen] * px + (w1[1, chosen] * py + w1[2, chosen])
        second = w2[0, chosen] * px + (w2[1, chosen] * py + w2[2, chosen])
        inside = (np.minimum(first, second) >= -EDGE_TOLERANCE) & (first + second <= 1 + EDGE_TOLERANCE)
        dy, dx, which = np.unravel_index(np.flatnonzero(inside & (px < size) & (py < size)), inside.shape)
        triangle = chosen[which]
        pixel = (low_y[triangle].astype(np.int64) + dy) * size + low_x[triangle].astype(np.int64) + dx
        np.maximum.at(owner, pixel, triangle.astype(np.int32))
    return owner


def _grid_coordinates(
    owner: NDArray[np.int32], w1: Array, w2: Array, drawn: NDArray[np.int64], shape: tuple[int, ...], size: int
) -> Visible:
    """Return the place on the grid that each pixel shows; `drawn` has triangle numbers, as _corners orders them."""
    pixel = np.flatnonzero(owner >= 0)
    triangle = owner[pixel]
    py, px = (coordinate.astype(np.float32) for coordinate in np.divmod(pixel, size))
    first = w1[0, triangle] * px + w1[1, triangle] * py + w1[2, triangle]
    second = w2[0, triangle] * px + w2[1, triangle] * py + w2[2, triangle]
    cells = (shape[0] - 1) * (shape[1] - 1)
    lower, cell = np.divmod(drawn, cells)
    cell_row, cell_column = (number.astype(np.float32)[triangle] for number in np.divmod(cell, shape[1] - 1))
    is_lower = lower[triangle].astype(bool)
    row, column = np.zeros(size * size, np.float32), np.zeros(size * size, np.float32)
    row[pixel] = cell_row + first + np.where(is_lower, second, 0)
    column[pixel] = cell_column + np.where(is_lower, 1 - first, second)
    return Visible(row.reshape(size, size), column.reshape(size, size), (owner >= 0).reshape(size, size))


def sample_texture(texture: Array, visible: Visible, density: int) -> Array:
    """Return each pixel's value of a texture `density` times as dense as the grid, bilinear."""
    row, column = visible.row * density, visible.column * density
    found = cv2.remap(texture, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found.astype(np.float32, copy=False)


def normals(points: Array) -> Array:
    """Return the unit normals (rows, columns, 3), out of the surface, by central differences."""
    down = np.empty_like(points)
    down[1:-1] = points[2:] - points[:-2]
    down[0], down[-1] = points[1] - points[0], points[-1] - points[-2]
    across = np.empty_like(points)
    across[:, 1:-1] = points[:, 2:] - points[:, :-2]
    across[:, 0], across[:, -1] = points[:, 1] - points[:, 0], points[:, -1] - points[:, -2]
    dx, dy, dz = (down[..., k] for k in range(3))
    ax, ay, az = (across[..., k] for k in range(3))
    normal = np.stack([dy * az - dz * ay, dz * ax - dx * az, dx * ay - dy * ax], axis=-1)
    return normal / np.maximum(vector_lengths(normal), 1e-6)[..., None]


def _dot(vectors: Array, direction: Array) -> Array:
    """Return the dot products of vectors (..., 3) with one direction (3,)."""
    return vectors[..., 0] * direction[0] + vectors[..., 1] * direction[1] + vectors[..., 2] * direction[2]


def cast_shadow(points: Array, light: Array) -> Array:
    """Return how much of a distant lamp's light reaches each point (rows, columns), 0 to 1, by a shadow map.

    `light` is the unit vector towards the lamp; the map has cells of `SHADOW_CELL` mm. A point is in shadow if its
    cell holds a point that is much nearer to the lamp; the shadow grows to full over `SHADOW_SOFTNESS` mm.
    """
    helper = np.array([0, 1, 0] if abs(light[1]) < 0.9 else [1, 0, 0], np.float32)  # not parallel to the light
    right = np.cross(helper, light)
    right = right / vector_lengths(right)
    up = np.cross(light, right)
    u, v, towards = (_dot(points, axis.astype(np.float32)) for axis in (right, up, light))
    column = ((u - u.min()) / SHADOW_CELL).astype(np.int64)
    row = ((v - v.min()) / SHADOW_CELL).astype(np.int64)
    nearest = np.full((row.max() + 1, column.max() + 1), -1e6, np.float32)
    np.maximum.at(nearest, (row, column), towards)
    behind = nearest[row, column] - towards
    lit = 1 - np.clip((behind - 1.5 * SHADOW_CELL) / SHADOW_SOFTNESS, 0, 1)
    return cv2.GaussianBlur(lit.astype(np.float32), (5, 5), 1.1).astype(np.float32, copy=False)
