"""All pairs of images of a part of the split: what figures need that tell rates of one false match in a thousand."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faces.bootstrap import Pairs


class EveryPair(NamedTuple):
    """Scored pairs, and the numbers of their images, each (n,)."""

    pairs: Pairs
    a: NDArray[np.int64]
    b: NDArray[np.int64]


def every_pair(
    images: NDArray[np.int64], unit: NDArray[np.float32], labels: NDArray[np.int64], most_images: int, seed: int
) -> EveryPair:
    """Return all pairs of as many whole subjects, in random order, as hold `most_images` images, but two at least.

    There is a genuine pair among them if there is one at all.

    Args:
        images: numbers of the images to choose from.
        unit: embeddings of all images, unit length, (N, D); a pair's score is the cosine of its two.
        labels: (N,) subject of each image.
        most_images: bounds the pairs at half its square.
        seed: of the order.
    """
    random = np.random.default_rng(seed)
    subjects, sizes = np.unique(labels[images], return_counts=True)
    order = random.permutation(len(subjects))
    fitting = max(2, int(np.searchsorted(np.cumsum(sizes[order]), most_images, side="right")))
    if (sizes[order[:fitting]] == 1).all():  # no genuine pair: the first subject that has one comes in
        order[0] = order[np.argmax(sizes[order] > 1)]
    chosen = images[np.isin(labels[images], subjects[order[:fitting]])]
    a, b = np.triu_indices(len(chosen), k=1)
    cosines = np.clip(unit[chosen] @ unit[chosen].T, -1, 1)[a, b]
    first, second = labels[chosen][a], labels[chosen][b]
    return EveryPair(Pairs(cosines, (first == second).astype(np.int64), first, second), chosen[a], chosen[b])
