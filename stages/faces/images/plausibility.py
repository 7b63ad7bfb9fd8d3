"""Signs that images are not what params.yaml says: photos in place of aligned crops, blue in place of red.

Skin is redder than blue under any usual light: of 7,860 + 1,673 photos of LFW, 0.05 % of those in colour were not.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faces.core.image_size import SIDE
from faces.core.terminal import warn
from faces.images.decoding import read_size
from faces.images.rejection import Rejection
from faces.tables.sources import Channels

SAMPLE = 100  # images looked at, spread evenly
MOST_OBLONG = 1.25  # longer by shorter side of a crop; one of 96 x 112 has 1.17
MOST_PIXELS = 2 * SIDE  # of a crop's shorter side; one of LFW's photos, a face and its surroundings, has 250
CENTRE = slice(SIDE // 4, -SIDE // 4)  # where a crop has the face
COLOURED = 2.0  # least difference of mean red and blue of an image that is not grey, of 255
FEWEST = 10  # coloured images by which channels are judged


class SampledImage(NamedTuple):
    """One image of a sample: its path, the file or its content, and its pixels (112, 112, 3) as packed."""

    path: str
    source: Path | bytes
    pixels: NDArray[np.uint8]


def spread(images: int, most: int = SAMPLE) -> NDArray[np.int64]:
    """Return the places of at most `most` of `images` images, evenly spread, ascending."""
    return np.unique(np.linspace(0, images - 1, most).round().astype(np.int64))


def is_no_crop(width: int, height: int) -> bool:
    """Tell whether an image is too oblong or too large for an aligned crop."""
    return max(width, height) > MOST_OBLONG * min(width, height) or min(width, height) > MOST_PIXELS


def warn_about_sample(name: str, sample: Sequence[SampledImage], origin: str, channels: Channels, photos: str) -> None:
    """Warn if images look like photos where aligned faces should be, or have red and blue swapped.

    Args:
        name: of the source or test set that the sample is of.
        sample: some of its images.
        origin: "source" or "test set".
        channels: in which order params.yaml says they are.
        photos: what in params.yaml would have faces looked for; "" if they are looked for already.
    """
    if photos and (found := describe_no_crops(sample)):
        warn(f"{name}: {found}; if they are photos, `{photos}` of the {origin} finds the faces in them")
    if swapped := describe_swapped(sample):
        other = "rgb" if channels == "bgr" else "bgr"
        warn(f"{name}: {swapped}; `channels: {other}` of the {origin} corrects them")


def describe_no_crops(sample: Sequence[SampledImage]) -> str:
    """Return how many images look like photos rather than aligned crops, and the first; "" if none does."""
    found = []
    for image in sample:
        try:
            width, height = read_size(image.source)
        except Rejection:  # it has gone since
            continue
        if is_no_crop(width, height):
            found.append(f"{image.path} ({width} x {height})")
    if not found:
        return ""
    return f"{len(found)} of {len(sample)} images looked at have not the shape or size of aligned crops, as {found[0]}"


def describe_swapped(sample: Sequence[SampledImage]) -> str:
    """Return how many images are bluer than red in the middle, if these are most of those in colour; else ""."""
    if not sample:
        return ""
    centres = np.stack([image.pixels[CENTRE, CENTRE] for image in sample]).mean(axis=(1, 2))
    redder = centres[:, 0] - centres[:, 2]
    coloured, swapped = int((abs(redder) > COLOURED).sum()), int((redder < -COLOURED).sum())
    if coloured < FEWEST or 2 * swapped <= coloured:
        return ""
    red, _, blue = centres.mean(axis=0)
    return (
        f"{swapped} of {coloured} images in colour that were looked at have more blue than red (means {blue:.0f} and "
        f"{red:.0f}): these channels seem to be swapped"
    )
