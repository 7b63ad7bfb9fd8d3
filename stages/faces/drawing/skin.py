"""Skin and lips, painted on a texture of reflectances (albedo): linear light, RGB, 0 to 1. Sizes are in mm."""

import numpy as np

from faces.drawing.arrays import Array, blend, smooth_noise, smoothstep
from faces.drawing.expression import lid_lines, mouth_gape
from faces.drawing.head import EYE_X, MOUTH_X, MOUTH_Y, Grid
from faces.drawing.texture import gaussian_spot, mirrored_spot
from faces.drawing.traits import Traits


def paint_complexion(albedo: Array, rng: np.random.Generator, traits: Traits, grid: Grid) -> None:
    """Paint blotches, the flush of cheeks and nose, freckles and moles."""
    shape = grid.x.shape
    blotches = (
        0.05 * smooth_noise(rng, shape, 9, 12)
        + 0.04 * smooth_noise(rng, shape, 24, 30)
        + 0.03 * smooth_noise(rng, shape, 70, 90)
    )
    flush = rng.uniform(0.0, 0.32) * mirrored_spot(44, -38, 16, 13) + rng.uniform(0, 0.3) * mirrored_spot(0, -38, 11, 9)
    flush = flush + 0.15 * (np.abs(grid.longitude) > 88) + 0.04 * smooth_noise(rng, shape, 10, 14)
    albedo *= np.exp(blotches)[..., None]
    albedo *= np.exp(flush[..., None] * np.array([0.05, -0.75, -0.6], np.float32))
    if traits.freckles > 0.15:
        specks = (
            np.clip(smooth_noise(rng, shape, 90, 110) - 1.0, 0, 1)
            * smoothstep(np.abs(grid.longitude), 75, 45)
            * (mirrored_spot(30, -28, 24, 16) + 0.4)
        )
        albedo *= np.exp(-traits.freckles * specks[..., None] * np.array([0.8, 1.2, 1.4], np.float32))
    for _ in range(rng.poisson(2.2)):
        mole = gaussian_spot(grid, rng.uniform(-60, 60), rng.uniform(-105, 60), *(rng.uniform(1.0, 2.0, 1).repeat(2)))
        albedo *= np.exp(-rng.uniform(0.6, 1.7) * mole[..., None] * np.array([0.8, 1.0, 1.1], np.float32))


def paint_age(albedo: Array, rng: np.random.Generator, traits: Traits, grid: Grid) -> None:
    """Paint folds from nose to mouth, lines of the forehead, crow's feet and shadows under the eyes."""
    side = np.abs(grid.x)
    old = max(0.0, traits.age - 0.25) / 0.75
    fold_x = np.interp(grid.y, [-95, -72, -42], [33, 31, 18])
    fold = np.exp(-0.5 * ((side - fold_x) / 1.8) ** 2) * smoothstep(grid.y, -90, -75) * smoothstep(grid.y, -40, -48)
    wave = 2.0 * np.sin(side / 12 + rng.uniform(0, 3))
    lines = np.clip(np.cos((grid.y + wave) * 2 * np.pi / rng.uniform(8, 12)), 0, 1) ** 6
    lines = lines * smoothstep(grid.y, 26, 34) * smoothstep(grid.y, 64, 54) * smoothstep(side, 46, 25)
    feet = np.clip(np.cos(np.arctan2(grid.y, side - 40) * 9), 0, 1) ** 4 * mirrored_spot(54, 0, 5, 7)
    bags = np.exp(-0.5 * ((grid.y + 11 - 0.012 * (side - EYE_X) ** 2) / 2.6) ** 2) * mirrored_spot(30, -10, 10, 9)
    hollow = mirrored_spot(24, -11, 9, 5)
    dark = (0.15 + 0.55 * old) * fold + 0.4 * old * lines + 0.35 * old * feet
    dark = dark + (0.15 + 0.3 * old) * bags + 0.35 * traits.eye_shadow * hollow
    albedo *= np.exp(-(dark * (grid.z > 0))[..., None] * np.array([0.8, 1.0, 1.0], np.float32))


