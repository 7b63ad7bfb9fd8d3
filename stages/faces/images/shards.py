"""Which subjects of a source share a shard: shards have a bounded size, and a new subject changes only one of them.

Subjects stay in order. A range of subjects that is too large for one shard is cut before the subject with the smallest
hash of its name, and so on with both halves: the shape of a treap (Seidel, Aragon 1996, "Randomized Search Trees").
Where a range is cut therefore depends only on the subjects in it. Adding or removing a subject changes one shard,
splits one in two or merges two; very rarely, if the subject's hash is small, it changes more.
"""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np


def plan(subjects: Sequence[str], sizes: Sequence[int], max_images: int) -> Iterator[Sequence[str]]:
    """Yield the subjects of each shard, in order; shards are half full on average.

    Args:
        subjects: names, in order; at least one.
        sizes: number of images of each subject.
        max_images: of a shard; a subject with more has a shard of its own.
    """
    hashes = np.array([hash_name(subject) for subject in subjects])
    ends = np.cumsum([0, *sizes])
    ranges = [(0, len(subjects))]
    while ranges:
        start, stop = ranges.pop()
        if ends[stop] - ends[start] <= max_images or stop - start == 1:
            yield subjects[start:stop]
        else:
            cut = start + 1 + int(hashes[start + 1 : stop].argmin())
            ranges += [(cut, stop), (start, cut)]


def hash_name(subject: str) -> int:
    """Return a hash of a name, uniform over 0 to 2^63 - 1 and the same on every machine."""
    return int.from_bytes(hashlib.blake2b(subject.encode("utf-8"), digest_size=8).digest(), "big") >> 1
