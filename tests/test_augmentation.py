import numpy as np
import pytest

from faces.augmentation import Augmenter


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (700, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def changed(images: np.ndarray) -> np.ndarray:
    return Augmenter()(images, (0, 0, 0))


def test_the_seed_alone_decides(images: np.ndarray, changed: np.ndarray) -> None:
    augmenter = Augmenter()
    other = augmenter(images, (0, 0, 1))
    assert changed.dtype == np.uint8 and changed.shape == images.shape
    assert not np.array_equal(other, changed)
    np.testing.assert_array_equal(augmenter(images, (0, 0, 0)), changed)


def test_the_input_is_left_alone(images: np.ndarray) -> None:
    before = images.copy()
    Augmenter()(images, (3,))
    np.testing.assert_array_equal(images, before)


def kind(before: np.ndarray, after: np.ndarray) -> str:
    """Tell by its own definition which change was made."""
    inverted, kept = after == 255 - before, after == before
    if kept.all():
        return "none"
    if (after == after[..., :1]).all():
        return "grey"
    if (kept | inverted).all():
        return "solarize"
    if (~kept.all(axis=-1)).mean() < 0.25:
        return "salt and pepper"
    if all(np.unique(after[before == value]).size == 1 for value in np.unique(before)):
        return "gamma or quantisation"  # a function of the value alone
    return "blur"


def test_each_of_the_seven_changes_takes_its_share(images: np.ndarray, changed: np.ndarray) -> None:
    kinds = [kind(before, after) for before, after in zip(images, changed, strict=True)]
    # A seventh each of 700 is 100, standard deviation 9. Some of the seven leave some images as they were.
    for name, least, most in (
        ("none", 100, 180),
        ("grey", 60, 140),
        ("solarize", 50, 140),
        ("salt and pepper", 60, 140),
        ("gamma or quantisation", 120, 260),
        ("blur", 60, 140),
    ):
        assert least <= kinds.count(name) <= most, name
