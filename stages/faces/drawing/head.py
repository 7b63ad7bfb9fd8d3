"""A parametric human head: a grid of points in millimetres, bent by identity and by expression.

Axes: x to the right of the picture, y up, z out of the picture; the origin lies between the eyes' height and the ears.
The grid is the head's own coordinate system: point (row, column) is the same place of skin (the left pupil, the tip of
the nose) on every head, so whatever is painted on the grid follows the geometry. Rows run from the crown down to the
neck, columns from the right ear of the picture's left side round the face to the other ear.

The mouth of the grid is open and its eyes are too: expression closes them, so that what lies inside is always there.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

ROWS, COLUMNS = 116, 136
WIDEST_LONGITUDE = 150.0  # degrees; what lies further back is never seen
EYE_X, MOUTH_Y, MOUTH_X = 32.0, -73.0, 26.0  # mm, on the mean head
MOUTH_GAPE = 5.0  # half the height in mm of the grid's open mouth
NOSE_TIP_Y = -37.0


class Section(NamedTuple):
    """One horizontal cut through the mean head, in mm; `rise` lifts it towards the ears, as the jaw does."""

    key: float
    y: float
    half_width: float
    front: float
    back: float
    rise: float


SECTIONS = (
    Section(118, 118, 1, 2, 12, 0),
    Section(114, 114, 25, 28, 42, 0),
    Section(104, 104, 45, 51, 65, 0),
    Section(85, 85, 62, 72, 80, 0),
    Section(60, 60, 71, 86, 90, 0),
    Section(35, 35, 74, 92, 94, 0),
    Section(10, 10, 75, 91, 95, 0),
    Section(-15, -15, 74, 88, 92, 3),
    Section(-40, -40, 71, 87, 86, 8),
    Section(-65, -65, 67, 87, 75, 16),
    Section(-90, -90, 62, 83, 65, 29),
    Section(-108, -108, 57, 78, 60, 40),
    Section(-116, -115, 53, 71, 58, 46),
    Section(-122, -118, 51, 56, 57, 48),
    Section(-130, -121, 50, 36, 56, 46),
    Section(-145, -137, 51, 33, 58, 30),
    Section(-180, -170, 56, 36, 62, 10),
)

# Height (mm) and how far the nose stands out there (mm), with its half width (mm).
NOSE_PROFILE = (
    (14, 0, 8), (4, 3.0, 6), (-8, 8, 6), (-22, 15.5, 7), (-32, 21, 8.5), (-38, 22.5, 9.5), (-43, 19, 10.5),
    (-47, 11.5, 11), (-51, 4, 10), (-57, 0, 9),
)  # fmt: skip


class Bump(NamedTuple):
    """A Gaussian of skin, mirrored to both sides: where (mm), how wide (standard deviations, mm), how moved (mm)."""

    x: float
    y: float
    spread_x: float
    spread_y: float
    outward: float
    up: float
    forward: float


# What makes a face of an egg.
FEATURES = (
    Bump(31, 1, 13, 9, 0, 0, -8.0),  # eye sockets
    Bump(32, 0, 9, 6, 0, 0, 4.5),  # eyeballs
    Bump(22, 17, 20, 6, 0, 0, 4.0),  # brow ridges
    Bump(13.5, -42, 4.5, 4.0, 1, 0, 7.0),  # wings of the nose
    Bump(46, -28, 15, 12, 1, 0, 3.5),  # cheekbones
    Bump(42, -62, 14, 14, 0, 0, -3.0),  # hollows of the cheeks
    Bump(0, -64, 17, 4.5, 0, 0, 4.5),  # upper lip
    Bump(0, -82, 15, 5.0, 0, 0, 5.0),  # lower lip
    Bump(26, -73, 9, 8, 0.5, 2.2, -1.0),  # corners of the mouth
    Bump(0, -93, 16, 4.0, 0, 0, -2.5),  # the fold under it
    Bump(0, -106, 14, 9, 0, 0, 5.0),  # chin
)

# How faces differ: each line one direction of variation, moved by one standard deviation.
IDENTITY_MODES = {
    "eye spacing": Bump(32, 0, 15, 13, 2.3, 0, 0),
    "eye height": Bump(32, 0, 18, 13, 0, 2.0, 0),
    "eye depth": Bump(32, 0, 14, 10, 0, 0, 2.2),
    "eye slant": Bump(46, 0, 8, 8, 0, 1.8, 0),
    "eye width": Bump(46, 0, 8, 8, 1.8, 0, 0),
    "eye opening": Bump(32, 8, 16, 5, 0, 1.3, 0),
    "lower lid": Bump(32, -7, 16, 5, 0, 0.8, 0),
    "brow ridge": Bump(26, 17, 18, 7, 0, 0, 2.4),
    "brow height": Bump(28, 20, 22, 8, 0, 2.4, 0),
    "brow slant": Bump(44, 20, 10, 9, 0, 2.0, 0),
    "nose length": Bump(0, -40, 18, 15, 0, 3.2, 0),
    "nose projection": Bump(0, -36, 9, 14, 0, 0, 3.4),
    "nose bridge": Bump(0, -6, 7, 14, 0, 0, 2.8),
    "nose hump": Bump(0, -18, 6, 7, 0, 0, 1.8),
    "nose tip": Bump(0, -37, 6, 6, 0, 1.8, 1.2),
    "nose width": Bump(14, -41, 9, 9, 2.4, 0, 0),
    "bridge width": Bump(9, -16, 6, 14, 1.6, 0, 0.8),
    "wing height": Bump(14, -42, 6, 6, 0, 1.4, 0.8),
    "cheekbone": Bump(50, -26, 16, 14, 2.4, 0, 2.4),
    "cheekbone height": Bump(50, -28, 18, 16, 0, 3.0, 0),
    "cheek fullness": Bump(45, -62, 20, 18, 3.2, 0, 3.2),
    "mouth width": Bump(26, -73, 11, 10, 2.8, 0, 0),
    "mouth height": Bump(0, -73, 34, 13, 0, 2.6, 0),
    "mouth projection": Bump(0, -73, 24, 14, 0, 0, 2.6),
    "mouth corners": Bump(26, -73, 8, 7, 0, 1.6, 0),
    "upper lip": Bump(0, -65, 17, 4.5, 0, 1.4, 1.3),
    "lower lip": Bump(0, -82, 16, 5.5, 0, -1.4, 1.5),
    "philtrum": Bump(0, -57, 12, 6, 0, 1.2, 1.0),
    "chin length": Bump(0, -114, 26, 18, 0, -4.5, 0),
    "chin projection": Bump(0, -106, 18, 13, 0, 0, 3.8),
    "chin width": Bump(18, -108, 13, 13, 3.4, 0, 0.8),
    "chin cleft": Bump(0, -108, 3, 7, 0, 0, -1.2),
    "jaw width": Bump(56, -76, 24, 24, 5.0, 0, 0),
    "jaw height": Bump(48, -88, 20, 20, 0, -4.0, 0),
    "temples": Bump(68, 25, 22, 24, 3.6, 0, 0),
    "forehead": Bump(0, 52, 50, 24, 0, 0, 4.0),
    "forehead width": Bump(55, 55, 24, 26, 4.0, 0, 0),
    "head width": Bump(75, -30, 45, 95, 3.6, 0, 0),
    "lower face": Bump(0, -75, 90, 32, 0, -3.4, 0),
    "upper face": Bump(0, 20, 90, 22, 0, 2.0, 0),
    "midface depth": Bump(0, -35, 34, 24, 0, 0, 3.0),
}

# How a face moves: the whole of each expression, at strength 1.
SMILE = (Bump(26, -73, 9, 9, 6.0, 5.5, -3.0), Bump(40, -40, 14, 12, 1.5, 4.0, 4.0), Bump(32, -9, 14, 5, 0, 1.8, 0))
BROW_RAISE = (Bump(28, 22, 24, 10, 0, 5.5, 0), Bump(32, 8, 16, 5, 0, 1.5, 0))
FROWN = (Bump(12, 18, 10, 9, -3.0, -4.0, 1.5), Bump(26, -73, 9, 8, -1.5, -4.0, 0))
POUT = (Bump(26, -73, 10, 10, -5.5, 0, 3.0), Bump(0, -73, 16, 10, 0, 0, 4.0))
JAW_DROP = 16.0  # mm at the chin when the mouth is wide open


class Grid(NamedTuple):
    """Where the points of a grid lie on the mean, featureless head: x, y, z in mm and longitude in degrees."""

    x: Array
    y: Array
    z: Array
    longitude: Array
    key: Array


@dataclass(frozen=True)
class Expression:
    """How far each movement goes: 0 is rest, 1 the whole of it."""

    smile: float = 0.0
    mouth_open: float = 0.0
    eyes_closed: float = 0.0
    brow_raise: float = 0.0
    frown: float = 0.0
    pout: float = 0.0


@dataclass(frozen=True)
class HeadShape:
    """The geometry of one identity: `points` (ROWS, COLUMNS, 3) in mm with the mouth agape, without hair."""

    points: Array


def smoothstep(value: Array, start: float | Array, end: float | Array) -> Array:
    """Rise smoothly from 0 at `start` to 1 at `end` (which may be the smaller)."""
    ramp = np.clip((value - start) / (end - start), 0, 1)
    return (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)


@lru_cache(maxsize=4)
def grid(finer: int = 1) -> Grid:
    """Return the mean head's grid, `finer` times as dense (point (i, j) of the first is (f*i, f*j) of the finer)."""
    row = np.linspace(0, ROWS - 1, (ROWS - 1) * finer + 1)
    column = np.linspace(-1, 1, (COLUMNS - 1) * finer + 1)
    # Dense where eyes, nose and mouth are, sparse on skull and neck.
    key = np.interp(row, [0, 6, 16, 22, 98, 108, ROWS - 1], [118, 108, 70, 42, -92, -122, -180])
    longitude = 62 * column + (WIDEST_LONGITUDE - 62) * column**3
    table = np.array(SECTIONS)[::-1]
    y, half_width, front, back, rise = (np.interp(key, table[:, 0], table[:, k])[:, None] for k in range(1, 6))
    angle = np.radians(longitude)[None, :]
    cosine = np.cos(angle)
    x = half_width * np.sign(angle) * np.abs(np.sin(angle)) ** 0.92  # a little squarer than an ellipse
    z = np.where(cosine > 0, front, back) * np.sign(cosine) * np.abs(cosine) ** 0.92
    y = y + rise * (1 - np.maximum(cosine, -0.2))
    shape = x.shape
    fields = (x, y, z, np.broadcast_to(longitude, shape), np.broadcast_to(key[:, None], shape))
    return Grid(*(np.ascontiguousarray(field, np.float32) for field in fields))


