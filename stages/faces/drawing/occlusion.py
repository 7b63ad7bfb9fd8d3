"""Occluders: masks, caps and glasses that are worn, hands and objects before the face.

A cap and a mask are painted on the head's texture and lift its surface; glasses are lines in space, projected; hands
and bars are drawn on the picture. Pictures are linear light, RGB, on the canvas of faces.drawing.camera.
"""

from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.drawing.arrays import Array, blend, smooth_noise, smoothstep
from faces.drawing.camera import GAMMA, View
from faces.drawing.head import Grid, lift_directions, mean_grid
from faces.drawing.texture import TEXTURE_DENSITY

MASK_COLOURS = ((0.55, 0.62, 0.68), (0.75, 0.75, 0.74), (0.015, 0.015, 0.017), (0.10, 0.22, 0.38), (0.45, 0.16, 0.18))
MASK_OFFSET, CAP_OFFSET = 3.0, 9.0  # mm from the skin


@dataclass(frozen=True)
class Occluders:
    """Which occluders an image has."""

    glasses: bool
    sunglasses: bool
    mask: bool
    cap: bool
    hand: bool
    bar: bool


OCCLUDERS = tuple(field.name for field in fields(Occluders))


def wear_mask(albedo: Array, points: Array, rng: np.random.Generator) -> Array:
    """Paint a mask on nose, mouth and chin; return the points of the surface with it."""
    cloth = np.array(MASK_COLOURS[rng.integers(len(MASK_COLOURS))], np.float32) * np.float32(rng.uniform(0.7, 1.1))
    top = float(-14 - rng.uniform(0, 10))
    grid = mean_grid(TEXTURE_DENSITY)
    side = np.abs(grid.longitude)
    strap = np.exp(-(((grid.y + 30 - 0.25 * (side - 60)) / 1.6) ** 4)) * (side > 60) * (side < 90)
    folds = 1 - 0.18 * np.clip(np.cos(grid.y * 2 * np.pi / 17), 0, 1) ** 6
    blend(albedo, cloth * folds[..., None], np.maximum(_mask_cover(grid, top), strap).astype(np.float32))
    cover = _mask_cover(mean_grid(), top)[..., None]
    smooth = cv2.GaussianBlur(points, (0, 0), 3.0)  # cloth bridges hollows
    return points + cover * (smooth - points) + np.float32(MASK_OFFSET) * cover * lift_directions()


def _mask_cover(grid: Grid, top: float) -> Array:
    upper = top - 0.0048 * grid.x**2
    return smoothstep(grid.y - upper, 1.5, -1.5) * smoothstep(np.abs(grid.longitude), 66, 62) * (grid.level > -120)


def wear_cap(albedo: Array, points: Array, rng: np.random.Generator) -> Array:
    """Paint a cap on the upper head; return the points of the surface with crown and brim."""
    cloth = np.exp(rng.uniform(-4.2, -0.6)) * np.exp(rng.normal(0, 0.5, 3))
    edge = rng.uniform(38, 50)
    brim = rng.uniform(25, 60) * (rng.random() < 0.7)  # 0: a knitted hat
    grid = mean_grid(TEXTURE_DENSITY)
    cover = smoothstep(grid.y - _cap_edge(grid.longitude, edge), -0.8, 0.8)
    knit = 1 + 0.1 * np.cos(grid.longitude * 2.4) * (brim == 0)
    blend(albedo, (np.clip(cloth, 0.004, 0.8) * knit[..., None]).astype(np.float32), cover)
    coarse = mean_grid()
    above = coarse.y - _cap_edge(coarse.longitude, edge)
    lift = smoothstep(above, -2, 3) * np.float32(CAP_OFFSET)
    reach = smoothstep(above, -1, 1.5) * smoothstep(above, 9, 4) * brim
    reach = reach * smoothstep(np.abs(coarse.longitude), 62, 20)
    points = points + lift[..., None] * lift_directions()
    return (points + reach[..., None] * np.array([0, -0.25, 1], np.float32)).astype(np.float32)


def _cap_edge(longitude: Array, edge: float) -> Array:
    return (edge - 0.0022 * longitude**2).astype(np.float32)


def draw_glasses(
    canvas: Array, face_landmarks: Array, view: View, yaw: float, dark: bool, rng: np.random.Generator
) -> None:
    """Draw glasses of a random shape, placed by the landmarks (5, 3); `dark` lenses are those of sunglasses."""
    bridge = face_landmarks[:2].mean(0) + np.array([0, 1, 13], np.float32)
    spacing = float(np.abs(face_landmarks[1, 0] - face_landmarks[0, 0])) / 2 + 1
    half_width, half_height = rng.uniform(20, 26), rng.uniform(14, 22)
    outline = _superellipse(half_width, half_height, rng.uniform(1.6, 5))
    tone = np.exp(rng.uniform(-3.5, -0.9)) * np.exp(rng.normal(0, 0.25, 3))
    thickness = max(1, int(round(rng.uniform(0.9, 4.0))))
    rims = []
    for sign in (-1, 1):
        x = bridge[0] + sign * spacing + outline[:, 0]
        rims.append(np.stack([x, bridge[1] - 2 + outline[:, 1], bridge[2] - 0.004 * (x - bridge[0]) ** 2], 1))
    _tint_lenses(canvas, [_fixed_point(view, rim) for rim in rims], dark, rng)
    arch = np.stack([bridge + np.array([x, 5 - 2 * abs(x) / 9, 1]) for x in (-10, -5, 0, 5, 10)])
    lines = [(rim, True) for rim in rims] + [(arch, False)]
    for sign in (-1, 1):
        if sign * np.sin(np.radians(yaw)) < 0.12:  # the face hides the far arm
            hinge = [bridge[0] + sign * (spacing + half_width), bridge[1] + 4, bridge[2] - 9]
            lines.append((np.array([hinge, [sign * 78, bridge[1] + 3, 8]]), False))
    for line, closed in lines:
        colour = np.clip(tone, 0, 1).tolist()
        cv2.polylines(canvas, [_fixed_point(view, line)], closed, colour, thickness, cv2.LINE_AA, shift=4)


