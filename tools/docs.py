"""Write the tables of README.md and docs/ anew, from what the last run left in metrics/.

Run     make docs     (after `make repro`)

A page marks a table by `<!-- table: <name> -->` before and `<!-- end -->` after it; `TABLES` has the function behind a
name. `<!-- output: <command> -->` marks what a command printed, which is run again where there is a model to run it
with. To add a table, write a function, add it to `TABLES` and put the two marks on a page.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from faces.commands.main import NO_ANSWER
from faces.core.json_files import read_json
from faces.reporting.tables import METRICS, Metrics, Table, exports_table, format_metric, verification_table

MARK = re.compile(r"(<!-- (table|output): (.*?) -->\n).*?(<!-- end -->)", re.DOTALL)
UNSEEN = "test_unseen"
MODEL = Path("models/export/model.json")
SEEDS = Path("experiments/seeds.csv")  # which `faces study experiments/seeds.yaml` writes


def pages() -> Iterator[Path]:
    """Yield README.md and the pages of docs/."""
    yield Path("README.md")
    yield from sorted(Path("docs").glob("*.md"))


def headline() -> Table:
    """Return the five figures of README; over seeds of training too, if experiments/seeds.csv has this run."""
    details, found = read_json(METRICS / "evaluate/verification.json")[UNSEEN], read_json(METRICS / "identify.json")
    figures = [
        ("accuracy", details, "accuracy", "share of sampled pairs classified correctly; half of them are genuine"),
        ("AUC", details, "auc", "probability that a genuine pair scores above an impostor pair"),
        ("EER", details, "eer", "error rate at the threshold where FMR and FNMR are equal"),
        ("FNMR at FMR 0.01", details, "fnmr_at_fmr_0.01", "FNMR at the threshold that accepts 1 % of impostor pairs"),
        (
            "rank 1",
            found,
            "rank_1_test_unseen",
            f"share of probes whose own person ranks first among {found['enrolled_test_unseen']} enrolled people",
        ),
    ]
    seeds = (
        pd.read_csv(SEEDS, float_precision="round_trip").query("run == 'default'")
        if SEEDS.is_file()
        else pd.DataFrame()
    )
    header = ["figure", "people never seen", "what it means"]
    rows = [[name, format_metric(metrics, key), meaning] for name, metrics, key, meaning in figures]
    if any(all(run[name] == metrics[key] for name, metrics, key, _ in figures) for _, run in seeds.iterrows()):
        header.insert(2, f"over {len(seeds)} seeds")
        for row in rows:
            row.insert(2, f"{seeds[row[0]].mean():.3f} ± {seeds[row[0]].std(ddof=1):.3f}")
    return Table(header, rows)


def verification() -> Table:
    """Return the verification metrics of each part, with intervals."""
    return verification_table(read_json(METRICS / "evaluate/verification.json"))


def identification() -> Table:
    """Return the identification metrics of both searches."""
    found = read_json(METRICS / "identify.json")
    names = [name for name in found if f"{name}_test_unseen" in found]
    rows = [[f"`{name}`", *(_number(found, f"{name}{suffix}") for suffix in ("", "_test_unseen"))] for name in names]
    rows += [[f"`{name}`", _number(found, name), "–"] for name in ("knn_accuracy", "knn_accuracy_pixels")]
    return Table(["figure", "training people", "people never seen"], rows)


def two_models() -> Table:
    """Return the AUC of cosine and of the Siamese model on the same drawn pairs, and their difference."""
    headlines, details = read_json(METRICS / "evaluate.json"), read_json(METRICS / "evaluate/verification.json")
    rows = [
        [
            f"`{part}`",
            *(f"{headlines[f'drawn_auc_{model}_{part}']:.3f}" for model in ("cosine", "similarity")),
            format_metric(figures, "similarity_auc_gain"),
        ]
        for part, figures in details.items()
    ]
    return Table(["part", "cosine", "Siamese model", "difference"], rows)


def notebook() -> Table:
    """Return the figures that the notebook had, under its names."""
    headlines, found = read_json(METRICS / "evaluate.json"), read_json(METRICS / "identify.json")
    names = ("cosine_accuracy_0.50", "cosine_accuracy_0.42", "similarity_accuracy")
    rows = [[f"`{name}`", _number(headlines, name)] for name in names if name in headlines]
    return Table(["figure", "value"], [*rows, ["`knn_accuracy`", _number(found, "knn_accuracy")]])


def exports() -> Table:
    """Return size, likeness to Keras, accuracy and AUC of each format of the exported model."""
    return exports_table(read_json(METRICS / "export.json"))


def threshold() -> Table:
    """Return the threshold of training pairs and the error rates at it on people never seen."""
    headlines, details = read_json(METRICS / "evaluate.json"), read_json(METRICS / "evaluate/verification.json")[UNSEEN]
    rows = [[_number(headlines, "threshold"), *(_number(details, name) for name in ERRORS)]]
    return Table(["threshold", "FMR", "FNMR"], rows)


ERRORS = ("fmr_at_threshold", "fnmr_at_threshold")
TABLES: dict[str, Callable[[], Table]] = {
    "headline": headline,
    "verification": verification,
    "identification": identification,
    "two models": two_models,
    "notebook": notebook,
    "exports": exports,
    "threshold": threshold,
}


def _number(metrics: Metrics, name: str) -> str:
    value = metrics[name]
    return f"{value:,}" if isinstance(value, int) else format_metric(metrics, name)


def printed(command: str) -> str:
    """Return a command and what it prints, as a block of code; end with its message if it gives no answer."""
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, encoding="utf-8")
    if done.returncode == NO_ANSWER:
        sys.exit(done.stderr)
    lines = [f"$ {command}", *(done.stdout + done.stderr).rstrip().splitlines()]
    return "".join(f"    {line}\n" for line in lines)


def rewritten(text: str, run_commands: bool) -> str:
    """Return a page with its tables written anew and, if asked for, what its commands print."""

    def fill(mark: re.Match[str]) -> str:
        start, kind, name, end = mark.groups()
        if kind == "output":
            return f"{start}\n{printed(name)}\n{end}" if run_commands else mark.group()
        return f"{start}\n{TABLES[name]()}\n\n{end}"

    return MARK.sub(fill, text)


def main() -> None:
    """Rewrite every page."""
    for path in pages():
        before = path.read_text(encoding="utf-8")
        after = rewritten(before, run_commands=MODEL.is_file())
        if after != before:
            path.write_text(after, encoding="utf-8")
            print(f"{path}: written anew")


if __name__ == "__main__":
    main()
