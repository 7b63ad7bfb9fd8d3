from dataclasses import replace

import numpy as np
import pytest

from faces.core.image_size import SIDE
from faces.drawing.expression import Expression
from faces.drawing.head import draw_shape
from faces.drawing.look import make_look
from faces.drawing.occlusion import Occluders
from faces.drawing.photograph import lamp_direction, photograph
from faces.drawing.scene import Light, Scene
from faces.drawing.traits import draw_traits
from still_camera import STILL

WHITE = np.ones(3, np.float32)
BARE = Occluders(glasses=False, sunglasses=False, mask=False, cap=False, hand=False, bar=False)
PLAIN = Scene(
    camera=STILL,
    light=Light(azimuth=0, elevation=20, contrast=0.5, colour=WHITE, ambient_colour=WHITE),
    expression=Expression(),
    occluders=BARE,
    gaze=(0.0, 0.0),
    background_contrast=0.0,
)
FOREHEAD, EYES, MOUTH = np.s_[0:22, 40:72], np.s_[44:60, 26:86], np.s_[84:102, 42:70]


def take(scene: Scene, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    look = make_look(rng, draw_traits(rng, 1.0))
    return photograph(draw_shape(rng, 1.0), look, scene, np.random.default_rng(0)).astype(float)


def changed(scene: Scene, region: tuple[slice, slice]) -> float:
    """Return the share of pixels in a region that are clearly other than in the plain scene."""
    return float((np.abs(take(scene) - take(PLAIN))[region].max(-1) > 12).mean())


def alike(scene: Scene, region: tuple[slice, slice]) -> float:
    """Return the correlation of a region with the same region of the plain scene."""
    return float(np.corrcoef(take(scene)[region].ravel(), take(PLAIN)[region].ravel())[0, 1])


def test_a_photograph_is_the_same_every_time() -> None:
    assert take(PLAIN).shape == (SIDE, SIDE, 3)
    np.testing.assert_array_equal(take(PLAIN), take(PLAIN))


@pytest.mark.parametrize("azimuth, elevation, expected", [(90, 0, (1, 0, 0)), (0, 90, (0, 1, 0)), (0, 0, (0, 0, 1))])
def test_lamp_direction_by_hand(azimuth: int, elevation: int, expected: tuple[int, ...]) -> None:
    light = replace(PLAIN.light, azimuth=azimuth, elevation=elevation)
    np.testing.assert_allclose(lamp_direction(light), expected, atol=1e-6)


@pytest.mark.parametrize("azimuth", [-70, 70])
def test_the_side_towards_the_lamp_is_brighter(azimuth: int) -> None:
    picture = take(replace(PLAIN, light=replace(PLAIN.light, azimuth=azimuth, elevation=0, contrast=0.9)))
    left, right = picture[60:85, 30:50].mean(), picture[60:85, 62:82].mean()
    assert (right - left) * np.sign(azimuth) > 25


def test_a_warm_lamp_makes_a_warm_face() -> None:
    orange = np.array([1.3, 1.0, 0.7], np.float32)
    warm = replace(PLAIN.light, colour=orange, ambient_colour=orange)
    face = np.s_[40:100, 35:77]
    plain, tinted = (take(scene)[face].mean((0, 1)) for scene in (PLAIN, replace(PLAIN, light=warm)))
    assert tinted[0] / tinted[2] > 1.15 * plain[0] / plain[2]


@pytest.mark.parametrize(
    "worn, covered, free",
    [
        ("mask", MOUTH, EYES),
        ("sunglasses", EYES, MOUTH),
        ("cap", FOREHEAD, MOUTH),
    ],
)
def test_what_is_worn_covers_its_place(worn: str, covered: tuple[slice, slice], free: tuple[slice, slice]) -> None:
    scene = replace(PLAIN, occluders=replace(BARE, **{worn: True}))
    # The camera adapts its exposure to what it sees, so compare patterns: correlation leaves brightness out.
    # It stays high where cloth is shaded as the skin below it was.
    assert alike(scene, covered) < 0.9 < 0.95 < alike(scene, free)


@pytest.mark.parametrize("worn", ["glasses", "hand", "bar"])
def test_what_is_held_before_a_face_hides_a_part(worn: str) -> None:
    share = changed(replace(PLAIN, occluders=replace(BARE, **{worn: True})), np.s_[0:SIDE, 0:SIDE])
    assert 0.01 < share < 0.6


def test_an_open_mouth_is_seen() -> None:
    scene = replace(PLAIN, expression=Expression(mouth_open=1.0))
    assert changed(scene, MOUTH) > 3 * changed(scene, EYES)
