"""What a head is covered with: skin, eyes, brows, lips, beard and hair, painted on the grid of faces.head.

Colours are linear light (not gamma-coded), RGB, 0 to 1; a texture is twice as dense as the grid.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from faces.drawing.head import (
    EYE_X,
    MOUTH_X,
    MOUTH_Y,
    Array,
    Grid,
    grid,
    lid_lines,
    mouth_gape,
    smoothstep,
)
from faces.drawing.traits import Traits, eye_white_colour, hair_colour, iris_colour, skin_colour, smooth_share

FINER = 2  # texels per step of the grid
LENGTH_OVER_EARS = 45.0  # mm below the nape; shorter hair leaves the ears free


@dataclass(frozen=True)
class Look:
    """The surface of one identity.

    `albedo` (h, w, 3) is everything but the eyeballs; `occlusion` (h, w) dims the light that comes from all round;
    `shine` (h, w) is how glossy skin is; `hair_thickness` (ROWS, COLUMNS) in mm lifts the surface, and
    `ears_hidden` (ROWS, COLUMNS) smooths it where hair hangs over the ears.
    """

    albedo: Array
    occlusion: Array
    shine: Array
    hair_thickness: Array
    ears_hidden: Array
    iris: Array
    iris_radius: float
    skin: Array
    eye_whites: Array


def noise(rng: np.random.Generator, shape: tuple[int, ...], rows: int, columns: int) -> Array:
    """Return smooth noise of about unit deviation with `rows` x `columns` random knots."""
    knots = rng.standard_normal((rows, columns)).astype(np.float32)
    return cv2.resize(knots, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC).astype(np.float32, copy=False)


def blend(canvas: Array, colour: Array, share: Array) -> None:
    """Mix `colour` into the canvas (h, w, 3) in place, by a share (h, w) from 0 to 1."""
    canvas += share[..., None] * (colour - canvas)


def spot(on: Grid, x: float, y: float, spread_x: float, spread_y: float) -> Array:
    """Return a Gaussian spot, one-sided: x is signed; nothing at the back of the head."""
    value = np.exp(-0.5 * (((on.x - x) / spread_x) ** 2 + ((on.y - y) / spread_y) ** 2)) * (on.z > 0)
    return value.astype(np.float32)


@lru_cache(maxsize=64)
def pair(x: float, y: float, spread_x: float, spread_y: float) -> Array:
    """Return a Gaussian spot and its mirror image on the texture's grid."""
    on = grid(FINER)
    return spot(on, x, y, spread_x, spread_y) + (spot(on, -x, y, spread_x, spread_y) if x else 0)


@lru_cache(maxsize=1)
def _resting_occlusion() -> Array:
    """Where little of the sky is seen: eye corners, under nose, lip and chin, behind the ears, inside the mouth."""
    on = grid(FINER)
    dark = 0.30 * pair(19, 4, 5, 7) + 0.22 * pair(30, 9, 13, 4) + 0.30 * pair(0, -52, 10, 3.5)
    dark = dark + 0.22 * pair(0, -92, 13, 3.5) + 0.2 * pair(17, -36, 3, 7)
    side = np.abs(on.longitude)
    dark = dark + 0.5 * smoothstep(on.key, -112, -124) + 0.2 * smoothstep(side, 84, 90)
    ear = np.exp(-0.5 * (((side - 95) / 2.5) ** 2 + ((on.y + 16) / 10) ** 2))
    dark = dark + 0.45 * ear + 0.4 * np.exp(-0.5 * ((side - 87.5) / 1.5) ** 2) * (np.abs(on.y + 12) < 30)
    return np.clip(1 - dark, 0.3, 1).astype(np.float32)


