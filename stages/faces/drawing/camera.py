"""The camera: projects a head into the aligned crop, and degrades the picture as cameras and files do.

The crop is the standard of face recognition, 112 x 112 with eyes, nose and mouth at TEMPLATE. Nothing is resampled to
align it: the similarity transform of the head's own landmarks is part of the projection.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.core.image_size import SIDE
from faces.drawing.arrays import Array
from faces.images.alignment import TEMPLATE, similarity_transform

SUPERSAMPLING = 2  # pixels of the canvas per pixel of the crop, in each direction
MIN_DEPTH = 50.0  # mm from the lens; nearer points are projected as if at this distance
GAMMA = 2.2
LENS_BLUR = 0.45  # pixels, standard deviation; the least blur of any photograph


@dataclass(frozen=True)
class Camera:
    """The pose of the head before the camera, and the quality of the picture."""

    yaw: float  # degrees, > 0: the nose points to the right of the picture
    pitch: float  # degrees, > 0: the nose points up
    roll: float  # degrees, > 0: anticlockwise in the picture
    distance: float  # metres from the lens to the head's axis
    jitter: Array  # (5, 2) pixels, the error of the landmarks
    exposure: float  # stops
    blur: float  # pixels, standard deviation
    blur_angle: float  # degrees, the direction of motion
    blur_stretch: float  # 1: no motion; 2: twice the blur along the motion
    noise: float  # standard deviation, where white is 1
    resolution: int  # pixels, the side of the crop before it was enlarged
    jpeg_quality: int  # 1 to 100


def rotation_matrix(yaw: float, pitch: float, roll: float) -> Array:
    """Return the matrix (3, 3) that rotates a head by angles in degrees: roll first, then pitch, then yaw."""
    y, p, r = np.radians([yaw, pitch, roll])
    yawing = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    pitching = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    rolling = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return _product(_product(yawing, pitching), rolling).astype(np.float32)


def _product(points: NDArray[np.floating], matrix: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the product (..., 3) x (3, 3), without BLAS: the last bit of its sums depends on its threads."""
    return np.einsum("...i,ij->...j", points, matrix)


class View:
    """A perspective projection from points of the head (mm) to pixels of the crop."""

    def __init__(self, camera: Camera, face_landmarks: Array) -> None:
        """Align the crop by the head's landmarks (5, 3), which are off by the camera's jitter."""
        self.rotation = rotation_matrix(camera.yaw, camera.pitch, camera.roll)
        self.distance = np.float32(camera.distance * 1000)
        projected = self._project(self.to_camera(face_landmarks))
        # Complex numbers: a point p of the plane lies at scaling * p + shift in the crop.
        self.scaling, self.shift = similarity_transform(projected, TEMPLATE + camera.jitter)

    def to_camera(self, points: Array) -> Array:
        """Return points (..., 3) in the camera's axes: mm from the same origin, z towards the lens."""
        return _product(points, self.rotation.T).astype(np.float32)

    def _project(self, turned: Array) -> Array:
        """Return x, y (..., 2) on the plane through the origin, y down, in mm."""
        scale = self.distance / np.maximum(self.distance - turned[..., 2], MIN_DEPTH)
        return np.stack([turned[..., 0] * scale, -turned[..., 1] * scale], axis=-1)

    def to_crop(self, turned: Array) -> Array:
        """Return x, y (..., 2) in pixels of the crop, of points in the camera's axes."""
        flat = self._project(turned)
        x, y = flat[..., 0], flat[..., 1]
        real, imaginary = np.float32(self.scaling.real), np.float32(self.scaling.imag)
        moved = [real * x - imaginary * y + self.shift.real, imaginary * x + real * y + self.shift.imag]
        return np.stack(moved, axis=-1).astype(np.float32)

    def to_canvas(self, turned: Array) -> Array:
        """Return x, y (..., 2) in pixels of the supersampled canvas, of points in the camera's axes."""
        return self.to_crop(turned) * SUPERSAMPLING + np.float32((SUPERSAMPLING - 1) / 2)


def tone_map(linear: Array) -> Array:
    """Return linear light gamma-coded, 0 to 1, with a soft shoulder above 0.7."""
    bright = 0.7 + 0.3 * (1 - np.exp(np.minimum(0.7 - linear, 0) / 0.3))
    return np.power(np.clip(np.minimum(linear, bright), 0, 1), np.float32(1 / GAMMA)).astype(np.float32)


def develop(canvas: Array, camera: Camera, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the crop (112, 112, 3): the canvas (224, 224, 3) blurred, reduced, tone-mapped, with grain and JPEG."""
    sharp = cv2.resize(canvas, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    blurred = cv2.filter2D(sharp, -1, _blur_kernel(camera), borderType=cv2.BORDER_REPLICATE)
    taken = cv2.resize(blurred, (camera.resolution, camera.resolution), interpolation=cv2.INTER_AREA)
    picture = tone_map(taken.astype(np.float32, copy=False))
    if camera.noise > 0:
        grain = rng.standard_normal(picture.shape, np.float32)
        picture = picture + np.float32(camera.noise) * (0.7 * grain + 0.5 * grain.mean(-1, keepdims=True))
    coded = np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)
    if camera.jpeg_quality < 100:
        _, data = cv2.imencode(".jpg", coded[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, camera.jpeg_quality])
        coded = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(np.uint8)
    if camera.resolution < SIDE:
        coded = cv2.resize(coded, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).astype(np.uint8, copy=False)
    return coded


def _blur_kernel(camera: Camera) -> Array:
    """Return a Gaussian kernel (k, k), longer along the camera's motion."""
    long, short = (np.hypot(LENS_BLUR, blur) for blur in (camera.blur * camera.blur_stretch, camera.blur))
    reach = int(np.ceil(2.5 * long))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    angle = np.radians(camera.blur_angle)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kernel = np.exp(-0.5 * ((along / long) ** 2 + (across / short) ** 2))
    return (kernel / kernel.sum()).astype(np.float32)
