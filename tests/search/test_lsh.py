from itertools import combinations

import numpy as np
import pytest

from faces.search.lsh import HyperplaneIndex
from faces.search.neighbours import exact_neighbours
from faces.tables.embeddings import unit_length


def clusters(count: int = 400, size: int = 24, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = random.standard_normal((20, size))[random.integers(0, 20, count)]
    return unit_length((centres + 0.7 * random.standard_normal((count, size))).astype(np.float32))


def bits(vector: np.ndarray, normals: np.ndarray) -> tuple[bool, ...]:
    return tuple(float(vector.astype(float) @ normals[:, plane]) >= 0 for plane in range(normals.shape[1]))


def candidates_in_plain_python(unit: np.ndarray, query: np.ndarray, normals: np.ndarray, radius: int) -> set[int]:
    """The algorithm as the notebook states it: buckets by hash, and every way to flip up to `radius` bits."""
    buckets: dict[tuple[bool, ...], set[int]] = {}
    for number, vector in enumerate(unit):
        buckets.setdefault(bits(vector, normals), set()).add(number)
    found: set[int] = set()
    own = bits(query, normals)
    for flips in range(radius + 1):
        for chosen in combinations(range(len(own)), flips):
            found |= buckets.get(tuple(bit != (plane in chosen) for plane, bit in enumerate(own)), set())
    return found


@pytest.mark.parametrize("planes, radius", [(16, 3), (16, 0), (8, 2), (24, 1)])
def test_candidates_are_those_of_the_algorithm(planes: int, radius: int) -> None:
    unit, seed = clusters(), 143
    normals = np.random.default_rng(seed).standard_normal((unit.shape[1], planes))
    index = HyperplaneIndex(unit, planes, radius, seed)
    queries = np.concatenate([unit[:25], clusters(25, seed=1)])  # indexed vectors, and others
    for query, found in zip(queries, index.candidates(queries), strict=True):
        assert found.tolist() == sorted(candidates_in_plain_python(unit, query, normals, radius))


def test_neighbours_are_the_best_candidates_without_the_query() -> None:
    unit = clusters()
    index = HyperplaneIndex(unit, 16, 3, 143)
    queries = np.array([5, 399, 17])
    for (query, near, cosines), asked in zip(index.search(queries, 10, batch=2), queries, strict=True):
        assert query == asked
        pool = [int(c) for c in index.candidates(unit[[query]])[0] if c != query]
        exact = {c: float(np.dot(unit[c].astype(float), unit[query].astype(float))) for c in pool}
        assert near.tolist() == sorted(pool, key=lambda c: (-exact[c], c))[:10]
        np.testing.assert_allclose(cosines, [exact[int(c)] for c in near], atol=1e-6)


def test_a_copy_of_the_query_is_kept_and_the_query_is_not() -> None:
    unit = clusters()
    unit[300] = unit[3]
    ((_, near, cosines),) = HyperplaneIndex(unit, 16, 3, 143).search(np.array([3]), 5)
    assert near[0] == 300 and cosines[0] == pytest.approx(1.0) and 3 not in near
    assert exact_neighbours(unit, np.array([3]), 5)[0, 0] == 300


def test_radius_of_all_bits_finds_everything_exactly() -> None:
    unit, queries = clusters(60), np.arange(60)
    exact = exact_neighbours(unit, queries, 7)
    brute = np.argsort(-(unit @ unit.T + np.diag(np.full(60, -9.0))), axis=1)[:, :7]
    for row, (query, near, _) in zip(queries, HyperplaneIndex(unit, 8, 8, 0).search(queries, 7), strict=True):
        assert query == row and set(near) == set(exact[row]) == set(brute[row])


def test_asking_for_more_neighbours_than_there_are() -> None:
    unit = clusters(4)
    assert exact_neighbours(unit, np.arange(4), 10).shape == (4, 3)


def test_planes_must_fill_bytes() -> None:
    with pytest.raises(ValueError, match="planes = 12"):
        HyperplaneIndex(clusters(), 12, 3, 0)
