"""Random samples that repeat: the same seed gives the same sample."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.integer[Any])


def sample_at_most(numbers: NDArray[Number], most: int, seed: int) -> NDArray[Number]:
    """Return ascending numbers (n,) as they are, or `most` of them at random, without repetition, if n is larger.

    The result is ascending, too.
    """
    if len(numbers) <= most:
        return numbers
    return np.sort(np.random.default_rng(seed).choice(numbers, most, replace=False))
