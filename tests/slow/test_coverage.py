"""Do 95 % intervals of differences and of ratios contain the true one in 95 of 100 draws? A few minutes."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from faces.evaluation.groups import group_metrics, to_categories
from faces.evaluation.metrics import MetricsParams
from faces.evaluation.scored_pairs import ScoredPairs
from faces.reporting.differences import compare
from faces.tables.kept_scores import KeptPairs, KeptScores, KeptSet

pytestmark = pytest.mark.slow
PEOPLE, IMAGES, DRAWS, TIMES = 30, 4, 200, 1000
DISTANCES = (2.0, 2.3)  # of genuine from impostor scores in either experiment, in deviations of the noise
EFFECT = 0.5  # deviation of what people add to scores
THRESHOLD = 1.0


def truth(distance: float, seeds: float) -> dict[str, float]:
    """Figures of all people and seeds: both kinds of score are normal, `distance` apart, and seeds move one of them."""
    deviation = np.sqrt(1 + EFFECT**2)
    at_fmr = {rate: norm.cdf((norm.isf(rate) * deviation - distance) / np.hypot(deviation, seeds)) for rate in (0.01,)}
    return {
        "auc": norm.cdf(distance / np.hypot(np.sqrt(2) * deviation, seeds)),
        "eer": norm.cdf(-distance / np.hypot(2 * deviation, seeds)),
        "fnmr_at_fmr_0.01": at_fmr[0.01],
    }


def draw(random: np.random.Generator, seeds: int, spread: float) -> list[list[KeptScores]]:
    """Return the scores of both experiments, for each seed, on the same new people."""
    person = np.repeat(np.arange(PEOPLE), IMAGES)
    a, b = np.triu_indices(len(person), k=1)
    same = person[a] == person[b]
    names, people = np.arange(len(person)).astype(np.uint64), person.astype(np.uint64)
    shared = random.normal(0, 1, (2, PEOPLE))
    sides = []
    for distance in DISTANCES:
        own = EFFECT * (0.8 * shared + 0.6 * random.normal(0, 1, (2, PEOPLE)))  # what is hard for one is for the other
        effect = np.where(same, own[0, person[a]], (own[1, person[a]] + own[1, person[b]]) / np.sqrt(2))
        side = []
        for _ in range(seeds):
            moved = distance + spread * random.normal()
            scores = np.round(np.where(same, moved, 0) + effect + random.normal(0, 1, len(a)), 2)
            pairs = KeptPairs(names, people, a.astype(np.int32), b.astype(np.int32), same.astype(np.int8), scores)
            side.append(KeptScores(str(random.random()), THRESHOLD, {"x": KeptSet(pairs, pairs)}, {}))
        sides.append(side)
    return sides


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (3, 0.1)])
def test_intervals_of_differences_cover_in_93_to_97_of_100(seeds: int, spread: float) -> None:
    first, second = (truth(distance, spread) for distance in DISTANCES)
    covered = dict.fromkeys(first, 0)
    for number in range(TIMES):
        before, after = draw(np.random.default_rng(number), seeds, spread)
        for row in compare(before, after, DRAWS, number)[0]:
            if row.figure in covered:
                assert row.low is not None and row.high is not None
                covered[row.figure] += row.low <= second[row.figure] - first[row.figure] <= row.high
    print(covered)
    assert all(0.93 * TIMES <= times <= 0.97 * TIMES for times in covered.values()), covered


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("means", [((2.0, 0.0), (2.2, -0.3)), ((2.0, 0.0), (2.0, 0.0))], ids=["apart", "equal"])
def test_intervals_of_the_worst_group_over_the_best_cover_in_93_to_97_of_100(
    means: tuple[tuple[float, float], tuple[float, float]],
) -> None:
    """`means` are those of genuine and of impostor scores in either group; both errors are higher in the first."""
    deviation, params = np.hypot(1, EFFECT), MetricsParams(false_accept_rates=[], folds=2, bootstrap=DRAWS, seed=0)
    first, second = ((norm.cdf((THRESHOLD - g) / deviation), norm.sf((THRESHOLD - i) / deviation)) for g, i in means)
    true = {"fnmr_worst_to_best": first[0] / second[0], "fmr_worst_to_best": first[1] / second[1]}
    person = np.repeat(np.arange(2 * PEOPLE), IMAGES)
    a, b = np.triu_indices(len(person), k=1)
    a, b = (places[(person[a] < PEOPLE) == (person[b] < PEOPLE)] for places in (a, b))
    same, group = person[a] == person[b], (person[a] >= PEOPLE).astype(np.int64)
    mean, groups = np.array(means)[group, 1 - same], to_categories(pd.Series(np.array(["x", "y"])[group]))
    covered = dict.fromkeys(true, 0)
    for number in range(TIMES):
        random = np.random.default_rng(number)
        own = EFFECT * random.normal(0, 1, (2, 2 * PEOPLE))
        effect = np.where(same, own[0, person[a]], (own[1, person[a]] + own[1, person[b]]) / np.sqrt(2))
        scores = np.round(mean + effect + random.normal(0, 1, len(a)), 2)
        pairs = ScoredPairs(scores, same.astype(np.int8), person[a], person[b])
        metrics = group_metrics(pairs, groups, THRESHOLD, params.model_copy(update={"seed": number})).values
        for name, ratio in true.items():
            covered[name] += metrics[f"{name}_low"] <= ratio <= metrics[f"{name}_high"]
    print(covered)
    assert all(0.93 * TIMES <= times <= 0.97 * TIMES for times in covered.values()), covered