def make_look(rng: np.random.Generator, traits: Traits) -> Look:
    """Paint one identity."""
    on = grid(FINER)
    skin, hair = skin_colour(traits), hair_colour(traits)
    albedo = np.empty((*on.x.shape, 3), np.float32)
    albedo[:] = skin
    _paint_complexion(albedo, rng, traits, on)
    _paint_age(albedo, rng, traits, on)
    _paint_lips(albedo, rng, traits, skin, on)
    _paint_nostrils(albedo, skin, on)
    strands = noise(rng, on.x.shape, 9, 150) * 0.5 + noise(rng, on.x.shape, 30, 260) * 0.5
    _paint_beard(albedo, rng, traits, hair, strands, on)
    _paint_brows(albedo, traits, hair, strands, on)
    _paint_lids(albedo, traits, skin, on)
    cover = _hair_cover(rng, traits, on)
    blend(albedo, hair * np.exp(0.3 * strands)[..., None], np.clip(cover * (1 + 0.25 * strands), 0, 1))
    thickness = _hair_thickness(cover, rng, traits, on)
    shine = (0.25 + 0.5 * (pair(0, -30, 8, 16) + pair(0, 45, 30, 16)) + 0.4 * pair(44, -26, 14, 9)) * (1 - cover)
    return Look(
        albedo=np.clip(albedo, 0.004, 0.95),
        occlusion=_resting_occlusion() * (1 - 0.3 * cover * np.clip(0.3 - strands, 0, 1)),
        shine=(shine + 0.25 * cover).astype(np.float32),
        hair_thickness=thickness,
        ears_hidden=_ears_hidden(cover, traits, on),
        iris=iris_colour(traits),
        iris_radius=traits.iris_radius,
        skin=skin,
        eye_whites=eye_white_colour(traits),
    )


def _paint_complexion(albedo: Array, rng: np.random.Generator, traits: Traits, on: Grid) -> None:
    """Blotches, flush of cheeks and nose, freckles, moles."""
    shape = on.x.shape
    blotches = 0.05 * noise(rng, shape, 9, 12) + 0.04 * noise(rng, shape, 24, 30) + 0.03 * noise(rng, shape, 70, 90)
    flush = rng.uniform(0.0, 0.32) * pair(44, -38, 16, 13) + rng.uniform(0, 0.3) * pair(0, -38, 11, 9)
    flush = flush + 0.15 * (np.abs(on.longitude) > 88) + 0.04 * noise(rng, shape, 10, 14)
    albedo *= np.exp(blotches)[..., None]
    albedo *= np.exp(flush[..., None] * np.array([0.05, -0.75, -0.6], np.float32))
    if traits.freckles > 0.15:
        specks = (
            np.clip(noise(rng, shape, 90, 110) - 1.0, 0, 1)
            * smoothstep(np.abs(on.longitude), 75, 45)
            * (pair(30, -28, 24, 16) + 0.4)
        )
        albedo *= np.exp(-traits.freckles * specks[..., None] * np.array([0.8, 1.2, 1.4], np.float32))
    for _ in range(rng.poisson(2.2)):
        mole = spot(on, rng.uniform(-60, 60), rng.uniform(-105, 60), *(rng.uniform(1.0, 2.0, 1).repeat(2)))
        albedo *= np.exp(-rng.uniform(0.6, 1.7) * mole[..., None] * np.array([0.8, 1.0, 1.1], np.float32))


def _paint_age(albedo: Array, rng: np.random.Generator, traits: Traits, on: Grid) -> None:
    """Folds from nose to mouth, lines of the forehead, crow's feet, shadows under the eyes."""
    side = np.abs(on.x)
    old = max(0.0, traits.age - 0.25) / 0.75
    fold_x = np.interp(on.y, [-95, -72, -42], [33, 31, 18])
    fold = np.exp(-0.5 * ((side - fold_x) / 1.8) ** 2) * smoothstep(on.y, -90, -75) * smoothstep(on.y, -40, -48)
    wave = 2.0 * np.sin(side / 12 + rng.uniform(0, 3))
    lines = np.clip(np.cos((on.y + wave) * 2 * np.pi / rng.uniform(8, 12)), 0, 1) ** 6
    lines = lines * smoothstep(on.y, 26, 34) * smoothstep(on.y, 64, 54) * smoothstep(side, 46, 25)
    feet = np.clip(np.cos(np.arctan2(on.y, side - 40) * 9), 0, 1) ** 4 * pair(54, 0, 5, 7)
    bags = np.exp(-0.5 * ((on.y + 11 - 0.012 * (side - EYE_X) ** 2) / 2.6) ** 2) * pair(30, -10, 10, 9)
    hollow = pair(24, -11, 9, 5)
    dark = (0.15 + 0.55 * old) * fold + 0.4 * old * lines + 0.35 * old * feet
    dark = dark + (0.15 + 0.3 * old) * bags + 0.35 * traits.eye_shadow * hollow
    albedo *= np.exp(-(dark * (on.z > 0))[..., None] * np.array([0.8, 1.0, 1.0], np.float32))


