"""Which subjects of a source are packed into one file: shards of a bounded size that a new subject leaves as they are.

Subjects stay in their order. A range of them that is too large for one shard is cut before the subject with the least
of the numbers that hashes of names give, and so on with both halves: the shape of a treap (Seidel, Aragon 1996,
"Randomized Search Trees"). So where a cut falls depends on the subjects of its range alone, and one who comes or goes
changes the shard that they are in, or makes it two, or one of two; very rarely, if their number is low, more.
"""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np


def plan(subjects: Sequence[str], sizes: Sequence[int], most: int) -> Iterator[Sequence[str]]:
    """Yield the subjects of one shard after another; shards are half full on average.

    Args:
        subjects: names, in order; at least one.
        sizes: images of each.
        most: images in a shard; a subject who has more has a shard of their own.
    """
    numbers = np.array([draw(subject) for subject in subjects])
    ends = np.cumsum([0, *sizes])
    ranges = [(0, len(subjects))]
    while ranges:
        start, stop = ranges.pop()
        if ends[stop] - ends[start] <= most or stop - start == 1:
            yield subjects[start:stop]
        else:
            cut = start + 1 + int(numbers[start + 1 : stop].argmin())
            ranges += [(cut, stop), (start, cut)]


def draw(subject: str) -> int:
    """Return a number below 2^63 that is uniform over names and fixed for each."""
    return int.from_bytes(hashlib.blake2b(subject.encode("utf-8"), digest_size=8).digest(), "big") >> 1
