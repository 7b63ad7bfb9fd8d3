import numpy as np
import pytest

from faces.drawing.expression import Expression, pose_expression
from faces.drawing.head import COLUMNS, EYE_X, IDENTITY_MODES, MOUTH_X, MOUTH_Y, ROWS, draw_shape, landmarks, mean_grid

MEAN = draw_shape(np.random.default_rng(0), 0.0)


def test_the_finer_grid_holds_the_coarse_one() -> None:
    for coarse, fine in zip(mean_grid(), mean_grid(2), strict=True):
        assert coarse.shape == (ROWS, COLUMNS)
        np.testing.assert_array_equal(coarse, fine[::2, ::2])


def test_the_mean_head_is_symmetric_and_of_human_size() -> None:
    points = pose_expression(MEAN, Expression())
    np.testing.assert_allclose(points, points[:, ::-1] * np.array([-1, 1, 1], np.float32), atol=1e-3)
    width = np.ptp(points[np.abs(points[..., 1] - 40) < 3][:, 0])
    assert 140 < width < 165  # head breadth of adults, mm
    assert points[..., 2].argmax() in np.flatnonzero(np.abs(mean_grid().x) < 8)  # the nose is foremost


def test_landmarks_lie_where_they_are_called() -> None:
    left_eye, right_eye, nose, left_corner, right_corner = landmarks(pose_expression(MEAN, Expression()))
    # The grid's points stand about 1.5 mm apart, and bumps move the skin under them by some mm.
    np.testing.assert_allclose(right_eye[:2], [EYE_X, 0], atol=2)
    np.testing.assert_allclose(right_corner[:2], [MOUTH_X, MOUTH_Y], atol=4)
    np.testing.assert_allclose(left_eye, right_eye * [-1, 1, 1], atol=1e-3)
    assert abs(nose[0]) < 1 and nose[2] > right_eye[2] + 20
    assert left_corner[0] < 0 < right_corner[0]


class OneMode(np.random.Generator):
    """Draws one deviation of one direction of variation, and nothing of any other."""

    def __init__(self, mode: int) -> None:
        super().__init__(np.random.PCG64(0))
        self.mode = mode

    def standard_normal(self, size: int) -> np.ndarray:  # type: ignore[override]
        return np.eye(size)[self.mode]

    def normal(self, *_: float) -> float:  # type: ignore[override]
        return 0.0


@pytest.mark.parametrize("name", IDENTITY_MODES)
def test_every_named_mode_moves_the_face_where_and_as_far_as_it_says(name: str) -> None:
    mode, grid = IDENTITY_MODES[name], mean_grid()
    moved = draw_shape(OneMode(list(IDENTITY_MODES).index(name)), 1.0).points - MEAN.points
    length = float(np.linalg.norm([mode.outward, mode.up, mode.forward]))
    # On the middle line the two sides pull against each other, so that nothing goes outward there.
    assert np.linalg.norm([mode.outward if mode.x else 0, mode.up, mode.forward]) > 0.5  # mm, or nobody would see it
    for side in (-1, 1):
        distance = np.hypot(grid.x - side * mode.x, grid.y - mode.y) + 1000 * (grid.z < 0)
        nearest = np.unravel_index(distance.argmin(), distance.shape)
        # Points stand some mm apart, and those at the side of the head ("head width") go four fifths of the way.
        expected = [side * mode.outward, mode.up, mode.forward]
        np.testing.assert_allclose(moved[nearest], expected, atol=0.25 * length)
    # Past the centre by five deviations a Gaussian is 4e-6 of its height.
    far = (np.abs(np.abs(grid.x) - mode.x) > 5 * mode.spread_x) | (np.abs(grid.y - mode.y) > 5 * mode.spread_y)
    assert np.abs(moved[far]).max(initial=0) < 1e-3


def test_people_differ_by_millimetres() -> None:
    shapes = [draw_shape(np.random.default_rng(seed), 1.0).points for seed in range(3)]
    again = draw_shape(np.random.default_rng(2), 1.0).points
    np.testing.assert_array_equal(shapes[2], again)
    face = (np.abs(mean_grid().longitude) < 60) & (np.abs(mean_grid().y) < 100)
    for a in range(3):
        for b in range(a):
            apart = np.sqrt(((shapes[a] - shapes[b])[face] ** 2).sum(-1)).mean()
            assert 2 < apart < 15  # mm: other people, but people


def test_half_the_variation_is_half_the_way() -> None:
    half, whole = (draw_shape(np.random.default_rng(4), amount).points for amount in (0.5, 1.0))
    np.testing.assert_allclose(half - MEAN.points, (whole - MEAN.points) / 2, atol=1e-2)
