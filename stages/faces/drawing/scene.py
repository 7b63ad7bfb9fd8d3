"""A scene: all that sets one image of an identity apart from its other images, drawn from random numbers."""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from faces.core.image_size import SIDE
from faces.core.params import Params
from faces.drawing.arrays import Array
from faces.drawing.camera import Camera
from faces.drawing.expression import Expression
from faces.drawing.occlusion import OCCLUDERS, Occluders

GAZE_MM_PER_DEGREE = 0.2  # an iris turns on a ball of 12 mm radius: 12 * pi / 180


@dataclass(frozen=True)
class Light:
    """A distant lamp, and ambient light from all directions."""

    azimuth: float  # degrees, > 0: lamp to the right of the camera
    elevation: float  # degrees above the camera
    contrast: float  # share of all light that comes from the lamp, 0 to 1
    colour: Array  # (3,) RGB factors of the lamp, 1 is white
    ambient_colour: Array  # (3,) RGB factors of the ambient light


@dataclass(frozen=True)
class Scene:
    """Camera, light, expression and occluders of one image."""

    camera: Camera
    light: Light
    expression: Expression
    occluders: Occluders
    gaze: tuple[float, float]  # mm that the irises move to the right and up
    background_contrast: float  # factor, 0: plain


def random_generator(seed: int, *place: int) -> np.random.Generator:
    """Return the generator of an identity (`place` is its index) or of an image (identity's index, image's index)."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=place))


class SceneParams(Params):
    """How far the images of one identity differ. An amplitude (`yaw_degrees`) is the largest value to either side."""

    yaw_degrees: float = Field(ge=0, le=75)
    pitch_degrees: float = Field(ge=0, le=40)
    roll_degrees: float = Field(ge=0, le=90)
    nearest_camera_metres: float = Field(ge=0.3, le=10)
    expression: float = Field(ge=0, le=1.5)
    gaze_degrees: float = Field(ge=0, le=30)
    light_degrees: float = Field(ge=0, le=120)
    light_contrast: float = Field(ge=0, le=1)
    light_colour: float = Field(ge=0, le=1)
    exposure_stops: float = Field(ge=0, le=3)
    background_contrast: float = Field(ge=0, le=2)
    blur_pixels: float = Field(ge=0, le=5)
    noise: float = Field(ge=0, le=0.3)
    lowest_resolution_pixels: int = Field(ge=16, le=SIDE)
    lowest_jpeg_quality: int = Field(ge=1, le=100)
    alignment_jitter_pixels: float = Field(ge=0, le=8)
    glasses_probability: float = Field(ge=0, le=1)
    sunglasses_probability: float = Field(ge=0, le=1)
    mask_probability: float = Field(ge=0, le=1)
    cap_probability: float = Field(ge=0, le=1)
    hand_probability: float = Field(ge=0, le=1)
    bar_probability: float = Field(ge=0, le=1)


def draw_scene(rng: np.random.Generator, params: SceneParams) -> Scene:
    """Draw a scene.

    Every number is drawn whatever the others are, so that a changed parameter leaves the other draws alone.
    """
    return Scene(
        camera=_draw_camera(rng, params),
        light=_draw_light(rng, params),
        expression=_draw_expression(rng, params.expression),
        occluders=_draw_occluders(rng, params),
        gaze=(
            _swing(rng, params.gaze_degrees) * GAZE_MM_PER_DEGREE,
            _swing(rng, 0.5 * params.gaze_degrees) * GAZE_MM_PER_DEGREE,
        ),
        background_contrast=float(params.background_contrast * rng.uniform(0.2, 1)),
    )


def _swing(rng: np.random.Generator, amplitude: float) -> float:
    """Draw from a bell-shaped (beta) distribution between -amplitude and amplitude."""
    return float(amplitude * (2 * rng.beta(2.2, 2.2) - 1))


def _draw_camera(rng: np.random.Generator, params: SceneParams) -> Camera:
    degradation = rng.beta(1, 2.5, 3)  # of blur, noise and resolution: low for most images, high for a few
    return Camera(
        yaw=_swing(rng, params.yaw_degrees),
        pitch=_swing(rng, params.pitch_degrees),
        roll=_swing(rng, params.roll_degrees),
        distance=float(params.nearest_camera_metres * np.exp(rng.uniform(0, 2))),
        jitter=(params.alignment_jitter_pixels * rng.standard_normal((5, 2))).astype(np.float32),
        exposure=_swing(rng, params.exposure_stops),
        blur=float(params.blur_pixels * degradation[0]),
        blur_angle=float(rng.uniform(0, 180)),
        blur_stretch=float(1 + 1.5 * rng.beta(1, 3)),
        noise=float(params.noise * degradation[1]),
        resolution=int(round(SIDE - (SIDE - params.lowest_resolution_pixels) * degradation[2])),
        jpeg_quality=int(round(100 - (100 - params.lowest_jpeg_quality) * rng.uniform(0, 1))),
    )


def _draw_light(rng: np.random.Generator, params: SceneParams) -> Light:
    warmth = params.light_colour * rng.normal(0, 0.28, 2)
    tint = params.light_colour * rng.normal(0, 0.10, 2)
    lamp, ambient = (np.exp([w, t, -w]).astype(np.float32) for w, t in zip(warmth, tint, strict=True))
    return Light(
        azimuth=_swing(rng, params.light_degrees),
        elevation=float(np.clip(20 + _swing(rng, 0.75 * params.light_degrees), -35, 80)),
        contrast=float(params.light_contrast * rng.beta(1.6, 1.1)),
        colour=lamp,
        ambient_colour=ambient,
    )


def _draw_expression(rng: np.random.Generator, strength: float) -> Expression:
    smiles, opens, blinks, raises, frowns, pouts = rng.random(6) < [0.45, 0.35, 0.07, 0.25, 0.15, 0.1]
    amount = rng.uniform(0.2, 1.0, 6) * strength
    return Expression(
        smile=float(smiles * amount[0]),
        mouth_open=float(np.clip(opens * amount[1] ** 1.5, 0, 1.2)),
        eyes_closed=float(min(1.0, blinks * amount[2] * 1.2 + 0.22 * strength * rng.random())),
        brow_raise=float(raises * amount[3]),
        frown=float(frowns * amount[4]),
        pout=float(pouts * amount[5]),
    )


def _draw_occluders(rng: np.random.Generator, params: SceneParams) -> Occluders:
    probabilities = [getattr(params, f"{name}_probability") for name in OCCLUDERS]
    present = rng.random(len(OCCLUDERS)) < probabilities
    return Occluders(**{name: bool(flag) for name, flag in zip(OCCLUDERS, present, strict=True)})
