from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from faces.core.image_size import SIDE
from faces.drawing.camera import SUPERSAMPLING, View, develop, rotation_matrix, tone_map
from faces.images.alignment import TEMPLATE, similarity_transform
from still_camera import STILL

MARKS = np.array([[-32, 0, 84], [32, 0, 84], [0, -37, 110], [-26, -73, 80], [26, -73, 80]], np.float32)


def grey(level: float) -> np.ndarray:
    return np.full((SIDE * SUPERSAMPLING, SIDE * SUPERSAMPLING, 3), level, np.float32)


def test_similarity_finds_the_transform_that_made_the_points() -> None:
    source = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    turn, scale, shift = 0.7, 3.0, np.array([5.0, -2.0])
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    a, b = similarity_transform(source, (source @ matrix.T + shift).astype(np.float32))
    assert abs(a) == pytest.approx(3.0) and np.angle(a) == pytest.approx(0.7)
    assert (b.real, b.imag) == pytest.approx((5.0, -2.0))


def test_similarity_is_least_squares() -> None:
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(2, 5, 2)).astype(np.float32)
    # The same fit as a linear system in (re a, im a, re b, im b).
    rows = [[x, -y, 1, 0] for x, y in source] + [[y, x, 0, 1] for x, y in source]
    solved = np.linalg.lstsq(np.array(rows), np.concatenate([target[:, 0], target[:, 1]]), rcond=None)[0]
    a, b = similarity_transform(source, target)
    assert (a.real, a.imag, b.real, b.imag) == pytest.approx(tuple(solved))


@pytest.mark.parametrize(
    "angles, axis, expected",
    [
        ((90, 0, 0), (0, 0, 1), (1, 0, 0)),  # the nose goes to the right of the picture
        ((0, 90, 0), (0, 0, 1), (0, 1, 0)),  # the nose goes up
        ((0, 0, 90), (1, 0, 0), (0, 1, 0)),  # the right ear goes up
    ],
)
def test_rotations_by_hand(angles: tuple[int, int, int], axis: tuple[int, ...], expected: tuple[int, ...]) -> None:
    np.testing.assert_allclose(rotation_matrix(*angles) @ np.array(axis), expected, atol=1e-6)


@pytest.mark.parametrize("yaw, pitch, roll", [(30, 15, 20), (-40, 18, -25), (75, -40, 90)])
def test_a_head_rolls_then_nods_then_turns(yaw: float, pitch: float, roll: float) -> None:
    # Lower case: about axes that stay, one after the other; about x a positive angle takes z down, a pitch takes it up.
    expected = Rotation.from_euler("zxy", [roll, -pitch, yaw], degrees=True)
    np.testing.assert_allclose(rotation_matrix(yaw, pitch, roll), expected.as_matrix(), atol=1e-6)  # float32
    turned = View(replace(STILL, yaw=yaw, pitch=pitch, roll=roll), MARKS).to_camera(MARKS)
    np.testing.assert_allclose(turned, expected.apply(MARKS), atol=1e-3)  # mm, of points some 100 mm away


def test_a_near_camera_magnifies_what_is_near() -> None:
    def nose_size(distance: float) -> float:
        view = View(replace(STILL, distance=distance), MARKS)
        ends = view.to_crop(np.array([[-10, -40, 110], [10, -40, 110], [-10, 0, 0], [10, 0, 0]], np.float32))
        return float((ends[1, 0] - ends[0, 0]) / (ends[3, 0] - ends[2, 0]))

    # Sizes go with 1 / (distance - z): at 500 mm a nose at z = 110 is 500 / 390 times what it is at z = 0.
    assert nose_size(0.5) == pytest.approx(500 / 390, rel=1e-4)
    assert nose_size(5.0) == pytest.approx(5000 / 4890, rel=1e-4)


def test_jitter_moves_the_crop_as_far_as_the_landmarks() -> None:
    moved = View(replace(STILL, jitter=np.full((5, 2), 3, np.float32)), MARKS).to_crop(MARKS)
    np.testing.assert_allclose(moved, View(STILL, MARKS).to_crop(MARKS) + 3, atol=1e-3)
    np.testing.assert_allclose(View(STILL, MARKS).to_crop(MARKS).mean(0), TEMPLATE.mean(0), atol=1e-3)


def test_screen_coding_keeps_order_and_range() -> None:
    linear = np.linspace(0, 3, 500, dtype=np.float32)
    coded = tone_map(linear)
    assert coded[0] == 0 and coded[-1] <= 1 and (np.diff(coded) >= 0).all()
    assert tone_map(np.array([0.5], np.float32))[0] == pytest.approx(0.5 ** (1 / 2.2), abs=1e-6)


def test_a_perfect_camera_keeps_a_plain_picture() -> None:
    taken = develop(grey(0.2), STILL, np.random.default_rng(0))
    assert taken.shape == (SIDE, SIDE, 3) and taken.dtype == np.uint8
    assert (taken == round(0.2 ** (1 / 2.2) * 255)).all()


def test_a_poor_camera_blurs_and_adds_grain() -> None:
    rng = np.random.default_rng(0)
    edge = grey(0.0)
    edge[:, SIDE:] = 0.6
    sharp, blurred, small = (
        develop(edge, camera, rng).astype(int)
        for camera in (STILL, replace(STILL, blur=2.0), replace(STILL, resolution=20))
    )
    steepest = [np.abs(np.diff(picture[50, :, 0])).max() for picture in (sharp, blurred, small)]
    assert steepest[0] > 2 * max(steepest[1:])
    grain = develop(grey(0.2), replace(STILL, noise=0.05), rng).astype(float) / 255
    # Grain of its own a channel (0.7) and grain they share, the mean of three (0.5 / sqrt(3)), partly the same numbers.
    expected = 0.05 * np.sqrt(0.7**2 + 2 * 0.7 * 0.5 / 3 + 0.5**2 / 3)
    assert grain.std() == pytest.approx(expected, rel=0.03)
