"""Accuracy by k-fold cross-validation over people, as on LFW (Huang et al. 2007, "Labeled Faces in the Wild").

The folds of LFW share no person. Accuracies are balanced here; on LFW, where a fold has as many genuine as impostor
pairs, that is the plain accuracy.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faces.evaluation.roc import Labels, Scores, last_places, threshold_between
from faces.evaluation.scored_pairs import ScoredPairs, number_identities
from faces.evaluation.verification import balanced_accuracy


def assign_folds(pairs: ScoredPairs, folds: int, seed: int) -> NDArray[np.int8]:
    """Return the fold of both images of each pair, (n, 2): people are shuffled and assigned to the folds in turn."""
    first, second, people = number_identities(pairs.first, pairs.second)
    fold = (np.random.default_rng(seed).permutation(people) % folds).astype(np.int8)
    return np.stack([fold[first], fold[second]], axis=1)


def k_fold_accuracies(scores: Scores, same: Labels, folds: NDArray[np.integer]) -> NDArray[np.float64] | None:
    """Return the balanced accuracy on each fold, (k,), at the threshold that is best on the other folds.

    A pair is scored in fold k if both of its images are in k, and helps to choose the threshold of k if neither is.

    Args:
        scores: (n,), in descending order.
        same: (n,).
        folds: (n, 2), fold of each of the two images.

    Returns:
        None if the pairs of a fold, or of its complement, are not of both kinds.
    """
    genuine = np.asarray(same, dtype=bool)
    last = last_places(scores)
    ends = last[np.unique(np.searchsorted(last, np.flatnonzero(genuine)))]
    first, second = (np.ascontiguousarray(column) for column in folds.T)
    accuracies = []
    for fold in np.union1d(pd.unique(first), pd.unique(second)):
        a, b = first == fold, second == fold
        scored, others = np.flatnonzero(a & b), np.flatnonzero(~(a | b))
        if not all(0 < genuine[rows].sum() < len(rows) for rows in (scored, others)):
            return None
        threshold = _best_balanced_threshold(scores, genuine, others, ends)
        accuracies.append(balanced_accuracy(scores[scored], genuine[scored], threshold))
    return np.array(accuracies)


def describe_folds(same: Labels, folds: NDArray[np.integer]) -> str:
    """Return how many folds there are, and the pairs of the one with the fewest of a kind; see `k_fold_accuracies`."""
    genuine, numbers = np.asarray(same, dtype=bool), np.unique(folds)
    within = [genuine[(folds == fold).all(axis=1)] for fold in numbers]
    fewest = min(range(len(numbers)), key=lambda place: min(within[place].sum(), (~within[place]).sum()))
    return (
        f"of {len(numbers)} fold(s), fold {numbers[fewest]} has {within[fewest].sum()} genuine and "
        f"{(~within[fewest]).sum()} impostor pairs"
    )


def _best_balanced_threshold(
    scores: Scores, genuine: NDArray[np.bool_], chosen: NDArray[np.int64], ends: NDArray[np.int64]
) -> float:
    """Return `best_threshold(balanced=True)` of the chosen pairs, without a sort.

    `ends` are the last places of the scores that genuine pairs have: the best threshold lies after one of them or above
    all scores, since to accept more impostors alone is no gain.
    """
    places = np.searchsorted(chosen, ends, side="right")  # accepted pairs among the chosen ones
    right = np.searchsorted(chosen[genuine[chosen]], ends, side="right")
    total = int(np.count_nonzero(genuine[chosen]))
    gain = right * (len(chosen) - total) - (places - right) * total
    best = len(gain) - 1 - int(np.argmax(gain[::-1]))
    return threshold_between(scores[chosen], int(places[best]) if gain[best] >= 0 else 0)
