"""Scores as likelihood ratios: their calibration, how good it is, and how far it holds.

The likelihood ratio of a score is how much more frequent it is among genuine pairs than among impostor pairs. It says
what a comparison is worth before anything is known of who might be on the images. Logarithms here are natural, but in
the plot, where they are decimal.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import xlogy

from faces.evaluation.bootstrap import bin_ends
from faces.evaluation.roc import Roc
from faces.evaluation.scored_pairs import ScoredPairs
from faces.evaluation.threshold import Calibration

BINS = 4096  # of cosines of -1 to 1, in which a calibration is fitted: 0.0005 wide
WEAK_PENALTY = 1e6  # scikit-learn's C, which keeps the slope finite where scores separate the kinds without error
PAIRS_AT_ONCE = 2**22  # bounds working copies at 100 MB
STEP = 0.25  # of the decimal logarithm of likelihood ratios, in the plot
MIN_IN_STEP = 10  # genuine pairs, and as many impostor pairs, that a point of the plot needs at least


def fit_calibration(pairs: ScoredPairs) -> Calibration:
    """Return the calibration by logistic regression, with both kinds of pair of equal weight in all.

    The slope is not below 0: if genuine pairs score no higher than impostor pairs, every likelihood ratio is 1.
    (Brümmer, du Preez 2006, "Application-independent evaluation of speaker detection".)
    """
    from sklearn.linear_model import LogisticRegression  # takes a second to import

    edges = np.linspace(-1, 1, BINS + 1)
    genuine = np.asarray(pairs.same, dtype=bool)
    counts = [np.histogram(np.asarray(pairs.scores)[kind], edges)[0] for kind in (~genuine, genuine)]
    total = [int(count.sum()) for count in counts]
    cosines = np.tile((edges[:-1] + edges[1:]) / 2, 2)[:, np.newaxis]
    weights = np.concatenate([count * (sum(total) / 2 / all_) for count, all_ in zip(counts, total, strict=True)])
    used = weights > 0
    fitted = LogisticRegression(C=WEAK_PENALTY, solver="newton-cholesky", max_iter=1000)
    fitted.fit(cosines[used], np.repeat([0, 1], BINS)[used], sample_weight=weights[used])
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if slope <= 0:
        slope = intercept = 0.0
    bounds = {"lowest": -float(np.log(total[1])), "highest": float(np.log(total[0]))}
    return Calibration(slope=slope, intercept=intercept, **bounds)


def cllr(pairs: ScoredPairs, calibration: Calibration) -> float:
    """Return the log-likelihood-ratio cost: 0 for ratios that are always right, 1 for those that are always 1.

    Cllr = (mean over genuine pairs of log2(1 + 1 / LR) + mean over impostor pairs of log2(1 + LR)) / 2 (Brümmer, du
    Preez 2006).
    """
    costs, genuine = cllr_costs(pairs, calibration), np.asarray(pairs.same, dtype=bool)
    means = [costs[kind].mean() for kind in (genuine, ~genuine)]
    return float(np.mean(means))


def cllr_costs(pairs: ScoredPairs, calibration: Calibration) -> NDArray[np.float64]:
    """Return what each pair adds to Cllr, (n,): log2(1 + 1 / LR) for a genuine pair, log2(1 + LR) for an impostor."""
    costs = np.empty(len(pairs.scores))
    for start in range(0, len(costs), PAIRS_AT_ONCE):
        rows = slice(start, start + PAIRS_AT_ONCE)
        ratios = calibration.log_ratios(pairs.scores[rows])
        costs[rows] = np.logaddexp(0, np.where(np.asarray(pairs.same[rows]) == 1, -ratios, ratios)) / np.log(2)
    return costs


def cllr_min(curve: Roc) -> float:
    """Return the Cllr of the best monotone calibration, chosen on the same pairs: what no calibration can mend.

    It is by isotonic regression, which is what pool-adjacent-violators computes. A ROC of many thresholds is taken in
    the bins of `bin_ends`, which makes it larger by less than 0.001.
    """
    from sklearn.isotonic import isotonic_regression

    ends = bin_ends(curve)
    genuine, impostors = (
        np.diff(counts[ends].astype(np.int64)) / counts[-1] for counts in (curve.genuine, curve.impostors)
    )
    weights = genuine + impostors
    shares = isotonic_regression(genuine / weights, sample_weight=weights, y_min=0, y_max=1, increasing=False)
    cost = -xlogy(genuine, shares).sum() - xlogy(impostors, 1 - shares).sum()
    return float(cost / 2 / np.log(2))


def reliability(name: str, pairs: ScoredPairs, calibration: Calibration) -> pd.DataFrame:
    """Return the likelihood ratios that were stated and those that were observed, in the set `name`.

    Columns set, stated and observed, both decimal logarithms; a row for each quarter of a power of ten that has
    `MIN_IN_STEP` genuine pairs and as many impostor pairs. Observed is the share of all genuine pairs that are in the
    row over the share of all impostor pairs; stated is the middle of the row.
    """
    stated = calibration.log_ratios(pairs.scores) / np.log(10)
    genuine = np.asarray(pairs.same, dtype=bool)
    steps = np.round(stated / STEP).astype(np.int64)
    first = int(steps.min())
    counts = [np.bincount(steps[kind] - first, minlength=int(steps.max()) - first + 1) for kind in (genuine, ~genuine)]
    enough = (counts[0] >= MIN_IN_STEP) & (counts[1] >= MIN_IN_STEP)
    places = np.flatnonzero(enough)
    shares = [count[enough] / count.sum() for count in counts]
    return pd.DataFrame({"set": name, "stated": (places + first) * STEP, "observed": np.log10(shares[0] / shares[1])})
