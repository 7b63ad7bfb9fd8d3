"""The scores that experiments kept, read from DVC's cache, and the table of a comparison."""

import re
from typing import NamedTuple

from faces.core.errors import StageError
from faces.core.terminal import warn
from faces.reporting.differences import Difference, compare
from faces.reporting.experiments import (
    WORKSPACE,
    experiment_references,
    git,
    read_output_at,
    read_params_at,
    resolve_experiment,
)
from faces.reporting.tables import Table
from faces.tables.kept_scores import (
    IDENTIFIED_PATH,
    PARTS_PATH,
    KeptScores,
    read_decisions,
    read_kept,
    test_set_path,
)

COLUMNS = ("set", "figure", "first", "second", "difference", "low", "high", "verdict")
LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
}


def seeds_of(experiment: str) -> dict[int, str]:
    """Return the references of an experiment by seed.

    An experiment, branch, tag or commit has one, under 0. Else the seeds of a study's run are experiments that are
    called <experiment>-<seed>. StageError if several experiments have the name of a seed, as after a study was run at
    two commits.
    """
    if experiment == WORKSPACE:
        return {0: WORKSPACE}
    names = experiment_references()
    pattern = f"{re.escape(experiment)}-([0-9]+)"
    seeds = {int(match[1]): name for name in names if (match := re.fullmatch(pattern, name))}
    if experiment not in names and seeds:
        return {seed: resolve_experiment(name) for seed, name in seeds.items()}
    return {0: git("rev-parse", "--short", "--verify", f"{resolve_experiment(experiment)}^{{commit}}").strip()}


def read_scores(reference: str) -> KeptScores:
    """Return all scores of a commit or of the workspace; StageError if it kept none, or they cannot be had.

    A warning says so if those of `identify` are missing.
    """
    listed = read_params_at(reference, reference).get("test_sets")
    kept = read_kept(read_output_at(reference, PARTS_PATH), f"{reference}: {PARTS_PATH}")
    try:
        identified = read_output_at(reference, IDENTIFIED_PATH)
    except StageError as error:
        warn(f"{error}. The figures of identification are left out")
    else:
        kept.decisions.update(read_decisions(identified, f"{reference}: {IDENTIFIED_PATH}"))
    for name in listed if isinstance(listed, dict) else ():
        path = test_set_path(str(name))
        kept.sets.update(read_kept(read_output_at(reference, path), f"{reference}: {path}").sets)
    return kept


class Comparison(NamedTuple):
    """Two experiments' differences, and sentences on what was compared."""

    differences: list[Difference]
    said: list[str]


def compare_experiments(first: str, second: str, draws: int, seed: int) -> Comparison:
    """Return the differences of two experiments, the second minus the first, over the seeds that both have."""
    sides = [seeds_of(first), seeds_of(second)]
    seeds = sorted(sides[0].keys() & sides[1].keys())
    if not seeds:
        raise StageError(f"{first} has the seeds {sorted(sides[0])}, {second} has {sorted(sides[1])}: none in common")
    scores = [[read_scores(side[one]) for one in seeds] for side in sides]
    differences, said = compare(scores[0], scores[1], draws, seed)
    if max(map(len, sides)) > 1:
        said.insert(0, f"seeds {', '.join(map(str, seeds))} of both experiments: intervals are over seeds and people")
    return Comparison(differences, said)


def _cells(row: Difference, digits: str) -> list[str]:
    numbers = [row.first, row.second, row.second - row.first, row.low, row.high]
    return [row.set, row.figure, *("" if number is None else format(number, digits) for number in numbers), row.verdict]


def as_csv(comparison: Comparison) -> str:
    """Return the table as CSV, with six decimals."""
    lines = [COLUMNS, *(_cells(row, ".6f") for row in comparison.differences)]
    return "".join(f"{','.join(line)}\n" for line in lines)


def as_table(comparison: Comparison, first: str, second: str) -> Table:
    """Return the table for a page or a terminal."""
    header = ["set", "figure", first, second, "difference", "95 % interval", "verdict"]
    rows = []
    for row in comparison.differences:
        before, after = f"{row.first:.4f}", f"{row.second:.4f}"
        ends = "–" if row.low is None else f"{row.low:+.4f} to {row.high:+.4f}"
        rows.append([row.set, row.figure, before, after, f"{row.second - row.first:+.4f}", ends, row.verdict])
    return Table(header, rows)


def as_latex(comparison: Comparison, first: str, second: str) -> str:
    """Return the table as a LaTeX tabular, which needs no package."""
    table = as_table(comparison, first, second)
    lines = [" & ".join(map(_in_latex, cells)) + r" \\" for cells in (table.header, *table.rows)]
    body = "\n".join([r"\hline", lines[0], r"\hline", *lines[1:], r"\hline"])
    return f"\\begin{{tabular}}{{llrrrrl}}\n{body}\n\\end{{tabular}}\n"


def _in_latex(cell: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in cell.replace("–", "--"))


def as_text(comparison: Comparison, first: str, second: str) -> str:
    """Return the table in columns, after what was compared."""
    table = as_table(comparison, first, second)
    lines = [table.header, *table.rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(table.header))]
    body = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*comparison.said, "", *body]) + "\n"