def bump_weights(bump: Bump, on: Grid) -> tuple[Array, Array]:
    """Return the Gaussian's weight at each point for its right and its left half, nothing at the back of the head."""
    front = smoothstep(np.abs(on.longitude), 125, 75)
    height = ((on.y - bump.y) / bump.spread_y) ** 2
    right = np.exp(-0.5 * (((on.x - bump.x) / bump.spread_x) ** 2 + height)) * front
    left = np.exp(-0.5 * (((on.x + bump.x) / bump.spread_x) ** 2 + height)) * front
    return right.astype(np.float32), left.astype(np.float32)


def bump_field(bump: Bump, on: Grid, left_share: float = 1.0) -> Array:
    """Return the displacement (rows, columns, 3) of a bump; `left_share` -1 moves the halves against each other."""
    right, left = bump_weights(bump, on)
    left = left * np.float32(left_share)
    both = np.maximum(right, left) if bump.x == 0 and left_share > 0 else right + left
    return np.stack([(right - left) * bump.outward, both * bump.up, both * bump.forward], axis=-1).astype(np.float32)


def _nose(on: Grid) -> Array:
    y, height, half_width = np.array(NOSE_PROFILE[::-1], np.float64).T
    stands_out = np.interp(on.y, y, height)
    narrowness = np.interp(on.y, y, half_width)
    ridge = np.exp(-((np.abs(on.x) / narrowness) ** 2.1) * 0.7) * smoothstep(np.abs(on.longitude), 80, 50)
    return np.stack([np.zeros_like(on.x), np.zeros_like(on.x), stands_out * ridge], axis=-1).astype(np.float32)


