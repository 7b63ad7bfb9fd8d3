"""How far figures of verification would stray with other people: bootstrap intervals over identities.

Pairs are not independent: those of one person share a face, and impostor pairs share two. So identities are drawn anew
with replacement, not pairs. One that is drawn w times gives its genuine pairs the weight w; an impostor pair has the
product of its two identities' weights (Owen 2007, "The pigeonhole bootstrap", arXiv:0712.1111, which finds it mildly
conservative; for genuine pairs it is the subsets bootstrap of Bolle, Ratha, Pankanti 2004, "Error analysis of pattern
recognition systems").
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from faces.verification import Labels, Scores

BINS = 4000  # of scores, in replicates: their curves are that coarse, figures themselves are not
MOST_WEIGHTS = 16_000_000  # of pairs of identities and replicates, in memory at a time: 128 MB
COVERAGE = 0.95

Interval = tuple[float, float]


class Pairs(NamedTuple):
    """Scored pairs: score, 1 or 0 for genuine or impostor, and the identity (0 or more) of either image, each (n,)."""

    scores: Scores
    same: Labels
    first: NDArray[np.int64]
    second: NDArray[np.int64]


def curve_intervals(pairs: Pairs, rates: list[float], replicates: int, seed: int) -> dict[str, Interval]:
    """Return 95 % intervals, as low and high, of the AUC (`auc`), the EER (`eer`) and the TAR at each FAR.

    Args:
        pairs: of both kinds. A replicate that draws pairs of one kind alone has no figures and is left out.
        rates: false accept rates; `tar_at_far_<rate>` is the TAR at each.
        replicates: how often identities are drawn anew.
        seed: of the drawing.

    The interval goes from the 2.5th to the 97.5th percentile of the replicates. Empty if none has figures.
    """
    scores = np.asarray(pairs.scores, dtype=np.float64)
    low, high = scores.min(), scores.max()
    falling = np.minimum(((high - scores) / max(high - low, 1e-12) * BINS).astype(np.int64), BINS - 1)
    rows = falling + BINS * (np.asarray(pairs.same) == 0)
    figures = Drawn(pairs, replicates, seed).measure(rows, 2 * BINS, lambda counts: _of_curves(counts, rates))
    return {name: interval for name, values in figures.items() if (interval := _interval(values))}


def accuracy_interval(pairs: Pairs, threshold: float, replicates: int, seed: int) -> dict[str, Interval]:
    """Return the 95 % interval of the `accuracy` at a threshold that was chosen elsewhere, as above."""
    right = (np.asarray(pairs.scores) >= threshold) == np.asarray(pairs.same, dtype=bool)
    drawn = Drawn(pairs, replicates, seed)
    values = drawn.measure(right.astype(np.int64), 2, lambda counts: {"accuracy": counts[1] / counts.sum(axis=0)})
    interval = _interval(values["accuracy"])
    return {"accuracy": interval} if interval else {}


class Drawn:
    """How often each replicate draws each identity, and with it each pair."""

    def __init__(self, pairs: Pairs, replicates: int, seed: int) -> None:
        """Draw as many identities as there are, with replacement, `replicates` times."""
        identities, places = np.unique(np.concatenate([pairs.first, pairs.second]), return_inverse=True)
        first, second = np.sort(places.reshape(2, -1), axis=0).astype(np.int64)
        total = len(identities)
        self._combinations, self._column = np.unique(first * total + second, return_inverse=True)
        random = np.random.default_rng(seed)
        self._times = random.multinomial(total, np.full(total, 1 / total), size=replicates).T.astype(np.float64)
        self._total = total

    def measure(
        self,
        rows: NDArray[np.int64],
        total: int,
        figures: Callable[[NDArray[np.float64]], dict[str, NDArray[np.float64]]],
    ) -> dict[str, NDArray[np.float64]]:
        """Return the figures of every replicate, made from how many pairs of each row number it has.

        Args:
            rows: (n,) a number of 0 to `total`, exclusive, for each pair.
            total: how many row numbers there are.
            figures: counts of pairs (total, r) of r replicates -> name: values (r,), not finite where there is none.
        """
        combinations = len(self._combinations)
        flat, counts = np.unique(rows * combinations + self._column, return_counts=True)
        table = csr_array((counts.astype(np.float64), divmod(flat, combinations)), shape=(total, combinations))
        step = max(1, MOST_WEIGHTS // max(combinations, total))
        parts = []
        with np.errstate(invalid="ignore", divide="ignore"):  # replicates without one kind
            for start in range(0, self._times.shape[1], step):
                parts.append(figures(table @ self._weights(slice(start, start + step))))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _weights(self, replicates: slice) -> NDArray[np.float64]:
        times = self._times[:, replicates]
        one, other = divmod(self._combinations, self._total)
        return times[one] * np.where((one == other)[:, None], 1.0, times[other])


def _of_curves(counts: NDArray[np.float64], rates: list[float]) -> dict[str, NDArray[np.float64]]:
    """Return the figures of the ROC of each replicate from its genuine, then impostor, pairs by bin: (2 BINS, r)."""
    tar, fmr = (_shares(kind) for kind in np.split(counts, 2))
    figures = {"auc": np.sum(np.diff(fmr, axis=0) * (tar[1:] + tar[:-1]) / 2, axis=0)}
    every = np.arange(counts.shape[1])
    closest = np.argmin(np.abs(fmr + tar - 1), axis=0)
    figures["eer"] = (fmr[closest, every] + 1 - tar[closest, every]) / 2
    for rate in rates:
        at_rate = tar[np.sum(fmr <= rate, axis=0) - 1, every]
        figures[f"tar_at_far_{rate:g}"] = np.where(np.isfinite(fmr[-1]), at_rate, np.nan)
    return figures


def _shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of pairs in the first i bins, (bins + 1, r)."""
    below = np.cumsum(counts, axis=0)
    return np.concatenate([np.zeros((1, counts.shape[1])), below]) / below[-1]


def _interval(values: NDArray[np.float64]) -> Interval | None:
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return None
    low, high = np.quantile(finite, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)
