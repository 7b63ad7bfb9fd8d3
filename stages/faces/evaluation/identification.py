"""Identification ("who is it?"): closed set, as rank-k rates and CMC, and open set, as DIR at a FAR; and the kNN vote.

A gallery holds enrolled images of some people, probes are looked for in it. A person's score for a probe is the cosine
of the best of their images. Strangers are probes of people who are not enrolled. The terms are those of Phillips,
Grother, Micheals 2011, "Evaluation Methods in Face Recognition".
"""

import warnings
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from faces.core.params import Params
from faces.core.terminal import progress
from faces.evaluation.bootstrap import Interval, accuracy_interval, curve_intervals
from faces.evaluation.metrics import MetricsParams
from faces.evaluation.roc import roc_curve_sorted, tar_at_far
from faces.evaluation.rule_of_30 import Rate, describe_unmeasurable, is_measurable
from faces.evaluation.scored_pairs import ScoredPairs, sort_descending

MAX_SCORES = 32_000_000  # of probes and gallery images, in memory at a time: 128 MB
BELOW_ANY_COSINE = -2.0
CMC_RANKS = 50  # to which the cumulative match characteristic goes
FEW_ENROLLED = 5  # people, among whom chance alone finds the right one often


class IdentificationParams(Params):
    """The keys of the section `identify:` that the identification metrics read."""

    ranks: list[Annotated[int, Field(ge=1)]]
    false_accept_rates: list[Rate]


def knn_vote(
    gallery: NDArray[np.float32],
    gallery_labels: NDArray[np.int64],
    probes: NDArray[np.float32],
    probe_labels: NDArray[np.int64],
    neighbours: int,
) -> NDArray[np.bool_]:
    """Return which probes (n, D) get their own label by a vote of their nearest gallery vectors (m, D): (n,).

    Near means of a high cosine. A tied vote goes to the lowest label, as in scikit-learn. If m is less than
    `neighbours`, all vectors vote.
    """
    from sklearn.neighbors import KNeighborsClassifier  # takes a second to import

    classifier = KNeighborsClassifier(n_neighbors=min(neighbours, len(gallery)), metric="cosine", algorithm="brute")
    with warnings.catch_warnings():  # labels that nearly all differ look to it like numbers to be estimated
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        voted: NDArray[np.int64] = classifier.fit(gallery, gallery_labels).predict(probes)
    return voted == probe_labels


