"""The plots of the report, as figures of an HTML page that needs no other file."""

import base64
import html
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from faces.core.files import missing_metrics
from faces.reporting.tables import METRICS

PLOT_INCHES = (5.2, 3.6)
AXES = {  # what an axis says for a column of a table: words, and the unit or what a share is of
    "fmr": "FMR (share of impostor pairs accepted)",
    "tar": "TAR (share of genuine pairs accepted)",
    "fnmr": "FNMR (share of genuine pairs rejected)",
    "rank": "rank",
    "rate": "share of probes found within the rank",
    "stated": "likelihood ratio stated (logarithm to base 10)",
    "observed": "likelihood ratio observed (logarithm to base 10)",
    "epoch": "epoch",
    "loss": "ArcFace loss (mean of the epoch)",
    "validation_auc": "AUC (images that training does not use)",
}
TRAINING = {"loss": "loss", "validation_auc": "AUC"}  # the curves of a training that are drawn


def picture(content: bytes, caption: str, kind: str = "png") -> str:
    """Return an HTML figure with the picture embedded in it."""
    encoded, words = base64.b64encode(content).decode(), html.escape(caption)
    return (
        f'<figure><img alt="{words}" src="data:image/{kind};base64,{encoded}"><figcaption>{words}</figcaption></figure>'
    )


def plot(draw: Callable[[Any], None], caption: str) -> str:
    """Return an HTML figure of a plot that `draw` draws on Matplotlib axes, as SVG.

    Neither a matplotlibrc nor MPLBACKEND, which may name a backend that is not installed, has a say in it.
    """
    os.environ.pop("MPLBACKEND", None)
    import matplotlib  # takes half a second to import
    from matplotlib.figure import Figure

    content = io.BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=PLOT_INCHES, layout="constrained")
        draw(figure.subplots())
        figure.savefig(content, format="svg", metadata={"Date": None})
    return picture(content.getvalue(), caption, "svg+xml")


def draw_lines(table: pd.DataFrame, x: str, y: str, logarithmic: str = "") -> Callable[[Any], None]:
    """Return a function that draws one line for each value of the column `set`, on axes that may be logarithmic."""

    def draw(axes: Any) -> None:
        for name, rows in table.groupby("set", sort=False):
            axes.plot(rows[x], rows[y], label=name)
        axes.set(xlabel=AXES[x], ylabel=AXES[y])
        if "x" in logarithmic:
            axes.set_xscale("log")
        if "y" in logarithmic:
            axes.set_yscale("log")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()

    return draw


def draw_scores(scores: pd.DataFrame, threshold: float) -> Callable[[Any], None]:
    """Return a function that draws the distributions of genuine and impostor cosines, and the threshold."""

    def draw(axes: Any) -> None:
        for kind, rows in scores.groupby("kind"):
            axes.plot(rows["score"], rows["share"], label=kind)
        axes.axvline(threshold, color="grey", linestyle="--", label="threshold")
        axes.set(xlabel="cosine of a pair", ylabel="share of the pairs of a kind")
        axes.legend()

    return draw


def draw_reliability(table: pd.DataFrame) -> Callable[[Any], None]:
    """Return a function that draws likelihood ratios observed over those stated, and the line where both are equal."""
    lines = draw_lines(table, "stated", "observed")

    def draw(axes: Any) -> None:
        lines(axes)
        axes.axline((0, 0), slope=1, color="grey", linestyle="--")

    return draw


def draw_people(points: pd.DataFrame, axes: Any) -> None:
    """Draw embeddings in two dimensions, a colour a person."""
    axes.scatter(points["x"], points["y"], c=points["subject"].factorize()[0], cmap="tab20", s=10)
    axes.set(xticks=[], yticks=[])


def read_curve(path: Path, **options: Any) -> pd.DataFrame:
    """Return the table behind a plot; StageError if it is missing. `options` are those of pandas.read_csv."""
    if not path.is_file():
        raise missing_metrics(path)
    return pd.read_csv(path, **options)


def det_by_group(name: str) -> str:
    """Return an HTML figure of the DET of each group of a test set."""
    table = read_curve(METRICS / f"score/{name}_groups.csv", dtype={"set": str}, keep_default_na=False)
    return plot(draw_lines(table[table["fnmr"] > 0], "fmr", "fnmr", "xy"), f"DET of {name} by group")


def curves(threshold: float) -> Iterator[str]:
    """Yield an HTML figure for each curve that the stages wrote: ROC, DET, scores, CMC, training, t-SNE."""
    roc = read_curve(METRICS / "evaluate/roc.csv")
    yield plot(draw_lines(roc, "fmr", "tar", "x"), "ROC: share of genuine pairs accepted, over the false match rate")
    yield plot(draw_lines(roc[roc["fnmr"] > 0], "fmr", "fnmr", "xy"), "DET: false non-match rate over false match rate")
    scores = read_curve(METRICS / "evaluate/scores.csv")
    last = scores["set"].iloc[-1]
    yield plot(draw_scores(scores[scores["set"] == last], threshold), f"cosines of all pairs of {last}")
    yield plot(
        draw_reliability(read_curve(METRICS / "evaluate/reliability.csv")), "likelihood ratios: stated, observed"
    )
    ranks = read_curve(METRICS / "identify/cmc.csv")
    yield plot(draw_lines(ranks, "rank", "rate"), "CMC: how often the right person is among the best")
    for name in TRAINING:
        path = METRICS / f"train/plots/metrics/{name}.tsv"
        if path.exists():
            steps = read_curve(path, sep="\t")
            epochs = steps.assign(set=TRAINING[name], epoch=steps["step"] + 1)
            yield plot(draw_lines(epochs, "epoch", name), f"Training: {TRAINING[name]} after each epoch")
    people = read_curve(METRICS / "review/tsne.csv", dtype={"subject": str}, keep_default_na=False)
    yield plot(lambda axes: draw_people(people, axes), "t-SNE of embeddings, a colour a person")
