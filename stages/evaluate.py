"""Score pairs of images by cosine and by the similarity model; choose the threshold; write metrics and curves.

Reads   data/pairs.csv, data/split.csv, data/embeddings.npy, models/similarity.npz
Writes  metrics/evaluate.json (headline metrics),
        models/threshold.json (thresholds, with the error rates at each, and the calibration),
        data/scores.npz (scores of the test parts, which `faces compare` reads),
        metrics/evaluate/verification.json (all metrics of each part, with 95 % intervals over people),
        metrics/evaluate/roc.csv, metrics/evaluate/scores.csv (histogram),
        metrics/evaluate/reliability.csv (likelihood ratios, stated and observed)
Run     python stages/evaluate.py

`accuracy_<part>`, the headline, is the accuracy of cosine on drawn pairs. Its threshold has the highest balanced
accuracy on every pair of `validation_unseen`, people who are in no other part. They decide on the thresholds for an FMR
and on the calibration, too. Without such people (`split.validation_subjects: 0`), the threshold is the most accurate on
drawn `train` pairs, and the rest is chosen on `test_seen`. `test_unseen` has no influence on anything.

All other verification metrics are computed from every pair of a part's images. `drawn_auc_<model>_<part>` compare
cosine and similarity model on the same drawn pairs, and `similarity_auc_gain` is their difference. The metrics of the
notebook keep its names, and are computed from the drawn `test_seen` pairs: `similarity_accuracy` (similarity model at
0.5) and `cosine_accuracy_<t>` (cosine mapped to 0..1 over the whole set, at the fixed threshold t).

To add a metric, see faces/evaluation/metrics.py.
"""

import faces.core.portable  # noqa: F401  first, since NumPy and others read its settings when they are imported

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from faces.core.csv_files import write_csv
from faces.core.errors import StageError
from faces.core.files import write_metrics
from faces.core.params import load_params
from faces.core.run import run
from faces.core.terminal import say, say_left_out, warn
from faces.core.threads import fixed_threads, load_threads
from faces.evaluation.calibration import fit_calibration, reliability
from faces.evaluation.choosing import Choice, measure_thresholds
from faces.evaluation.every_pair import every_pair
from faces.evaluation.k_fold import assign_folds
from faces.evaluation.metrics import FNMR_RATES, MetricsParams, auc_gain, verification_metrics
from faces.evaluation.notebook_metrics import NotebookParams, notebook_metrics
from faces.evaluation.plots import roc_points, score_histogram
from faces.evaluation.roc import Roc, accept, area_under_roc, roc_curve_sorted
from faces.evaluation.scored_pairs import ScoredPairs, sort_descending
from faces.evaluation.similarity_model import load_similarity
from faces.evaluation.threshold import Thresholds, write_thresholds
from faces.evaluation.verification import best_threshold
from faces.tables.embeddings import UnitVectors, Vectors, cosine_of_pairs, read_embeddings
from faces.tables.kept_scores import (
    MAX_IMAGES,
    PARTS_PATH,
    Decisions,
    KeptScores,
    KeptSet,
    hash_embeddings,
    name_split_images,
    write_kept,
)
from faces.tables.pair_table import PAIRS_PATH, read_pair_table
from faces.tables.split_table import (
    SCORED,
    TEST_SEEN,
    TEST_UNSEEN,
    TRAIN,
    VALIDATION_UNSEEN,
    image_labels,
    part_images,
    read_split,
)

MAX_LOST_BY_THRESHOLD = 0.05  # of accuracy, without a warning
MAX_APART = 0.3  # FMR and FNMR at the threshold, without a warning
WHY = {  # a threshold may not suit other people
    TRAIN: "It was chosen on people that the network was trained on. With fifty people or more, set "
    "`split.validation_subjects: 0.1` to choose it on others",
    VALIDATION_UNSEEN: "Too few people are set aside, or people unlike these (`split.validation_sources`)",
}
HEADLINES = ("accuracy", "auc", "eer")  # of each part
TEST_HEADLINES = tuple(f"fnmr_at_fmr_{rate:g}" for rate in FNMR_RATES)  # of the test parts, too


class EvaluateParams(NotebookParams):
    most_images: int = Field(ge=2, le=20_000)
    seed: int = Field(ge=0)


class Images(NamedTuple):
    """All images: the split, embeddings (N, D) as on disk and scaled to length 1, and labels from 0 (N,)."""

    split: pd.DataFrame
    embeddings: NDArray[np.float32]
    unit: Vectors
    labels: NDArray[np.int64]


def read_images() -> Images:
    """Read the split with its embeddings."""
    split = read_split()
    embeddings, labels = read_embeddings(len(split)), np.unique(image_labels(split), return_inverse=True)[1]
    return Images(split, embeddings, UnitVectors(embeddings), labels)