def _ears(on: Grid) -> Array:
    """Shells that stand out to the side and back, hollow inside."""
    side = np.abs(on.longitude)
    tall = np.exp(-(np.abs((on.y + 14) / 31) ** 4))
    shell = smoothstep(side, 86, 97) * smoothstep(side, 112, 103) * tall
    return np.stack([np.sign(on.x) * shell * 13, shell * 4, -shell * 10], axis=-1).astype(np.float32)


@lru_cache(maxsize=1)
def _mean_points() -> Array:
    on = grid()
    points = np.stack([on.x, on.y, on.z], axis=-1) + _nose(on) + _ears(on)
    for feature in FEATURES:
        points = points + bump_field(feature, on)
    return points.astype(np.float32)


@lru_cache(maxsize=1)
def _identity_basis() -> Array:
    """All directions of variation (K, rows, columns, 3): the named ones, then a smooth net over the whole face."""
    on = grid()
    named = [bump_field(mode, on) for mode in IDENTITY_MODES.values()]
    net = [(x, y) for x in (0, 16, 34, 54, 72) for y in (60, 34, 12, -12, -36, -60, -84, -108)]
    even = [bump_field(Bump(x, y, 15, 15, 1.1, 1.1, 1.3), on) for x, y in net]
    odd = [bump_field(Bump(x, y, 20, 20, 0.6, 0.6, 0.6), on, left_share=-1) for x, y in net if x]
    return np.stack(named + even + odd)


