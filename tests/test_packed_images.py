from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from faces.files import write_npy
from faces.packed_images import PackedImages
from faces.stage import StageError


@pytest.fixture
def packed(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    arrays = {name: random.integers(0, 256, (n, 112, 112, 3), dtype=np.uint8) for name, n in (("a", 4), ("b", 3))}
    for name, array in arrays.items():
        write_npy(tmp_path / f"{name}.npy", array)
    return tmp_path, arrays


def test_images_come_in_the_order_asked_for(packed: tuple[Path, dict[str, np.ndarray]]) -> None:
    folder, arrays = packed
    split = pd.DataFrame({"source": ["b", "a", "a", "b"], "row": [2, 0, 3, 0]})
    images = PackedImages(split, folder)
    assert len(images) == 4
    expected = [arrays["b"][2], arrays["a"][0], arrays["a"][3], arrays["b"][0]]
    for order in ([0, 1, 2, 3], [3, 1, 1, 0], [2], []):
        got = images[np.array(order, dtype=np.int64)]
        assert got.dtype == np.uint8 and got.shape == (len(order), 112, 112, 3)
        for pixels, number in zip(got, order, strict=True):
            np.testing.assert_array_equal(pixels, expected[number])


def test_a_source_that_does_not_fit_the_split_is_named(packed: tuple[Path, dict[str, np.ndarray]]) -> None:
    folder, _ = packed
    with pytest.raises(StageError, match=r"a\.npy holds 4 images; data/split.csv asks for row 4"):
        PackedImages(pd.DataFrame({"source": ["a"], "row": [4]}), folder)
    with pytest.raises(StageError, match=r"c\.npy is missing"):
        PackedImages(pd.DataFrame({"source": ["c"], "row": [0]}), folder)
    write_npy(folder / "c.npy", np.zeros((4, 96, 112, 3), np.uint8))
    with pytest.raises(StageError, match=r"c\.npy: uint8 \(4, 96, 112, 3\)"):
        PackedImages(pd.DataFrame({"source": ["c"], "row": [0]}), folder)
