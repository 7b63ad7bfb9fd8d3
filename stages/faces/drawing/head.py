"""The geometry of a head: a grid of 3-D points, shaped by identity.

Axes, in mm: x to the right of the picture, y up, z towards the camera. The origin lies on the head's vertical axis, at
the height of the pupils.

All heads share one grid: point (row, column) is the same place of skin (a pupil, the tip of the nose) on each, so a
texture that is painted on the grid follows the geometry. Rows run from the crown down to the neck; columns run round
the head, from longitude -150 degrees on the left of the picture over 0, the middle of the face, to +150.

The grid's mouth and eyes are open, so that teeth and eyeballs have points of their own; faces.drawing.expression closes
them. The shape is a sum of Gaussian displacements, with sizes chosen by eye.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faces.drawing.arrays import Array, smoothstep

ROWS, COLUMNS = 116, 136
MAX_LONGITUDE = 150.0  # degrees; the back of the head is never seen
EYE_X, MOUTH_Y, MOUTH_X = 32.0, -73.0, 26.0  # mm on the mean head: pupils, mouth line, mouth corners
NOSE_TIP_Y = -37.0  # mm on the mean head


class Section(NamedTuple):
    """One cut through the mean head, in mm."""

    level: float  # position of the cut between crown and neck, descending; from the crown to -108 it is y
    y: float  # height at the front
    half_width: float
    front: float  # depth from the axis to the face
    back: float  # depth from the axis to the back of the head
    rise: float  # how much higher the cut lies at the ears, as the jaw line does


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

# Of the nose, in mm: y, how far it stands out there, half width.
NOSE_PROFILE = (
    (14, 0, 8), (4, 3.0, 6), (-8, 8, 6), (-22, 15.5, 7), (-32, 21, 8.5), (-38, 22.5, 9.5), (-43, 19, 10.5),
    (-47, 11.5, 11), (-51, 4, 10), (-57, 0, 9),
)  # fmt: skip


class Bump(NamedTuple):
    """A Gaussian displacement of the skin, mirrored to both sides of the face, in mm."""

    x: float  # centre on the mean head, and -x
    y: float
    spread_x: float  # standard deviations
    spread_y: float
    outward: float  # displacement at the centre: away from the middle line, +y, +z
    up: float
    forward: float


# The mean face, on top of the smooth shape of SECTIONS.
MEAN_FEATURES = (
    Bump(31, 1, 13, 9, 0, 0, -8.0),  # eye sockets
    Bump(32, 0, 9, 6, 0, 0, 4.5),  # eyeballs
    Bump(22, 17, 20, 6, 0, 0, 4.0),  # brow ridges
    Bump(13.5, -42, 4.5, 4.0, 1, 0, 7.0),  # wings of the nose
    Bump(46, -28, 15, 12, 1, 0, 3.5),  # cheekbones
    Bump(42, -62, 14, 14, 0, 0, -3.0),  # hollows of the cheeks
    Bump(0, -64, 17, 4.5, 0, 0, 4.5),  # upper lip
    Bump(0, -82, 15, 5.0, 0, 0, 5.0),  # lower lip
    Bump(26, -73, 9, 8, 0.5, 2.2, -1.0),  # corners of the mouth
    Bump(0, -93, 16, 4.0, 0, 0, -2.5),  # fold under the lower lip
    Bump(0, -106, 14, 9, 0, 0, 5.0),  # chin
)

# How faces differ: directions of variation, each with its displacement at one standard deviation.
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


class Grid(NamedTuple):
    """Points on the mean head without features; all fields are (rows, columns)."""

    x: Array  # mm
    y: Array
    z: Array
    longitude: Array  # degrees from the middle of the face, > 0 to the right of the picture
    level: Array  # of the point's cut through the head, see Section


@dataclass(frozen=True)
class HeadShape:
    """The geometry of one identity, mouth open and without hair."""

    points: Array  # (ROWS, COLUMNS, 3) mm


@lru_cache(maxsize=4)
def mean_grid(density: int = 1) -> Grid:
    """Return the grid, `density` times as dense; point (i, j) at density 1 is point (d * i, d * j) at density d."""
    row = np.linspace(0, ROWS - 1, (ROWS - 1) * density + 1)
    column = np.linspace(-1, 1, (COLUMNS - 1) * density + 1)
    # Rows are dense at eyes, nose and mouth, and sparse on skull and neck.
    level = np.interp(row, [0, 6, 16, 22, 98, 108, ROWS - 1], [118, 108, 70, 42, -92, -122, -180])
    longitude = 62 * column + (MAX_LONGITUDE - 62) * column**3
    table = np.array(SECTIONS)[::-1]
    y, half_width, front, back, rise = (np.interp(level, table[:, 0], table[:, k])[:, None] for k in range(1, 6))
    angle = np.radians(longitude)[None, :]
    cosine = np.cos(angle)
    x = half_width * np.sign(angle) * np.abs(np.sin(angle)) ** 0.92  # a little squarer than an ellipse
    z = np.where(cosine > 0, front, back) * np.sign(cosine) * np.abs(cosine) ** 0.92
    y = y + rise * (1 - np.maximum(cosine, -0.2))
    shape = x.shape
    fields = (x, y, z, np.broadcast_to(longitude, shape), np.broadcast_to(level[:, None], shape))
    return Grid(*(np.ascontiguousarray(field, np.float32) for field in fields))


def _bump_weights(bump: Bump, grid: Grid) -> tuple[Array, Array]:
    """Return the weights (rows, columns) of the Gaussians at x and at -x, 0 at the back of the head."""
    front = smoothstep(np.abs(grid.longitude), 125, 75)
    height = ((grid.y - bump.y) / bump.spread_y) ** 2
    right = np.exp(-0.5 * (((grid.x - bump.x) / bump.spread_x) ** 2 + height)) * front
    left = np.exp(-0.5 * (((grid.x + bump.x) / bump.spread_x) ** 2 + height)) * front
    return right.astype(np.float32), left.astype(np.float32)


def bump_field(bump: Bump, grid: Grid, left_share: float = 1.0) -> Array:
    """Return the displacement (rows, columns, 3) of a bump in mm; with `left_share` -1 it is antisymmetric."""
    right, left = _bump_weights(bump, grid)
    left = left * np.float32(left_share)
    both = np.maximum(right, left) if bump.x == 0 and left_share > 0 else right + left
    return np.stack([(right - left) * bump.outward, both * bump.up, both * bump.forward], axis=-1).astype(np.float32)


def _nose_field(grid: Grid) -> Array:
    y, height, half_width = np.array(NOSE_PROFILE[::-1], np.float64).T
    stands_out = np.interp(grid.y, y, height)
    narrowness = np.interp(grid.y, y, half_width)
    ridge = np.exp(-((np.abs(grid.x) / narrowness) ** 2.1) * 0.7) * smoothstep(np.abs(grid.longitude), 80, 50)
    return np.stack([np.zeros_like(grid.x), np.zeros_like(grid.x), stands_out * ridge], axis=-1).astype(np.float32)


@lru_cache(maxsize=1)
def _ear_field() -> Array:
    """Return the displacement of the ears: shells that stand out to the side and back."""
    grid = mean_grid()
    side = np.abs(grid.longitude)
    tall = np.exp(-(np.abs((grid.y + 14) / 31) ** 4))
    shell = smoothstep(side, 86, 97) * smoothstep(side, 112, 103) * tall
    return np.stack([np.sign(grid.x) * shell * 13, shell * 4, -shell * 10], axis=-1).astype(np.float32)


@lru_cache(maxsize=1)
def _mean_points() -> Array:
    grid = mean_grid()
    points = np.stack([grid.x, grid.y, grid.z], axis=-1) + _nose_field(grid) + _ear_field()
    for feature in MEAN_FEATURES:
        points = points + bump_field(feature, grid)
    return points.astype(np.float32)


@lru_cache(maxsize=1)
def _identity_basis() -> Array:
    """Return the directions of variation (K, rows, columns, 3): the named ones, then a net over the whole face."""
    grid = mean_grid()
    named = [bump_field(mode, grid) for mode in IDENTITY_MODES.values()]
    net = [(x, y) for x in (0, 16, 34, 54, 72) for y in (60, 34, 12, -12, -36, -60, -84, -108)]
    even = [bump_field(Bump(x, y, 15, 15, 1.1, 1.1, 1.3), grid) for x, y in net]
    odd = [bump_field(Bump(x, y, 20, 20, 0.6, 0.6, 0.6), grid, left_share=-1) for x, y in net if x]
    return np.stack(named + even + odd)


def draw_shape(rng: np.random.Generator, variation: float) -> HeadShape:
    """Draw an identity's geometry; `variation` scales its distance from the mean head, 0 is the mean head."""
    basis = _identity_basis()
    # Clipped: past 2.5 standard deviations a face folds into itself.
    strengths = np.clip(rng.standard_normal(len(basis)), -2.5, 2.5).astype(np.float32) * np.float32(variation)
    ears = np.float32(np.clip(rng.normal(0, 0.3 * variation), -0.7, 0.9))
    points = _mean_points() + ears * _ear_field()
    # Added one by one: the order of the sum is the same on every machine.
    for strength, direction in zip(strengths, basis, strict=True):
        points = points + strength * direction
    return HeadShape(points.astype(np.float32))


