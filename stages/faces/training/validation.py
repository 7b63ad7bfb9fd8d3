"""Validation after each epoch: verification of images that are not trained on, and the choice of the best epoch."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from faces.core.errors import StageError
from faces.core.params import Params
from faces.core.sampling import sample_whole_people
from faces.core.threads import load_threads
from faces.evaluation.roc import area_under_roc, equal_error_rate
from faces.tables.embeddings import unit_length
from faces.tables.packed_images import PackedImages
from faces.tables.split_table import TEST_SEEN, VALIDATION, VALIDATION_UNSEEN, image_labels, part_images
from faces.training.batches import BatchSize, Seed


class ValidationParams(Params):
    """Parameters of validation, part of the section `train:`."""

    validation_images: int = Field(ge=2)
    keep: Literal["last", "best"]
    patience: int = Field(ge=0)
    batch_size: BatchSize
    seed: Seed


class Diverged(Exception):
    """Training ran away: a loss or an embedding is not finite. The message says which."""


@dataclass
class Validation:
    """Verification of all pairs of some held-out images.

    They are those of `validation_unseen`, people that are not trained on; if it is empty, of `validation`; if that is
    empty too, of `test_seen`. They are those that `sample_whole_people` draws of the part.

    Attributes:
        part: The part of the split that they are of. Images of `test_seen` must not choose an epoch.
        numbers: Image numbers, (n,).
        has_both: Whether there are genuine and impostor pairs.
    """

    images: PackedImages
    split: pd.DataFrame
    params: ValidationParams

    def __post_init__(self) -> None:
        """Draw the images."""
        labels, present = image_labels(self.split), set(self.split["part"].unique())
        self.part = next((part for part in (VALIDATION_UNSEEN, VALIDATION) if part in present), TEST_SEEN)
        candidates = part_images(self.split, self.part)
        self.numbers = sample_whole_people(candidates, labels, self.params.validation_images, self.params.seed)
        self._a, self._b = np.triu_indices(len(self.numbers), k=1)
        subject = labels[self.numbers]
        self._same = subject[self._a] == subject[self._b]
        self._threads = load_threads()  # now: params.yaml may be edited while the training runs
        self.has_both = bool(0 < self._same.sum() < len(self._same))

    def measure(self, embed: Callable[[NDArray[np.uint8]], Any]) -> dict[str, float]:
        """Return AUC and EER over all pairs; an empty dict without both kinds of pairs; Diverged if not finite."""
        if not self.has_both:
            return {}
        batches = np.split(self.numbers, range(self.params.batch_size, len(self.numbers), self.params.batch_size))
        with ThreadPoolExecutor(self._threads) as pool:  # a call of `embed` alone may have one thread of several
            embeddings = np.concatenate(list(pool.map(lambda batch: np.asarray(embed(self.images[batch])), batches)))
        embeddings = embeddings.astype(np.float32)  # a network of mixed precision gives fewer digits
        if not np.isfinite(embeddings).all():
            raise Diverged("embeddings are not finite")
        unit = unit_length(embeddings)
        cosines = (unit @ unit.T)[self._a, self._b]
        return {
            "validation_auc": area_under_roc(cosines, self._same),
            "validation_eer": equal_error_rate(cosines, self._same),
        }


def best_epoch(history: list[dict[str, float]]) -> int:
    """Return the epoch, from 0, with the highest validation AUC; the first one if several have it."""
    return int(np.argmax([metrics["validation_auc"] for metrics in history]))


def check_choice(set_aside: bool, params: ValidationParams) -> None:
    """Raise StageError if params ask to choose an epoch but no pairs are `set_aside` for that."""
    asked = "keep: best" if params.keep == "best" else f"patience: {params.patience}" if params.patience else ""
    if asked and not set_aside:
        raise StageError(
            f"params.yaml: train.{asked}: an epoch is chosen by genuine and impostor pairs of "
            f"`{VALIDATION_UNSEEN}` or `{VALIDATION}` images, and there are none; raise split.validation_subjects"
        )
