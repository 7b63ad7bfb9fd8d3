"""Hair of scalp, beard and brows: its cover on the texture, and the thickness that lifts the surface.

Sizes are in mm; `strands` (h, w) is noise that gives hair its structure.
"""

import cv2
import numpy as np

from faces.drawing.arrays import Array, blend, smooth_noise, smoothstep, smoothstep_scalar
from faces.drawing.head import MOUTH_X, MOUTH_Y, Grid
from faces.drawing.texture import TEXTURE_DENSITY, gaussian_spot
from faces.drawing.traits import Traits

LENGTH_OVER_EARS = 45.0  # mm below the nape; shorter hair leaves the ears uncovered


def hair_cover(rng: np.random.Generator, traits: Traits, grid: Grid) -> Array:
    """Return how densely hair covers the scalp (h, w), 0 to 1; the hairline runs from the forehead to the nape."""
    side = np.abs(grid.longitude)
    temple = traits.hairline + traits.recession
    sideburn = 5 - 40 * rng.random() * (0.4 + 0.6 * traits.masculine)
    nape = -60 - traits.hair_length
    before_ear = sideburn if traits.hair_length < LENGTH_OVER_EARS else sideburn - 0.9 * traits.hair_length
    line = np.interp(
        side,
        [0, 14, 28, 44, 58, 70, 78, 86, 90, 112, 118],
        [traits.hairline, traits.hairline, temple, temple - 8, 42, 22, sideburn, before_ear, before_ear, nape, nape],
    )
    if traits.fringe:
        line = line - traits.fringe * smoothstep(np.abs(grid.x + traits.parting), 62, 40)
    line = line + 3.0 * smooth_noise(rng, grid.x.shape, 6, 12) + 1.5 * smooth_noise(rng, grid.x.shape, 8, 60)
    height = np.where(side > 84, np.where(grid.level < -40, grid.level, grid.y), grid.y)
    cover = smoothstep(height - line, -2.5, 3.5)
    if traits.hair_length < LENGTH_OVER_EARS:
        cover = cover * (1 - smoothstep(side, 86, 90) * smoothstep(side, 114, 108) * smoothstep(grid.y, 22, 14))
    if traits.bald:
        crown = smoothstep(grid.y, 48 + 18 * (1 - traits.bald), 62) * smoothstep(side, 150, 110)
        cover = cover * (1 - traits.bald * crown)
    return np.clip(cover, 0, 1).astype(np.float32)


def hair_thickness(cover: Array, rng: np.random.Generator, traits: Traits, grid: Grid) -> Array:
    """Return how far hair stands out, in mm (ROWS, COLUMNS)."""
    soft = cv2.GaussianBlur(cover, (0, 0), 2.0)
    wavy = 1 + 0.18 * smooth_noise(rng, cover.shape, 7, 12) + 0.12 * smooth_noise(rng, cover.shape, 20, 34)
    top = 0.55 + 0.45 * smoothstep(grid.y, 30, 90)
    parting = 1 - 0.35 * np.exp(-0.5 * ((grid.x - traits.parting) / 7) ** 2) * (grid.y > 50)
    thickness = soft * traits.hair_volume * np.clip(wavy, 0.4, 1.8) * top * parting
    if traits.hair_length > 25:  # long hair falls straight from the widest part of the head
        hangs = soft * smoothstep(grid.y, -5, -40) * (80 + 3 * wavy - np.hypot(grid.x, grid.z))
        thickness = np.maximum(thickness, hangs)
    return np.ascontiguousarray(thickness[::TEXTURE_DENSITY, ::TEXTURE_DENSITY], np.float32)


def ears_hidden(cover: Array, traits: Traits, grid: Grid) -> Array:
    hidden = cover * smoothstep(np.abs(grid.longitude), 78, 88) * (traits.hair_length >= LENGTH_OVER_EARS)
    return np.ascontiguousarray(cv2.GaussianBlur(hidden, (0, 0), 2.0)[::TEXTURE_DENSITY, ::TEXTURE_DENSITY], np.float32)


def paint_beard(
    albedo: Array, rng: np.random.Generator, traits: Traits, hair: Array, strands: Array, grid: Grid
) -> None:
    """Paint beard, moustache and stubble; the lips stay bare."""
    side = np.abs(grid.longitude)
    edge = np.interp(side, [0, 15, 30, 45, 60, 75, 90], [-90, -88, -74, -66, -58, -30, -15]) + rng.normal(0, 5)
    growth = smoothstep(grid.y, edge + 6, edge - 8) * smoothstep(side, 92, 84) * smoothstep(grid.level, -150, -125)
    moustache = np.exp(-0.5 * ((grid.y + 57 + 0.012 * grid.x**2) / 4.2) ** 2) * smoothstep(np.abs(grid.x), 31, 22)
    chin = gaussian_spot(grid, 0, -104, rng.uniform(9, 22), 11)
    reach = rng.random()  # from a beard on the chin only to a full beard
    full = np.maximum(growth * smoothstep_scalar(reach, 0.15, 0.45), chin)
    across = np.abs(grid.x) / MOUTH_X
    lips = smoothstep(np.abs(grid.y - MOUTH_Y), 15, 11) * (across < 1)
    hairy = np.maximum(full * traits.beard, moustache * max(traits.moustache, traits.beard * (reach > 0.4)))
    shaved = 0.38 * traits.stubble * np.maximum(growth, 0.8 * moustache)
    cover = np.maximum(hairy * np.clip(0.85 + 0.3 * strands, 0, 1), shaved) * (1 - lips) * (grid.z > -40)
    blend(albedo, hair * np.exp(0.3 * strands)[..., None], np.clip(cover, 0, 0.94).astype(np.float32))


def paint_brows(albedo: Array, traits: Traits, hair: Array, strands: Array, grid: Grid) -> None:
    side = np.abs(grid.x)
    along = np.clip((side - traits.brow_gap) / (49 - traits.brow_gap), 0, 1)
    middle = 15.5 + traits.brow_arch * np.sin(np.pi * np.clip(along * 0.9 + 0.02, 0, 1)) + 1.5 * along
    thickness = traits.brow_thickness * (1.05 - 0.75 * along**2)
    brow = np.exp(-(np.abs((grid.y - middle) / thickness) ** 3)) * smoothstep(side, 50, 44)
    brow = brow * smoothstep(side, traits.brow_gap - 2.5, traits.brow_gap + 3) * (grid.z > 0)
    share = np.clip(brow * traits.brow_density * (1 + 0.3 * strands), 0, 0.95)
    blend(albedo, hair * np.float32(0.75), share.astype(np.float32))
