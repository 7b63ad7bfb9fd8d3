"""Score the image pairs by both approaches of the notebook, and by the field's protocol.

Reads   data/pairs.csv, data/split.csv, data/embeddings.npy, models/similarity.npz
Writes  metrics/evaluate.json, models/threshold.json (thresholds, and the errors at each),
        metrics/evaluate/verification.json (the field's figures of each part, with 95 % intervals over people),
        metrics/evaluate/roc.csv, metrics/evaluate/scores.csv
Run     python stages/evaluate.py

`accuracy_<part>` is the headline: cosine at the threshold that is best on the drawn `train` pairs, in which `test_seen`
and `test_unseen` had no say. The field's other figures are over every pair of a part's images. `drawn_auc_…` are of
cosine and of the similarity model on the same drawn pairs, and `similarity_auc_gain` is their difference. The
notebook's figures, on drawn `test_seen` pairs, keep its names: `similarity_accuracy` (the similarity model at 0.5) and
`cosine_accuracy_<t>` (cosine mapped to 0..1 over the whole set, at the fixed threshold t).
"""

from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, field_validator

from faces.core.csv_files import write_csv
from faces.core.errors import StageError
from faces.core.files import write_metrics
from faces.core.params import Params, load_params
from faces.core.run import run
from faces.core.terminal import say, warn
from faces.core.threads import fixed_threads, load_threads
from faces.evaluation.bootstrap import Pairs, auc_gain_interval, in_falling_order, numbered
from faces.evaluation.every_pair import every_pair
from faces.evaluation.metrics import FiguresParams, roc_points, score_histogram, supported, verification_figures
from faces.evaluation.similarity_model import load_similarity
from faces.evaluation.threshold import Thresholds, measure_thresholds, write_thresholds
from faces.evaluation.verification import (
    Labels,
    Roc,
    Scores,
    accuracy,
    area_under_roc,
    best_threshold,
    min_max,
    threshold_at_far,
)
from faces.tables.embeddings import UnitVectors, Vectors, cosine_of_pairs, read_embeddings
from faces.tables.pair_table import PAIRS_PATH, read_pair_table
from faces.tables.split_table import SCORED, TEST_SEEN, TEST_UNSEEN, TRAIN, images_of, labels_of, read_split

MOST_LOST_BY_THRESHOLD = 0.05


class EvaluateParams(Params):
    similarity_threshold: float = Field(ge=0, le=1)
    cosine_thresholds: list[Annotated[float, Field(ge=0, le=1)]] = Field(min_length=1)
    most_images: int = Field(ge=2, le=20_000)
    seed: int = Field(ge=0)

    @field_validator("cosine_thresholds")
    @classmethod
    def _distinct_names(cls, value: list[float]) -> list[float]:
        if len({f"{threshold:.2f}" for threshold in value}) < len(value):
            raise ValueError("Should differ in the first two decimals, which name the metrics")
        return value


def drawn_pairs(table: pd.DataFrame, unit: Vectors, labels: NDArray[np.int64]) -> Pairs:
    """Return the drawn pairs of one part with their cosines."""
    a, b = table["a"].to_numpy(), table["b"].to_numpy()
    return Pairs(cosine_of_pairs(unit, a, b), table["same"].to_numpy(), labels[a], labels[b])


def folds_of(pairs: Pairs, folds: int, seed: int) -> NDArray[np.int8]:
    """Return the fold of both images of each pair, (n, 2): subjects are dealt out at random, all in turn."""
    first, second, subjects = numbered(pairs.first, pairs.second)
    dealt = (np.random.default_rng(seed).permutation(subjects) % folds).astype(np.int8)
    return np.stack([dealt[first], dealt[second]], axis=1)


def figures_of_part(
    part: str, every: Pairs, drawn: Pairs, threshold: float, params: FiguresParams
) -> tuple[dict[str, float], Roc, pd.DataFrame, pd.DataFrame]:
    """Return the field's figures, the ROC, points of it and the histogram of scores, and say what is left out.

    `every` pair is in falling order, and `accuracy` is of those `drawn`.
    """
    found = verification_figures(every, folds_of(every, params.folds, params.seed), drawn, threshold, params)
    for sentence in found.left_out:
        say(f"{part}: {sentence}")
    curve = roc_points(part, found.curve, params.curve_points)
    return found.flat(), found.curve, curve, score_histogram(part, every, params.histogram_bins)


def notebook_figures(same: Labels, cosines: Scores, probability: Scores, params: EvaluateParams) -> dict[str, float]:
    """Return the notebook's own figures on one set of pairs: whether same, cosine, probability by the model, (n,)."""
    figures = {"similarity_accuracy": accuracy(probability, same, params.similarity_threshold)}
    mapped = min_max(cosines)
    for threshold in params.cosine_thresholds:
        figures[f"cosine_accuracy_{threshold:.2f}"] = accuracy(mapped, same, threshold)
    return figures


def similarity_gain(drawn: Pairs, probability: NDArray[np.float32], params: FiguresParams) -> dict[str, float]:
    """Return how far the similarity model's AUC is above cosine's on the same pairs, with its interval over people."""
    gain = area_under_roc(probability, drawn.same) - area_under_roc(drawn.scores, drawn.same)
    interval = auc_gain_interval(drawn, probability, params.bootstrap, params.seed) if params.bootstrap else None
    ends = {f"similarity_auc_gain_{end}": value for end, value in zip(("low", "high"), interval or (), strict=False)}
    return {"similarity_auc_gain": gain} | ends


