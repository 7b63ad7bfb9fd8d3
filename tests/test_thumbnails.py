import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from faces.thumbnails import alike, directions, groups_of_copies, thumbnails


def photos(count: int, seed: int = 0) -> np.ndarray:
    """Smooth pictures that differ."""
    random = np.random.default_rng(seed)
    rough = random.normal(size=(count, 112, 112, 3))
    smooth = gaussian_filter(rough, (0, 12, 12, 0))
    return np.clip(128 + smooth / smooth.std() * 40, 0, 255).astype(np.uint8)


def test_a_thumbnail_is_what_pillow_makes_of_it() -> None:
    images = photos(3)
    by_pillow = [np.asarray(Image.fromarray(image).resize((8, 8), Image.Resampling.BOX)) for image in images]
    assert np.abs(thumbnails(images).astype(int) - np.array(by_pillow).astype(int)).max() <= 1  # rounding


def test_likeness_is_the_correlation_of_pixels() -> None:
    small = thumbnails(photos(2))
    vectors = directions(small)
    expected = np.corrcoef(small.reshape(2, -1).astype(float))[0, 1]
    assert vectors[0] @ vectors[1] == pytest.approx(expected, abs=1e-6)


def test_copies_are_found_and_others_are_not() -> None:
    images = photos(20)
    changed = images[:4].astype(float)
    changed[0] = changed[0] * 0.8 + 20  # darker, flatter
    changed[1, 1:] = changed[1, :-1]  # shifted
    changed[2] += np.random.default_rng(1).normal(0, 10, changed[2].shape)  # grainy
    all_images = np.concatenate([images, np.clip(changed, 0, 255).astype(np.uint8)])
    group = groups_of_copies(thumbnails(all_images), 0.98, neighbours=3)
    assert group[20:].tolist() == group[:4].tolist()
    assert len(set(group[:20].tolist())) == 20


def test_copies_of_copies_are_one_group_however_few_neighbours_are_kept() -> None:
    copies = np.repeat(photos(3), [12, 1, 5], axis=0)
    group = groups_of_copies(thumbnails(copies), 0.98, neighbours=12)
    assert group.tolist() == [0] * 12 + [1] + [2] * 5


def test_images_of_one_colour_are_like_nothing() -> None:
    flat = np.full((3, 112, 112, 3), 90, dtype=np.uint8)
    assert groups_of_copies(thumbnails(flat), 0.5, 2).tolist() == [0, 1, 2]


def test_queries_and_others() -> None:
    small = thumbnails(photos(6))
    query, other = alike(small[[4, 1]], small, 0.98, neighbours=9)
    assert list(zip(query.tolist(), other.tolist(), strict=True)) == [(0, 4), (1, 1)]