def _superellipse(half_width: float, half_height: float, power: float) -> NDArray[np.float64]:
    """Return a superellipse (40, 2): power 2 is an ellipse, more is squarer, less is pointed."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    unit = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.sign(unit) * np.abs(unit) ** (2 / power) * np.array([half_width, half_height])


def _fixed_point(view: View, line: NDArray[np.floating]) -> NDArray[np.int32]:
    """Return a line on the head (K, 3) as canvas pixels (K, 2), fixed-point with 4 bits of fraction for cv2."""
    return np.round(view.to_canvas(view.to_camera(line.astype(np.float32))) * 16).astype(np.int32)


def _tint_lenses(canvas: Array, rims: list[NDArray[np.int32]], dark: bool, rng: np.random.Generator) -> None:
    lenses = np.zeros(canvas.shape[:2], np.uint8)
    for rim in rims:
        cv2.fillPoly(lenses, [rim], (255,), cv2.LINE_AA, shift=4)
    strength = rng.uniform(0.75, 0.97) if dark else rng.uniform(0.0, 0.12)
    colour = rng.uniform(0.001, 0.02, 3) if dark else rng.uniform(0.3, 1.0, 3)
    height = np.linspace(1.15, 0.75, len(canvas), dtype=np.float32)[:, None]
    blend(canvas, colour.astype(np.float32), np.clip(lenses.astype(np.float32) / 255 * strength * height, 0, 1))


def draw_hand(canvas: Array, lit_skin: Array, rng: np.random.Generator) -> None:
    """Draw fingers that reach into the picture from below or from a side; `lit_skin` (3,) is their colour."""
    height, width = canvas.shape[:2]
    angle = np.radians(rng.choice([90, 30, 150]) + rng.normal(0, 12))
    reach = np.array([np.cos(angle), -np.sin(angle)])
    beside = np.array([-reach[1], reach[0]])
    start = np.array([width / 2 + rng.normal(0, 28), height * 0.80 + rng.normal(0, 14)]) - reach * 45
    thickness = rng.uniform(11, 14)
    for finger, length in enumerate((62, 74, 78, 68)[: rng.integers(2, 5)]):
        root = start + beside * (finger - 1.5) * thickness * 1.85
        tip = root + reach * length + beside * rng.normal(0, 3)
        wrist = root - reach * 160
        _draw_capsule(canvas, wrist, tip, thickness, lit_skin)


def _draw_capsule(
    canvas: Array, start: NDArray[np.floating], end: NDArray[np.floating], radius: float, colour: Array
) -> None:
    """Draw a rod with round ends, darker towards its edge; sizes are in canvas pixels."""
    y, x = np.mgrid[0 : canvas.shape[0], 0 : canvas.shape[1]].astype(np.float32)
    axis = end - start
    length = float(np.sqrt((axis**2).sum()))
    along = np.clip(((x - start[0]) * axis[0] + (y - start[1]) * axis[1]) / length, 0, length)
    distance = np.hypot(x - start[0] - axis[0] * along / length, y - start[1] - axis[1] * along / length) / radius
    shade = 0.55 + 0.5 * np.sqrt(np.clip(1 - distance**2, 0, 1))
    creases = 1 - 0.12 * np.exp(-0.5 * (((length - along) % 27 - 13) / 1.5) ** 2)
    blend(canvas, colour * (shade * creases)[..., None], smoothstep(distance.astype(np.float32), 1.0, 0.92))


def draw_bar(canvas: Array, rng: np.random.Generator) -> None:
    """Draw a flat object before the face, as a microphone stand, a sign or a shoulder."""
    height, width = canvas.shape[:2]
    centre = (float(rng.uniform(0, width)), float(rng.uniform(0.45, 1.05) * height))
    size = (float(rng.uniform(20, 70)), float(rng.uniform(90, 260)))
    corners = cv2.boxPoints((centre, size, float(rng.uniform(0, 180))))
    share = np.zeros((height, width), np.uint8)
    cv2.fillConvexPoly(share, np.round(corners * 16).astype(np.int32), (255,), cv2.LINE_AA, shift=4)
    tone = smooth_noise(rng, (height, width), 5, 5)[..., None]
    colour = (np.clip(rng.uniform(0.05, 0.9, 3) + 0.06 * tone, 0, 1) ** GAMMA).astype(np.float32)
    blend(canvas, colour, share.astype(np.float32) / 255)
