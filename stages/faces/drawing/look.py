"""The look of one identity: everything that is painted on its head, or lifts its surface.

Colours are reflectances in linear light (not gamma-coded), RGB, 0 to 1.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from faces.drawing.arrays import Array, blend, smooth_noise, smoothstep
from faces.drawing.hair import ears_hidden, hair_cover, hair_thickness, paint_beard, paint_brows
from faces.drawing.head import mean_grid
from faces.drawing.skin import paint_age, paint_complexion, paint_lids, paint_lips, paint_nostrils
from faces.drawing.texture import TEXTURE_DENSITY, mirrored_spot
from faces.drawing.traits import Traits, eye_white_colour, hair_colour, iris_colour, skin_colour


@dataclass(frozen=True)
class Look:
    """The surface of one identity; (h, w) is the size of the texture."""

    albedo: Array  # (h, w, 3) reflectance of all but the eyeballs
    ambient_occlusion: Array  # (h, w) share of the ambient light that arrives, 0 to 1
    shine: Array  # (h, w) strength of the gloss
    hair_thickness: Array  # (ROWS, COLUMNS) mm that hair lifts the surface
    ears_hidden: Array  # (ROWS, COLUMNS) 0 to 1, where hair hangs over the ears and the surface is smoothed
    iris: Array  # (3,) reflectance
    iris_radius: float  # mm
    skin: Array  # (3,) mean reflectance
    eye_whites: Array  # (3,) reflectance


def make_look(rng: np.random.Generator, traits: Traits) -> Look:
    """Paint the look of one identity."""
    grid = mean_grid(TEXTURE_DENSITY)
    skin, hair = skin_colour(traits), hair_colour(traits)
    albedo = np.empty((*grid.x.shape, 3), np.float32)
    albedo[:] = skin
    paint_complexion(albedo, rng, traits, grid)
    paint_age(albedo, rng, traits, grid)
    paint_lips(albedo, rng, traits, skin, grid)
    paint_nostrils(albedo, skin, grid)
    strands = smooth_noise(rng, grid.x.shape, 9, 150) * 0.5 + smooth_noise(rng, grid.x.shape, 30, 260) * 0.5
    paint_beard(albedo, rng, traits, hair, strands, grid)
    paint_brows(albedo, traits, hair, strands, grid)
    paint_lids(albedo, traits, skin, grid)
    cover = hair_cover(rng, traits, grid)
    blend(albedo, hair * np.exp(0.3 * strands)[..., None], np.clip(cover * (1 + 0.25 * strands), 0, 1))
    thickness = hair_thickness(cover, rng, traits, grid)
    shine = (
        0.25 + 0.5 * (mirrored_spot(0, -30, 8, 16) + mirrored_spot(0, 45, 30, 16)) + 0.4 * mirrored_spot(44, -26, 14, 9)
    ) * (1 - cover)
    return Look(
        albedo=np.clip(albedo, 0.004, 0.95),
        ambient_occlusion=_ambient_occlusion() * (1 - 0.3 * cover * np.clip(0.3 - strands, 0, 1)),
        shine=(shine + 0.25 * cover).astype(np.float32),
        hair_thickness=thickness,
        ears_hidden=ears_hidden(cover, traits, grid),
        iris=iris_colour(traits),
        iris_radius=traits.iris_radius,
        skin=skin,
        eye_whites=eye_white_colour(traits),
    )


@lru_cache(maxsize=1)
def _ambient_occlusion() -> Array:
    """Return how much ambient light arrives (h, w): less at eye corners, under nose, lip and chin, and at the ears."""
    grid = mean_grid(TEXTURE_DENSITY)
    dark = (
        0.30 * mirrored_spot(19, 4, 5, 7) + 0.22 * mirrored_spot(30, 9, 13, 4) + 0.30 * mirrored_spot(0, -52, 10, 3.5)
    )
    dark = dark + 0.22 * mirrored_spot(0, -92, 13, 3.5) + 0.2 * mirrored_spot(17, -36, 3, 7)
    side = np.abs(grid.longitude)
    dark = dark + 0.5 * smoothstep(grid.level, -112, -124) + 0.2 * smoothstep(side, 84, 90)
    ear = np.exp(-0.5 * (((side - 95) / 2.5) ** 2 + ((grid.y + 16) / 10) ** 2))
    dark = dark + 0.45 * ear + 0.4 * np.exp(-0.5 * ((side - 87.5) / 1.5) ** 2) * (np.abs(grid.y + 12) < 30)
    return np.clip(1 - dark, 0.3, 1).astype(np.float32)
