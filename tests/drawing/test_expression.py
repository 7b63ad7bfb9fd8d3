import numpy as np
import pytest

from faces.drawing.expression import Expression, lid_lines, mouth_gape, pose_expression
from faces.drawing.head import EYE_X, MOUTH_Y, draw_shape, mean_grid

MEAN = draw_shape(np.random.default_rng(0), 0.0)


@pytest.mark.parametrize("opening, gap", [(0.0, 0.0), (1.0, 10.0)])
def test_the_mouth_opens_and_shuts(opening: float, gap: float) -> None:
    points = pose_expression(MEAN, Expression(mouth_open=opening))
    grid = mean_grid()
    inside = (np.abs(grid.y - MOUTH_Y) < mouth_gape(grid.x) - 0.3) & (np.abs(grid.x) < 3)
    height = np.ptp(points[inside][:, 1])
    # Wide open it is the grid's gape of 10 mm and what the falling jaw adds below the middle.
    assert height == pytest.approx(0, abs=1.0) if gap == 0 else gap - 3 < height < gap + 10


def test_shut_lids_leave_no_eye() -> None:
    grid = mean_grid()
    upper, lower = lid_lines(np.abs(grid.x) - EYE_X)
    eye = (grid.y < upper - 0.2) & (grid.y > lower + 0.2) & (np.abs(grid.x - EYE_X) < 6)
    open_, shut = (pose_expression(MEAN, Expression(eyes_closed=amount)) for amount in (0.0, 1.0))
    for column in np.unique(np.nonzero(eye)[1]):
        rows = eye[:, column]
        assert np.ptp(shut[rows, column, 1]) < 0.35 * np.ptp(open_[rows, column, 1])