@lru_cache(maxsize=1)
def _ear_field() -> Array:
    return _ears(grid())


def draw_shape(rng: np.random.Generator, variation: float) -> HeadShape:
    """Draw one identity's geometry; `variation` scales how far it lies from the mean (0 draws the mean itself)."""
    basis = _identity_basis()
    # Heavier shoulders than a Gaussian's are clipped: past 2.5 deviations a face folds into itself.
    strengths = np.clip(rng.standard_normal(len(basis)), -2.5, 2.5).astype(np.float32) * np.float32(variation)
    ears = np.float32(np.clip(rng.normal(0, 0.3 * variation), -0.7, 0.9))
    points = _mean_points() + ears * _ear_field()
    for strength, direction in zip(strengths, basis, strict=True):  # a sum in a fixed order, whatever the machine
        points = points + strength * direction
    return HeadShape(points.astype(np.float32))


@lru_cache(maxsize=1)
def _expression_fields() -> dict[str, Array]:
    on = grid()
    groups = {"smile": SMILE, "brow_raise": BROW_RAISE, "frown": FROWN, "pout": POUT}
    fields = {name: sum_fields([bump_field(bump, on) for bump in bumps]) for name, bumps in groups.items()}
    below = smoothstep(on.y, MOUTH_Y + 3, MOUTH_Y - 12) * smoothstep(np.abs(on.longitude), 95, 30)
    # The neck stays: rows under the jaw line move less and less.
    below = below * smoothstep(on.key, -135, -118)
    fields["jaw"] = np.stack([np.zeros_like(below), -below, -0.35 * below], axis=-1) * np.float32(JAW_DROP)
    fields["lips_shut"] = _lips_shut(on)
    fields["lids_shut"] = _lids_shut(on)
    return fields


def sum_fields(fields: list[Array]) -> Array:
    """Add displacement fields in order."""
    total = fields[0]
    for field in fields[1:]:
        total = total + field
    return total


def mouth_gape(x: Array) -> Array:
    """Return half the height (mm) of the grid's open mouth at x (mm)."""
    return (MOUTH_GAPE * np.sqrt(np.clip(1 - (x / MOUTH_X) ** 2, 0, 1))).astype(np.float32)


