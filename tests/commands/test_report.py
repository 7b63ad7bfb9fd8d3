import html.parser
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from faces.commands import report
from faces.core.errors import StageError
from faces.core.params import read_params
from faces.reporting import page as page_module
from small_project import commit, git, run_command, write_params


class Page(html.parser.HTMLParser):
    """What a browser would load, and the text of table cells and headings."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.cells: list[str] = []
        self._open = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        if self._open in ("td", "th", "h1", "h2", "b"):
            self.cells.append(data)


def test_one_page_that_needs_nothing_else(project: Path) -> None:
    write_params(project, card={"name": "<b>Faces & co</b>"})
    run_command("report")
    page = Page(report.OUTPUT)
    assert len(page.sources) >= 8 and all(source.startswith("data:image/") for source in page.sources)
    details = json.loads(Path("metrics/evaluate/verification.json").read_text())["test_unseen"]
    assert f"{details['accuracy']:.3f}" in page.cells
    assert f"{details['auc']:.3f} ({details['auc_low']:.3f} to {details['auc_high']:.3f})" in page.cells
    assert "&lt;b&gt;Faces &amp; co&lt;/b&gt;" in report.OUTPUT.read_text()
    assert "There is none to compare with" in report.OUTPUT.read_text()  # no Git here


def test_groups_of_a_test_set_have_a_det_and_a_set_without_labels_no_column(project: Path) -> None:
    entry = {"format": "frcsyn", "images": "images", "pairs": "list.txt"}
    write_params(project, test_sets={"BUPT": entry, "AgeDB": entry})
    Path("metrics/score").mkdir()
    curve = "".join(f"{race},{fmr},{1 - fnmr},{fnmr}\n" for race in "xy" for fmr, fnmr in ((0.1, 0.5), (1, 0.25)))
    Path("metrics/score/BUPT_groups.csv").write_text(f"set,fmr,tar,fnmr\n{curve}")
    figures = {"accuracy": 0.8125, "trade_off": 0.75, "genuine_pairs": 3, "impostor_pairs": 4}
    Path("metrics/score@BUPT.json").write_text(json.dumps(figures))
    Path("metrics/score@AgeDB.json").write_text(json.dumps({"comparisons": 5}))
    run_command("report")
    page = Page(report.OUTPUT)
    assert "BUPT" in page.cells and "0.812" in page.cells and "AgeDB" not in page.cells
    assert "DET of BUPT by group" in report.OUTPUT.read_text()


def test_what_changed_since_the_last_other_figures(project: Path, fails_with: Callable[..., str]) -> None:
    path = Path("metrics/evaluate.json")
    figures = json.loads(path.read_text())
    git(project, "init", "--quiet")
    path.write_text(json.dumps(figures | {"auc_test_seen": 0.25, "eer_test_seen": 0.25}))
    commit(project, "before")
    git(project, "tag", "before")
    path.write_text(json.dumps(figures))
    write_params(project, train={"seed": 7})
    commit(project, "now")
    expected = git(project, "log", "-1", "--format=%h", "before").strip()
    assert page_module.last_with_other_metrics() == expected
    run_command("report", "--output", "other.html")
    text = Path("other.html").read_text()
    assert f"Against <code>{expected}</code>" in text and "<td>train.seed</td><td>0</td><td>7</td>" in text
    now = figures["auc_test_seen"]
    assert f"<td>evaluate: auc_test_seen</td><td>0.2500</td><td>{now:.4f}</td><td" in text
    assert "auc_train</td>" not in text  # it is the same
    run_command("report", "--against", "before")
    assert "Against <code>before</code>" in report.OUTPUT.read_text()
    assert "nowhere" in fails_with("faces", "report", "--against", "nowhere")


def test_other_data_are_not_compared_unless_asked_for(project: Path) -> None:
    path = Path("metrics/evaluate.json")
    figures = path.read_text()
    git(project, "init", "--quiet")
    path.write_text(json.dumps(json.loads(figures) | {"auc_test_seen": 0.25}))
    before = read_params()["sources"]
    write_params(project, sources={"others": {"path": "images"}})
    commit(project, "before")
    git(project, "tag", "before")
    path.write_text(figures)
    write_params(project, sources=before)
    commit(project, "now")
    assert page_module.last_with_other_metrics() is None
    assert "<p>The sources differ: the figures are of other people and images" in page_module.comparison("before")


@pytest.mark.parametrize(
    ("name", "before", "now", "colour"),
    [
        ("evaluate: auc_test_seen", 0.5, 0.6, "up"),
        ("evaluate: auc_test_seen", 0.6, 0.5, "down"),
        ("evaluate: eer_train", 0.5, 0.6, "down"),
        ("train: loss", 0.6, 0.5, "up"),
        ("verification: cllr", 0.6, 0.5, "up"),
        ("review: trade_off", 0.6, 0.5, "down"),
        ("evaluate: threshold", 0.6, 0.5, ""),
    ],
)
def test_a_gain_is_green(name: str, before: float, now: float, colour: str) -> None:
    cell = page_module.change(name, before, now).split("<td")[-1]
    assert cell.startswith(f' class="{colour}">' if colour else ">") and f"{now - before:+.4f}" in cell


def test_counts_are_whole_numbers() -> None:
    assert "<td>840</td><td>900</td><td>+60</td>" in page_module.change("identify: probes", 840, 900)


def test_a_project_that_has_not_run(in_new_folder: None) -> None:
    with pytest.raises(StageError, match=r"metrics/evaluate.json is missing"):
        page_module.body(None)


@pytest.mark.parametrize("path", ["metrics/review/tsne.csv", "metrics/evaluate/roc.csv"])
def test_a_missing_curve_is_named(project: Path, path: str, fails_with: Callable[..., str]) -> None:
    Path(path).unlink()
    assert f"error: {path} is missing; `dvc repro` makes it" in fails_with("faces", "report")
