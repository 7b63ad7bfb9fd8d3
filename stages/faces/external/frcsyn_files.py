"""FRCSyn's comparison files, and what the paths in them say.

A line is `<path>;<path>`, both below the folder of images; there is no header. The organisers keep the labels. If every
line has a third field, that is the label: 1 for two images of one person, 0 for two people.

A pattern says what a path tells: `{race}/{subject}/{image}` is that of BUPT-BalancedFace. A name in braces stands for
one letter or more other than `/`; `subject` is who is on the image. The folder of images may hold attributes.csv, see
faces/tables/attributes.py, which may say more.
"""

import re
from array import array
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faces.core.errors import StageError
from faces.core.terminal import warn
from faces.external.pair_files import inner_path
from faces.tables.attributes import ATTRIBUTES, check_rows, find_attributes, key_column, match_attributes

MOST_NAMED = 3  # images in a warning
SUBJECT = "subject"
BETWEEN_PARTS = "-"  # of a group by several attributes, such as African-female


class Comparisons(NamedTuple):
    """A comparison file of n lines on N images; a line takes 17 bytes.

    Attributes:
        paths: path of each image, in order of first use.
        a: number of the first image of each line, (n,).
        b: number of the second image, (n,).
        same: 1 for two images of one person, 0 for two people, (n,); None if the file has no labels.
    """

    paths: list[str]
    a: NDArray[np.int64]
    b: NDArray[np.int64]
    same: NDArray[np.int8] | None


def read_comparisons(path: Path) -> Comparisons:
    """Return the content of a comparison file, a line at a time; StageError names a wrong line."""
    numbers, written, first, second, labels = dict[str, int](), dict[str, int](), array("q"), array("q"), array("b")
    try:
        with open(path, encoding="utf-8-sig", newline="\n") as file:
            for line, text in enumerate(file, start=1):
                fields = text.rstrip("\r\n").split(";")
                labelled = len(fields) == 3
                if len(fields) not in (2, 3) or (line > 1 and labelled != (len(labels) > 0)):
                    wanted = "<path>;<path>" if line == 1 or not labels else "<path>;<path>;<label>, as in those above"
                    raise StageError(f"{path}: line {line}: {text.strip()[:200]!r}; expected {wanted}")
                if labelled:
                    if fields[2] not in ("0", "1"):
                        raise StageError(f"{path}: line {line}: label is {fields[2][:100]!r}; expected 1 or 0")
                    labels.append(int(fields[2]))
                for field, column in zip(fields, (first, second), strict=False):
                    if field not in written:  # as it is written; two ways to write a path are one image
                        plain = inner_path(field, f"{path}: line {line}: a path is")
                        written[field] = numbers.setdefault(plain, len(numbers))
                    column.append(written[field])
    except UnicodeDecodeError as error:
        raise StageError(f"{path}: {error}") from None
    if not first:
        raise StageError(f"{path}: has no comparison")
    same = np.frombuffer(labels, np.int8) if labels else None
    return Comparisons(list(numbers), np.frombuffer(first, np.int64), np.frombuffer(second, np.int64), same)


def compile_pattern(pattern: str, value: str = "[^/]+") -> re.Pattern[str]:
    """Return a pattern such as `{race}/{subject}/{image}` as a regular expression; StageError if it is none.

    A name in braces becomes a group of that name, which matches `value`, a regular expression too.
    """
    parts = re.split(r"\{([^{}]*)\}", pattern)
    try:
        return re.compile(
            "".join(f"(?P<{part}>{value})" if place % 2 else re.escape(part) for place, part in enumerate(parts))
        )
    except re.error as error:
        raise StageError(f"paths: {pattern!r}: {error.msg}; expected such as {{race}}/{{subject}}/{{image}}") from None


def read_paths(paths: list[str], pattern: str) -> pd.DataFrame:
    """Return what paths say, as text: a row a path, a column a name in the pattern; no column without a pattern.

    StageError names a path that is not like the pattern, or that the pattern can read in two ways. The first name takes
    the most letters in one of these ways, and the fewest in another: if both are the same, there is no other.
    """
    if not pattern:
        return pd.DataFrame(index=range(len(paths)))
    longest_first, shortest_first, rows = compile_pattern(pattern), compile_pattern(pattern, "[^/]+?"), []
    for path in paths:
        match, other = longest_first.fullmatch(path), shortest_first.fullmatch(path)
        if match is None or other is None:
            raise StageError(f"paths: {pattern!r}: the path {path[:200]!r} is not like that")
        if match.groups() != other.groups():
            raise StageError(
                f"paths: {pattern!r}: the path {path[:200]!r} can be read in two ways: {_reading(match)}; or "
                f"{_reading(other)}. Write a pattern that leaves one, or say who is on an image in {ATTRIBUTES}"
            )
        rows.append(match.groups())
    return pd.DataFrame(rows, columns=list(longest_first.groupindex), dtype=str)