def group_by_part(pairs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the drawn pairs of each part that has both kinds; StageError if `train` or `test_seen` has not."""
    parts = {part: pairs[pairs["part"] == part] for part in SCORED}
    scored = {part: table for part, table in parts.items() if table["same"].nunique() == 2}
    for part in SCORED:
        if part in scored:
            continue
        if part != TEST_UNSEEN:
            raise StageError(f"{PAIRS_PATH}: `{part}` needs genuine and impostor pairs")
        warn(f"`{part}` has no pairs of both labels: it is not scored")
    return scored


def score_drawn_pairs(table: pd.DataFrame, images: Images) -> ScoredPairs:
    """Return the drawn pairs of one part with their cosines."""
    a, b = table["a"].to_numpy(), table["b"].to_numpy()
    return ScoredPairs(cosine_of_pairs(images.unit, a, b), table["same"].to_numpy(), images.labels[a], images.labels[b])


def pairs_of(part: str, images: Images, params: EvaluateParams) -> ScoredPairs:
    """Return every pair of a part, in descending order of score."""
    numbers = part_images(images.split, part)
    return sort_descending(every_pair(numbers, images.unit, images.labels, params.most_images, params.seed).pairs)


def choose(drawn: dict[str, ScoredPairs], images: Images, params: EvaluateParams) -> Choice:
    """Return thresholds and calibration, chosen on people set aside or, without them, as the docstring above says."""
    labels = images.labels[part_images(images.split, VALIDATION_UNSEEN)]
    set_aside = 1 < len(np.unique(labels)) < len(labels)
    part = VALIDATION_UNSEEN if set_aside else TEST_SEEN
    every = pairs_of(part, images, params)
    if set_aside:
        threshold = best_threshold(every.scores, every.same, balanced=True)
    else:
        threshold = best_threshold(drawn[TRAIN].scores, drawn[TRAIN].same)
    curve = roc_curve_sorted(every.scores, every.same)
    return Choice(threshold, VALIDATION_UNSEEN if set_aside else TRAIN, curve, part, fit_calibration(every))


class PartMetrics(NamedTuple):
    """The metrics of one part, and the tables behind its plots."""

    metrics: dict[str, float]
    curve: pd.DataFrame
    histogram: pd.DataFrame
    reliability: pd.DataFrame


def evaluate_part(
    part: str, every: ScoredPairs, drawn: ScoredPairs, choice: Choice, metrics: MetricsParams
) -> tuple[PartMetrics, Roc]:
    """Return the metrics of every pair of a part and of its `drawn` pairs, and the ROC; say what is left out."""
    folds = assign_folds(every, metrics.folds, metrics.seed)
    advice = "folds are of whole people, and each needs two: lower metrics.folds in params.yaml, or add people"
    found = verification_metrics(
        every, folds, drawn, choice.threshold, metrics, choice.calibration, help_with_folds=advice
    )
    say_left_out(part, found.left_out)
    tables = roc_points(part, found.curve), score_histogram(part, every), reliability(part, every, choice.calibration)
    return PartMetrics(found.flat(), *tables), found.curve


def evaluate_parts(
    drawn: dict[str, ScoredPairs], choice: Choice, images: Images, params: EvaluateParams, metrics: MetricsParams
) -> tuple[dict[str, PartMetrics], Thresholds]:
    """Return the metrics of each part, and thresholds with their error rates on the last part (people never seen).

    One part follows another, since every pair of many images takes gigabytes.
    """
    evaluated: dict[str, PartMetrics] = {}
    for part, pairs in drawn.items():
        every = pairs_of(part, images, params)
        evaluated[part], curve = evaluate_part(part, every, pairs, choice, metrics)
    rates, draws = metrics.false_accept_rates, metrics.bootstrap
    return evaluated, measure_thresholds(part, every, curve, choice, rates, draws, metrics.seed)


def ask_model(images: Images, parts: dict[str, pd.DataFrame]) -> dict[str, NDArray[np.float32]]:
    """Return the similarity model's probability that both images of a drawn pair show one person, by part."""
    model = load_similarity(images.embeddings.shape[1])
    return {
        part: model.predict_pairs(images.embeddings, table["a"].to_numpy(), table["b"].to_numpy())
        for part, table in parts.items()
    }


def compare_models(
    drawn: dict[str, ScoredPairs],
    probabilities: dict[str, NDArray[np.float32]],
    params: EvaluateParams,
    metrics: MetricsParams,
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Return metrics of cosine and similarity model on the same drawn pairs: headlines, and details by part."""
    headlines, details = {}, {}
    for part, pairs in drawn.items():
        headlines[f"drawn_auc_cosine_{part}"] = area_under_roc(pairs.scores, pairs.same)
        headlines[f"drawn_auc_similarity_{part}"] = area_under_roc(probabilities[part], pairs.same)
        details[part] = auc_gain("similarity_auc_gain", pairs, probabilities[part], metrics)
        if part == TEST_SEEN:
            headlines |= notebook_metrics(pairs.same, pairs.scores, probabilities[part], params)
    return headlines, details


def keep_scores(
    parts: dict[str, pd.DataFrame],
    drawn: dict[str, ScoredPairs],
    probabilities: dict[str, NDArray[np.float32]],
    threshold: float,
    images: Images,
    params: EvaluateParams,
) -> KeptScores:
    """Return the scores of the test parts, for comparisons with other experiments."""
    names, sets = name_split_images(read_split(names=True)), {}
    for part, table in parts.items():
        if part == TRAIN:
            continue
        every = every_pair(part_images(images.split, part), images.unit, images.labels, MAX_IMAGES, params.seed)
        sets[part] = KeptSet(
            names.keep(every.a, every.b, every.pairs.same, every.pairs.scores),
            names.keep(table["a"].to_numpy(), table["b"].to_numpy(), table["same"].to_numpy(), drawn[part].scores),
        )
    accepted = accept(probabilities[TEST_SEEN], params.similarity_threshold).astype(np.float32)
    decisions: Decisions = {(TEST_SEEN, "similarity_accuracy"): sets[TEST_SEEN].drawn._replace(scores=accepted)}
    return KeptScores(hash_embeddings(images.embeddings), threshold, sets, decisions)


def warn_of_threshold(parts: dict[str, dict[str, float]], chosen_on: str) -> None:
    """Warn if the threshold suits a part badly, so that its accuracy says less than its AUC.

    It does if it loses much of the accuracy that another one reaches, or if it makes one kind of error much more
    frequent than the other. `parts` has the metrics of each part.
    """
    for part in (TEST_SEEN, TEST_UNSEEN):
        if part not in parts:
            continue
        metrics = parts[part]
        reached, within_reach = metrics["accuracy"], 1 - metrics["eer"]
        fmr, fnmr = metrics["fmr_at_threshold"], metrics["fnmr_at_threshold"]
        if within_reach - reached > MAX_LOST_BY_THRESHOLD or abs(fnmr - fmr) > MAX_APART:
            warn(
                f"`{part}`: at the threshold chosen on `{chosen_on}` pairs, accuracy is {reached:.3f} (FMR {fmr:.3f}, "
                f"FNMR {fnmr:.3f}); at the threshold where FMR and FNMR are equal, it is {within_reach:.3f}. "
                f"{WHY[chosen_on]}. Compare experiments by AUC and EER"
            )


def main() -> None:
    """Evaluate every part, and write the results."""
    params, metrics_params = load_params("evaluate", EvaluateParams), load_params("metrics", MetricsParams)
    images = read_images()
    parts = group_by_part(read_pair_table(PAIRS_PATH, len(images.split)))
    drawn = {part: score_drawn_pairs(table, images) for part, table in parts.items()}
    with fixed_threads(load_threads()):
        choice = choose(drawn, images, params)
        evaluated, thresholds = evaluate_parts(drawn, choice, images, params, metrics_params)
        probabilities = ask_model(images, parts)
        compared, gains = compare_models(drawn, probabilities, params, metrics_params)
        kept = keep_scores(parts, drawn, probabilities, choice.threshold, images, params)

    metrics = {"threshold": choice.threshold}
    for part, result in evaluated.items():
        names = HEADLINES if part == TRAIN else (*HEADLINES, *TEST_HEADLINES)
        metrics |= {f"{name}_{part}": result.metrics[name] for name in names if name in result.metrics}
    metrics |= compared
    details = {part: result.metrics | gains[part] for part, result in evaluated.items()}
    write_csv(Path("metrics/evaluate/roc.csv"), [result.curve for result in evaluated.values()])
    write_csv(Path("metrics/evaluate/scores.csv"), [result.histogram for result in evaluated.values()])
    write_csv(Path("metrics/evaluate/reliability.csv"), [result.reliability for result in evaluated.values()])
    write_kept(PARTS_PATH, kept)
    write_metrics(Path("metrics/evaluate/verification.json"), details)
    write_thresholds(thresholds)
    write_metrics(Path("metrics/evaluate.json"), metrics)
    warn_of_threshold(details, choice.chosen_on)
    say(", ".join(f"{name}: {value:.3f}" for name, value in metrics.items() if "accuracy" in name))


if __name__ == "__main__":
    run(main)