def scored_parts(pairs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the pairs of each part that has both labels; StageError if `train` or `test_seen` has not."""
    parts = {part: pairs[pairs["part"] == part] for part in SCORED}
    scored = {part: group for part, group in parts.items() if group["same"].nunique() == 2}
    for part in SCORED:
        if part in scored:
            continue
        if part != TEST_UNSEEN:
            raise StageError(f"{PAIRS_PATH}: `{part}` needs genuine and impostor pairs")
        warn(f"`{part}` has no pairs of both labels: it is not scored")
    return scored


class Images(NamedTuple):
    """All images: the split, embeddings float32 (N, D) on disk, as they are and of length 1, and labels from 0 (N,)."""

    split: pd.DataFrame
    embeddings: NDArray[np.float32]
    unit: Vectors
    labels: NDArray[np.int64]


class Scored(NamedTuple):
    """What the scores of every pair come to: figures by part, the thresholds' errors, and ROC and histogram by part."""

    details: dict[str, dict[str, float]]
    thresholds: Thresholds | None
    plots: list[list[pd.DataFrame]]


def score_every_pair(
    images: Images, drawn: dict[str, Pairs], threshold: float, params: EvaluateParams, figures: FiguresParams
) -> Scored:
    """Return the field's figures of each part of which there are `drawn` pairs, one part after another.

    Every pair of many images takes gigabytes. The errors of thresholds are those of the last part.
    """
    details, thresholds, plots = {}, None, []
    at_fmr: dict[float, float] = {}
    for part, of_part in drawn.items():
        rows = images_of(images.split, part)
        pairs = every_pair(rows, images.unit, images.labels, params.most_images, params.seed).pairs
        every = in_falling_order(pairs)
        del pairs
        details[part], curve, *tables = figures_of_part(part, every, of_part, threshold, figures)
        plots.append(tables)
        if part == TRAIN:
            continue
        supporting = [rate for rate in figures.false_accept_rates if supported(rate, int(curve.impostors[-1]))]
        if part == TEST_SEEN:
            at_fmr = {rate: threshold_at_far(curve, rate) for rate in supporting}
        known = {rate: at_fmr[rate] for rate in supporting if rate in at_fmr}
        thresholds = measure_thresholds(part, curve, threshold, known)
    return Scored(details, thresholds, plots)


def compare_models(
    images: Images,
    parts: dict[str, pd.DataFrame],
    drawn: dict[str, Pairs],
    params: EvaluateParams,
    figures: FiguresParams,
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Return figures of cosine and the similarity model on the same drawn pairs: headlines, and details by part."""
    model = load_similarity(images.embeddings.shape[1])
    metrics, details = {}, {}
    for part, table in parts.items():
        probability = model.predict_pairs(images.embeddings, table["a"].to_numpy(), table["b"].to_numpy())
        scores, same = drawn[part].scores, drawn[part].same
        metrics[f"drawn_auc_cosine_{part}"] = area_under_roc(scores, same)
        metrics[f"drawn_auc_similarity_{part}"] = area_under_roc(probability, same)
        details[part] = similarity_gain(drawn[part], probability, figures)
        if part == TEST_SEEN:
            metrics |= notebook_figures(same, scores, probability, params)
    return metrics, details


def warn_of_threshold(metrics: dict[str, float]) -> None:
    """Warn where the threshold of training pairs suits other pairs badly, so that accuracy tells less than AUC."""
    for part in (TEST_SEEN, TEST_UNSEEN):
        if f"eer_{part}" not in metrics:
            continue
        reached, within_reach = metrics[f"accuracy_{part}"], 1 - metrics[f"eer_{part}"]
        if within_reach - reached > MOST_LOST_BY_THRESHOLD:
            warn(
                f"`{part}`: accuracy is {reached:.3f} at the threshold of training pairs, and {within_reach:.3f} where "
                "errors are equal: that threshold does not suit these people, as when training knows its own by heart. "
                "Compare experiments by AUC and EER"
            )


def main() -> None:
    """Write the figures and the curves behind them."""
    params, figures = load_params("evaluate", EvaluateParams), load_params("figures", FiguresParams)
    split = read_split()
    pairs = read_pair_table(PAIRS_PATH, len(split))
    embeddings, labels = read_embeddings(len(split)), np.unique(labels_of(split), return_inverse=True)[1]
    images = Images(split, embeddings, UnitVectors(embeddings), labels)
    parts = scored_parts(pairs)
    drawn = {part: drawn_pairs(table, images.unit, labels) for part, table in parts.items()}
    threshold = best_threshold(drawn[TRAIN].scores, drawn[TRAIN].same)

    with fixed_threads(load_threads()):
        scored = score_every_pair(images, drawn, threshold, params, figures)
        compared, gains = compare_models(images, parts, drawn, params, figures)
    metrics = {"threshold": threshold}
    for part, details in scored.details.items():
        metrics |= {f"{name}_{part}": details[name] for name in ("accuracy", "auc", "eer")}
        details |= gains[part]
    metrics |= compared
    for name, tables in zip(("roc", "scores"), zip(*scored.plots, strict=True), strict=True):
        write_csv(Path(f"metrics/evaluate/{name}.csv"), pd.concat(tables, ignore_index=True))
    write_metrics(Path("metrics/evaluate/verification.json"), scored.details)
    if scored.thresholds is not None:
        write_thresholds(scored.thresholds)
    write_metrics(Path("metrics/evaluate.json"), metrics)
    warn_of_threshold(metrics)
    say(", ".join(f"{name}: {value:.3f}" for name, value in metrics.items() if "accuracy" in name))


if __name__ == "__main__":
    run(main)
