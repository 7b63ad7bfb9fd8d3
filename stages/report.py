"""Write one page to send to a colleague: figures, curves, pictures, and what changed since the last experiment.

Run     python stages/report.py [--against <experiment>] [--output report.html]     (or `make report`)
Reads   what `dvc repro` left: metrics/, models/threshold.json, params.yaml, pictures of the stages
Writes  report.html, which needs no other file and no network

Not a stage: it shows the state of Git, which no stage may depend on. `--against` is an experiment of DVC, a branch, a
tag or a commit; without it, the last commit with other figures, if there is one. The pictures show faces: mind whom
you send it to.
"""

import argparse
import base64
import html
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from card import (
    METRICS,
    THRESHOLDS,
    Table,
    exports_table,
    figures_by_part,
    read_json,
    thresholds_table,
    trained_on,
    worst_groups,
)
from faces.core.errors import StageError
from faces.core.files import write_text
from faces.core.params import PARAMS_FILE, parse_params, read_params
from faces.core.run import run
from faces.core.terminal import say
from faces.reporting.experiments import commit_of, git, read_file
from faces.reporting.experiments import read_json as read_json_of
from faces.tables.external_sets import load_test_sets
from faces.tables.sources import load_sources

OUTPUT = Path("report.html")
PLOT_INCHES = (5.2, 3.6)
COMPARED = ("metrics/evaluate.json", "metrics/identify.json", "metrics/train.json")
TILES = {
    "accuracy_test_unseen": "accuracy, people never seen",
    "auc_test_unseen": "AUC, people never seen",
    "eer_test_unseen": "EER, people never seen",
    "accuracy_test_seen": "accuracy, other images of training people",
    "threshold": "threshold on cosines",
}
SYNTHETIC = Path("data/synthetic")
STYLE = Path(__file__).with_suffix(".css")
# Of these, less is better.
ERRORS = ("eer", "loss", "fnmr", "fmr")


def in_html(table: Table) -> str:
    """Return a table in HTML, in a box that scrolls where the page is narrow."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.header)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _text(cell: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(cell))


def picture(content: bytes, caption: str, kind: str = "png") -> str:
    """Return a picture that lies within the page."""
    encoded, words = base64.b64encode(content).decode(), html.escape(caption)
    return (
        f'<figure><img alt="{words}" src="data:image/{kind};base64,{encoded}"><figcaption>{words}</figcaption></figure>'
    )


def plot(draw: Callable[[Any], None], caption: str) -> str:
    """Return what `draw` draws on axes of Matplotlib, as a picture that stays sharp."""
    from matplotlib.figure import Figure  # takes half a second to import

    figure = Figure(figsize=PLOT_INCHES, layout="constrained")
    draw(figure.subplots())
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    return picture(content.getvalue(), caption, "svg+xml")


def lines_by(table: pd.DataFrame, x: str, y: str, logarithmic: str = "") -> Callable[[Any], None]:
    """Return what draws a line for each `set` of a table."""

    def draw(axes: Any) -> None:
        for name, rows in table.groupby("set", sort=False):
            axes.plot(rows[x], rows[y], label=name)
        axes.set(xlabel=x.replace("_", " "), ylabel=y.replace("_", " "))
        if "x" in logarithmic:
            axes.set_xscale("log")
        if "y" in logarithmic:
            axes.set_yscale("log")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()

    return draw


def draw_scores(scores: pd.DataFrame, threshold: float) -> Callable[[Any], None]:
    """Return what draws how cosines of genuine and impostor pairs are distributed."""

    def draw(axes: Any) -> None:
        for kind, rows in scores.groupby("kind"):
            axes.plot(rows["score"], rows["share"], label=kind)
        axes.axvline(threshold, color="grey", linestyle="--", label="threshold")
        axes.set(xlabel="cosine", ylabel="share of pairs")
        axes.legend()

    return draw


def draw_people(points: pd.DataFrame, axes: Any) -> None:
    """Draw embeddings in two dimensions, a colour a person."""
    axes.scatter(points["x"], points["y"], c=points["subject"].factorize()[0], cmap="tab20", s=10)
    axes.set(xticks=[], yticks=[])


def curves(threshold: float) -> Iterator[str]:
    """Yield the plots of what the stages left."""
    roc = pd.read_csv(METRICS / "evaluate/roc.csv")
    yield plot(lines_by(roc, "fmr", "tar", "x"), "ROC: share of genuine pairs accepted, over the false match rate")
    yield plot(lines_by(roc[roc["fnmr"] > 0], "fmr", "fnmr", "xy"), "DET: false non-match rate over false match rate")
    scores = pd.read_csv(METRICS / "evaluate/scores.csv")
    last = scores["set"].iloc[-1]
    yield plot(draw_scores(scores[scores["set"] == last], threshold), f"cosines of all pairs of {last}")
    ranks = pd.read_csv(METRICS / "identify/cmc.csv")
    yield plot(lines_by(ranks, "rank", "rate"), "CMC: who is found among the best so many")
    for name in ("loss", "validation_auc"):
        path = METRICS / f"train/plots/metrics/{name}.tsv"
        if path.exists():
            steps = pd.read_csv(path, sep="\t")
            epochs = steps.assign(set=name.replace("_", " "), epoch=steps["step"] + 1)
            yield plot(lines_by(epochs, "epoch", name), f"{name.replace('_', ' ')} by epoch")
    people = pd.read_csv(METRICS / "review/tsne.csv", dtype={"subject": str}, keep_default_na=False)
    yield plot(lambda axes: draw_people(people, axes), "t-SNE of embeddings, a colour a person")


def pictures() -> Iterator[str]:
    """Yield the contact sheets and the pairs that go most wrong, as far as they are there."""
    sources = load_sources()
    drawn = SYNTHETIC in (folder for source in sources.values() for folder in Path(source.path).parents)
    sheets = {SYNTHETIC / "contact_sheet.png": "synthetic people, a row each"} if drawn else {}
    sheets |= {METRICS / f"pack/{name}.png": f"source {name}: before and after packing" for name in sources}
    sheets[METRICS / "review/worst_pairs.png"] = "the pairs that go most wrong, with their cosines"
    for path, caption in sheets.items():
        if path.exists():
            yield picture(path.read_bytes(), caption)


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one, with keys joined by dots."""
    if not isinstance(values, dict):
        return {prefix: values}
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def last_with_other_figures() -> str | None:
    """Return the last commit whose headline figures are not those here; None if there is none, or no Git."""
    here = Path(COMPARED[0]).read_text(encoding="utf-8")
    try:
        for commit in git("log", "--format=%h", "--", COMPARED[0]).split():
            if git("ls-tree", "--name-only", commit, COMPARED[0]) and read_file(commit, COMPARED[0]) != here:
                return commit
    except StageError:
        return None
    return None


