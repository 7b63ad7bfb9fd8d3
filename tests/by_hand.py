"""Pairs whose figures are known by hand or by formula, and a vote by hand."""

import numpy as np

from faces.evaluation.every_pair import EveryPair
from faces.evaluation.scored_pairs import ScoredPairs, sort_descending


def six_pairs() -> EveryPair:
    """Return the pairs of images 0 to 3 of people 5, 5, 7, 7."""
    a, b = np.triu_indices(4, k=1)
    person = np.array([5, 5, 7, 7])
    same = (person[a] == person[b]).astype(np.int64)
    return EveryPair(ScoredPairs(np.array([0.2, 0.9, 0.1, 0.8, 0.3, 0.7]), same, person[a], person[b]), a, b)


def normal_pairs(genuine: int, impostors: int) -> ScoredPairs:
    """Return pairs with scores of deviation 1 around 2 and 0, in descending order, each of a person of its own."""
    random = np.random.default_rng(0)
    scores = np.concatenate([random.normal(2, 1, genuine), random.normal(0, 1, impostors)])
    first = np.arange(len(scores))
    return sort_descending(ScoredPairs(scores, np.repeat([1, 0], [genuine, impostors]), first, first))


def vote(gallery: np.ndarray, labels: np.ndarray, probe: np.ndarray, k: int) -> int:
    """Return the most frequent label of the k nearest vectors in a gallery (m, D) to a probe; of two, the lower one."""
    nearest = sorted(range(len(gallery)), key=lambda i: -float(np.dot(gallery[i], probe)))[:k]
    votes = [int(labels[i]) for i in nearest]
    return min(set(votes), key=lambda label: (-votes.count(label), label))