@lru_cache(maxsize=1)
def _landmark_indices() -> NDArray[np.int64]:
    """Return the rows and columns (2, 5) of the grid's points nearest to the landmarks of the mean head."""
    grid = mean_grid()
    mean = _mean_points()
    wanted = [(-EYE_X, 0), (EYE_X, 0), (0, NOSE_TIP_Y), (-MOUTH_X, MOUTH_Y), (MOUTH_X, MOUTH_Y)]
    indices = []
    for x, y in wanted:
        near = (np.abs(grid.x - x) + np.abs(grid.y - y) + 1e3 * (mean[..., 2] < 0)).argmin()
        indices.append(divmod(int(near), COLUMNS))
    return np.array(indices, np.int64).T


def landmarks(points: Array) -> Array:
    """Return the five points (5, 3) that align a crop: eye, eye, tip of the nose, mouth corner, mouth corner.

    Of two, the one on the left of the picture comes first, as in faces.images.alignment.TEMPLATE.
    """
    rows, columns = _landmark_indices()
    return points[rows, columns]


@lru_cache(maxsize=1)
def lift_directions() -> Array:
    """Return the unit directions (ROWS, COLUMNS, 3), away from the head's axis, in which hair and cloth lift."""
    grid = mean_grid()
    upward = 0.35 * np.clip(grid.y - 20, 0, None)
    length = np.sqrt(grid.x**2 + upward**2 + grid.z**2)
    return (np.stack([grid.x, upward, grid.z], axis=-1) / np.maximum(length, 1)[..., None]).astype(np.float32)
