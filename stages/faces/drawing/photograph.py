"""One photograph: a head with its look, in a scene, rendered and taken by the camera."""

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.core.image_size import SIDE
from faces.drawing.arrays import Array, smooth_noise, vector_lengths
from faces.drawing.camera import SUPERSAMPLING, View, develop
from faces.drawing.expression import pose_expression
from faces.drawing.eyes import paint_eyes
from faces.drawing.head import HeadShape, landmarks, lift_directions
from faces.drawing.look import Look
from faces.drawing.occlusion import draw_bar, draw_glasses, draw_hand, wear_cap, wear_mask
from faces.drawing.raster import cast_shadow, normals, rasterize, sample_texture
from faces.drawing.scene import Light, Scene
from faces.drawing.texture import TEXTURE_DENSITY

# Wrap lighting per channel, for subsurface scattering: red light travels furthest below the skin.
WRAP = np.array([0.22, 0.10, 0.06], np.float32)


def photograph(shape: HeadShape, look: Look, scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the aligned crop (112, 112, 3), RGB, of an identity's shape and look in a scene."""
    points = pose_expression(shape, scene.expression)
    face_landmarks = landmarks(points)
    view = View(scene.camera, face_landmarks)
    albedo = look.albedo.copy()
    paint_eyes(albedo, look, scene.gaze, scene.expression.eyes_closed)
    points = _with_hair(points, look)
    occluders = scene.occluders
    if occluders.cap:
        points = wear_cap(albedo, points, rng)
    if occluders.mask:
        points = wear_mask(albedo, points, rng)
    canvas = draw_background(rng, scene)
    covered = draw_head(canvas, points, albedo, look, scene, view)
    gain = _exposure_gain(canvas, covered, scene.camera.exposure)
    canvas *= gain
    if occluders.glasses or occluders.sunglasses:
        draw_glasses(canvas, face_landmarks, view, scene.camera.yaw, occluders.sunglasses, rng)
    if occluders.hand:
        draw_hand(canvas, _flatly_lit(look.skin, scene.light) * gain, rng)
    if occluders.bar:
        draw_bar(canvas, rng)
    return develop(canvas, scene.camera, rng)


def _with_hair(points: Array, look: Look) -> Array:
    """Return the points (ROWS, COLUMNS, 3) lifted by hair, and smoothed where it hides the ears."""
    smooth = cv2.GaussianBlur(points, (0, 0), 3.5)
    return points + look.ears_hidden[..., None] * (smooth - points) + look.hair_thickness[..., None] * lift_directions()


def draw_head(canvas: Array, points: Array, albedo: Array, look: Look, scene: Scene, view: View) -> NDArray[np.bool_]:
    """Render the head over the canvas (224, 224, 3) in linear light; return the pixels that it covers (224, 224)."""
    turned = view.to_camera(points)
    pixels = view.to_canvas(turned)
    visible = rasterize(pixels[..., 0], pixels[..., 1], turned[..., 2], SIDE * SUPERSAMPLING)
    lamp = lamp_direction(scene.light)
    surface = np.dstack([normals(turned), cast_shadow(turned, lamp)])
    surface_pixels = sample_texture(surface, visible, 1)[visible.hit].T
    paint_pixels = sample_texture(np.dstack([albedo, look.ambient_occlusion]), visible, TEXTURE_DENSITY)[visible.hit].T
    gloss = sample_texture(look.shine, visible, TEXTURE_DENSITY)[visible.hit]
    canvas[visible.hit] = _shade(surface_pixels, paint_pixels, gloss, lamp, scene.light).T
    return visible.hit


def lamp_direction(light: Light) -> Array:
    """Return the unit vector (3,) from the head towards the lamp."""
    azimuth, elevation = np.radians([light.azimuth, light.elevation])
    direction = [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)]
    return np.array(direction, np.float32)


def _shade(surface: Array, paint: Array, gloss: Array, lamp: Array, light: Light) -> Array:
    """Return the light (3, N) that N pixels reflect: diffuse (wrapped Lambert), ambient, and gloss (Blinn-Phong).

    `surface` (4, N) is the normal and how much of the lamp's light arrives, `paint` (4, N) reflectance and ambient
    occlusion, `gloss` (N,) its strength, `lamp` (3,) the unit vector towards the lamp.
    """
    x, y, z, lit = (np.ascontiguousarray(plane) for plane in surface)
    facing = x * lamp[0] + y * lamp[1] + z * lamp[2]
    half = lamp + np.array([0, 0, 1], np.float32)
    half = half / max(float(vector_lengths(half)), 1e-3)
    glint = np.clip(x * half[0] + y * half[1] + z * half[2], 0, 1) ** 2
    glint = glint * glint * glint
    glint = np.float32(0.16 * light.contrast) * glint * glint * glint * gloss * lit  # to the 18th power
    arrives = np.float32(1.5 * light.contrast) * (0.15 + 0.85 * lit)
    around = np.float32(1.2 * (1 - light.contrast)) * (0.72 + 0.28 * y) * (0.75 + 0.25 * z) * paint[3]
    shaded = np.empty((3, len(x)), np.float32)
    for channel in range(3):
        wrap, colour = WRAP[channel], light.colour[channel]
        diffuse = np.clip((facing + wrap) / (1 + wrap), 0, None) * arrives
        power = colour * diffuse + light.ambient_colour[channel] * around
        shaded[channel] = paint[channel] * power + colour * glint
    return shaded


def draw_background(rng: np.random.Generator, scene: Scene) -> Array:
    """Return a blurred background (224, 224, 3) of random colours and boxes, in linear light."""
    side = SIDE * SUPERSAMPLING
    base = np.exp(rng.uniform(-3.2, -0.2)) * np.exp(rng.normal(0, 0.16, 3)).astype(np.float32)
    canvas = np.empty((SIDE, SIDE, 3), np.float32)
    canvas[:] = base
    contrast = scene.background_contrast
    for channel_share in (1.0, 0.35):
        knots = int(rng.integers(2, 7))
        tone = smooth_noise(rng, (SIDE, SIDE), knots, knots)[..., None]
        canvas *= np.exp(contrast * channel_share * tone * rng.uniform(0.3, 1.0, 3)).astype(np.float32)
    for _ in range(int(rng.integers(0, 7))):
        centre = rng.uniform(-10, SIDE + 10, 2)
        corners = cv2.boxPoints((centre.tolist(), rng.uniform(6, 70, 2).tolist(), float(rng.normal(0, 15))))
        colour = base * np.exp(contrast * rng.normal(0, 0.9) + contrast * rng.normal(0, 0.4, 3))
        cv2.fillConvexPoly(canvas, corners.astype(np.int32), colour.tolist(), cv2.LINE_AA)
    blurred = cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.6, 5)))
    lit = np.clip(blurred, 0.001, 1.2) * (0.5 + 0.5 * scene.light.ambient_colour)
    return cv2.resize(lit.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR).astype(np.float32)


def _flatly_lit(colour: Array, light: Light) -> Array:
    """Return the light that a flat surface before the face reflects, at a mean angle to the lamp."""
    return colour * (0.8 * light.contrast * light.colour + (1 - light.contrast) * light.ambient_colour)


def _exposure_gain(canvas: Array, covered: NDArray[np.bool_], stops: float) -> np.float32:
    """Return the exposure: `stops`, and automatic exposure that partly evens out the face's brightness."""
    face = np.s_[60:200:2, 50:174:2]
    visible = canvas[face][covered[face]]
    mean = float(visible.mean()) if visible.size else 0.2
    return np.float32((0.23 / max(mean, 1e-3)) ** 0.6 * 2.0**stops)
