import numpy as np
import pytest

from faces.drawing.arrays import Array
from faces.drawing.raster import cast_shadow, normals, rasterize, sample_texture


def plane(rows: int, columns: int, step: float) -> tuple[Array, Array]:
    y, x = (np.mgrid[0:rows, 0:columns] * step).astype(np.float32)
    return x, y


@pytest.mark.parametrize("step", [0.7, 3.3, 11.0])
def test_a_plane_is_seen_where_it_is(step: float) -> None:
    x, y = plane(6, 8, step)
    seen = rasterize(x + np.float32(1), y + np.float32(2), np.zeros_like(x), 64)
    py, px = np.mgrid[0:64, 0:64]
    inside = (px >= 1) & (px <= 1 + 7 * step) & (py >= 2) & (py <= 2 + 5 * step)
    assert (seen.hit == inside).all()
    np.testing.assert_allclose(seen.column[inside], (px[inside] - 1) / step, atol=1e-3)
    np.testing.assert_allclose(seen.row[inside], (py[inside] - 2) / step, atol=1e-3)


def test_the_back_of_a_surface_is_not_drawn() -> None:
    x, y = plane(5, 5, 4)
    assert not rasterize(x[:, ::-1], y, np.zeros_like(x), 20).hit.any()


def test_the_nearest_of_many_triangles_wins_as_by_brute_force() -> None:
    # A sheet in three folds: its front faces lie over each other, at depths that differ.
    fold = np.array([0, 20, 28, 12, 4, 24, 36], np.float32)
    depth = np.array([0, 0, 5, 5, 10, 10, 10], np.float32)
    x = np.repeat(fold[None], 4, axis=0)
    y = np.repeat(np.arange(4, dtype=np.float32)[:, None] * 8, 7, axis=1)
    seen = rasterize(x, y, np.repeat(depth[None], 4, axis=0), 40)
    for px in np.arange(0.0, 36):
        facing = [k for k in range(6) if fold[k] < px < fold[k + 1]]
        if facing and px not in fold:
            nearest = max(facing, key=lambda k: depth[k] + depth[k + 1])
            assert nearest <= seen.column[10, int(px)] <= nearest + 1


def test_look_up_is_bilinear() -> None:
    x, y = plane(4, 4, 5)
    seen = rasterize(x, y, np.zeros_like(x), 16)
    rows, columns = np.mgrid[0:7, 0:7].astype(np.float32)
    texture = np.dstack([rows, columns])
    found = sample_texture(texture, seen, 2)
    # cv2 interpolates at 1/32 of a texel.
    np.testing.assert_allclose(found[..., 0], 2 * seen.row, atol=1 / 32)
    np.testing.assert_allclose(found[..., 1], 2 * seen.column, atol=1 / 32)


def test_normals_of_a_ball_point_outward() -> None:
    latitude, longitude = np.meshgrid(np.linspace(1.2, -1.2, 40), np.linspace(-2, 2, 60), indexing="ij")
    ball = np.stack(
        [np.cos(latitude) * np.sin(longitude), np.sin(latitude), np.cos(latitude) * np.cos(longitude)], axis=-1
    ).astype(np.float32)
    np.testing.assert_allclose(normals(ball)[1:-1, 1:-1], ball[1:-1, 1:-1], atol=0.01)


def test_a_roof_shades_what_lies_under_it() -> None:
    # A floor of 100 x 100 mm, half of it under a roof 50 mm above; the sheet goes round from one to the other.
    across = np.concatenate([np.linspace(0, 100, 41), np.linspace(100, 50, 21)])
    height = np.concatenate([np.zeros(41), np.full(21, 50.0)])
    points = np.stack(np.broadcast_arrays(across[None], np.linspace(0, 100, 41)[:, None], height[None]), axis=-1)
    lit = cast_shadow(points.astype(np.float32), np.array([0, 0, 1], np.float32))
    middle = lit[20]
    assert (middle[:18] == 1).all() and (middle[24:38] == 0).all() and (middle[44:] == 1).all()
