import numpy as np
import pytest

from faces.drawing.eyes import paint_eyes
from faces.drawing.head import EYE_X, mean_grid
from faces.drawing.look import Look, make_look
from faces.drawing.texture import TEXTURE_DENSITY
from faces.drawing.traits import draw_traits


def draw_look() -> Look:
    rng = np.random.default_rng(1)
    return make_look(rng, draw_traits(rng, 1.0))


def test_eyes_are_painted_in_the_eyes_alone_and_follow_the_gaze() -> None:
    look, grid = draw_look(), mean_grid(TEXTURE_DENSITY)
    ahead, aside = look.albedo.copy(), look.albedo.copy()
    paint_eyes(ahead, look, (0.0, 0.0), 0.0)
    paint_eyes(aside, look, (4.0, 0.0), 0.0)
    changed = (ahead != look.albedo).any(-1)
    assert (np.abs(np.abs(grid.x[changed]) - EYE_X) < 20).all() and (np.abs(grid.y[changed]) < 12).all()
    for sign in (-1, 1):
        eye = (np.abs(grid.x - sign * EYE_X) < 14) & (np.abs(grid.y - 1) < 1.2) & (grid.z > 0)
        dark_ahead, dark_aside = (grid.x[eye & (texture.sum(-1) < 0.05)].mean() for texture in (ahead, aside))
        assert dark_ahead == pytest.approx(sign * EYE_X, abs=1.2)
        assert dark_aside - dark_ahead == pytest.approx(4, abs=1.2)


def test_shut_eyes_do_not_shine() -> None:
    look = draw_look()
    albedo = look.albedo.copy()
    paint_eyes(albedo, look, (0.0, 0.0), 1.0)
    changed = (albedo != look.albedo).any(-1)
    assert albedo[changed].max() <= max(look.skin.max(), look.albedo[changed].max())
