from dataclasses import asdict, replace

import numpy as np
import pytest

from faces.traits import DARK_SKIN, HAIR_COLOURS, LIGHT_SKIN, between, draw_traits, hair_colour, skin_colour

SOMEONE = draw_traits(np.random.default_rng(0), 1.0)


def test_a_scale_mixes_in_log_reflectance() -> None:
    np.testing.assert_allclose(between((LIGHT_SKIN, DARK_SKIN), 0), LIGHT_SKIN, rtol=1e-6)
    np.testing.assert_allclose(between((LIGHT_SKIN, DARK_SKIN), 1), DARK_SKIN, rtol=1e-6)
    halfway = np.sqrt(np.array(LIGHT_SKIN) * np.array(DARK_SKIN))  # the geometric mean
    np.testing.assert_allclose(between((LIGHT_SKIN, DARK_SKIN), 0.5), halfway, rtol=1e-6)
    np.testing.assert_allclose(between(HAIR_COLOURS, 1 / 3), HAIR_COLOURS[1], rtol=1e-5)


def test_more_melanin_is_darker_and_grey_hair_is_grey() -> None:
    tones = [skin_colour(replace(SOMEONE, melanin=amount)).mean() for amount in (0.0, 0.3, 0.6, 1.0)]
    assert tones == sorted(tones, reverse=True)
    grey = hair_colour(replace(SOMEONE, grey=1.0))
    assert np.ptp(grey) < 0.05 < 0.4 < grey.mean()


def test_traits_are_drawn_from_a_continuum() -> None:
    people = [asdict(draw_traits(np.random.default_rng(seed), 1.0)) for seed in range(60)]
    for name in ("melanin", "hairline", "brow_thickness", "lip_fullness", "hair_volume", "age"):
        assert len({person[name] for person in people}) == 60
    assert all(np.isfinite(list(person.values())).all() for person in people)
    assert {person["beard"] > 0 for person in people} == {True, False}


def test_no_variation_leaves_the_middle() -> None:
    plain = [draw_traits(np.random.default_rng(seed), 0.0) for seed in range(5)]
    assert {person.melanin for person in plain} == {0.42}
    assert {person.redness for person in plain} == {0.0}
    assert all(person.brow_thickness == pytest.approx(3.6 + 1.6 * person.masculine) for person in plain)
