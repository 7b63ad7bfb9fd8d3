"""Random changes to training images: those in which photographs differ, and the notebook's seven by imgaug.

No other module imports imgaug.
"""

from threading import Lock
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from faces.core.params import Params

LOW_RESOLUTION = (0.25, 0.75)  # range of the smaller side length, as a share of the original
BLUR_PIXELS = (0.4, 1.6)  # range of the standard deviation
ERASED = (0.1, 0.45)  # range of a patch's height and width, as a share of the image's
ALL = slice(None)

Image = NDArray[np.uint8]


class AugmentParams(Params):
    """The section `augment:` of params.yaml; 0 or false turns a change off."""

    one_of_seven: bool
    flip: bool
    rotation_degrees: float = Field(ge=0, le=45)
    zoom: float = Field(ge=0, le=0.5)
    shift_pixels: float = Field(ge=0, le=20)
    contrast: float = Field(ge=0, le=1)
    brightness: float = Field(ge=0, le=128)
    tint: float = Field(ge=0, le=128)
    grey_probability: float = Field(ge=0, le=1)
    low_resolution_probability: float = Field(ge=0, le=1)
    blur_probability: float = Field(ge=0, le=1)
    erase_probability: float = Field(ge=0, le=1)


class NotebookAugmenter:
    """The notebook's changes: none, grey, salt and pepper, solarize, slight blur, gamma or quantisation, one an image.

    Only one thread at a time can use it, since imgaug stores the seed in the augmenter.
    """

    def __init__(self) -> None:
        """Set up the seven changes with the notebook's strengths."""
        np.bool = np.bool_  # type: ignore[attr-defined]  # imgaug 0.4.0 uses a name that NumPy 1.24 removed
        import imgaug.augmenters as iaa  # takes a second, which most stages save

        self._lock = Lock()
        self._one_of_seven = iaa.SomeOf(
            1,
            [
                iaa.Identity(),
                iaa.Grayscale(alpha=1.0),
                iaa.SaltAndPepper(p=0.1),
                iaa.Solarize(p=0.8),
                iaa.GaussianBlur(sigma=(0.25, 0.5)),
                iaa.GammaContrast(gamma=(0.5, 1.5)),
                iaa.UniformColorQuantizationToNBits(nb_bits=(3, 8)),
            ],
        )

    def __call__(self, images: Image, seed: tuple[int, ...]) -> Image:
        """Return changed copies of uint8 images (n, H, W, 3); the same images and seed give the same bytes."""
        with self._lock:
            self._one_of_seven.seed_(int(np.random.SeedSequence(seed).generate_state(1)[0]))
            return np.stack(self._one_of_seven(images=list(images)))


class _Draws(NamedTuple):
    """Random numbers for one image, or a row for each: `chances` and `amounts` in 0..1, `normal` with deviation 1."""

    chances: NDArray[np.float64]
    normal: NDArray[np.float64]
    amounts: NDArray[np.float64]


class PhotoAugmenter:
    """Flip, rotation, zoom, shift, contrast, brightness, tint, grey, low resolution, blur and an erased patch.

    Every image has its own random numbers, always equally many, so that turning one change off does not alter the
    others.
    """

    def __init__(self, params: AugmentParams) -> None:
        """Take the strengths of the changes."""
        self._params = params
        self._seven = NotebookAugmenter() if params.one_of_seven else None
        self.needs_whole_batch = params.one_of_seven

    def __call__(self, images: Image, seed: tuple[int, ...], share: slice = ALL, batch: int | None = None) -> Image:
        """Return changed copies of uint8 images (n, H, W, 3), RGB; the same images and seed give the same bytes.

        The images may be the rows `share` of a batch of `batch` images; they then change as in the whole batch. This
        does not hold for the notebook's seven, which imgaug draws for a batch at once (see `needs_whole_batch`).
        """
        count, rng = batch or len(images), np.random.default_rng(seed)
        all_draws = _Draws(rng.random((count, 5)), rng.standard_normal((count, 9)), rng.random((count, 7)))
        draws = map(_Draws, *(numbers[share] for numbers in all_draws))
        changed = np.stack([self._change(image, draw) for image, draw in zip(images, draws, strict=True)])
        return self._seven(changed, seed) if self._seven else changed

    def _change(self, image: Image, draws: _Draws) -> Image:
        params = self._params
        flip, grey, low_resolution, blur, erase = draws.chances
        if params.flip and flip < 0.5:
            image = _as_uint8(cv2.flip(image, 1))
        image = _move(image, draws.normal[:4], params)
        image = _relight(image, draws.normal[4:], params, grey < params.grey_probability)
        if low_resolution < params.low_resolution_probability:
            image = _reduce_resolution(image, _between(LOW_RESOLUTION, draws.amounts[0]))
        if blur < params.blur_probability:
            image = _as_uint8(cv2.GaussianBlur(image, (0, 0), _between(BLUR_PIXELS, draws.amounts[1])))
        if erase < params.erase_probability:
            image = _erase(image, draws.amounts[2:])
        return image


def _as_uint8(image: NDArray[Any]) -> Image:
    return image.astype(np.uint8, copy=False)  # it already is; OpenCV's stubs do not say so


def _between(limits: tuple[float, float], share: float) -> float:
    return limits[0] + (limits[1] - limits[0]) * float(share)


def _move(image: Image, normal: NDArray[np.float64], params: AugmentParams) -> Image:
    """Rotate, zoom and shift by `normal` standard deviations; mirror the image at its edges."""
    if not (params.rotation_degrees or params.zoom or params.shift_pixels):
        return image
    height, width = image.shape[:2]
    centre = (width - 1) / 2, (height - 1) / 2
    degrees, factor = params.rotation_degrees * normal[0], float(np.exp(params.zoom * normal[1]))
    matrix = np.asarray(cv2.getRotationMatrix2D(centre, degrees, factor), np.float64)
    matrix[:, 2] += params.shift_pixels * normal[2:4]
    size, mirrored = (width, height), cv2.BORDER_REFLECT_101
    return _as_uint8(cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=mirrored))


def _relight(image: Image, normal: NDArray[np.float64], params: AugmentParams, grey: bool) -> Image:
    """Change contrast (around 127.5), brightness and colour; make it grey first if asked."""
    factor, offset = np.exp(params.contrast * normal[0]), params.brightness * normal[1] + params.tint * normal[2:5]
    if grey:
        image = _as_uint8(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))
    levels = np.arange(256)[:, None]
    table = np.clip(np.rint((levels - 127.5) * factor + 127.5 + offset), 0, 255).astype(np.uint8)
    return _as_uint8(cv2.LUT(image, table[None]))


def _reduce_resolution(image: Image, share: float) -> Image:
    """Shrink to a share of the side length and enlarge again."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (round(width * share), round(height * share)), interpolation=cv2.INTER_AREA)
    return _as_uint8(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def _erase(image: Image, amounts: NDArray[np.float64]) -> Image:
    """Fill a rectangle with one grey, like an object in front of the face."""
    sides = np.array(image.shape[:2])
    extent = np.maximum(1, (sides * [_between(ERASED, share) for share in amounts[:2]]).astype(int))
    (top, left), (height, width) = ((sides - extent) * amounts[2:4]).astype(int), extent
    image = image.copy()
    image[top : top + height, left : left + width] = int(256 * amounts[4])
    return image