def paint_lips(albedo: Array, rng: np.random.Generator, traits: Traits, skin: Array, grid: Grid) -> None:
    """Lips around the open mouth, and the mouth within: dark, with teeth."""
    across = np.clip(np.abs(grid.x) / MOUTH_X, 0, 1.3)
    gape = mouth_gape(grid.x)
    above, below = grid.y - MOUTH_Y - gape, MOUTH_Y - grid.y - gape
    bow = 1 - 0.22 * np.exp(-0.5 * (grid.x / 4) ** 2)
    upper_lip = 7.2 * traits.lip_fullness * bow * np.sqrt(np.clip(1 - across**1.7, 0, 1))
    lower_lip = 8.8 * traits.lip_fullness * np.sqrt(np.clip(1 - across**2, 0, 1))
    lip = smoothstep(upper_lip - above, -0.8, 1.2) * (above > -1) + smoothstep(lower_lip - below, -1, 2) * (below > -1)
    lip = np.clip(lip, 0, 1) * (across < 1.05) * (grid.z > 0)
    redness = traits.lip_redness + 0.9 * traits.makeup * rng.uniform(0.2, 1)
    colour = skin * np.exp(np.array([-0.12, -0.75, -0.62]) * (0.55 + redness)) * (1 - 0.25 * traits.melanin * 0.5)
    blend(albedo, colour.astype(np.float32), lip.astype(np.float32) * 0.9)
    inside = smoothstep(np.minimum(-above, -below), -0.4, 0.6) * (across < 1) * (grid.z > 0)
    blend(albedo, np.array([0.035, 0.008, 0.008], np.float32), inside)
    teeth = (
        inside
        * smoothstep(above, -1.2, -2.4)
        * smoothstep(grid.y, MOUTH_Y - 0.5, MOUTH_Y + 0.5)
        * smoothstep(across, 0.85, 0.55)
    )
    gaps = 1 - 0.25 * np.clip(np.cos(grid.x * 2 * np.pi / 7.5), 0, 1) ** 8
    blend(albedo, np.array([0.60, 0.55, 0.46], np.float32), (teeth * gaps * 0.85).astype(np.float32))
    corner = mirrored_spot(MOUTH_X, MOUTH_Y, 2.2, 1.8)
    albedo *= (1 - 0.45 * corner)[..., None]


def paint_nostrils(albedo: Array, skin: Array, grid: Grid) -> None:
    nostril = np.exp(-((((np.abs(grid.x) - 7.0) / 4.2) ** 2 + ((grid.y + 47.5) / 2.6) ** 2) ** 2)) * (grid.z > 0)
    wing = np.exp(-0.5 * ((np.hypot(np.abs(grid.x) - 12, grid.y + 41) - 7.5) / 1.3) ** 2) * (np.abs(grid.x) > 13)
    blend(albedo, skin * np.float32(0.10), (nostril * 0.85).astype(np.float32))
    albedo *= (1 - 0.28 * wing * (grid.z > 0) * smoothstep(grid.y, -30, -38))[..., None]


def paint_lids(albedo: Array, traits: Traits, skin: Array, grid: Grid) -> None:
    """Paint the fold of the upper lid, lashes and eye make-up."""
    side = np.abs(grid.x)
    upper, lower = lid_lines(side - EYE_X)
    near = smoothstep(np.abs(side - EYE_X), 18, 13) * (grid.z > 0)
    height = 2.5 + 4.5 * traits.lid_fold
    fold = np.exp(-0.5 * ((grid.y - upper - height) / 1.1) ** 2) * near
    lashes = np.exp(-0.5 * ((grid.y - upper - 0.6) / (0.9 + 0.5 * traits.makeup)) ** 2) * near
    under = np.exp(-0.5 * ((grid.y - lower + 0.7) / 0.8) ** 2) * near
    shadow = traits.makeup * smoothstep(grid.y - upper, -1, 1) * smoothstep(grid.y - upper, 9, 4) * near
    albedo *= np.exp(-(0.55 * fold + 0.5 * shadow))[..., None]
    blend(albedo, skin * np.float32(0.12), np.clip(0.8 * lashes + 0.35 * under, 0, 0.9).astype(np.float32))
