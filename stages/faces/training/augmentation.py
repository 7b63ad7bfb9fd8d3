"""Changes to training images, drawn anew for each: those that photographs differ by, and the notebook's.

imgaug is imported here alone.
"""

from threading import Lock
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from faces.core.params import Params

np.bool = np.bool_  # type: ignore[attr-defined]  # imgaug 0.4.0 asks for the name that NumPy 1.24 removed

import imgaug.augmenters as iaa  # noqa: E402

LOW_RESOLUTION = (0.25, 0.75)  # of the side
BLUR_PIXELS = (0.4, 1.6)
ALL = slice(None)
ERASED = (0.1, 0.45)  # of the side, either way

Image = NDArray[np.uint8]


class AugmentParams(Params):
    """The section `augment:` of params.yaml: 0 turns a change off."""

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


class Augmenter:
    """Identity, grey, salt and pepper, solarize, slight blur, gamma or colour quantisation: one an image.

    Of several threads one works at a time: imgaug keeps the seed.
    """

    def __init__(self) -> None:
        """Set the seven changes up, with the notebook's strengths."""
        self._seeded = Lock()
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
        with self._seeded:
            self._one_of_seven.seed_(int(np.random.SeedSequence(seed).generate_state(1)[0]))
            return np.stack(self._one_of_seven(images=list(images)))


class _Draw(NamedTuple):
    """Random numbers of one image, or a row each: `chances` and `amounts` in 0..1, `normal` with deviation 1."""

    chances: NDArray[np.float64]
    normal: NDArray[np.float64]
    amounts: NDArray[np.float64]


class PhotoAugmenter:
    """Flip, turn, zoom, shift, contrast, brightness, tint, grey, low resolution, blur and an erased patch.

    Each image has its own numbers, and as many of them whatever is turned on, so that one change can be turned off and
    the others stay as they were.
    """

    def __init__(self, params: AugmentParams) -> None:
        """Make the changes that `params` ask for."""
        self._params = params
        self._seven = Augmenter() if params.one_of_seven else None
        self.needs_whole_batch = params.one_of_seven

    def __call__(self, images: Image, seed: tuple[int, ...], share: slice = ALL, batch: int | None = None) -> Image:
        """Return changed copies of uint8 images (n, H, W, 3), RGB; the same images and seed give the same bytes.

        The images may be a `share` of a batch of `batch`: they are changed as the whole would be. Not so with the
        notebook's seven, which imgaug draws by batch.
        """
        count, rng = batch or len(images), np.random.default_rng(seed)
        draws = _Draw(rng.random((count, 5)), rng.standard_normal((count, 9)), rng.random((count, 7)))
        of_images = map(_Draw, *(of_batch[share] for of_batch in draws))
        changed = np.stack([self._change(image, draw) for image, draw in zip(images, of_images, strict=True)])
        return self._seven(changed, seed) if self._seven else changed

    def _change(self, image: Image, draw: _Draw) -> Image:
        params = self._params
        flips, greys, coarse, blurs, erases = draw.chances
        if params.flip and flips < 0.5:
            image = _bytes(cv2.flip(image, 1))
        image = _move(image, draw.normal[:4], params)
        image = _relight(image, draw.normal[4:], params, greys < params.grey_probability)
        if coarse < params.low_resolution_probability:
            image = _coarsen(image, _between(LOW_RESOLUTION, draw.amounts[0]))
        if blurs < params.blur_probability:
            image = _bytes(cv2.GaussianBlur(image, (0, 0), _between(BLUR_PIXELS, draw.amounts[1])))
        if erases < params.erase_probability:
            image = _erase(image, draw.amounts[2:])
        return image


def _bytes(image: NDArray[Any]) -> Image:
    return image.astype(np.uint8, copy=False)  # as it is; OpenCV does not tell mypy


def _between(limits: tuple[float, float], share: float) -> float:
    return limits[0] + (limits[1] - limits[0]) * float(share)


def _move(image: Image, normal: NDArray[np.float64], params: AugmentParams) -> Image:
    """Turn, zoom and shift by so many standard deviations; what comes in at the edges is mirrored."""
    if not (params.rotation_degrees or params.zoom or params.shift_pixels):
        return image
    height, width = image.shape[:2]
    centre = (width - 1) / 2, (height - 1) / 2
    turn, factor = params.rotation_degrees * normal[0], float(np.exp(params.zoom * normal[1]))
    matrix = np.asarray(cv2.getRotationMatrix2D(centre, turn, factor), np.float64)
    matrix[:, 2] += params.shift_pixels * normal[2:4]
    size, mirrored = (width, height), cv2.BORDER_REFLECT_101
    return _bytes(cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=mirrored))


def _relight(image: Image, normal: NDArray[np.float64], params: AugmentParams, grey: bool) -> Image:
    """Change contrast (around the middle of the range), brightness and colour."""
    factor, offset = np.exp(params.contrast * normal[0]), params.brightness * normal[1] + params.tint * normal[2:5]
    if grey:
        image = _bytes(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))
    levels = np.arange(256)[:, None]
    table = np.clip(np.rint((levels - 127.5) * factor + 127.5 + offset), 0, 255).astype(np.uint8)
    return _bytes(cv2.LUT(image, table[None]))


def _coarsen(image: Image, share: float) -> Image:
    height, width = image.shape[:2]
    small = cv2.resize(image, (round(width * share), round(height * share)), interpolation=cv2.INTER_AREA)
    return _bytes(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def _erase(image: Image, amounts: NDArray[np.float64]) -> Image:
    """Fill a rectangle with one colour, as something held before the face does."""
    sides = np.array(image.shape[:2])
    extent = np.maximum(1, (sides * [_between(ERASED, share) for share in amounts[:2]]).astype(int))
    (top, left), (height, width) = ((sides - extent) * amounts[2:4]).astype(int), extent
    image = image.copy()
    image[top : top + height, left : left + width] = int(256 * amounts[4])
    return image
