"""TODO"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from faces.core.image_size import SIDE
from faces.drawing.arrays import Array
from faces.images.alignment import TEMPLATE, similarity_transform

SUPERSAMPLING = 2  # drawn pixels per pixel of the crop and axis

MIN_DEPTH = 50.0  # mm before the lens; nothing is drawn nearer

GAMMA = 2.2

LENS_BLUR = 0.45  # pixels, standard deviation: no photograph is as sharp as a drawing


@dataclass(frozen=True)
class Camera:
    """Where the head looks (degrees; yaw > 0 to the right of the picture, pitch > 0 up) and how it is taken."""

    yaw: float
    pitch: float
    roll: float
    distance: float  # metres
    jitter: Array  # (5, 2) pixels that the landmarks are off by
    exposure: float  # stops
    blur: float  # pixels, standard deviation
    blur_angle: float  # degrees
    blur_stretch: float  # 1: round; more: the camera moved
    noise: float  # standard deviation, where white is 1
    resolution: int  # pixels across the crop before it was enlarged
    jpeg_quality: int  # 1 to 100


def rotation_matrix(yaw: float, pitch: float, roll: float) -> Array:
    """Return the matrix (3, 3) that turns a head, angles in degrees: first roll, then pitch, then yaw."""
    y, p, r = np.radians([yaw, pitch, roll])
    turn = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    nod = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    tilt = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return _product(_product(turn, nod), tilt).astype(np.float32)


def _product(points: NDArray[np.floating], matrix: NDArray[np.floating]) -> NDArray[np.floating]:
    """Multiply (..., 3) by (3, 3) without BLAS, whose threads may change the last bit."""
    return np.einsum("...i,ij->...j", points, matrix)


class View:
    """Takes points of the head (mm) to pixels of the crop."""

    def __init__(self, camera: Camera, face_landmarks: Array) -> None:
        """Stand the camera before the head and align by the landmarks (5, 3), as far off as the camera's jitter."""
        self.turn = rotation_matrix(camera.yaw, camera.pitch, camera.roll)
        self.distance = np.float32(camera.distance * 1000)
        self.a, self.b = similarity_transform(self._plane(self.turned(face_landmarks)), TEMPLATE + camera.jitter)

    def turned(self, points: Array) -> Array:
        """Return points in the camera's axes, mm."""
        return _product(points, self.turn.T).astype(np.float32)

    def _plane(self, turned: Array) -> Array:
        scale = self.distance / np.maximum(self.distance - turned[..., 2], MIN_DEPTH)
        return np.stack([turned[..., 0] * scale, -turned[..., 1] * scale], axis=-1)

    def pixels(self, turned: Array) -> Array:
        """Return x, y (..., 2) in the crop of points that are already in the camera's axes."""
        flat = self._plane(turned)
        x, y = flat[..., 0], flat[..., 1]
        real, imaginary = np.float32(self.a.real), np.float32(self.a.imag)
        moved = [real * x - imaginary * y + self.b.real, imaginary * x + real * y + self.b.imag]
        return np.stack(moved, axis=-1).astype(np.float32)

    def drawn_pixels(self, turned: Array) -> Array:
        """Return x, y (..., 2) on the finer canvas that crops are drawn on."""
        return self.pixels(turned) * SUPERSAMPLING + np.float32((SUPERSAMPLING - 1) / 2)


def tone_map(linear: Array) -> Array:
    """Return linear light as a screen wants it, 0 to 1, highlights rolled off."""
    bright = 0.7 + 0.3 * (1 - np.exp(np.minimum(0.7 - linear, 0) / 0.3))
    return np.power(np.clip(np.minimum(linear, bright), 0, 1), np.float32(1 / GAMMA)).astype(np.float32)


def develop(canvas: Array, camera: Camera, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blur, shrink and enlarge, add grain and compress: from a clean picture to an ordinary one."""
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
    """Return a Gaussian (k, k), drawn out along one direction when the camera moved."""
    long, short = (np.hypot(LENS_BLUR, blur) for blur in (camera.blur * camera.blur_stretch, camera.blur))
    reach = int(np.ceil(2.5 * long))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    angle = np.radians(camera.blur_angle)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kernel = np.exp(-0.5 * ((along / long) ** 2 + (across / short) ** 2))
    return (kernel / kernel.sum()).astype(np.float32)
