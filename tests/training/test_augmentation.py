import numpy as np
import pytest

from faces.training.augmentation import AugmentParams, NotebookAugmenter, PhotoAugmenter

OFF = {name: False if name in ("one_of_seven", "flip") else 0.0 for name in AugmentParams.model_fields}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (700, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def changed(images: np.ndarray) -> np.ndarray:
    return NotebookAugmenter()(images, (0, 0, 0))


def test_the_seed_alone_decides(images: np.ndarray, changed: np.ndarray) -> None:
    augmenter = NotebookAugmenter()
    other = augmenter(images, (0, 0, 1))
    assert changed.dtype == np.uint8 and changed.shape == images.shape
    assert not np.array_equal(other, changed)
    np.testing.assert_array_equal(augmenter(images, (0, 0, 0)), changed)


def test_the_input_is_left_alone(images: np.ndarray) -> None:
    before = images.copy()
    NotebookAugmenter()(images, (3,))
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


def with_only(**on: object) -> PhotoAugmenter:
    return PhotoAugmenter(AugmentParams.model_validate(OFF | on))


def test_all_off_changes_nothing(images: np.ndarray) -> None:
    np.testing.assert_array_equal(with_only()(images, (0,)), images)


def test_photo_changes_repeat_by_seed_and_leave_the_input_alone(images: np.ndarray) -> None:
    before = images.copy()
    augmenter = with_only(flip=True, rotation_degrees=5, zoom=0.1, shift_pixels=1, contrast=0.2, brightness=9, tint=3,
                          grey_probability=0.3, low_resolution_probability=0.3, blur_probability=0.3,
                          erase_probability=0.3)  # fmt: skip
    changed = augmenter(images, (1, 2))
    assert changed.dtype == np.uint8 and changed.shape == images.shape
    np.testing.assert_array_equal(augmenter(images, (1, 2)), changed)
    assert not np.array_equal(augmenter(images, (1, 3)), changed)
    np.testing.assert_array_equal(images, before)


def test_half_are_flipped(images: np.ndarray) -> None:
    changed = with_only(flip=True)(images, (0,))
    flipped = (changed == images[:, :, ::-1]).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(changed[~flipped], images[~flipped])
    assert 300 <= flipped.sum() <= 400  # 350, standard deviation 13


def test_shifts_have_the_deviation_asked_for() -> None:
    """A bright row and column move by the shift; where they come to lie is measured by their centre of mass."""
    image = np.zeros((112, 112, 3), np.uint8)
    image[56, :], image[:, 56] = 255, 255
    changed = with_only(shift_pixels=3.0)(np.stack([image] * 400), (0,)).astype(float)
    for axis in (1, 2):
        profile = changed[..., 0].sum(axis=axis)  # along the other axis
        profile -= np.median(profile, axis=1, keepdims=True)
        moved = (np.clip(profile, 0, None) * np.arange(112)).sum(1) / np.clip(profile, 0, None).sum(1) - 56
        assert moved.mean() == pytest.approx(0, abs=0.6) and moved.std() == pytest.approx(3.0, rel=0.12)


def test_light_is_a_function_of_each_colours_value(images: np.ndarray) -> None:
    changed = with_only(contrast=0.25, brightness=25.0, tint=10.0)(images[:100], (0,))
    for before, after in zip(images[:100], changed, strict=True):
        for channel in range(3):
            levels = np.argsort(before[..., channel].ravel(), kind="stable")
            assert (np.diff(after[..., channel].ravel()[levels].astype(int)) >= 0).all()
    offsets = with_only(brightness=25.0)(np.full((500, 4, 4, 3), 128, np.uint8), (0,))[:, 0, 0].astype(float) - 128
    assert (offsets[:, 0] == offsets[:, 2]).all()
    assert offsets[:, 0].std() == pytest.approx(25, rel=0.1)


def test_grey_blur_and_low_resolution_take_their_shares(images: np.ndarray) -> None:
    grey = with_only(grey_probability=0.2)(images, (0,))
    assert 100 <= sum((image == image[..., :1]).all() for image in grey) <= 180  # 140, standard deviation 11
    for name in ("low_resolution_probability", "blur_probability"):
        changed = with_only(**{name: 0.2})(images, (0,))
        touched = (changed != images).any(axis=(1, 2, 3))
        assert 100 <= touched.sum() <= 180
        assert changed[touched].std() < 0.9 * images[touched].std()  # both take noise away


def test_a_patch_of_one_grey_is_painted_over() -> None:
    images = np.random.default_rng(1).integers(0, 256, (300, 112, 112, 3), dtype=np.uint8)
    changed = with_only(erase_probability=1.0)(images, (0,))
    for before, after in zip(images, changed, strict=True):
        rows, columns = np.nonzero((before != after).any(axis=-1))
        patch = after[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert np.unique(patch).size == 1
        assert 10 <= min(patch.shape[:2]) and max(patch.shape[:2]) <= 50  # 0.1 to 0.45 of 112
