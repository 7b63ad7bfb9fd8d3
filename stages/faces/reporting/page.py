"""The report: one HTML page of metrics, curves and pictures, with what changed since another experiment."""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faces.core.errors import StageError
from faces.core.json_files import read_json
from faces.core.params import read_params
from faces.evaluation.threshold import read_thresholds
from faces.reporting.comparison import as_table, compare_experiments
from faces.reporting.differences import less_is_better
from faces.reporting.experiments import (
    WORKSPACE,
    git,
    read_file_at,
    read_json_at,
    read_params_at,
    resolve_experiment,
)
from faces.reporting.plots import curves, det_by_group, picture
from faces.reporting.tables import (
    METRICS,
    NOTE_MEANS,
    Table,
    exports_table,
    labelled_test_sets,
    thresholds_table,
    training_data_tables,
    verification_table,
    worst_groups,
)
from faces.tables.sources import SYNTHETIC, load_sources

COMPARED = ("metrics/evaluate.json", "metrics/identify.json", "metrics/train.json")
TILES = {
    "accuracy_test_unseen": "accuracy, people never seen",
    "auc_test_unseen": "AUC, people never seen",
    "eer_test_unseen": "EER, people never seen",
    "fnmr_at_fmr_0.01_test_unseen": "FNMR at FMR 0.01, people never seen",
    "accuracy_test_seen": "accuracy, other images of training people",
    "threshold": "threshold on cosines",
}
DRAWS = 1000  # of people, behind an interval of a difference
STYLE = Path(__file__).with_suffix(".css")


def in_html(table: Table) -> str:
    """Return a table in HTML, in a box that scrolls where the page is narrow."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.header)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _text(cell: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(cell))


def pictures() -> Iterator[str]:
    """Yield an HTML figure for each contact sheet that there is, and for the pairs that go most wrong."""
    sources = load_sources()
    drawn = SYNTHETIC in (folder for source in sources.values() for folder in Path(source.path).parents)
    sheets = {SYNTHETIC / "contact_sheet.png": "synthetic people, a row each"} if drawn else {}
    sheets |= {METRICS / f"pack/{name}.png": f"source {name}: before and after packing" for name in sources}
    sheets[METRICS / "review/worst_pairs.png"] = "the pairs that go most wrong, with their cosines"
    for path, caption in sheets.items():
        if path.is_file():
            yield picture(path.read_bytes(), caption)


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested dictionaries as one, with keys joined by dots."""
    if not isinstance(values, dict):
        return {prefix: values}
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def last_with_other_metrics() -> str | None:
    """Return the last commit with the sources of the workspace and other headline metrics; None if there is none."""
    here, sources = Path(COMPARED[0]).read_text(encoding="utf-8"), read_params().get("sources")
    try:
        for commit in git("log", "--format=%h", "--", COMPARED[0]).split():
            if not git("ls-tree", "--name-only", commit, COMPARED[0]) or read_file_at(commit, COMPARED[0]) == here:
                continue
            if read_params_at(commit, commit).get("sources") == sources:
                return commit
    except StageError:
        return None
    return None


def comparison_by_default() -> str:
    """Return the comparison with the last commit of other metrics, if there is one, and what was chosen, as HTML."""
    other = last_with_other_metrics()
    compared = comparison(other) if other else "<p>There is none to compare with.</p>"
    return f'{compared}<p class="quiet">By default, it is the last commit with these sources and other figures.</p>'


def comparison(other: str) -> str:
    """Return the parameters and metrics that differ from another experiment, as HTML."""
    commit = resolve_experiment(other)
    theirs, ours = flat(read_params_at(commit, commit)), flat(read_params())
    parameters = [
        [key, str(theirs.get(key, "–")), str(ours.get(key, "–"))]
        for key in dict.fromkeys([*theirs, *ours])
        if theirs.get(key) != ours.get(key)
    ]
    metrics = ""
    for path in COMPARED:
        before, now = read_json_at(commit, path), read_json(Path(path))
        for key in now:
            if key in before and before[key] != now[key]:
                metrics += change(f"{Path(path).stem}: {key}", before[key], now[key])
    said = f"<p>Against <code>{html.escape(other)}</code>.</p>"
    if any(key.startswith("sources.") for key, _, _ in parameters):
        said += "<p>The sources differ: the figures are of other people and images, so they do not compare.</p>"
    if parameters:
        said += in_html(Table(["parameter", other, "here"], parameters))
    if not metrics:
        return f"{said}<p>No figure differs.</p>{told_apart(other)}"
    head = f"<tr><th>figure</th><th>{html.escape(other)}</th><th>here</th><th>difference</th></tr>"
    table = f'<div class="wide"><table><thead>{head}</thead><tbody>{metrics}</tbody></table></div>'
    return f"{said}{table}{told_apart(other)}"


