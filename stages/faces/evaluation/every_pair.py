"""Every pair of images of a part of the split, scored: enough impostor pairs for low false match rates."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faces.core.sampling import sample_whole_people
from faces.evaluation.scored_pairs import ScoredPairs
from faces.tables.embeddings import Vectors

ROWS_AT_ONCE = 1024  # of the matrix of cosines: 80 MB at 20,000 images


class EveryPair(NamedTuple):
    """Scored pairs, and the image numbers of both images of each, int32 (n,)."""

    pairs: ScoredPairs
    a: NDArray[np.int32]
    b: NDArray[np.int32]


def every_pair(
    images: NDArray[np.int64], unit: Vectors, labels: NDArray[np.int64], most_images: int, seed: int
) -> EveryPair:
    """Return every pair of the images that `sample_whole_people` chooses, scored by cosine; a pair takes 21 bytes.

    Args:
        images: image numbers to choose from.
        unit: embeddings of all images, of length 1, (N, D).
        labels: subject of each image, (N,). In the result, subjects are numbered from 0, in the order of their labels.
        most_images: bound on the chosen images; there are half its square of pairs.
        seed: for the choice of subjects.
    """
    chosen = sample_whole_people(images, labels, most_images, seed)
    subject = np.unique(labels[chosen], return_inverse=True)[1].astype(np.int32)
    numbers = np.arange(len(chosen), dtype=np.int32)
    a = np.repeat(numbers, numbers[::-1])
    b = np.concatenate([numbers[place + 1 :] for place in range(len(chosen))])
    first, second = subject[a], subject[b]
    a, b = (chosen.astype(np.int32)[place] for place in (a, b))
    return EveryPair(ScoredPairs(all_cosines(unit[chosen]), (first == second).view(np.int8), first, second), a, b)


def all_cosines(unit: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine of each of n unit vectors (n, D) with each later one, row by row: (n (n - 1) / 2,), -1..1."""
    count = len(unit)
    cosines = np.empty(count * (count - 1) // 2, dtype=np.float32)
    filled = 0
    for start in range(0, count, ROWS_AT_ONCE):
        block = unit[start : start + ROWS_AT_ONCE] @ unit[start:].T
        for row, values in enumerate(block):
            after = values[row + 1 :]
            cosines[filled : filled + len(after)] = after
            filled += len(after)
    return np.clip(cosines, -1, 1, out=cosines)
