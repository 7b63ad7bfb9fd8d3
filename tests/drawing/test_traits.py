from dataclasses import asdict, replace

import numpy as np
import pytest

from faces.drawing.traits import (
    DARK_SKIN,
    HAIR_COLOURS,
    LIGHT_SKIN,
    draw_traits,
    hair_colour,
    mix_pigments,
    skin_colour,
)

SOMEONE = draw_traits(np.random.default_rng(0), 1.0)


def test_a_scale_mixes_in_log_reflectance() -> None:
    np.testing.assert_allclose(mix_pigments((LIGHT_SKIN, DARK_SKIN), 0), LIGHT_SKIN, rtol=1e-6)
    np.testing.assert_allclose(mix_pigments((LIGHT_SKIN, DARK_SKIN), 1), DARK_SKIN, rtol=1e-6)
    halfway = np.sqrt(np.array(LIGHT_SKIN) * np.array(DARK_SKIN))  # the geometric mean
    np.testing.assert_allclose(mix_pigments((LIGHT_SKIN, DARK_SKIN), 0.5), halfway, rtol=1e-6)
    np.testing.assert_allclose(mix_pigments(HAIR_COLOURS, 1 / 3), HAIR_COLOURS[1], rtol=1e-5)


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


def test_no_variation_leaves_skin_hairline_parting_brows_and_lips_at_their_middle() -> None:
    for seed in range(10):
        person = draw_traits(np.random.default_rng(seed), 0.0)
        assert (person.melanin, person.redness, person.yellowness, person.parting) == (0.42, 0, 0, 0)
        assert person.hairline == pytest.approx(67 + 5 * person.masculine)
        assert person.recession == pytest.approx(5 + 14 * person.masculine * person.age)
        assert person.brow_thickness == pytest.approx(3.6 + 1.6 * person.masculine)
        assert person.brow_density == pytest.approx(0.72 + 0.15 * person.masculine)
        assert person.brow_arch == pytest.approx(3.2 - 1.6 * person.masculine)
        assert person.brow_gap == pytest.approx(10.5 - 2 * person.masculine)
        assert person.lip_fullness == pytest.approx(1 + 0.35 * 0.42)
        assert person.lip_redness == 0.35


def test_variation_leaves_what_it_does_not_name_alone() -> None:
    others = "masculine age grey fringe bald hair_length hair_volume beard moustache stubble eye_shadow lid_fold makeup"
    for seed in range(10):
        plain, varied = (asdict(draw_traits(np.random.default_rng(seed), amount)) for amount in (0.0, 1.5))
        assert {name: plain[name] for name in others.split()} == {name: varied[name] for name in others.split()}
