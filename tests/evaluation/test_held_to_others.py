"""TAR, FMR, EER, CMC and DIR against pyeer and scikit-learn, with ties, and with images that are enrolled twice."""

import numpy as np
import pytest
from pyeer.cmc_stats import get_cmc_curve
from pyeer.eer_stats import calculate_roc, calculate_roc_auc, get_decidability_value, get_eer_values, get_fmr_op
from sklearn import metrics as sklearn_metrics

from faces.evaluation.identification import (
    GalleryScorer,
    cumulative_match_characteristic,
    open_set_metrics,
    rank_probes,
)
from faces.evaluation.metrics import MetricsParams
from faces.evaluation.roc import area, equal_error, error_rates_at, roc_curve, tar_at_far
from faces.evaluation.verification import d_prime


@pytest.mark.parametrize("decimals", [9, 2, 1])  # with one decimal, nearly all scores tie
def test_verification_against_pyeer_and_scikit_learn(decimals: int) -> None:
    random = np.random.default_rng(decimals)
    genuine, impostors = (
        np.round(random.normal(mean, 0.2, size), decimals) for mean, size in ((0.5, 400), (0.1, 3000))
    )
    scores, same = np.concatenate([genuine, impostors]), np.repeat([1, 0], [400, 3000])
    curve = roc_curve(scores, same)
    thresholds, fmr, fnmr = calculate_roc(genuine, impostors)
    found = error_rates_at(curve, thresholds)
    np.testing.assert_allclose(found, (fmr, fnmr), atol=1e-12)
    # pyeer's curve has no threshold above all scores, which closes the area at an FMR of 0.
    closed = np.append(fmr, 0), np.append(fnmr, 1)
    assert area(curve) == pytest.approx(calculate_roc_auc(*closed), abs=1e-12)
    *_, eer = get_eer_values(*closed)
    assert equal_error(curve) == pytest.approx(eer, abs=np.abs(fmr - fnmr).min() + 1e-12)
    moments = (genuine.mean(), genuine.std(), impostors.mean(), impostors.std())
    assert d_prime(scores, same) == pytest.approx(get_decidability_value(*moments))
    for rate in fmr[:: max(1, len(fmr) // 20)]:  # those that a threshold has; between them pyeer takes the nearest
        assert 1 - tar_at_far(curve, float(rate)) == pytest.approx(get_fmr_op(*closed, rate)[1], abs=1e-12)
    fpr, tpr, _ = sklearn_metrics.roc_curve(same, scores, drop_intermediate=False)
    for rate in (0.1, 0.0137, 0.001):
        assert tar_at_far(curve, rate) == tpr[fpr <= rate].max()


def gallery_and_probes(duplicates: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vectors of small whole numbers, so that many scores tie exactly; with `duplicates`, images are enrolled twice."""
    random = np.random.default_rng(3)
    people = random.integers(0, 3, (12, 4))
    vectors = (people[np.repeat(np.arange(12), 3)] + random.integers(0, 2, (36, 4))).astype(np.float32)
    labels = np.repeat(np.arange(12), 3)
    probes = (people[np.repeat(np.arange(12), 5)] + random.integers(0, 2, (60, 4))).astype(np.float32)
    if duplicates:
        vectors, labels = np.concatenate([vectors, vectors[::2]]), np.concatenate([labels, labels[::2]])
    return vectors, labels, probes, np.repeat(np.arange(12), 5)


def best_scores(vectors: np.ndarray, labels: np.ndarray, probe: np.ndarray) -> dict[int, float]:
    return {who: float(np.max(vectors[labels == who] @ probe)) for who in np.unique(labels).tolist()}


@pytest.mark.parametrize("duplicates", [False, True])
def test_cmc_against_pyeer(duplicates: bool) -> None:
    vectors, labels, probes, truth = gallery_and_probes(duplicates)
    # pyeer ranks by a stable sort: with the right person last, one who ties comes before, as here.
    searched = {}
    for number, (probe, who) in enumerate(zip(probes, truth.tolist(), strict=True)):
        scores = {person: score for person, score in best_scores(vectors, labels, probe).items()}
        listed = [(str(person), score) for person, score in scores.items() if person != who] + [(str(who), scores[who])]
        searched[str(number)] = ([str(who)], sorted(listed, key=lambda entry: -entry[1]))
    found = rank_probes(GalleryScorer(vectors, labels), probes, truth)
    ours = cumulative_match_characteristic(found.rank, 12)
    np.testing.assert_allclose(ours, get_cmc_curve(searched, 12), atol=1e-12)
    assert 0.2 < ours[0] < ours[-1] == 1


@pytest.mark.parametrize("duplicates", [False, True])
def test_dir_against_scikit_learn(duplicates: bool) -> None:
    vectors, labels, probes, truth = gallery_and_probes(duplicates)
    enrolled = labels < 6
    vectors, labels = vectors[enrolled], labels[enrolled]
    found = rank_probes(GalleryScorer(vectors, labels), probes, truth)
    none = MetricsParams(false_accept_rates=[], folds=2, bootstrap=0, seed=0)
    rates = [0.1, 0.2, 0.5]
    metrics = open_set_metrics(found, truth, rates, none).values
    scored = [best_scores(vectors, labels, probe) for probe in probes]
    best = np.array([max(scores.values()) for scores in scored], dtype=np.float32)
    first = np.array([scores.get(who, -9.0) for scores, who in zip(scored, truth.tolist(), strict=True)])
    alone = [sorted(scores.values())[-2] < own for scores, own in zip(scored, first, strict=True)]
    known = truth < 6
    counted = np.where(known & ~np.array(alone), -2, best)  # who ties with another is not found first
    fpr, tpr, _ = sklearn_metrics.roc_curve(known, counted, drop_intermediate=False)
    assert metrics == {f"dir_at_far_{rate:g}": tpr[fpr <= rate].max() for rate in rates}
    assert 0 < metrics["dir_at_far_0.5"] < 1


def test_an_image_enrolled_twice_changes_nothing() -> None:
    once, twice = (
        rank_probes(GalleryScorer(vectors, labels), probes, truth)
        for vectors, labels, probes, truth in map(gallery_and_probes, (False, True))
    )
    np.testing.assert_array_equal(once.rank, twice.rank)
    np.testing.assert_allclose(once.best_score, twice.best_score, rtol=1e-6)
