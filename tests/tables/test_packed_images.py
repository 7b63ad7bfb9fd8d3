import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from faces.core.csv_files import write_csv
from faces.core.errors import StageError
from faces.tables.packed_images import PackedImages, open_shards


@pytest.fixture
def packed(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """Two sources: the first in shards of 3, 1 and 2 images, the second in one of 3."""
    random = np.random.default_rng(0)
    arrays = {name: random.integers(0, 256, (n, 112, 112, 3), dtype=np.uint8) for name, n in (("a", 6), ("b", 3))}
    for name, ends in (("a", [3, 4]), ("b", [])):
        write_shards(tmp_path / name, np.split(arrays[name], ends))
    return tmp_path, arrays


def write_shards(folder: Path, shards: list[np.ndarray]) -> None:
    folder.mkdir()
    names = [f"{number:05d}" for number in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        np.save(folder / f"{name}.npy", shard)
    write_csv(folder / "shards.csv", pd.DataFrame({"shard": names, "images": list(map(len, shards))}))


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


def test_a_shard_that_is_not_what_the_list_says_is_named(packed: tuple[Path, dict[str, np.ndarray]]) -> None:
    """Images of later shards would be taken for others."""
    folder, arrays = packed
    np.save(folder / "a/00001.npy", arrays["a"][:2])
    with pytest.raises(StageError, match=r"a/00001.npy holds 2 images; .*a/shards.csv says 1"):
        open_shards("a", folder)
    (folder / "a/00001.npy").unlink()
    with pytest.raises(StageError, match=r"a/00001.npy is missing"):
        open_shards("a", folder)


def test_a_source_that_does_not_fit_the_split_is_named(packed: tuple[Path, dict[str, np.ndarray]]) -> None:
    folder, _ = packed
    with pytest.raises(StageError, match=r"a holds 6 images; data/split.csv asks for row 6"):
        PackedImages(pd.DataFrame({"source": ["a"], "row": [6]}), folder)
    with pytest.raises(StageError, match=r"data/split.csv: images of source 'c', which .* does not hold"):
        PackedImages(pd.DataFrame({"source": ["c"], "row": [0]}), folder)
    write_shards(folder / "c", [np.zeros((4, 96, 112, 3), np.uint8)])
    with pytest.raises(StageError, match=r"c/00000\.npy: uint8 \(4, 96, 112, 3\)"):
        PackedImages(pd.DataFrame({"source": ["c"], "row": [0]}), folder)


def test_a_file_that_shrinks_after_it_was_opened_is_named(packed: tuple[Path, dict[str, np.ndarray]]) -> None:
    folder, _ = packed
    images = PackedImages(pd.DataFrame({"source": ["b"], "row": [2]}), folder)
    os.truncate(folder / "b/00000.npy", 1000)
    with pytest.raises(StageError, match=r"b/00000\.npy was cut short"):
        images[np.array([0])]


@pytest.mark.parametrize("rows", [[], [("00000", 3), ("00000", 3)]])
def test_a_list_of_no_shard_or_of_one_twice_is_named(
    packed: tuple[Path, dict[str, np.ndarray]], rows: list[tuple[str, int]]
) -> None:
    folder, _ = packed
    write_csv(folder / "b/shards.csv", pd.DataFrame(rows, columns=["shard", "images"]))
    with pytest.raises(StageError, match=r"b/shards.csv: lists no shard, or one twice"):
        open_shards("b", folder)


def test_an_array_with_columns_first_is_named(packed: tuple[Path, dict[str, np.ndarray]]) -> None:
    folder, arrays = packed
    np.save(folder / "b/00000.npy", np.asfortranarray(arrays["b"]))
    with pytest.raises(StageError, match=r"b/00000.npy: columns come first"):
        open_shards("b", folder)
