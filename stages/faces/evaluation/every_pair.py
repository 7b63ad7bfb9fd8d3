"""All pairs of images of a part of the split: what figures need that tell rates of one false match in a thousand."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faces.evaluation.bootstrap import Pairs
from faces.tables.embeddings import Vectors

ROWS_AT_ONCE = 1024  # of the matrix of cosines: 80 MB at 20,000 images


class EveryPair(NamedTuple):
    """Scored pairs, and the numbers of their images, each int32 (n,)."""

    pairs: Pairs
    a: NDArray[np.int32]
    b: NDArray[np.int32]


def every_pair(
    images: NDArray[np.int64], unit: Vectors, labels: NDArray[np.int64], most_images: int, seed: int
) -> EveryPair:
    """Return all pairs of as many whole subjects, in random order, as hold `most_images` images, but two at least.

    There is a genuine pair among them if there is one at all. Subjects are numbered anew, in the order of their labels.
    A pair takes 21 bytes.

    Args:
        images: numbers of the images to choose from.
        unit: embeddings of all images, unit length, (N, D); a pair's score is the cosine of its two.
        labels: (N,) subject of each image.
        most_images: bounds the pairs at half its square.
        seed: of the order.
    """
    chosen = chosen_images(images, labels, most_images, seed)
    subject = np.unique(labels[chosen], return_inverse=True)[1].astype(np.int32)
    numbers = np.arange(len(chosen), dtype=np.int32)
    a = np.repeat(numbers, numbers[::-1])
    b = np.concatenate([numbers[place + 1 :] for place in range(len(chosen))])
    first, second = subject[a], subject[b]
    a, b = (chosen.astype(np.int32)[place] for place in (a, b))
    return EveryPair(Pairs(cosines_of_all(unit[chosen]), (first == second).view(np.int8), first, second), a, b)


def chosen_images(
    images: NDArray[np.int64], labels: NDArray[np.int64], most_images: int, seed: int
) -> NDArray[np.int64]:
    """Return the images whose every pair is taken, in their order; the arguments are those of `every_pair`."""
    random = np.random.default_rng(seed)
    subjects, sizes = np.unique(labels[images], return_counts=True)
    order = random.permutation(len(subjects))
    fitting = max(2, int(np.searchsorted(np.cumsum(sizes[order]), most_images, side="right")))
    if (sizes[order[:fitting]] == 1).all():  # no genuine pair: the first subject that has one comes in
        order[0] = order[np.argmax(sizes[order] > 1)]
    return images[np.isin(labels[images], subjects[order[:fitting]])]


def cosines_of_all(unit: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine of each of n unit vectors (n, D) with each after it, row by row, in -1..1: (n (n - 1) / 2,)."""
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
