"""Facial expressions: displacements of the head's points, in mm."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from faces.drawing.arrays import Array, smoothstep
from faces.drawing.head import EYE_X, MOUTH_X, MOUTH_Y, Bump, Grid, HeadShape, bump_field, mean_grid

MOUTH_GAPE = 5.0  # half the height in mm of the grid's open mouth

# Displacements at strength 1.
SMILE = (Bump(26, -73, 9, 9, 6.0, 5.5, -3.0), Bump(40, -40, 14, 12, 1.5, 4.0, 4.0), Bump(32, -9, 14, 5, 0, 1.8, 0))
BROW_RAISE = (Bump(28, 22, 24, 10, 0, 5.5, 0), Bump(32, 8, 16, 5, 0, 1.5, 0))
FROWN = (Bump(12, 18, 10, 9, -3.0, -4.0, 1.5), Bump(26, -73, 9, 8, -1.5, -4.0, 0))
POUT = (Bump(26, -73, 10, 10, -5.5, 0, 3.0), Bump(0, -73, 16, 10, 0, 0, 4.0))
JAW_DROP = 16.0  # mm at the chin when the mouth is wide open


@dataclass(frozen=True)
class Expression:
    """Strengths of the movements: 0 at rest, 1 full."""

    smile: float = 0.0
    mouth_open: float = 0.0
    eyes_closed: float = 0.0
    brow_raise: float = 0.0
    frown: float = 0.0
    pout: float = 0.0


def pose_expression(shape: HeadShape, expression: Expression) -> Array:
    """Return the points (ROWS, COLUMNS, 3) in mm of a head with an expression."""
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
def _expression_fields() -> dict[str, Array]:
    """Return the displacement field (ROWS, COLUMNS, 3) of each movement at strength 1."""
    grid = mean_grid()
    groups = {"smile": SMILE, "brow_raise": BROW_RAISE, "frown": FROWN, "pout": POUT}
    fields = {name: _sum_fields([bump_field(bump, grid) for bump in bumps]) for name, bumps in groups.items()}
    below = smoothstep(grid.y, MOUTH_Y + 3, MOUTH_Y - 12) * smoothstep(np.abs(grid.longitude), 95, 30)
    # The neck stays in place: rows below the jaw line move less and less.
    below = below * smoothstep(grid.level, -135, -118)
    fields["jaw"] = np.stack([np.zeros_like(below), -below, -0.35 * below], axis=-1) * np.float32(JAW_DROP)
    fields["lips_shut"] = _lips_shut(grid)
    fields["lids_shut"] = _lids_shut(grid)
    return fields


def _sum_fields(fields: list[Array]) -> Array:
    """Return the sum of displacement fields, added in order."""
    total = fields[0]
    for field in fields[1:]:
        total = total + field
    return total


def mouth_gape(x: Array) -> Array:
    """Return half the height in mm of the grid's open mouth at x (mm)."""
    return (MOUTH_GAPE * np.sqrt(np.clip(1 - (x / MOUTH_X) ** 2, 0, 1))).astype(np.float32)


def _lips_shut(grid: Grid) -> Array:
    """Return the displacement that shuts the mouth: its inside moves to the mouth line; outside, it fades out."""
    distance = grid.y - MOUTH_Y
    gape = mouth_gape(grid.x)
    outside = np.abs(distance) - gape
    fade = np.where(distance > 0, np.exp(-outside / 14), np.exp(-outside / 30))
    move = np.where(outside > 0, gape * fade, np.abs(distance)) * -np.sign(distance)
    front = np.abs(grid.longitude) < 80
    # Lips meet in a line that lies a little behind their crests.
    return np.stack([np.zeros_like(move), move * front, -1.5 * (outside < 0) * front], axis=-1).astype(np.float32)


def lid_lines(eye_x: Array) -> tuple[Array, Array]:
    """Return y (mm) of the edges of the upper and the lower lid at `eye_x` mm outward from the pupil."""
    across = np.clip(eye_x / 15.0, -1, 1)
    upper = 6.3 * np.clip(1 - np.abs(across + 0.06) ** 2.3, 0, 1) + 1.2 * across
    lower = -4.6 * np.clip(1 - np.abs(across - 0.06) ** 2.3, 0, 1) + 1.2 * across
    return upper.astype(np.float32), np.minimum(lower, upper).astype(np.float32)


def _lids_shut(grid: Grid) -> Array:
    """Return the displacement that brings the upper lids down to the lower ones."""
    upper, lower = lid_lines(np.abs(grid.x) - EYE_X)
    opening = (upper - lower) * smoothstep(np.abs(np.abs(grid.x) - EYE_X), 17, 13)
    inside = np.clip(grid.y - lower, 0, None)
    above = np.exp(-(np.clip(grid.y - upper, 0, None) ** 2) / (2 * 6.0**2))
    move = np.where(grid.y > upper, opening * above, np.minimum(inside, opening))
    front = smoothstep(np.abs(grid.longitude), 80, 60)
    return np.stack([np.zeros_like(move), -move * front, 0.12 * move * front], axis=-1).astype(np.float32)
