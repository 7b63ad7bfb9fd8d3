"""README and docs/ against the project: links, commands, parameters, metrics and tables exist and are not stale."""

import argparse
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.cli import DvcParserError
from dvc.cli.parser import get_main_parser
from tools.docs import MARK, TABLES, rewritten

from faces.commands.main import COMMANDS
from faces.core.pipeline import read_stages
from small_project import ROOT, needs_default_data

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")])
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
COMMENT = re.compile(r"<!-- (.*?) -->", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE_SPAN = re.compile(r"`([^`\n]+)`")
PLACEHOLDER = re.compile(r"<[a-z ,]+>|…|\$")
ENDINGS = ("idx", "json", "py", "rec")  # of file names, which look like parameters

# A figure: a number with a decimal point, or with a unit. Versions and numbers of papers are none.
VERSION = re.compile(r"(Python|Keras|TensorFlow|NumPy|arXiv:|Apache-|@v|==)\s*[\d.]+")
FIGURE = re.compile(r"\d\.\d|\d (seconds?|minutes?|hours?|days|s|ms|%|[kMGT]B)\b")
EXPLAINED = ("computed: ", "measured once: ", "prototype: ")  # a figure that no command of the project prints


class Parsed(Exception):
    """A command line was understood."""


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def sections(text: str) -> Iterator[str]:
    """Yield the text from each heading to the next one."""
    starts = [0, *(match.start() for match in HEADING.finditer(text)), len(text)]
    for start, end in zip(starts, starts[1:], strict=False):
        yield text[start:end]


def blocks(text: str) -> Iterator[str]:
    """Yield the lines of indented blocks of code that are commands, or follow a `$`; a block of output is none."""
    for block in re.findall(r"(?:^    .*\n)+", text, re.MULTILINE):
        lines = [line.strip() for line in block.splitlines()]
        prompts = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        yield from prompts or lines


def commands(page: Path) -> list[list[str]]:
    """Return the command lines of a page: in blocks, in code spans and in comments; parts of a && b each."""
    text = text_of(page)
    found = [*blocks(text), *CODE_SPAN.findall(COMMENT.sub("", text)), *COMMENT.findall(text)]
    known = ("make ", "faces ", "dvc ", "python ")
    parts = [part.strip() for line in found for part in re.split(r" # |\s{2,}", line)[0].split("&&")]
    starting = [part.removeprefix("output: ") for part in parts]
    return [shlex.split(part) for part in starting if part.startswith(known) and not part.startswith("faces <")]


def slug(heading: str) -> str:
    """Return the anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_and_anchor_exists(page: Path) -> None:
    for link in LINK.findall(text_of(page)):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in map(slug, HEADING.findall(text_of(target))), link


def test_every_page_is_on_the_map_and_begins_with_a_question() -> None:
    readme = text_of(ROOT / "README.md")
    assert len(readme.encode()) <= 8192
    for page in ROOT.glob("docs/*.md"):
        assert f"](docs/{page.name})" in readme, page.name
        first = text_of(page).split("\n\n")[1]
        assert "?" in first, page.name


def check_make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE)
    for word in words[1:]:
        assert "=" in word or word in targets, words


def check_faces(words: list[str]) -> None:
    """Let the command's own parser read the options."""
    if words[1].startswith("-"):
        return
    assert words[1] in COMMANDS, words
    if len(words) > 2:
        with pytest.raises(Parsed):
            import_module(f"faces.commands.{words[1]}").main([word for word in words[2:] if word != "…"])


def check_dvc(words: list[str]) -> None:
    """Let DVC's own parser read the command line; then look up parameters and stages."""
    parser = get_main_parser()
    try:
        known = parser.parse_args(words[1:])
    except DvcParserError:
        if any(word.startswith("-") for word in words):
            raise
        with pytest.raises(SystemExit) as exit_:  # a command that is named without its arguments
            parser.parse_args([*words[1:], "--help"])
        assert exit_.value.code == 0, words
        return
    for setting in getattr(known, "set_param", None) or []:
        if setting != "…":
            check_parameter(setting.partition("=")[0])
    if words[1] in ("repro", "pull"):
        for target in filter(None, [*(known.targets or [])]):
            name = target.partition("@")[0]
            assert name in read_stages() or (ROOT / name).exists() or is_output(name), words


def check_python(words: list[str]) -> None:
    if words[1] == "-m":
        assert find_spec(words[2]), words
        options = [word for word in words[3:] if word.startswith("--")]
        if words[2] != "pytest" and options:
            source = Path(str(getattr(find_spec(words[2]), "origin", None))).read_text(encoding="utf-8")
            assert all(option in source for option in options), words
        paths = [word for word in words[3:] if word.endswith(".py")]
    else:
        paths = [words[1].replace("<stage>", "split")]
    for path in paths:
        assert (ROOT / path).is_file(), words


CHECKS = {"make": check_make, "faces": check_faces, "dvc": check_dvc, "python": check_python}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of libraries that DVC's parser imports
def test_every_command_line_is_understood(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = argparse.ArgumentParser.parse_args
    for words in commands(page):
        with monkeypatch.context() as patched:
            if words[0] == "faces":

                def stop_after(parser: argparse.ArgumentParser, arguments: Any = None) -> None:
                    parse(parser, arguments)
                    raise Parsed

                patched.setattr(argparse.ArgumentParser, "parse_args", stop_after)
            try:
                CHECKS[words[0]](words)
            except (SystemExit, DvcParserError) as error:
                if words[-1] != "--help" or str(error) != "0":
                    pytest.fail(f"not understood: {shlex.join(words)}")


def check_parameter(name: str) -> None:
    section, _, key = name.partition(".")
    assert key in PARAMS[section], f"{name}: no such parameter"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_parameter_exists(page: Path) -> None:
    for span in CODE_SPAN.findall(text_of(page)):
        name = re.match(r"([a-z_]+)\.([a-z_0-9]+)(?=$|[:= ])", span)
        if name and name[1] in PARAMS and name[1] not in ("sources", "test_sets") and name[2] not in ENDINGS:
            check_parameter(name[0])


def is_output(path: str) -> bool:
    """Tell whether a path is what a stage writes, or lies in such a folder, or is a folder of such files."""
    wanted = re.sub(r"<[a-z ]+>|\*", "ANY", path.rstrip("/"))
    pattern = re.escape(wanted).replace("ANY", "[^/]*")
    for stage in read_stages().values():
        for kind in ("outs", "metrics", "plots"):
            for entry in stage.get(kind, []):
                name = entry if isinstance(entry, str) else next(iter(entry))
                written = re.escape(re.sub(r"\$\{\w+\}", "ANY", name)).replace("ANY", "[^/]+")
                if re.match(f"{pattern}(/|$)", name) or re.match(f"{written}(/|$)", path):
                    return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_exists_or_is_written(page: Path) -> None:
    ignored = ("models/start", "models/checkpoints", "metrics/speed", "data/real")  # work and speeds, no outputs
    for span in CODE_SPAN.findall(text_of(page)):
        if re.fullmatch(r"(stages|tests|docs|experiments|tools|benchmarks)/[\w./]+", span):
            assert (ROOT / span).exists(), span
        elif re.fullmatch(r"(data|models|metrics)/[\w./@<> *-]+", span) and not span.startswith(ignored):
            assert is_output(span) or (ROOT / span).exists(), span


@pytest.fixture(scope="module")
def tree() -> str:
    """The text of all code, parameters and metrics, and the names of their files."""
    listed = ["git", "ls-files", "stages", "metrics", "benchmarks", "tests", "dvc.yaml", "params.yaml", "data"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    texts = [
        (ROOT / name).read_text(encoding="utf-8", errors="ignore") for name in names if name != "tests/test_docs.py"
    ]
    return "\n".join([*names, *texts])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_metric_and_identifier_exists(page: Path, tree: str) -> None:
    for span in CODE_SPAN.findall(text_of(page)):
        if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9.<>@…]+)+", span):
            continue
        start = re.split(r"[<…]", span)[0]  # a part, a rate or the like follows, which the code puts there
        end = r"[^A-Za-z0-9]" if start == span else ""
        parts = start.split("_")
        in_code = ("_".join([*parts[:count], "{"]) for count in range(1, len(parts)))  # as in f"dir_at_far_{rate}"
        assert re.search(f"{re.escape(start)}{end}", tree) or any(name in tree for name in in_code), span


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_figure_says_where_it_comes_from(page: Path) -> None:
    for section in sections(text_of(page)):
        prose = CODE_SPAN.sub("", COMMENT.sub("", MARK.sub("", section)))
        prose = re.sub(r"^(    |\|?```).*$", "", re.sub(r"```.*?```", "", prose, flags=re.DOTALL), flags=re.MULTILINE)
        if not FIGURE.search(VERSION.sub("", LINK.sub("", prose))):
            continue
        origins = [comment for comment in COMMENT.findall(section) if not comment.startswith(("table: ", "end"))]
        title = section.splitlines()[0]
        assert origins, f"{title}: a figure without a comment that says which command prints it"
        for origin in origins:
            assert origin.split()[0] in CHECKS or origin.startswith(EXPLAINED), f"{title}: {origin}"


@needs_default_data
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_docs_would_change_nothing(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = text_of(page)
    assert rewritten(text, run_commands=False) == text, "metrics/ has other figures than the page: run `make docs`"
    assert text.count("<!-- end -->") == len(MARK.findall(text))


def test_make_docs_writes_a_table_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    stale = "before\n<!-- table: threshold -->\n| 9 |\n<!-- end -->\nafter\n"
    once = rewritten(stale, run_commands=False)
    figures = json.loads(text_of(ROOT / "metrics/evaluate.json"))
    assert "| 9 |" not in once and f"| {figures['threshold']:.3f} |" in once
    assert once.startswith("before\n<!-- table: threshold -->\n\n|") and once.endswith("|\n\n<!-- end -->\nafter\n")
    assert rewritten(once, run_commands=False) == once


def test_every_table_is_on_a_page() -> None:
    used = {name for page in PAGES for _, kind, name, _ in MARK.findall(text_of(page)) if kind == "table"}
    assert used == set(TABLES)


def test_the_page_of_plots_loads_nothing() -> None:
    config = (ROOT / ".dvc/config").read_text(encoding="utf-8")
    assert "html_template = page.html" in config
    page = (ROOT / ".dvc/page.html").read_text(encoding="utf-8")
    assert page.count("{plot_divs}") == 1 and "{scripts}" not in page
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)  # no script has a `src`
    assert not re.search(r"<script|\b(src|href)=|@import|url\(", outside)
    assert [name in page for name in ("/* vega 5.", "/* vega-lite 5.", "/* vega-embed 6.")] == [True] * 3
