"""Partial FC: each step trains a random sample of the classes, so that the head takes less memory and time.

An et al. 2022, "Killing Two Birds with One Stone: Efficient and Robust Training of Face Recognition CNNs by
Partial FC", arXiv:2203.15565.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.training.arcface import CosineHead


class StoredVariable:
    """An array outside the model that checkpoints save and restore like a variable."""

    def __init__(self, array: NDArray[np.floating]) -> None:
        """Hold `array`, which is changed in place."""
        self.array = array

    def assign(self, values: NDArray[np.floating]) -> None:
        """Replace the content."""
        self.array[:] = values

    def __array__(self, dtype: Any = None) -> NDArray[np.floating]:
        """Return the array itself."""
        return self.array


class SampledDirections:
    """The directions of all classes; each step trains a sample of them in the head.

    The sample has the classes of the batch, and is filled up with others drawn at random. All other directions, and
    their momentum, stay outside the model and do not change.

    Args:
        classes: Number of all classes, C.
        head: A built `CosineHead` of at most C classes and at least as many as a batch has images.
        optimizer: The built optimizer that trains the head.
        seed: Seed of the initial directions, glorot uniform as in a head of all classes.
    """

    def __init__(self, classes: int, head: CosineHead, optimizer: Any, seed: int) -> None:  # noqa: D107
        sampled, size = head.directions.shape
        if not 1 <= sampled <= classes:
            raise ValueError(f"the head has {sampled} classes, must have 1 to {classes}")
        self._in_model = [head.directions]
        self._in_model += [variable for variable in optimizer.variables if "directions" in variable.path]
        limit = math.sqrt(6 / (classes + size))
        random = np.random.default_rng(seed)
        directions = random.uniform(-limit, limit, (classes, size)).astype(head.directions.dtype)
        slots = [np.zeros_like(directions) for _ in self._in_model[1:]]  # of the optimizer: momentum
        self.variables = [StoredVariable(array) for array in (directions, *slots)]
        self._sampled = sampled
        self._chosen = np.arange(sampled)

    def draw(self, labels: NDArray[np.int64], seed: tuple[int, ...]) -> NDArray[np.int64]:
        """Draw a sample for a batch and put it into the model; return `labels` (N,) as positions in the sample."""
        classes, own = len(self.variables[0].array), np.unique(labels)
        random = np.random.default_rng(seed)
        drawn = random.choice(classes, size=self._sampled, replace=False)
        others = random.permutation(np.setdiff1d(drawn, own))[: self._sampled - len(own)]
        self._chosen = np.sort(np.concatenate([own, others]))
        for variable, stored in zip(self._in_model, self.variables, strict=True):
            variable.assign(stored.array[self._chosen])
        return np.searchsorted(self._chosen, labels)

    def put_back(self) -> None:
        """Copy the sample, as the step has changed it, back from the model."""
        for variable, stored in zip(self._in_model, self.variables, strict=True):
            stored.array[self._chosen] = np.asarray(variable)
