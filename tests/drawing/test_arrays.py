import numpy as np

from faces.drawing.arrays import blend, smooth_noise, smoothstep


def test_smoothstep_by_hand() -> None:
    np.testing.assert_allclose(smoothstep(np.array([0, 1, 2, 3, 4], np.float32), 1, 3), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(smoothstep(np.array([0, 1, 2, 3, 4], np.float32), 3, 1), [1, 1, 0.5, 0, 0])


def test_blend_by_hand() -> None:
    canvas = np.zeros((1, 3, 3), np.float32)
    blend(canvas, np.array([1, 0.5, 0], np.float32), np.array([[0, 0.5, 1]], np.float32))
    np.testing.assert_allclose(canvas[0], np.array([[0, 0, 0], [0.5, 0.25, 0], [1, 0.5, 0]]))


def test_noise_has_its_shape_and_about_unit_deviation() -> None:
    drawn = smooth_noise(np.random.default_rng(0), (80, 90), 20, 20)
    assert drawn.shape == (80, 90) and drawn.dtype == np.float32
    assert 0.6 < drawn.std() < 1.2
