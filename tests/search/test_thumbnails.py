import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from faces.search import thumbnails as module
from faces.search.copies import groups_of
from faces.search.thumbnails import alike, alike_pairs, directions, exact_index, thumbnails

MANY = 10**6


def groups_of_alike(small: np.ndarray, likeness: float, neighbours: int, exact_images: int) -> np.ndarray:
    return groups_of(alike_pairs(small, likeness, neighbours, exact_images), len(small))


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


def test_candidates_are_found_and_others_are_not() -> None:
    images = photos(20)
    changed = images[:4].astype(float)
    changed[0] = changed[0] * 0.8 + 20  # darker, flatter
    changed[1, 1:] = changed[1, :-1]  # shifted
    changed[2] += np.random.default_rng(1).normal(0, 10, changed[2].shape)  # grainy
    all_images = np.concatenate([images, np.clip(changed, 0, 255).astype(np.uint8)])
    group = groups_of_alike(thumbnails(all_images), 0.98, neighbours=3, exact_images=MANY)
    assert group[20:].tolist() == group[:4].tolist()
    assert len(set(group[:20].tolist())) == 20


def test_copies_of_copies_are_one_group_however_few_neighbours_are_kept() -> None:
    copies = np.repeat(photos(3), [12, 1, 5], axis=0)
    group = groups_of_alike(thumbnails(copies), 0.98, neighbours=12, exact_images=MANY)
    assert group.tolist() == [0] * 12 + [1] + [2] * 5


def test_thumbnails_of_one_colour_are_like_nothing() -> None:
    flat = np.full((3, 112, 112, 3), 90, dtype=np.uint8)
    assert groups_of_alike(thumbnails(flat), 0.5, 2, MANY).tolist() == [0, 1, 2]


def test_queries_and_others() -> None:
    vectors = directions(thumbnails(photos(6)))
    query, other = alike(vectors[[4, 1]], exact_index(vectors), 0.98, neighbours=9)
    assert list(zip(query.tolist(), other.tolist(), strict=True)) == [(0, 4), (1, 1)]


def rough(count: int, copies: int, seed: int = 0) -> np.ndarray:
    """Thumbnails of no two alike, then `copies` grainy ones of the first."""
    random = np.random.default_rng(seed)
    small = random.integers(10, 246, (count, 8, 8, 3))
    grain = random.integers(-8, 9, (copies, 8, 8, 3))
    return np.concatenate([small, small[:copies] + grain]).astype(np.uint8)


def test_exact_copies_are_found_at_likeness_1() -> None:
    small = np.repeat(rough(500, 0), 2, axis=0)
    vectors = directions(small)
    assert (np.einsum("ij,ij->i", vectors[::2], vectors[1::2]) < 1).any()  # as rounding has it
    assert groups_of_alike(small, 1.0, 3, MANY).tolist() == np.repeat(np.arange(500), 2).tolist()


@pytest.mark.parametrize("exact_images", [MANY, 700, 1899])
def test_groups_are_those_of_brute_force(monkeypatch: pytest.MonkeyPatch, exact_images: int) -> None:
    monkeypatch.setattr(module, "QUERIES_AT_ONCE", 700)
    small = rough(1500, 400)
    likeness = np.corrcoef(small.reshape(len(small), -1).astype(float))
    first = (likeness >= 0.98).argmax(axis=1)  # of the images that one is like, itself among them
    assert (np.sort(likeness[:, :1500], axis=1)[:, -2] < 0.9).all()  # so that no chain joins two of them
    expected = np.unique(first, return_inverse=True)[1]
    assert groups_of_alike(small, 0.98, 3, exact_images).tolist() == expected.tolist()


def test_cells_are_the_same_every_time() -> None:
    small = rough(3000, 0)
    results = []
    for _ in range(2):
        index = module.make_cells(small)
        index.add(directions(small))
        results.append(index.search(directions(small), 5))
    for once, again in zip(*results, strict=True):
        np.testing.assert_array_equal(once, again)
