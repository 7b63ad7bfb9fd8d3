import numpy as np
import pytest

from faces.drawing.head import COLUMNS, ROWS, mean_grid
from faces.drawing.look import Look, make_look
from faces.drawing.texture import TEXTURE_DENSITY
from faces.drawing.traits import draw_traits


def draw_look(seed: int) -> Look:
    rng = np.random.default_rng(seed)
    return make_look(rng, draw_traits(rng, 1.0))


@pytest.mark.parametrize("seed", range(3))
def test_a_look_is_complete_and_within_range(seed: int) -> None:
    look = draw_look(seed)
    shape = ((ROWS - 1) * TEXTURE_DENSITY + 1, (COLUMNS - 1) * TEXTURE_DENSITY + 1)
    assert look.albedo.shape == (*shape, 3) and look.ambient_occlusion.shape == look.shine.shape == shape
    assert look.hair_thickness.shape == look.ears_hidden.shape == (ROWS, COLUMNS)
    assert 0 < look.albedo.min() and look.albedo.max() < 1
    assert 0 < look.ambient_occlusion.min() and look.ambient_occlusion.max() <= 1
    assert np.isfinite(look.hair_thickness).all() and look.hair_thickness.min() > -15


def test_the_face_is_free_of_hair_and_the_crown_is_not() -> None:
    grid = mean_grid()
    cheeks = (np.abs(grid.x) < 50) & (np.abs(grid.y + 30) < 15) & (grid.z > 0)
    thickness = np.mean([draw_look(seed).hair_thickness for seed in range(12)], axis=0)
    assert np.abs(thickness[cheeks]).max() < 0.1
    assert thickness[grid.y > 90].mean() > 2
