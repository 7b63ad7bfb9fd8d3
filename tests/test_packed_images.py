import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from faces.files import write_npy
from faces.packed_images import PackedImages, shards_of
from faces.stage import StageError


@pytest.fixture
def packed(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """Two sources: the first in shards of 3, 1 and 2 images, the second in one of 3."""
    random = np.random.default_rng(0)
    arrays = {name: random.integers(0, 256, (n, 112, 112, 3), dtype=np.uint8) for name, n in (("a", 6), ("b", 3))}
    for name, ends in (("a", [3, 4]), ("b", [])):
        for number, shard in enumerate(np.split(arrays[name], ends)):
            write_npy(tmp_path / name / f"{number:05d}.npy", shard)
    return tmp_path, arrays


def test_images_come_in_the_order_asked_for(packed: tuple[Path, dict[str, np.ndarray]]) -> None:
    folder, arrays = packed
    rows = [("b", 2), ("a", 0), ("a", 1), ("a", 3), ("b", 0), ("a", 5), ("a", 2)]
    images = PackedImages(pd.DataFrame(rows, columns=["source", "row"]), folder)
    assert len(images) == 7 and [path.parent.name for path in images.paths] == ["a", "a", "a", "b"]
    expected = [arrays[source][row] for source, row in rows]
    for order in ([0, 1, 2, 3, 4, 5, 6], [3, 1, 1, 0], [1, 2, 6], [6, 2, 1], [2], []):
        got = images[np.array(order, dtype=np.int64)]
        assert got.dtype == np.uint8 and got.shape == (len(order), 112, 112, 3)
        for pixels, number in zip(got, order, strict=True):
            np.testing.assert_array_equal(pixels, expected[number])


def test_shards_are_in_order_of_numbers(tmp_path: Path) -> None:
    for number, shade in ((99999, 1), (100000, 2)):  # by letters, the second would come first
        write_npy(tmp_path / "a" / f"{number:05d}.npy", np.full((1, 112, 112, 3), shade, np.uint8))
    assert [shard.read(np.array([0]))[0, 0, 0, 0] for shard in shards_of("a", tmp_path)] == [1, 2]


def test_a_source_that_does_not_fit_the_split_is_named(packed: tuple[Path, dict[str, np.ndarray]]) -> None:
    folder, _ = packed
    with pytest.raises(StageError, match=r"a holds 6 images; data/split.csv asks for row 6"):
        PackedImages(pd.DataFrame({"source": ["a"], "row": [6]}), folder)
    with pytest.raises(StageError, match=r"c: has no packed images"):
        PackedImages(pd.DataFrame({"source": ["c"], "row": [0]}), folder)
    write_npy(folder / "c/00000.npy", np.zeros((4, 96, 112, 3), np.uint8))
    with pytest.raises(StageError, match=r"c/00000\.npy: uint8 \(4, 96, 112, 3\)"):
        PackedImages(pd.DataFrame({"source": ["c"], "row": [0]}), folder)


def test_a_file_that_shrinks_after_it_was_opened_is_named(packed: tuple[Path, dict[str, np.ndarray]]) -> None:
    folder, _ = packed
    images = PackedImages(pd.DataFrame({"source": ["b"], "row": [2]}), folder)
    os.truncate(folder / "b/00000.npy", 1000)
    with pytest.raises(StageError, match=r"b/00000\.npy was cut short"):
        images[np.array([0])]