def _paint_lips(albedo: Array, rng: np.random.Generator, traits: Traits, skin: Array, on: Grid) -> None:
    """Lips around the open mouth, and the mouth within: dark, with teeth."""
    across = np.clip(np.abs(on.x) / MOUTH_X, 0, 1.3)
    gape = mouth_gape(on.x)
    above, below = on.y - MOUTH_Y - gape, MOUTH_Y - on.y - gape
    bow = 1 - 0.22 * np.exp(-0.5 * (on.x / 4) ** 2)
    upper_lip = 7.2 * traits.lip_fullness * bow * np.sqrt(np.clip(1 - across**1.7, 0, 1))
    lower_lip = 8.8 * traits.lip_fullness * np.sqrt(np.clip(1 - across**2, 0, 1))
    lip = smoothstep(upper_lip - above, -0.8, 1.2) * (above > -1) + smoothstep(lower_lip - below, -1, 2) * (below > -1)
    lip = np.clip(lip, 0, 1) * (across < 1.05) * (on.z > 0)
    redness = traits.lip_redness + 0.9 * traits.makeup * rng.uniform(0.2, 1)
    colour = skin * np.exp(np.array([-0.12, -0.75, -0.62]) * (0.55 + redness)) * (1 - 0.25 * traits.melanin * 0.5)
    blend(albedo, colour.astype(np.float32), lip.astype(np.float32) * 0.9)
    inside = smoothstep(np.minimum(-above, -below), -0.4, 0.6) * (across < 1) * (on.z > 0)
    blend(albedo, np.array([0.035, 0.008, 0.008], np.float32), inside)
    teeth = (
        inside
        * smoothstep(above, -1.2, -2.4)
        * smoothstep(on.y, MOUTH_Y - 0.5, MOUTH_Y + 0.5)
        * smoothstep(across, 0.85, 0.55)
    )
    gaps = 1 - 0.25 * np.clip(np.cos(on.x * 2 * np.pi / 7.5), 0, 1) ** 8
    blend(albedo, np.array([0.60, 0.55, 0.46], np.float32), (teeth * gaps * 0.85).astype(np.float32))
    corner = pair(MOUTH_X, MOUTH_Y, 2.2, 1.8)
    albedo *= (1 - 0.45 * corner)[..., None]


def _paint_nostrils(albedo: Array, skin: Array, on: Grid) -> None:
    nostril = np.exp(-((((np.abs(on.x) - 7.0) / 4.2) ** 2 + ((on.y + 47.5) / 2.6) ** 2) ** 2)) * (on.z > 0)
    wing = np.exp(-0.5 * ((np.hypot(np.abs(on.x) - 12, on.y + 41) - 7.5) / 1.3) ** 2) * (np.abs(on.x) > 13)
    blend(albedo, skin * np.float32(0.10), (nostril * 0.85).astype(np.float32))
    albedo *= (1 - 0.28 * wing * (on.z > 0) * smoothstep(on.y, -30, -38))[..., None]


