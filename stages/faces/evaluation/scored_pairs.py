"""Pairs of images with a score, as all of faces.evaluation takes them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faces.evaluation.roc import Labels, Scores, descending_order


class ScoredPairs(NamedTuple):
    """n pairs: four arrays (n,).

    Attributes:
        scores: float, higher for "same person".
        same: 1 for a genuine pair, 0 for an impostor pair.
        first: identity on the first image, from 0 to not much more than the number of identities.
        second: identity on the second image.
    """

    scores: Scores
    same: Labels
    first: NDArray[np.integer]
    second: NDArray[np.integer]

    def take(self, places: NDArray[np.int64]) -> "ScoredPairs":
        """Return the pairs at `places`, in their order."""
        return ScoredPairs(*(np.asarray(column)[places] for column in self))


def sort_descending(pairs: ScoredPairs) -> ScoredPairs:
    """Return the pairs sorted by score, the highest first."""
    return pairs.take(descending_order(pairs.scores))


def number_identities(
    first: NDArray[np.integer], second: NDArray[np.integer]
) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    """Return the identities of pairs renumbered from 0 without gaps, in their order, and the number of identities."""
    occurs = np.zeros(int(max(first.max(), second.max())) + 1, dtype=bool)
    occurs[first] = occurs[second] = True
    place = np.cumsum(occurs, dtype=np.int32) - np.int32(1)
    return place[first], place[second], int(place[-1]) + 1
