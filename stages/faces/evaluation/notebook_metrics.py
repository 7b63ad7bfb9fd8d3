"""The verification metrics of the FRCSyn notebook that this pipeline comes from, under its names."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from faces.core.params import Params
from faces.evaluation.roc import Labels, Scores
from faces.evaluation.verification import accuracy


class NotebookParams(Params):
    """The keys of the section `evaluate:` that the notebook's metrics read: its fixed thresholds."""

    similarity_threshold: float = Field(ge=0, le=1)
    cosine_thresholds: list[Annotated[float, Field(ge=0, le=1)]] = Field(min_length=1)

    @field_validator("cosine_thresholds")
    @classmethod
    def _distinct_names(cls, value: list[float]) -> list[float]:
        if len({f"{threshold:.2f}" for threshold in value}) < len(value):
            raise ValueError("Should differ in the first two decimals, which name the metrics")
        return value


def notebook_metrics(same: Labels, cosines: Scores, probability: Scores, params: NotebookParams) -> dict[str, float]:
    """Return the accuracies at fixed thresholds on n pairs with their cosines and probabilities, each (n,)."""
    metrics = {"similarity_accuracy": accuracy(probability, same, params.similarity_threshold)}
    mapped = min_max(cosines)
    for threshold in params.cosine_thresholds:
        metrics[f"cosine_accuracy_{threshold:.2f}"] = accuracy(mapped, same, threshold)
    return metrics


def min_max(scores: Scores) -> NDArray[np.float64]:
    """Return scores (n,) mapped linearly to 0..1 over the whole set; 0 throughout if all are equal."""
    values = np.asarray(scores, dtype=np.float64)
    spread = values.max() - values.min()
    return (values - values.min()) / spread if spread > 0 else np.zeros_like(values)