def _paint_beard(
    albedo: Array, rng: np.random.Generator, traits: Traits, hair: Array, strands: Array, on: Grid
) -> None:
    """Beard, moustache and shaved stubble; the lips stay free."""
    side = np.abs(on.longitude)
    edge = np.interp(side, [0, 15, 30, 45, 60, 75, 90], [-90, -88, -74, -66, -58, -30, -15]) + rng.normal(0, 5)
    growth = smoothstep(on.y, edge + 6, edge - 8) * smoothstep(side, 92, 84) * smoothstep(on.key, -150, -125)
    moustache = np.exp(-0.5 * ((on.y + 57 + 0.012 * on.x**2) / 4.2) ** 2) * smoothstep(np.abs(on.x), 31, 22)
    chin = spot(on, 0, -104, rng.uniform(9, 22), 11)
    reach = rng.random()  # from a beard of the chin alone to a full one
    full = np.maximum(growth * smooth_share(reach, 0.15, 0.45), chin)
    across = np.abs(on.x) / MOUTH_X
    lips = smoothstep(np.abs(on.y - MOUTH_Y), 15, 11) * (across < 1)
    hairy = np.maximum(full * traits.beard, moustache * max(traits.moustache, traits.beard * (reach > 0.4)))
    shaved = 0.38 * traits.stubble * np.maximum(growth, 0.8 * moustache)
    cover = np.maximum(hairy * np.clip(0.85 + 0.3 * strands, 0, 1), shaved) * (1 - lips) * (on.z > -40)
    blend(albedo, hair * np.exp(0.3 * strands)[..., None], np.clip(cover, 0, 0.94).astype(np.float32))


def _paint_brows(albedo: Array, traits: Traits, hair: Array, strands: Array, on: Grid) -> None:
    side = np.abs(on.x)
    along = np.clip((side - traits.brow_gap) / (49 - traits.brow_gap), 0, 1)
    middle = 15.5 + traits.brow_arch * np.sin(np.pi * np.clip(along * 0.9 + 0.02, 0, 1)) + 1.5 * along
    thickness = traits.brow_thickness * (1.05 - 0.75 * along**2)
    brow = np.exp(-(np.abs((on.y - middle) / thickness) ** 3)) * smoothstep(side, 50, 44)
    brow = brow * smoothstep(side, traits.brow_gap - 2.5, traits.brow_gap + 3) * (on.z > 0)
    share = np.clip(brow * traits.brow_density * (1 + 0.3 * strands), 0, 0.95)
    blend(albedo, hair * np.float32(0.75), share.astype(np.float32))


def _paint_lids(albedo: Array, traits: Traits, skin: Array, on: Grid) -> None:
    """The fold of the upper lid, lashes and eye make-up."""
    side = np.abs(on.x)
    upper, lower = lid_lines(side - EYE_X)
    near = smoothstep(np.abs(side - EYE_X), 18, 13) * (on.z > 0)
    height = 2.5 + 4.5 * traits.lid_fold
    fold = np.exp(-0.5 * ((on.y - upper - height) / 1.1) ** 2) * near
    lashes = np.exp(-0.5 * ((on.y - upper - 0.6) / (0.9 + 0.5 * traits.makeup)) ** 2) * near
    under = np.exp(-0.5 * ((on.y - lower + 0.7) / 0.8) ** 2) * near
    shadow = traits.makeup * smoothstep(on.y - upper, -1, 1) * smoothstep(on.y - upper, 9, 4) * near
    albedo *= np.exp(-(0.55 * fold + 0.5 * shadow))[..., None]
    blend(albedo, skin * np.float32(0.12), np.clip(0.8 * lashes + 0.35 * under, 0, 0.9).astype(np.float32))


def _hair_cover(rng: np.random.Generator, traits: Traits, on: Grid) -> Array:
    """Where the scalp's hair is seen (h, w), 0 to 1, by a hairline that runs from the forehead round to the nape."""
    side = np.abs(on.longitude)
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
        line = line - traits.fringe * smoothstep(np.abs(on.x + traits.parting), 62, 40)
    line = line + 3.0 * noise(rng, on.x.shape, 6, 12) + 1.5 * noise(rng, on.x.shape, 8, 60)
    height = np.where(side > 84, np.where(on.key < -40, on.key, on.y), on.y)
    cover = smoothstep(height - line, -2.5, 3.5)
    if traits.hair_length < LENGTH_OVER_EARS:
        cover = cover * (1 - smoothstep(side, 86, 90) * smoothstep(side, 114, 108) * smoothstep(on.y, 22, 14))
    if traits.bald:
        crown = smoothstep(on.y, 48 + 18 * (1 - traits.bald), 62) * smoothstep(side, 150, 110)
        cover = cover * (1 - traits.bald * crown)
    return np.clip(cover, 0, 1).astype(np.float32)


