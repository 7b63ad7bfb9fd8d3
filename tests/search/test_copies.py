import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from faces.drawing.expression import Expression
from faces.drawing.head import draw_shape
from faces.drawing.look import make_look
from faces.drawing.occlusion import Occluders
from faces.drawing.photograph import photograph
from faces.drawing.scene import Light, Scene
from faces.drawing.traits import draw_traits
from faces.search.copies import are_copies, confirm, detail_likeness, details, digests, groups_of, same_pixels
from faces.search.thumbnails import directions, thumbnails
from image_files import noise
from still_camera import STILL

WHITE = np.ones(3, np.float32)
SCENE = Scene(
    camera=replace(STILL, blur=0.3),
    light=Light(azimuth=20, elevation=20, contrast=0.5, colour=WHITE, ambient_colour=WHITE),
    expression=Expression(),
    occluders=Occluders(glasses=False, sunglasses=False, mask=False, cap=False, hand=False, bar=False),
    gaze=(0.0, 0.0),
    background_contrast=1.0,
)


def take(scene: Scene) -> np.ndarray:
    """Return a photo of one person; the background is the same in all."""
    rng = np.random.default_rng(3)
    look = make_look(rng, draw_traits(rng, 1.0))
    return photograph(draw_shape(rng, 1.0), look, scene, np.random.default_rng(0))


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return take(SCENE)


def both_looks(first: np.ndarray, second: np.ndarray) -> tuple[float, bool]:
    """Return the likeness of the thumbnails of two images, and whether their details are those of copies."""
    vectors = directions(thumbnails(np.stack([first, second])))
    images = np.stack([first, second])
    return float(vectors[0] @ vectors[1]), bool(are_copies(images, images, np.array([[0, 1]]))[0])


def test_other_photos_of_one_sitting_are_no_copies(photo: np.ndarray) -> None:
    for expression in (Expression(smile=0.7, brow_raise=0.5), Expression(eyes_closed=0.9, frown=0.6)):
        likeness, copies = both_looks(photo, take(replace(SCENE, expression=expression)))
        assert likeness >= 0.98 and not copies, expression  # thumbnails alone would take them for copies


def jpeg(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=30)
    return np.asarray(Image.open(buffer))


def shrunk(image: np.ndarray) -> np.ndarray:
    small = Image.fromarray(image).resize((56, 56), Image.Resampling.BICUBIC)
    return np.asarray(small.resize((112, 112), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    "change",
    [
        jpeg,
        shrunk,
        lambda image: np.pad(image, ((1, 0), (0, 1), (0, 0)), "edge")[:112, 1:],  # shifted
        lambda image: (image * 0.7 + 10).astype(np.uint8),  # darker
    ],
)
def test_a_copy_that_was_changed_a_little_is_one(photo: np.ndarray, change: Callable[..., np.ndarray]) -> None:
    likeness, copies = both_looks(photo, change(photo))
    assert likeness >= 0.98 and copies


def test_likeness_of_details_is_the_best_correlation_over_shifts() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 112, 112)).astype(np.float32)
    second[3:, :-1] += first[:-3, 1:]  # three down, which is too far
    assert detail_likeness(first, second) < 0.1
    second[:-1, 2:] += first[1:, :-2]
    by_hand = max(
        np.corrcoef(first[4:108:2, 4:108:2].ravel(), second[4 + y : 108 + y : 2, 4 + x : 108 + x : 2].ravel())[0, 1]
        for y in range(-2, 3)
        for x in range(-2, 3)
    )
    assert detail_likeness(first, second) == pytest.approx(by_hand, abs=1e-5)
    assert by_hand > 0.5


def test_details_are_means_of_9_less_means_of_81_pixels() -> None:
    image = noise(112, 112)
    grey = image.astype(float) @ [0.299, 0.587, 0.114]
    expected = grey[49:52, 59:62].mean() - grey[46:55, 56:65].mean()
    assert details(image[None])[0, 50, 60] == pytest.approx(expected, abs=1e-3)


def test_images_of_the_same_pixels_are_one_group_however_plain_they_are() -> None:
    images = np.zeros((10, 112, 112, 3), np.uint8)
    images[4], images[7] = 90, noise(112, 112)
    pairs = same_pixels(digests(images))
    assert groups_of(pairs, 10).tolist() == [0, 0, 0, 0, 1, 0, 0, 2, 0, 0]
    assert not are_copies(images, images, np.array([[0, 4]]))[0]  # both without a detail


def test_candidates_that_are_confirmed_keep_their_numbers(photo: np.ndarray) -> None:
    other = take(replace(SCENE, expression=Expression(mouth_open=1.0)))
    images = np.stack([other, photo, other, jpeg(photo), jpeg(other)])
    candidates = np.array([[1, 3], [0, 1], [2, 4], [3, 4], [0, 2]])
    found = confirm(candidates, lambda numbers: images[numbers])
    assert sorted(map(tuple, found.tolist())) == [(0, 2), (1, 3), (2, 4)]
    assert confirm(candidates[:0], lambda numbers: images[numbers]).shape == (0, 2)
