import numpy as np
import pytest

from faces.evaluation import pixel_baseline
from image_files import noise


def test_it_is_numpys_correlation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_baseline, "PAIRS_AT_ONCE", 4)
    images = np.stack([noise(112, 112, seed) for seed in range(5)])
    images[3] = images[0] // 2 + 20  # of other contrast and brightness
    a, b = np.array([0, 0, 1, 2, 3, 4, 0, 1, 1]), np.array([0, 1, 2, 0, 0, 3, 3, 1, 4])
    expected = [np.corrcoef(images[i].ravel(), images[j].ravel())[0, 1] for i, j in zip(a, b, strict=True)]
    found = pixel_baseline.pixel_correlation(lambda numbers: images[numbers], a, b)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found[6] > 0.999 and abs(found[1]) < 0.02


def test_an_image_of_one_value_is_like_none() -> None:
    images = np.stack([np.full((112, 112, 3), 7, np.uint8), noise(112, 112)])
    one = np.array([0])
    assert pixel_baseline.pixel_correlation(lambda numbers: images[numbers], one, one + 1) == 0
