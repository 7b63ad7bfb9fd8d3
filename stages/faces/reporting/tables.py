"""Tables of metrics, for the model card in Markdown and for the report in HTML."""

import html
import re
from pathlib import Path
from typing import Any, NamedTuple

from faces.core.csv_files import csv_rows
from faces.core.json_files import read_json
from faces.evaluation.metrics import FNMR_RATES
from faces.evaluation.rule_of_30 import is_supported
from faces.evaluation.threshold import ErrorRates, Thresholds
from faces.tables.external_sets import load_test_sets
from faces.tables.sources import load_sources

METRICS = Path("metrics")
RATE = "tar_at_far_"  # begins the name of a metric; the rate follows
MEANINGS = {
    "train": "images that the network was trained on",
    "validation": "other images of the training people, to choose an epoch",
    "validation_unseen": "people set aside, to choose thresholds",
    "test_seen": "other images of the training people",
    "test_unseen": "people that training never saw",
}
NOTE = " *"
NOTE_MEANS = "* Fewer than 30 false matches are expected at this rate (the rule of 30): go by the interval."
WORST_GROUPS = 5  # of either kind of error


Metrics = dict[str, Any]


class Table(NamedTuple):
    """A header and rows of text cells."""

    header: list[str]
    rows: list[list[str]]

    def __str__(self) -> str:
        """Return the table in Markdown, with what would be markup or end a row in a cell as plain text."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        return "\n".join(f"| {' | '.join(map(_in_markdown, line))} |" for line in lines)


def _in_markdown(cell: str) -> str:
    return " ".join(html.escape(cell, quote=False).split()).replace("|", r"\|")


def format_metric(metrics: Metrics, name: str) -> str:
    """Return a metric with three decimals and its 95 % interval, if it has one; a dash if there is no such metric."""
    if name not in metrics:
        return "–"
    ends = [metrics.get(f"{name}_{end}") for end in ("low", "high")]
    return f"{metrics[name]:.3f}" + ("" if None in ends else f" ({ends[0]:.3f} to {ends[1]:.3f})")


def note(metrics: Metrics, name: str) -> str:
    """Return NOTE after a figure at a false match rate that lets fewer than 30 false matches be expected, or ""."""
    rate = re.fullmatch(r"(?:tar_at_far|fnmr_at_fmr)_([0-9.e-]+)", name)
    unsupported = rate and name in metrics and not is_supported(float(rate[1]), metrics["impostor_pairs"])
    return NOTE if unsupported else ""


def training_data_tables() -> tuple[Table, Table]:
    """Return a table of the sources, and one of the parts of the split."""
    rows = []
    for name in load_sources():
        packed = read_json(METRICS / f"pack@{name}.json")
        counts = [f"{packed[key]:,}" for key in ("images", "subjects", "rejected")]
        rows.append([name, *counts, f"{packed['failure_to_enrol']:.2%}"])
    split = read_json(METRICS / "split.json")
    parts = [
        [part, MEANINGS[part], f"{split[f'images_{part}']:,}", f"{split[f'subjects_{part}']:,}"]
        for part in MEANINGS
        if split[f"images_{part}"]
    ]
    return (
        Table(["source", "images", "people", "rejected", "failure to enrol"], rows),
        Table(["part", "what it is", "images", "people"], parts),
    )


def labelled_test_sets() -> dict[str, Metrics]:
    """Return the metrics of each test set by name; those without labels have none to show, and are left out."""
    scores = {name: read_json(METRICS / f"score@{name}.json") for name in load_test_sets()}
    return {name: metrics for name, metrics in scores.items() if "accuracy" in metrics}


def metric_labels(details: Metrics) -> dict[str, str]:
    """Return the label of each metric that any part has, in the order of the table."""
    rates = sorted(
        {name for part in details.values() for name in part if name.startswith(RATE) and name[-1].isdigit()},
        key=lambda name: -float(name.removeprefix(RATE)),
    )
    names = {"accuracy": "accuracy at the threshold", "auc": "AUC", "eer": "EER"}
    names |= {f"fnmr_at_fmr_{rate:g}": f"FNMR at FMR {rate:g}" for rate in FNMR_RATES}
    names |= {name: f"TAR at FAR {name.removeprefix(RATE)}" for name in rates}
    names |= {
        "fold_accuracy": "k-fold accuracy",
        "fmr_at_threshold": "FMR at the threshold",
        "fnmr_at_threshold": "FNMR at the threshold",
        "cllr": "Cllr",
        "cllr_min": "lowest Cllr",
    }
    return {name: text for name, text in names.items() if any(name in part for part in details.values())}


def verification_table(details: Metrics) -> Table:
    """Return the verification metrics of every part, or test set, with intervals: a row a metric, a column a part."""
    rows = [
        [text, *(format_metric(part, name) + note(part, name) for part in details.values())]
        for name, text in metric_labels(details).items()
    ]
    pairs = [f"{part['genuine_pairs']:,}; {part['impostor_pairs']:,}" for part in details.values()]
    return Table(["", *details], [*rows, ["genuine; impostor pairs", *pairs]])


def thresholds_table(thresholds: Thresholds) -> Table:
    """Return thresholds with the error rates measured at them."""
    chosen: dict[str, ErrorRates] = {f"{thresholds.criterion} on `{thresholds.chosen_on}` pairs": thresholds}
    chosen |= {f"FMR {rate} on `{thresholds.at_fmr_chosen_on}`": rates for rate, rates in thresholds.at_fmr.items()}
    rows = [
        [text, f"{r.threshold:.4f}", _with_ends(r.fmr, r.fmr_interval), _with_ends(r.fnmr, r.fnmr_interval)]
        for text, r in chosen.items()
    ]
    return Table(["chosen for", "threshold", "FMR", "FNMR"], rows)


def _with_ends(rate: float, interval: tuple[float, float] | None) -> str:
    return f"{rate:.4f}" + (f" ({interval[0]:.4f} to {interval[1]:.4f})" if interval else "")


def exports_table(exports: Metrics) -> Table:
    """Return size, accuracy and likeness to Keras of each format of the exported model."""
    rows = [
        [
            name,
            f"{metrics['size_bytes']:,}",
            f"{metrics['lowest_cosine']:.5f}",
            f"{metrics['accuracy']:.3f}",
            f"{metrics['auc']:.3f}",
        ]
        for name, metrics in exports.items()
    ]
    return Table(["format", "bytes", "lowest cosine with the Keras embedding", "accuracy", "AUC"], rows)


def worst_groups() -> Table:
    """Return the attribute values with the highest FNMR and FMR; no rows if no attribute is known."""
    columns = ("attribute", "value", "kind", "rate", "pairs")
    known = list(csv_rows(METRICS / "review/attributes.csv", columns))
    rows = []
    for kind in ("FNMR", "FMR"):
        worst = sorted((row for row in known if row["kind"] == kind), key=lambda row: -float(row["rate"]))
        rows += [
            [kind, row["value"].replace("&lt;", "<"), f"{float(row['rate']):.3f}", row["pairs"]]
            for row in worst[:WORST_GROUPS]
        ]
    return Table(["error", "images with", "rate", "pairs"], rows)