def _lips_shut(on: Grid) -> Array:
    """Bring the lips together: inside the mouth all falls on the line, outside it fades with distance."""
    distance = on.y - MOUTH_Y
    gape = mouth_gape(on.x)
    outside = np.abs(distance) - gape
    fade = np.where(distance > 0, np.exp(-outside / 14), np.exp(-outside / 30))
    move = np.where(outside > 0, gape * fade, np.abs(distance)) * -np.sign(distance)
    front = np.abs(on.longitude) < 80
    # Lips meet in a line that lies a little behind their crests.
    return np.stack([np.zeros_like(move), move * front, -1.5 * (outside < 0) * front], axis=-1).astype(np.float32)


def lid_lines(eye_x: Array) -> tuple[Array, Array]:
    """Return the heights (mm) of the upper and the lower lid at `eye_x` mm outward from the pupil."""
    across = np.clip(eye_x / 15.0, -1, 1)
    upper = 6.3 * np.clip(1 - np.abs(across + 0.06) ** 2.3, 0, 1) + 1.2 * across
    lower = -4.6 * np.clip(1 - np.abs(across - 0.06) ** 2.3, 0, 1) + 1.2 * across
    return upper.astype(np.float32), np.minimum(lower, upper).astype(np.float32)


def _lids_shut(on: Grid) -> Array:
    """Bring the upper lids down to the lower ones."""
    upper, lower = lid_lines(np.abs(on.x) - EYE_X)
    opening = (upper - lower) * smoothstep(np.abs(np.abs(on.x) - EYE_X), 17, 13)
    inside = np.clip(on.y - lower, 0, None)
    above = np.exp(-(np.clip(on.y - upper, 0, None) ** 2) / (2 * 6.0**2))
    move = np.where(on.y > upper, opening * above, np.minimum(inside, opening))
    front = smoothstep(np.abs(on.longitude), 80, 60)
    return np.stack([np.zeros_like(move), -move * front, 0.12 * move * front], axis=-1).astype(np.float32)


def pose_expression(shape: HeadShape, expression: Expression) -> Array:
    """Return the head's points (ROWS, COLUMNS, 3) in mm under an expression."""
    fields = _expression_fields()
    points = shape.points + np.float32(1 - expression.mouth_open) * fields["lips_shut"]
    strengths = {
        "jaw": max(expression.mouth_open, 0.0),
        "lids_shut": expression.eyes_closed,
        "smile": expression.smile,
        "brow_raise": expression.brow_raise,
        "frown": expression.frown,
        "pout": expression.pout,
    }
    for name, strength in strengths.items():
        if strength:
            points = points + np.float32(strength) * fields[name]
    return points


@lru_cache(maxsize=1)
def _landmark_places() -> Array:
    """Grid positions (5, 2), row and column, of the eyes, the tip of the nose and the corners of the mouth."""
    on = grid()
    mean = _mean_points()
    wanted = [(-EYE_X, 0), (EYE_X, 0), (0, NOSE_TIP_Y), (-MOUTH_X, MOUTH_Y), (MOUTH_X, MOUTH_Y)]
    places = []
    for x, y in wanted:
        near = (np.abs(on.x - x) + np.abs(on.y - y) + 1e3 * (mean[..., 2] < 0)).argmin()
        places.append(divmod(int(near), COLUMNS))
    return np.array(places, np.int64).astype(np.float32)


def landmarks(points: Array) -> Array:
    """Return the five points (5, 3) that crops are aligned by: left and right eye (of the picture), nose, mouth."""
    rows, columns = _landmark_places().astype(np.int64).T
    return points[rows, columns]


@lru_cache(maxsize=1)
def outward() -> Array:
    """Return the direction (ROWS, COLUMNS, 3) in which hair and cloth lift off: away from the head's axis."""
    on = grid()
    upward = 0.35 * np.clip(on.y - 20, 0, None)
    length = np.sqrt(on.x**2 + upward**2 + on.z**2)
    return (np.stack([on.x, upward, on.z], axis=-1) / np.maximum(length, 1)[..., None]).astype(np.float32)
