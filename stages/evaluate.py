"""Score the image pairs by both approaches of the notebook, and by the field's protocol.

Reads   data/pairs.csv, data/split.csv, data/embeddings.npy, models/similarity.npz
Writes  metrics/evaluate.json, metrics/evaluate/roc.csv, metrics/evaluate/scores.csv
Run     python stages/evaluate.py

`accuracy_<part>` is the headline: cosine at the threshold that is best on the `train` pairs, which `test_seen` and
`test_unseen` had no say in. The notebook's figures, on `test_seen` pairs, keep its names: `similarity_accuracy` (the
similarity model at 0.5) and `cosine_accuracy_<t>` (cosine mapped to 0..1 over the whole set, at the fixed threshold t).
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, field_validator
from sklearn.metrics import roc_curve

from faces.embeddings import cosine_of_pairs, read_embeddings, unit_length
from faces.files import write_csv, write_metrics
from faces.pair_table import PAIRS_PATH, read_pair_table
from faces.similarity_model import SimilarityModel, load_similarity
from faces.split_table import PARTS, TEST_SEEN, TEST_UNSEEN, TRAIN, read_split
from faces.stage import Params, StageError, load_params, run, say, warn
from faces.threads import fixed_threads
from faces.verification import accuracy, area_under_roc, best_threshold, equal_error_rate, min_max


class EvaluateParams(Params):
    similarity_threshold: float = Field(ge=0, le=1)
    cosine_thresholds: list[Annotated[float, Field(ge=0, le=1)]] = Field(min_length=1)
    histogram_bins: int = Field(ge=2, le=1000)
    roc_points: int = Field(ge=10)
    threads: int = Field(ge=1, le=1024)

    @field_validator("cosine_thresholds")
    @classmethod
    def _distinct_names(cls, value: list[float]) -> list[float]:
        if len({f"{threshold:.2f}" for threshold in value}) < len(value):
            raise ValueError("Should differ in the first two decimals, which name the metrics")
        return value


def notebook_figures(
    pairs: pd.DataFrame, embeddings: NDArray[np.float32], model: SimilarityModel, params: EvaluateParams
) -> dict[str, float]:
    """Return the notebook's own figures on one set of pairs, which must have a `cosine` column."""
    probability = model.predict_pairs(embeddings, pairs["a"].to_numpy(), pairs["b"].to_numpy())
    same = pairs["same"].to_numpy()
    figures = {"similarity_accuracy": accuracy(probability, same, params.similarity_threshold)}
    mapped = min_max(pairs["cosine"].to_numpy())
    for threshold in params.cosine_thresholds:
        figures[f"cosine_accuracy_{threshold:.2f}"] = accuracy(mapped, same, threshold)
    return figures


def roc_curves(parts: dict[str, pd.DataFrame], points: int) -> pd.DataFrame:
    """Return the ROC of each part on one axis: fmr, from 0 and 1e-4 to 1, and a column of TAR a part.

    A point says what share of genuine pairs is accepted (TAR) at the strictest-needed threshold whose share of
    accepted impostor pairs (FMR) is at most `fmr`.
    """
    grid = np.concatenate([[0.0], np.geomspace(1e-4, 1, points)])
    curves = pd.DataFrame({"fmr": grid})
    for part, pairs in parts.items():
        fmr, tar, _ = roc_curve(pairs["same"], pairs["cosine"], drop_intermediate=False)
        curves[part] = tar[np.searchsorted(fmr, grid, side="right") - 1]
    return curves


def score_histogram(parts: dict[str, pd.DataFrame], bins: int) -> pd.DataFrame:
    """Return how cosines are distributed: cosine (bin centre) and a column of shares for each part and label."""
    edges = np.linspace(-1, 1, bins + 1)
    histogram = pd.DataFrame({"cosine": (edges[:-1] + edges[1:]) / 2})
    for part, pairs in parts.items():
        for name, label in (("genuine", 1), ("impostor", 0)):
            cosines = pairs.loc[pairs["same"] == label, "cosine"]
            histogram[f"{part}_{name}"] = np.histogram(cosines, bins=edges)[0] / len(cosines)
    return histogram


def scored_parts(pairs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the pairs of each part that has both labels; StageError if `train` or `test_seen` has not."""
    parts = {part: pairs[pairs["part"] == part] for part in PARTS}
    scored = {part: group for part, group in parts.items() if group["same"].nunique() == 2}
    for part in PARTS:
        if part in scored:
            continue
        if part != TEST_UNSEEN:
            raise StageError(f"{PAIRS_PATH}: `{part}` needs genuine and impostor pairs")
        warn(f"`{part}` has no pairs of both labels: it is not scored")
    return scored


def verification_figures(parts: dict[str, pd.DataFrame]) -> dict[str, float]:
    """Return the field's figures of each part, all at the one threshold chosen on `train`."""
    threshold = best_threshold(parts[TRAIN]["cosine"].to_numpy(), parts[TRAIN]["same"].to_numpy())
    figures = {"threshold": threshold}
    for part, pairs in parts.items():
        scores, same = pairs["cosine"].to_numpy(), pairs["same"].to_numpy()
        figures[f"accuracy_{part}"] = accuracy(scores, same, threshold)
        figures[f"auc_{part}"] = area_under_roc(scores, same)
        figures[f"eer_{part}"] = equal_error_rate(scores, same)
    return figures


def main() -> None:
    """Write the figures and the curves behind them."""
    params = load_params("evaluate", EvaluateParams)
    split = read_split()
    pairs = read_pair_table(PAIRS_PATH, len(split))
    embeddings = read_embeddings(len(split))
    pairs["cosine"] = cosine_of_pairs(unit_length(embeddings), pairs["a"].to_numpy(), pairs["b"].to_numpy())
    parts = scored_parts(pairs)
    with fixed_threads(params.threads):
        notebook = notebook_figures(parts[TEST_SEEN], embeddings, load_similarity(embeddings.shape[1]), params)
    metrics = verification_figures(parts) | notebook

    write_csv(Path("metrics/evaluate/roc.csv"), roc_curves(parts, params.roc_points))
    write_csv(Path("metrics/evaluate/scores.csv"), score_histogram(parts, params.histogram_bins))
    write_metrics(Path("metrics/evaluate.json"), metrics)
    say(", ".join(f"{name}: {value:.3f}" for name, value in metrics.items() if "accuracy" in name))


if __name__ == "__main__":
    run(main)