def comparison(other: str) -> str:
    """Return what differs from another experiment: parameters and figures, HTML."""
    commit = commit_of(other)
    theirs, ours = flat(parse_params(read_file(commit, str(PARAMS_FILE)).encode(), other)), flat(read_params())
    parameters = [
        [key, str(theirs.get(key, "–")), str(ours.get(key, "–"))]
        for key in dict.fromkeys([*theirs, *ours])
        if theirs.get(key) != ours.get(key)
    ]
    figures = ""
    for path in COMPARED:
        before, now = read_json_of(commit, path), read_json(Path(path))
        for key in now:
            if key in before and before[key] != now[key]:
                figures += change(f"{Path(path).stem}: {key}", before[key], now[key])
    said = f"<p>Against <code>{html.escape(other)}</code>.</p>"
    if parameters:
        said += in_html(Table(["parameter", other, "here"], parameters))
    if not figures:
        return f"{said}<p>No figure differs.</p>"
    head = f"<tr><th>figure</th><th>{html.escape(other)}</th><th>here</th><th>difference</th></tr>"
    return f'{said}<div class="wide"><table><thead>{head}</thead><tbody>{figures}</tbody></table></div>'


def change(name: str, before: float, now: float) -> str:
    """Return a row of the comparison, green if it is a gain."""
    neutral = any(word in name for word in ("threshold", "learning_rate", "probes", "strangers", "enrolled", "epochs"))
    better = (now < before) == any(word in name for word in ERRORS)
    colour = "" if neutral else ' class="up"' if better else ' class="down"'
    digits = ".4f" if isinstance(before, float) or isinstance(now, float) else "d"
    cells = "".join(f"<td>{cell}</td>" for cell in (html.escape(name), f"{before:{digits}}", f"{now:{digits}}"))
    return f"<tr>{cells}<td{colour}>{now - before:+{digits}}</td></tr>"


def tiles(metrics: dict[str, Any]) -> str:
    """Return the headline figures, large."""
    shown = [(html.escape(text), metrics[name]) for name, text in TILES.items() if name in metrics]
    return "".join(f'<div class="tile"><b>{value:.3f}</b><span>{text}</span></div>' for text, value in shown)


def state_of_git() -> str:
    """Return which commit this is, and whether files that Git knows differ from it; "" without Git."""
    try:
        commit = git("log", "-1", "--format=%h of %cs").strip()
        changed = ", with changes that are not committed" if git("diff", "--name-only", "HEAD") else ""
        return f"commit {commit}{changed}"
    except StageError:
        return "no commit"


def body(against: str | None) -> str:
    """Return the content of the page."""
    metrics, thresholds = read_json(METRICS / "evaluate.json"), read_json(THRESHOLDS)
    details = read_json(METRICS / "evaluate/verification.json")
    title = html.escape(str(read_params()["card"]["name"]))
    made = f"Made by <code>make repro report</code> from {html.escape(state_of_git())}"
    parts = [f'<h1>{title}</h1><p class="quiet">{made}</p>', f'<div class="tiles">{tiles(metrics)}</div>']
    sections = {"Trained on": "".join(map(in_html, trained_on()))}
    sections["Verification"] = f"<p>With 95 % intervals over people.</p>{in_html(figures_by_part(details))}"
    if test_sets := {name: read_json(METRICS / f"score@{name}.json") for name in load_test_sets()}:
        sections["Other test sets"] = in_html(figures_by_part(test_sets))
    sections["Thresholds"] = (
        f"<p>Errors on every pair of {thresholds['measured_on']} images.</p>{in_html(thresholds_table(thresholds))}"
    )
    sections["Curves"] = f'<div class="plots">{"".join(curves(thresholds["threshold"]))}</div>'
    if (groups := worst_groups()).rows:
        sections["Where it fails most"] = in_html(groups)
    sections["Pictures"] = "".join(pictures())
    sections["Formats"] = in_html(exports_table(read_json(METRICS / "export.json")))
    other = against or last_with_other_figures()
    sections["Against the experiment before"] = comparison(other) if other else "<p>There is none to compare with.</p>"
    return "\n".join([*parts, *(f"<h2>{heading}</h2>\n{text}" for heading, text in sections.items())])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="experiment", help="what to compare with")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the page (%(default)s)")
    return parser.parse_args()


def main() -> None:
    """Write the page."""
    arguments = _arguments()
    content = body(arguments.against)
    style = STYLE.read_text(encoding="utf-8")
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    page = (
        f'<!doctype html>\n<html lang="en"><head>{head}<title>Report</title><style>\n{style}</style></head>\n<body>\n'
    )
    write_text(arguments.output, f"{page}{content}\n</body></html>\n")
    say(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run(main, takes_arguments=True)