def _hair_thickness(cover: Array, rng: np.random.Generator, traits: Traits, on: Grid) -> Array:
    """How far hair stands out in mm at each point of the grid."""
    soft = cv2.GaussianBlur(cover, (0, 0), 2.0)
    wavy = 1 + 0.18 * noise(rng, cover.shape, 7, 12) + 0.12 * noise(rng, cover.shape, 20, 34)
    top = 0.55 + 0.45 * smoothstep(on.y, 30, 90)
    parting = 1 - 0.35 * np.exp(-0.5 * ((on.x - traits.parting) / 7) ** 2) * (on.y > 50)
    thickness = soft * traits.hair_volume * np.clip(wavy, 0.4, 1.8) * top * parting
    if traits.hair_length > 25:  # it falls straight from the widest part of the head, past jaw and neck
        hangs = soft * smoothstep(on.y, -5, -40) * (80 + 3 * wavy - np.hypot(on.x, on.z))
        thickness = np.maximum(thickness, hangs)
    return np.ascontiguousarray(thickness[::FINER, ::FINER], np.float32)


def _ears_hidden(cover: Array, traits: Traits, on: Grid) -> Array:
    hidden = cover * smoothstep(np.abs(on.longitude), 78, 88) * (traits.hair_length >= LENGTH_OVER_EARS)
    return np.ascontiguousarray(cv2.GaussianBlur(hidden, (0, 0), 2.0)[::FINER, ::FINER], np.float32)


@lru_cache(maxsize=1)
def _eye_window() -> tuple[slice, tuple[slice, slice]]:
    """Rows and, for either eye, columns of the texture that hold the eyeballs."""
    on = grid(FINER)
    front = (on.z > 0) & (np.abs(on.y) < 12)
    rows = np.flatnonzero((front & (np.abs(on.x) < 10)).any(1))
    slices = []
    for sign in (-1, 1):
        row = on.x[(rows[0] + rows[-1]) // 2]
        found = np.flatnonzero((np.abs(row * sign - EYE_X) < 20) & (np.abs(on.longitude[0]) < 80))
        slices.append(slice(int(found[0]), int(found[-1]) + 1))
    return slice(int(rows[0]), int(rows[-1]) + 1), (slices[0], slices[1])


def paint_eyes(albedo: Array, look: Look, gaze: tuple[float, float], closed: float) -> None:
    """Paint both eyeballs into `albedo`; the gaze is in mm that the irises move, `closed` from 0 to 1."""
    gaze_x, gaze_y = gaze
    on = grid(FINER)
    rows, sides = _eye_window()
    for columns, sign in zip(sides, (-1, 1), strict=True):
        x, y = on.x[rows, columns], on.y[rows, columns]
        upper, lower = lid_lines(sign * x - EYE_X)
        opening = smoothstep(np.minimum(upper - y, y - lower), -0.3, 0.7)
        radius = np.hypot(x - sign * EYE_X - gaze_x, y - 1.0 - gaze_y)
        eye = np.empty((*x.shape, 3), np.float32)
        eye[:] = look.eye_whites * (1 - 0.35 * smoothstep(upper - y, 3, 0))[..., None]
        ring = 1 - 0.6 * smoothstep(radius, look.iris_radius - 1.6, look.iris_radius)
        blend(eye, look.iris * ring[..., None], smoothstep(radius, look.iris_radius + 0.5, look.iris_radius - 0.4))
        blend(eye, np.full(3, 0.006, np.float32), smoothstep(radius, 2.9, 2.1))
        glint = np.exp(-0.5 * (np.hypot(x - sign * EYE_X - gaze_x - 1.6, y - 3.0 - gaze_y) / 0.9) ** 2)
        blend(eye, np.full(3, 0.8, np.float32), (0.85 * glint).astype(np.float32))
        # Shut lids press the eyeball's paint into a line, which must not shine.
        blend(eye, look.skin * np.float32(0.3), np.full_like(x, smooth_share(closed, 0.45, 0.8)))
        blend(albedo[rows, columns], eye, opening)