class GalleryScorer:
    """Scores probes against every enrolled identity; `identities` are their labels, ascending."""

    def __init__(self, unit: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Enrol images, vectors of length 1 (n, D), of the people `labels` (n,)."""
        order = np.argsort(labels, kind="stable")
        self._images = unit[order].T
        self.identities, self._starts = np.unique(labels[order], return_index=True)

    def scores(self, probes: NDArray[np.float32], most: int = MAX_SCORES) -> Iterator[tuple[slice, NDArray]]:
        """Yield some rows of probes (n, D) at a time with their score for every identity, (rows, identities).

        `most` bounds the cosines of probes with gallery images in memory.
        """
        chunk = max(1, most // self._images.shape[1])
        for start in progress(range(0, len(probes), chunk), "searching", unit="chunk"):
            rows = slice(start, start + chunk)
            yield rows, np.maximum.reduceat(probes[rows] @ self._images, self._starts, axis=1)


class ProbeRanks(NamedTuple):
    """The outcome for n probes: two arrays (n,).

    Attributes:
        best_score: the highest score of any identity.
        rank: of the right identity, 1 for the best; 0 for a stranger.
    """

    best_score: NDArray[np.float32]
    rank: NDArray[np.int64]


def rank_probes(
    gallery: GalleryScorer, probes: NDArray[np.float32], labels: NDArray[np.int64], most: int = MAX_SCORES
) -> ProbeRanks:
    """Rank the right identity of probes, vectors of length 1 (n, D), of the people `labels` (n,).

    An identity with the same score as the right one ranks before it, so that a constant score gains nothing.
    """
    own = np.searchsorted(gallery.identities, labels).clip(max=len(gallery.identities) - 1)
    enrolled = gallery.identities[own] == labels
    best_score, rank = np.empty(len(probes), dtype=np.float32), np.empty(len(probes), dtype=np.int64)
    for rows, scores in gallery.scores(probes, most):
        own_score = scores[np.arange(len(scores)), own[rows]]
        best_score[rows] = scores.max(axis=1)
        rank[rows] = np.sum(scores >= own_score[:, None], axis=1)
    return ProbeRanks(best_score, np.where(enrolled, rank, 0))


def cumulative_match_characteristic(rank: NDArray[np.int64], ranks: int = CMC_RANKS) -> NDArray[np.float64]:
    """Return the CMC, (ranks,): the share of probes of rank k or better, for k = 1 to `ranks`, from ranks (n,)."""
    return np.cumsum(np.bincount(np.minimum(rank, ranks + 1), minlength=ranks + 2)[1:-1]) / len(rank)


def open_set_scores(found: ProbeRanks) -> NDArray[np.float32]:
    """Return the score at which each probe counts as found, or a stranger as accepted, (n,).

    It is the best score, or below any cosine for a probe of an enrolled person who does not rank first.
    """
    return np.where(found.rank > 1, np.float32(BELOW_ANY_COSINE), found.best_score)


class Identified(NamedTuple):
    """Metrics by name, 95 % intervals of some of them over people, and a sentence on each that is left out."""

    values: dict[str, float]
    intervals: dict[str, Interval]
    left_out: list[str]


def open_set_metrics(
    found: ProbeRanks, people: NDArray[np.int64], rates: list[float], draws: MetricsParams
) -> Identified:
    """Return `dir_at_far_<rate>` for each FAR that the strangers can measure.

    FAR, also FPIR, is the share of strangers with a best score at or above the threshold. DIR, also TPIR, is the share
    of probes of enrolled people where the right identity ranks first, at or above it. The threshold is the lowest one
    that has at most this FAR. There are no metrics without strangers, or without probes of enrolled people. A replicate
    draws the people of probes, enrolled or not; who is enrolled stays.

    Args:
        found: the outcome for n probes.
        people: who is on each of them, (n,).
        rates: FARs.
        draws: how many bootstrap replicates are behind an interval; 0: there are none.
    """
    enrolled = found.rank > 0
    strangers = int(np.sum(~enrolled))
    measurable = [rate for rate in rates if is_measurable(rate, strangers)]
    left_out = [
        describe_unmeasurable(f"dir_at_far_{rate:g}", rate, "probes of strangers", strangers)
        for rate in rates
        if rate not in measurable
    ]
    if enrolled.all() or not enrolled.any():
        return Identified({}, {}, left_out)
    probes = sort_descending(ScoredPairs(open_set_scores(found), enrolled, people, people))
    curve = roc_curve_sorted(probes.scores, probes.same)
    metrics = {f"dir_at_far_{rate:g}": tar_at_far(curve, rate) for rate in measurable}
    ends = curve_intervals(probes, curve, measurable, draws.bootstrap, draws.seed) if draws.bootstrap else {}
    intervals = {f"dir_at_far_{rate:g}": ends[f"tar_at_far_{rate:g}"] for rate in measurable if ends}
    return Identified(metrics, intervals, left_out)


def identification_metrics(
    found: ProbeRanks, labels: NDArray[np.int64], enrolled: int, params: IdentificationParams, draws: MetricsParams
) -> tuple[dict[str, float], NDArray[np.float64], list[str]]:
    """Return the metrics of n ranked probes of the people `labels` (n,), their CMC, and what is left out.

    Each metric has the ends of its 95 % interval over people, `<name>_low` and `<name>_high`. The list names what is
    left out, with the reason. All is left out if no probe shows an enrolled person. To add a metric, add it to
    `metrics` here. `enrolled` is the number of people in the gallery.
    """
    known = found.rank > 0
    rank, people = found.rank[known], np.unique(labels, return_inverse=True)[1]
    if len(rank) == 0:
        return {}, np.empty(0), ["all figures (no probe shows an enrolled person)"]
    metrics: dict[str, float] = {}
    for k in params.ranks:
        metrics[f"rank_{k}"] = float(np.mean(rank <= k))
        if draws.bootstrap:
            right = ScoredPairs((rank <= k).astype(float), np.ones(len(rank), np.int8), people[known], people[known])
            ends = accuracy_interval(right, 0.5, draws.bootstrap, draws.seed)
            metrics |= _ends(f"rank_{k}", ends)
    open_set = open_set_metrics(found, people, params.false_accept_rates, draws)
    for name, value in open_set.values.items():
        metrics |= {name: value} | _ends(name, open_set.intervals.get(name))
    metrics |= {"enrolled": enrolled, "probes": len(rank), "strangers": len(found.rank) - len(rank)}
    return metrics, cumulative_match_characteristic(rank), open_set.left_out


def describe_easy_ranks(ranks: list[int], enrolled: int) -> list[str]:
    """Return a sentence on each rank that is high by chance alone: a random order puts k / `enrolled` among the best k.

    Args:
        ranks: k of each `rank_<k>`.
        enrolled: people in the gallery, 1 or more.
    """
    few = f"only {enrolled} people are enrolled" if enrolled > 1 else "only 1 person is enrolled"
    said = [
        f"rank_{k} would be {k / enrolled:.2f} by chance, since {few}" for k in ranks if k < enrolled < FEW_ENROLLED
    ]
    return said + [f"rank_{k} is always 1, since {few}" for k in ranks if k >= enrolled]


def _ends(name: str, interval: Interval | None) -> dict[str, float]:
    return {f"{name}_low": interval[0], f"{name}_high": interval[1]} if interval else {}


def choose_enrolled(labels: NDArray[np.int64], images: int, seed: int) -> NDArray[np.bool_]:
    """Return which images (n,), of the people `labels` (n,), to enrol: `images` of each of half of the people.

    People and images are chosen at random. A person with no image beyond these is not enrolled, as none would be left
    as a probe, but may be a stranger.
    """
    random = np.random.default_rng(seed)
    people, sizes = np.unique(labels, return_counts=True)
    chosen = random.permutation(people[sizes > images])[: len(people) // 2]
    order = random.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # by person, and at random within each
    place = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # within the person, from 0
    enrolled = np.zeros(len(labels), dtype=bool)
    enrolled[order] = (place < images) & np.isin(labels[order], chosen)
    return enrolled
