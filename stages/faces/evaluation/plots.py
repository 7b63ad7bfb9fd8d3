"""Tables behind plots: ROC and DET curves, and the histogram of scores; and text in them that is safe in a page."""

import numpy as np
import pandas as pd

from faces.evaluation.roc import Roc, Scores, tar_at_far
from faces.evaluation.rule_of_30 import lowest_supported_rate
from faces.evaluation.scored_pairs import ScoredPairs

CURVE_POINTS = 200  # of ROC and DET: smooth on a screen, and a small file
HISTOGRAM_BINS = 40  # over cosines of -1 to 1: 0.05 wide


def roc_points(name: str, curve: Roc, points: int = CURVE_POINTS) -> pd.DataFrame:
    """Return the ROC and DET curve of the set `name`: columns set, fmr, tar and fnmr; a row for each point.

    TAR is `tar_at_far` at the FMR, FNMR is 1 - TAR. FMRs are evenly spaced on a logarithmic axis, from the lowest rate
    that the set's impostor pairs support to 1.
    """
    fmr = np.geomspace(lowest_supported_rate(int(curve.impostors[-1])), 1, points)
    tar = np.array([tar_at_far(curve, rate) for rate in fmr])
    return pd.DataFrame({"set": name, "fmr": fmr, "tar": tar, "fnmr": 1 - tar})


def without_markup(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table for a plot with each `<` in its text as `&lt;`.

    `dvc plots` copies tables into a script of its page as they are: a name or an attribute of the user's data such as
    `</script>` or `<!--` would end it.
    """
    return table.map(lambda cell: cell.replace("<", "&lt;") if isinstance(cell, str) else cell)


def score_histogram(name: str, pairs: ScoredPairs, bins: int = HISTOGRAM_BINS) -> pd.DataFrame:
    """Return the histogram of scores in -1..1 for each kind of pair of the set `name`.

    Columns are set, kind, score (the centre of the bin) and share (of the pairs of that kind).
    """
    scores, same = np.asarray(pairs.scores), np.asarray(pairs.same)
    kinds = {"genuine": scores[same == 1], "impostor": scores[same == 0]}
    return pd.concat([histogram(name, kind, of_kind, bins) for kind, of_kind in kinds.items()], ignore_index=True)


def histogram(name: str, kind: str, scores: Scores, bins: int = HISTOGRAM_BINS) -> pd.DataFrame:
    """Return the histogram of scores (n,) of one kind of pair, in the form of `score_histogram`."""
    edges = np.linspace(-1, 1, bins + 1)
    share = np.histogram(scores, bins=edges)[0] / len(scores)
    return pd.DataFrame({"set": name, "kind": kind, "score": (edges[:-1] + edges[1:]) / 2, "share": share})
