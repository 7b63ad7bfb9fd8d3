"""Random samples that repeat: the same seed gives the same sample."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.integer[Any])


def sample_at_most(numbers: NDArray[Number], most: int, seed: int) -> NDArray[Number]:
    """Return ascending numbers (n,) as they are, or `most` of them at random, without repetition, if n is larger.

    The result is ascending, too.
    """
    if len(numbers) <= most:
        return numbers
    return np.sort(np.random.default_rng(seed).choice(numbers, most, replace=False))


def sample_whole_people(
    images: NDArray[np.int64], labels: NDArray[np.int64], most: int, seed: int
) -> NDArray[np.int64]:
    """Return images of whole people, taken in random order while they fit `most`, in the order of `images`.

    At least two people are taken, and one with two images if there is any, for the sake of a genuine pair.

    Args:
        images: image numbers to choose from, (n,).
        labels: person on every image, (N,).
        most: bound on the chosen images.
        seed: for the order of people.
    """
    people, sizes = np.unique(labels[images], return_counts=True)
    order = np.random.default_rng(seed).permutation(len(people))
    fitting = max(2, int(np.searchsorted(np.cumsum(sizes[order]), most, side="right")))
    if (sizes[order[:fitting]] == 1).all():  # no genuine pair: take the first person who has one
        order[0] = order[np.argmax(sizes[order] > 1)]
    return images[np.isin(labels[images], people[order[:fitting]])]
