from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cosine

from faces.core.errors import StageError
from faces.tables.embeddings import cosine_of_pairs, read_embeddings, unit_length


def vectors(count: int = 50, size: int = 12) -> np.ndarray:
    return np.random.default_rng(0).normal(1.0, 3.0, (count, size)).astype(np.float32)


def test_reading_checks_type_and_size(tmp_path: Path) -> None:
    path = tmp_path / "embeddings.npy"
    np.save(path, vectors())
    np.testing.assert_array_equal(read_embeddings(50, path), vectors())
    with pytest.raises(StageError, match=r"float32 \(50, 12\); expected float32 \(51, D\)"):
        read_embeddings(51, path)
    np.save(path, vectors().astype(np.float64))
    with pytest.raises(StageError, match="float64"):
        read_embeddings(50, path)


def test_unit_length_by_hand() -> None:
    np.testing.assert_allclose(
        unit_length(np.array([[3, 4], [0, -2]], dtype=np.float32)), np.array([[0.6, 0.8], [0, -1]]), rtol=1e-7
    )


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_vector_without_direction_is_named(bad: float) -> None:
    rows = vectors()
    rows[7] = bad
    with pytest.raises(StageError, match="vector 7 "):
        unit_length(rows)


def test_cosine_of_pairs_against_scipy() -> None:
    rows, random = vectors(), np.random.default_rng(1)
    a, b = random.integers(0, 50, (2, 70_000))  # more than one chunk
    got = cosine_of_pairs(unit_length(rows), a, b)
    for pair in [0, 1, 65_535, 65_536, 69_999]:
        # float32 vectors of length 1 carry a relative error of 6e-8 an element
        expected = 1 - cosine(rows[a[pair]].astype(float), rows[b[pair]].astype(float))
        assert got[pair] == pytest.approx(expected, abs=1e-6)
    assert got.max() <= 1.0 and got.min() >= -1.0
