import numpy as np
import pytest

from faces.drawing.head import COLUMNS, EYE_X, ROWS, grid
from faces.drawing.skin import FINER, blend, make_look, noise, paint_eyes
from faces.drawing.traits import draw_traits


def look_of(seed: int):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    return make_look(rng, draw_traits(rng, 1.0))


def test_blend_by_hand() -> None:
    canvas = np.zeros((1, 3, 3), np.float32)
    blend(canvas, np.array([1, 0.5, 0], np.float32), np.array([[0, 0.5, 1]], np.float32))
    np.testing.assert_allclose(canvas[0], np.array([[0, 0, 0], [0.5, 0.25, 0], [1, 0.5, 0]]))


def test_noise_has_its_shape_and_about_unit_deviation() -> None:
    drawn = noise(np.random.default_rng(0), (80, 90), 20, 20)
    assert drawn.shape == (80, 90) and drawn.dtype == np.float32
    assert 0.6 < drawn.std() < 1.2


@pytest.mark.parametrize("seed", range(3))
def test_a_look_is_complete_and_within_range(seed: int) -> None:
    look = look_of(seed)
    shape = ((ROWS - 1) * FINER + 1, (COLUMNS - 1) * FINER + 1)
    assert look.albedo.shape == (*shape, 3) and look.occlusion.shape == look.shine.shape == shape
    assert look.hair_thickness.shape == look.ears_hidden.shape == (ROWS, COLUMNS)
    assert 0 < look.albedo.min() and look.albedo.max() < 1
    assert 0 < look.occlusion.min() and look.occlusion.max() <= 1
    assert np.isfinite(look.hair_thickness).all() and look.hair_thickness.min() > -15


def test_the_face_is_free_of_hair_and_the_crown_is_not() -> None:
    on = grid()
    cheeks = (np.abs(on.x) < 50) & (np.abs(on.y + 30) < 15) & (on.z > 0)
    thickness = np.mean([look_of(seed).hair_thickness for seed in range(12)], axis=0)
    assert np.abs(thickness[cheeks]).max() < 0.1
    assert thickness[on.y > 90].mean() > 2


def test_eyes_are_painted_in_the_eyes_alone_and_follow_the_gaze() -> None:
    look, on = look_of(1), grid(FINER)
    ahead, aside = look.albedo.copy(), look.albedo.copy()
    paint_eyes(ahead, look, (0.0, 0.0), 0.0)
    paint_eyes(aside, look, (4.0, 0.0), 0.0)
    changed = (ahead != look.albedo).any(-1)
    assert (np.abs(np.abs(on.x[changed]) - EYE_X) < 20).all() and (np.abs(on.y[changed]) < 12).all()
    for sign in (-1, 1):
        eye = (np.abs(on.x - sign * EYE_X) < 14) & (np.abs(on.y - 1) < 1.2) & (on.z > 0)
        dark_ahead, dark_aside = (on.x[eye & (texture.sum(-1) < 0.05)].mean() for texture in (ahead, aside))
        assert dark_ahead == pytest.approx(sign * EYE_X, abs=1.2)
        assert dark_aside - dark_ahead == pytest.approx(4, abs=1.2)


def test_shut_eyes_do_not_shine() -> None:
    look = look_of(1)
    albedo = look.albedo.copy()
    paint_eyes(albedo, look, (0.0, 0.0), 1.0)
    changed = (albedo != look.albedo).any(-1)
    assert albedo[changed].max() <= max(look.skin.max(), look.albedo[changed].max())