def _reading(match: re.Match[str]) -> str:
    return ", ".join(f"{name} {text!r}" for name, text in match.groupdict().items())


class Described(NamedTuple):
    """Who is on each of N images, and their groups: (N,); subjects are "" throughout if nothing names them."""

    subjects: list[str]
    groups: list[str]


def describe_images(folder: Path, paths: list[str], pattern: str, group_by: list[str]) -> Described:
    """Return who is on each image, and its group, by the pattern and the folder's attributes.csv.

    A group is the values of `group_by`, with - between them; it is "" if one is unknown, and a warning says so.
    StageError if a name in `group_by` is no attribute, if no image has a group, if attributes.csv says only of some who
    is on them, or if it and a path disagree.
    """
    known, table = read_paths(paths, pattern), find_attributes(folder)
    where = folder / ATTRIBUTES
    if table is not None and key_column(table) == "path" and SUBJECT in table:
        named = pd.Series(paths).map(table.set_index("path")[SUBJECT]).fillna("")
        if SUBJECT in known:
            check_agreement(where, paths, known, pd.DataFrame({SUBJECT: named}))
        elif (named == "").any():
            raise StageError(f"{where}: does not say who is on {paths[int((named == '').argmax())]!r}")
        known[SUBJECT] = known.get(SUBJECT, named)
    if table is not None and key_column(table) == SUBJECT and SUBJECT not in known:
        raise StageError(f"{where}: has a row for each subject; `paths` should say who is on an image")
    subjects = known[SUBJECT] if SUBJECT in known else pd.Series("", index=known.index)
    more = match_attributes(table, pd.DataFrame({"subject": subjects, "path": paths}))
    check_agreement(where, paths, known, more)
    values = pd.concat([known, more.drop(columns=known.columns, errors="ignore")], axis=1)
    if unknown := [name for name in group_by if name not in values]:
        more_at = f"there is no {where}, which could say more" if table is None else f"{where} says no more"
        raise StageError(
            f"group_by: {unknown[0]!r} is no attribute of the images; known: {', '.join(map(str, values)) or 'none'}; "
            f"{more_at}"
        )
    groups = pd.Series("", index=known.index)
    if group_by:
        chosen = values[group_by]
        groups = chosen.agg(BETWEEN_PARTS.join, axis=1).where((chosen != "").all(axis=1), "")
        if not groups.any():
            raise StageError(f"group_by: {', '.join(group_by)}: no image has a value of each")
        warn_about_groups(subjects, groups)
        if (groups == "").any():
            warn_about_ungrouped(paths, groups, group_by)
            if table is not None:
                check_rows(table, paths if key_column(table) == "path" else subjects)
    return Described(subjects.tolist(), groups.tolist())


def check_agreement(where: Path, paths: list[str], by_path: pd.DataFrame, by_table: pd.DataFrame) -> None:
    """Raise StageError, with image and both values, if a path says one thing and attributes.csv, `where`, another.

    The tables have a row for each image; "" is unknown.
    """
    for column in by_path.columns.intersection(by_table.columns):
        wrong = (by_table[column] != "") & (by_table[column] != by_path[column])
        if wrong.any():
            place = int(wrong.argmax())
            raise StageError(
                f"{where}: {column} of {paths[place]!r} is {by_table[column][place]!r}, but its path says "
                f"{by_path[column][place]!r}; {wrong.sum()} of {len(paths)} images are like that"
            )


def warn_about_groups(subjects: pd.Series, groups: pd.Series) -> None:
    """Warn of people who are in several groups: two people of one name, or a mistake."""
    of_people = pd.DataFrame({"subject": subjects, "group": groups})
    of_people = of_people[of_people["subject"].ne("") & of_people["group"].ne("")].drop_duplicates()
    several = of_people[of_people["subject"].duplicated()]
    if len(several):
        name = several["subject"].iloc[0]
        listed = ", ".join(of_people.loc[of_people["subject"] == name, "group"])
        warn(f"{several['subject'].nunique()} subject(s) are in several groups; the first, {name!r}, in {listed}")


def warn_about_ungrouped(paths: list[str], groups: pd.Series, group_by: list[str]) -> None:
    """Warn of images that are in no group, and name the first: no group's figures have their comparisons."""
    ungrouped = [path for path, group in zip(paths, groups, strict=True) if not group]
    warn(
        f"group_by: {', '.join(group_by)}: {len(ungrouped)} of {len(paths)} images are in no group, since a value is "
        f"unknown: {', '.join(ungrouped[:MOST_NAMED])}{', …' if len(ungrouped) > MOST_NAMED else ''}"
    )
