"""The plan of shards against its definition, and how few shards a change touches."""

import numpy as np
import pytest

from faces.images.shards import hash_name, plan

NAMES = [f"person {number}" for number in range(2000)]
SIZES = np.random.default_rng(0).integers(1, 50, len(NAMES)).tolist()


def planned(names: list[str], sizes: list[int], max_images: int) -> list[list[str]]:
    return [list(shard) for shard in plan(names, sizes, max_images)]


def by_recursion(names: list[str], sizes: list[int], max_images: int) -> list[list[str]]:
    if sum(sizes) <= max_images or len(names) == 1:
        return [names]
    cut = min(range(1, len(names)), key=lambda place: hash_name(names[place]))
    return by_recursion(names[:cut], sizes[:cut], max_images) + by_recursion(names[cut:], sizes[cut:], max_images)


@pytest.mark.parametrize("max_images", [16, 300, 5000, 10**6])
def test_the_plan_follows_the_definition(max_images: int) -> None:
    shards = planned(NAMES, SIZES, max_images)
    assert shards == by_recursion(NAMES, SIZES, max_images)
    assert sum(shards, []) == NAMES
    size = dict(zip(NAMES, SIZES, strict=True))
    assert all(len(shard) == 1 or sum(map(size.__getitem__, shard)) <= max_images for shard in shards)


def test_shards_are_half_full_on_average() -> None:
    # Ranges that are cut at random until they are no longer than L come to 2 x / L - 1 pieces of a range of x.
    shards = planned(NAMES, SIZES, 1000)
    assert len(shards) == pytest.approx(2 * sum(SIZES) / 1000 - 1, rel=0.15)


def test_a_subject_that_comes_or_goes_changes_few_shards() -> None:
    before = {tuple(shard) for shard in planned(NAMES, SIZES, 1000)}
    changed = []
    for place in range(0, len(NAMES), 20):
        names, sizes = NAMES[:place] + NAMES[place + 1 :], SIZES[:place] + SIZES[place + 1 :]
        fewer = {tuple(shard) for shard in planned(names, sizes, 1000)}
        changed.append(len(fewer - before))  # packed anew; read backwards, a subject comes
        assert len(before - fewer) <= 2 + 2 * (NAMES[place] in {shard[0] for shard in before})
    assert np.mean(changed) < 1.2 and len(before) > 80


def test_the_hash_is_blake2b() -> None:
    # b2sum --length 64 of "a": 40f89e395b66422f
    assert hash_name("a") == 0x40F89E395B66422F >> 1