def told_apart(other: str) -> str:
    """Return what `faces compare` says of another experiment and the workspace, as HTML; or why it says nothing."""
    try:
        compared = compare_experiments(other, WORKSPACE, DRAWS, seed=0)
    except StageError as error:
        return f'<p class="quiet">These differences have no intervals. {html.escape(str(error))}.</p>'
    words = html.escape(". ".join(compared.said))
    table = in_html(as_table(compared, other, "here"))
    return f"<p>On the same pairs, with 95 % intervals of the difference over people. {words}.</p>{table}"


def change(name: str, before: float, now: float) -> str:
    """Return a row of the comparison, green if it is a gain."""
    neutral = any(word in name for word in ("threshold", "learning_rate", "probes", "strangers", "enrolled", "epochs"))
    better = (now < before) == less_is_better(name)
    colour = "" if neutral else ' class="up"' if better else ' class="down"'
    digits = ".4f" if isinstance(before, float) or isinstance(now, float) else "d"
    cells = "".join(f"<td>{cell}</td>" for cell in (html.escape(name), f"{before:{digits}}", f"{now:{digits}}"))
    return f"<tr>{cells}<td{colour}>{now - before:+{digits}}</td></tr>"


def tiles(metrics: dict[str, Any]) -> str:
    """Return the headline metrics as HTML."""
    shown = [(html.escape(text), metrics[name]) for name, text in TILES.items() if name in metrics]
    return "".join(f'<div class="tile"><b>{value:.3f}</b><span>{text}</span></div>' for text, value in shown)


def git_state() -> str:
    """Return which commit this is, and whether files that Git knows differ from it; "no commit" without Git."""
    try:
        commit = git("log", "-1", "--format=%h of %cs").strip()
        changed = ", with changes that are not committed" if git("diff", "--name-only", "HEAD") else ""
        return f"commit {commit}{changed}"
    except StageError:
        return "no commit"


def body(against: str | None) -> str:
    """Return the content of the page."""
    metrics, thresholds = read_json(METRICS / "evaluate.json"), read_thresholds()
    details = read_json(METRICS / "evaluate/verification.json")
    title = html.escape(str(read_params()["card"]["name"]))
    made = f"Made by <code>make repro report</code> from {html.escape(git_state())}"
    parts = [f'<h1>{title}</h1><p class="quiet">{made}</p>', f'<div class="tiles">{tiles(metrics)}</div>']
    sections = {"Trained on": "".join(map(in_html, training_data_tables()))}
    sections["Verification"] = (
        f"<p>With 95 % intervals over people. {NOTE_MEANS}</p>{in_html(verification_table(details))}"
    )
    if test_sets := labelled_test_sets():
        plots = "".join(det_by_group(name) for name, metrics in test_sets.items() if "trade_off" in metrics)
        sections["Other test sets"] = in_html(verification_table(test_sets)) + f'<div class="plots">{plots}</div>'
    sections["Thresholds"] = (
        f"<p>Errors on every pair of {thresholds.measured_on} images.</p>{in_html(thresholds_table(thresholds))}"
    )
    sections["Curves"] = f'<div class="plots">{"".join(curves(thresholds.threshold))}</div>'
    if (groups := worst_groups()).rows:
        sections["Where it fails most"] = in_html(groups)
    sections["Pictures"] = "".join(pictures())
    sections["Formats"] = in_html(exports_table(read_json(METRICS / "export.json")))
    sections["Against an earlier experiment"] = comparison(against) if against else comparison_by_default()
    return "\n".join([*parts, *(f"<h2>{heading}</h2>\n{text}" for heading, text in sections.items())])


def page(against: str | None) -> str:
    """Return the whole page; `against` names the experiment to compare with, else it is the last with other metrics."""
    style = STYLE.read_text(encoding="utf-8")
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    start = f'<!doctype html>\n<html lang="en"><head>{head}<title>Report</title><style>\n{style}</style></head>'
    return f"{start}\n<body>\n{body(against)}\n</body></html>\n"
