"""Traits of a person, drawn from distributions, and the colours that follow from them.

Colours are reflectances in linear light (not gamma-coded), RGB, 0 to 1, chosen by eye.
"""

from dataclasses import dataclass

import numpy as np

from faces.drawing.arrays import Array, smoothstep_scalar

# From the lightest to the darkest skin; hair from black over brown to blond; irises from brown over green to blue.
LIGHT_SKIN, DARK_SKIN = (0.78, 0.52, 0.40), (0.075, 0.034, 0.020)
HAIR_COLOURS = ((0.012, 0.010, 0.009), (0.045, 0.024, 0.014), (0.14, 0.075, 0.038), (0.42, 0.27, 0.13))
GREY_HAIR, RED_HAIR = (0.48, 0.47, 0.46), (0.26, 0.075, 0.022)
IRIS_COLOURS = ((0.030, 0.014, 0.008), (0.11, 0.055, 0.022), (0.11, 0.12, 0.06), (0.13, 0.20, 0.29))
EYE_WHITE = (0.43, 0.39, 0.37)


@dataclass(frozen=True)
class Traits:
    """Numbers behind a look: strengths and shares from 0 to 1 unless a unit or a range is given."""

    masculine: float
    age: float
    melanin: float
    redness: float  # around 0
    yellowness: float  # around 0
    hair_shade: float  # 0 black, 1 blond
    hair_red: float
    grey: float
    hairline: float  # mm, y on the forehead
    recession: float  # mm that it is higher at the temples
    parting: float  # mm, x
    fringe: float  # mm that it hangs below the hairline, 0: none
    bald: float
    hair_length: float  # mm below the nape
    hair_volume: float  # mm that it stands out
    brow_thickness: float  # mm, half
    brow_density: float
    brow_arch: float  # mm
    brow_gap: float  # mm from the middle line
    lip_fullness: float  # factor
    lip_redness: float
    beard: float
    moustache: float
    stubble: float
    freckles: float
    eye_shadow: float
    lid_fold: float
    iris_shade: float  # 0 brown, 1 blue
    makeup: float
    eye_whiteness: float  # factor
    iris_radius: float  # mm


def draw_traits(rng: np.random.Generator, variation: float) -> Traits:
    """Draw an identity's traits.

    `variation` scales how far skin, hairline, parting, brows and lips deviate from the mean for the person's sex, age
    and melanin. The other traits do not depend on it, except that melanin limits freckles and the colours of hair and
    eyes.
    """
    masculine = float(rng.beta(0.7, 0.7))
    age = float(rng.beta(1.3, 1.8))

    def spread(middle: float, deviation: float) -> float:
        return float(middle + variation * deviation * np.clip(rng.standard_normal(), -2.5, 2.5))

    male = masculine > 0.5
    melanin = float(np.clip(0.42 + variation * (rng.beta(0.9, 1.1) - 0.42), 0, 1))
    bearded = male and rng.random() < 0.38
    moustached = male and rng.random() < 0.4
    fringe = not male and rng.random() < 0.35
    balding = male and rng.random() < 0.22
    fair = float(rng.beta(1.1, 1.3)) * (1.0 - 0.85 * smoothstep_scalar(melanin, 0.2, 0.6))
    return Traits(
        masculine=masculine,
        age=age,
        melanin=melanin,
        redness=spread(0.0, 0.09),
        yellowness=spread(0.0, 0.10),
        hair_shade=fair,
        hair_red=float(rng.beta(0.5, 4)) * (melanin < 0.4),
        grey=float(np.clip(rng.normal(1.7 * (age - 0.55), 0.25), 0, 1)),
        hairline=spread(67 + 5 * masculine, 6.5),
        recession=max(0.0, spread(5 + 14 * masculine * age, 6)),
        parting=spread(0, 22),
        fringe=float(rng.uniform(15, 42)) if fringe else 0.0,
        bald=float(rng.uniform(0.6, 1)) if balding else 0.0,
        hair_length=float(rng.uniform(0, 25)) if male and rng.random() < 0.88 else float(rng.uniform(10, 150)),
        hair_volume=float(rng.gamma(4, 3.2)) + 3,
        brow_thickness=max(1.6, spread(3.6 + 1.6 * masculine, 1.1)),
        brow_density=float(np.clip(spread(0.72 + 0.15 * masculine, 0.2), 0.25, 1)),
        brow_arch=spread(3.2 - 1.6 * masculine, 1.8),
        brow_gap=spread(10.5 - 2 * masculine, 2.8),
        lip_fullness=max(0.45, spread(1.0 + 0.35 * melanin, 0.24)),
        lip_redness=spread(0.35, 0.2),
        beard=float(rng.uniform(0.35, 1)) if bearded else 0.0,
        moustache=float(rng.uniform(0.35, 1)) if moustached else 0.0,
        stubble=float(rng.beta(1.2, 2)) * male,
        freckles=float(rng.beta(0.6, 2.5)) * (melanin < 0.45),
        eye_shadow=float(rng.beta(1.5, 2)),
        lid_fold=float(rng.beta(1.2, 1.2)),
        iris_shade=float(np.clip(rng.beta(0.9, 0.9) * (1 - 1.3 * smoothstep_scalar(melanin, 0.1, 0.55)), 0, 1)),
        makeup=float(rng.beta(1, 1.5)) * (not male),
        eye_whiteness=float(rng.uniform(0.85, 1.1)),
        iris_radius=float(rng.uniform(5.4, 6.3)),
    )


def mix_pigments(colours: tuple[tuple[float, ...], ...], place: float) -> Array:
    """Return the colour at `place` on a scale, from 0 (first) to 1 (last), mixed in log reflectance as pigments mix."""
    scale = np.log(np.array(colours))
    position = np.clip(place, 0, 1) * (len(colours) - 1)
    return np.exp([np.interp(position, range(len(colours)), channel) for channel in scale.T]).astype(np.float32)


def skin_colour(traits: Traits) -> Array:
    """Return the base reflectance of the skin (3,)."""
    base = mix_pigments((LIGHT_SKIN, DARK_SKIN), traits.melanin**1.25 * 0.97)
    tint = np.array([0.4 * traits.redness, -0.6 * traits.redness, -0.5 * traits.redness - traits.yellowness])
    return np.clip(base * np.exp(tint), 0.01, 0.9).astype(np.float32)


def hair_colour(traits: Traits) -> Array:
    """Return the reflectance of the hair (3,)."""
    natural = mix_pigments(HAIR_COLOURS, traits.hair_shade)
    natural = natural + np.float32(traits.hair_red) * (np.array(RED_HAIR, np.float32) - natural)
    return (natural + np.float32(traits.grey) * (np.array(GREY_HAIR, np.float32) - natural)).astype(np.float32)


def iris_colour(traits: Traits) -> Array:
    """Return the reflectance of the iris (3,)."""
    return mix_pigments(IRIS_COLOURS, traits.iris_shade)


def eye_white_colour(traits: Traits) -> Array:
    """Return the reflectance of the white of the eye (3,)."""
    return np.array(EYE_WHITE, np.float32) * np.float32(traits.eye_whiteness * (1 - 0.5 * traits.melanin))
