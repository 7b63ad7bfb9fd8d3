"""The pairs of an external test set as their publisher wrote them, in two formats.

insightface_bin.py reads a third, frcsyn_files.py a fourth.

`lfw`: the pairs.txt of Labeled Faces in the Wild (http://vis-www.cs.umass.edu/lfw/), whose first line is
`<sets> <n>`, or `<n>` for one set, as in its pairsDevTest.txt. Then, for each set, n lines `<name> <i> <j>`, images i
and j of one person, and n lines `<name> <i> <name> <j>` of two. Tabs part the fields if the line has one, else spaces.
Image i of a person is <name>/<name>_<i, four digits>.<ending>. A set is a fold.

`csv`: a header and the columns a, b, same, and perhaps fold, group, and both subject_a and subject_b, in any order. a
and b are paths in the folder of images, same is 1 or 0, fold counts from 0, subject_a and subject_b say who is on them.
Without a fold, `folds_by_label` or, with subjects, `folds_by_people` makes them, so that each has pairs of both labels.
"""

import difflib
import os
import stat
import unicodedata
from array import array
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from faces.core.csv_files import Row, csv_rows
from faces.core.errors import StageError
from faces.images.image_folder import ENDINGS

FOLDS = 10  # of a protocol that names none: LFW's number, and InsightFace's
MOST_NAMED = 3  # files beside one that is missing
MOST_DIGITS = 9  # of a number in a pairs.txt
SUBJECTS = ("subject_a", "subject_b")


class NamedPair(NamedTuple):
    """Two images by name; `same` is 1 if they are of one person, else 0. Subjects are "" where a csv does not say."""

    a: str
    b: str
    same: int
    fold: int
    group: str = ""
    subject_a: str = ""
    subject_b: str = ""


def contiguous_folds(pairs: int) -> list[int]:
    """Return the fold of each of `pairs` pairs: ten runs in order, the first `pairs` % 10 of them one longer.

    That is scikit-learn's `KFold(10, shuffle=False)`, by which InsightFace scores its .bin files. Fewer than ten pairs
    are all in fold 0.
    """
    if pairs < FOLDS:
        return [0] * pairs
    return [fold for fold in range(FOLDS) for _ in range(pairs // FOLDS + (fold < pairs % FOLDS))]


def folds_by_label(same: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the fold of each pair, (n,), by its label: the pairs of either label are cut into runs, in order.

    There are ten folds, or as many as there are pairs of the rarer label, so that each has pairs of both.
    """
    genuine = np.asarray(same) == 1
    count = max(1, min(FOLDS, genuine.sum(), (~genuine).sum()))
    folds = np.zeros(len(genuine), dtype=np.int64)
    for kind in (~genuine, genuine):
        places = np.flatnonzero(kind)
        folds[places] = np.arange(len(places)) * count // max(1, len(places))
    return folds


def folds_by_people(first: Sequence[Hashable], second: Sequence[Hashable], same: Sequence[int]) -> NDArray[np.int64]:
    """Return the fold of each pair, (n,), whose subjects are known: a person's genuine pairs are all in one fold.

    People are cut into runs, in order of their first genuine pair, with about as many such pairs in each: into ten, or
    as many as there are people. An impostor pair goes to that fold of its two people which has fewer of them so far.

    Args:
        first: who is on the first image of each pair, by name or number.
        second: who is on the second.
        same: 1 for a genuine pair, 0 for an impostor pair.
    """
    genuine = Counter(person for person, kind in zip(first, same, strict=True) if kind)  # in order of first use
    count = max(1, min(FOLDS, len(genuine), len(same) - genuine.total()))
    ends = np.cumsum(list(genuine.values()))
    middles = ends - np.array(list(genuine.values())) / 2
    fold_of = dict(zip(genuine, (middles * count // max(1, genuine.total())).astype(int).tolist(), strict=True))
    impostors, folds = [0] * count, array("q")
    for one, other, kind in zip(first, second, same, strict=True):
        choices = [fold_of[person] for person in (one, other) if person in fold_of]
        fold = min(choices or range(count), key=lambda choice: (impostors[choice], choice))
        impostors[fold] += not kind
        folds.append(fold)
    return np.unique(np.array(folds, dtype=np.int64), return_inverse=True)[1]  # one person may fill several folds


def image_names(pairs: Iterable[NamedPair]) -> list[str]:
    """Return the names of the images, each once, in order of first use."""
    return list(dict.fromkeys(name for pair in pairs for name in (pair.a, pair.b)))


def people(a: NDArray[np.int64], b: NDArray[np.int64], images: int) -> NDArray[np.int64]:
    """Return the person of each image, numbered from 1 in the order of the images, where genuine pairs alone tell.

    Args:
        a, b: (n,) image numbers of the genuine pairs. Whom a chain of them connects is one person, so a person whose
            images no chain connects counts as several.
        images: how many images there are.
    """
    graph = coo_matrix((np.ones(len(a)), (a, b)), shape=(images, images))
    _, components = connected_components(graph, directed=False)
    _, first, number = np.unique(components, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number] + 1


# lfw


def read_lfw_pairs(path: Path) -> list[NamedPair]:
    """Return the pairs of a pairs.txt, images called `<name>/<name>_<four digits>`; StageError names a wrong line."""
    try:
        lines = path.read_bytes().decode("utf-8-sig").rstrip().split("\n")
    except UnicodeDecodeError as error:
        raise StageError(f"{path}: {error}") from None
    sets, size = _lfw_header(lines[0], path)
    pairs = [_lfw_pair(line, index, size, f"{path}: line {index + 2}") for index, line in enumerate(lines[1:])]
    if len(pairs) != 2 * sets * size:
        raise StageError(f"{path}: has {len(pairs)} pairs; its first line promises {sets} x 2 x {size}")
    return pairs


def _fields(line: str) -> list[str]:
    return [field.strip() for field in line.strip().split("\t")] if "\t" in line.strip() else line.split()


def _lfw_header(line: str, path: Path) -> tuple[int, int]:
    numbers = [int(field) if _is_number(field) else 0 for field in _fields(line)]
    if len(numbers) not in (1, 2) or min(numbers) < 1:
        hint = ""
        if len(fields := _fields(line)) == 2 and (fields == ["name", "same_person"] or fields[1] in ("0", "1")):
            hint = (
                "; this looks like CPLFW's list, two lines `<file> <label>` a pair: write it as a csv with the columns "
                "a, b and same, and say format: csv"
            )
        raise StageError(f"{path}: line 1: {line[:100]!r}; expected the number of sets and of pairs, 1 or more{hint}")
    return (1, *numbers)[-2], numbers[-1]


def _is_number(field: str) -> bool:
    return field.isascii() and field.isdigit() and len(field) <= MOST_DIGITS


def _lfw_pair(line: str, index: int, size: int, where: str) -> NamedPair:
    fold, place = divmod(index, 2 * size)
    fields = _fields(line)
    if place < size:
        shape, names = "<name> <i> <j>", [fields[0], fields[0]] if fields else []
        numbers = fields[1:]
    else:
        shape, names, numbers = "<name> <i> <name> <j>", fields[::2], fields[1::2]
    if len(fields) != len(shape.split()) or not all(map(_is_number, numbers)):
        kind = "genuine" if place < size else "impostor"
        raise StageError(
            f"{where}: {line.strip()[:100]!r}; expected {shape}, for {kind} pair {place % size + 1} of {size} "
            f"in set {fold + 1}"
        )
    a, b = (_lfw_image(name, int(number), where) for name, number in zip(names, numbers, strict=True))
    if place < size and a == b:
        raise StageError(f"{where}: pairs image {a} with itself")
    if place >= size and names[0] == names[1]:
        raise StageError(f"{where}: both images are of {names[0]}, among the pairs of two people")
    return NamedPair(a, b, int(place < size), fold)


def _lfw_image(name: str, number: int, where: str) -> str:
    if name in ("", ".", "..") or any(character in name for character in "/\0\r"):
        raise StageError(f"{where}: {name[:100]!r} is not a person's name")
    return f"{name}/{name}_{number:04d}"


def find_lfw_images(folder: Path, names: Iterable[str]) -> list[str]:
    """Return the path of each image, relative to the folder; StageError names all that cannot be used."""
    listings: dict[str, dict[str, list[str]]] = {}
    found, problems = [], []
    for name in names:
        person, stem = name.split("/")
        if person not in listings:
            listings[person] = _images_by_stem(folder / person)
        files = listings[person].get(stem, [])
        if len(files) > 1:
            problems.append(f"{name}: is several files: {', '.join(files)}")
        found.append(f"{person}/{files[0]}" if files else f"{name}.*")
    check_images(folder, found, problems)
    return found


def _images_by_stem(folder: Path) -> dict[str, list[str]]:
    by_stem: dict[str, list[str]] = {}
    for file in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        stem, ending = os.path.splitext(file)
        if ending.lower() in ENDINGS:
            by_stem.setdefault(stem, []).append(file)
    return by_stem


# csv


def read_csv_pairs(path: Path) -> list[NamedPair]:
    """Return the pairs of a csv file, images called by their paths; StageError names a wrong line."""
    rows = list(csv_rows(path, ("a", "b", "same"), ("fold", "group", *SUBJECTS)))
    if rows and (SUBJECTS[0] in rows[0]) != (SUBJECTS[1] in rows[0]):
        raise StageError(f"{path}: has one of the columns {' and '.join(SUBJECTS)}; expected both or neither")
    pairs = [_csv_pair(row) for row in rows]
    _check_subjects(pairs, [row.where for row in rows])
    if not rows or "fold" in rows[0]:
        return pairs
    same = [pair.same for pair in pairs]
    if SUBJECTS[0] in rows[0]:
        folds = folds_by_people([pair.subject_a for pair in pairs], [pair.subject_b for pair in pairs], same)
    else:
        folds = folds_by_label(same)
    return [pair._replace(fold=fold) for pair, fold in zip(pairs, folds.tolist(), strict=True)]


def image_subjects(pairs: Iterable[NamedPair]) -> dict[str, str]:
    """Return the subject of each image by its name, "" where a csv does not say."""
    return {image: subject for pair in pairs for image, subject in _who_is_on(pair)}


def _who_is_on(pair: NamedPair) -> list[tuple[str, str]]:
    return [(pair.a, pair.subject_a), (pair.b, pair.subject_b)]


def _check_subjects(pairs: list[NamedPair], where: list[str]) -> None:
    """Raise StageError, naming where, if an image has two subjects, or those of a pair contradict its `same`."""
    known: dict[str, tuple[str, str]] = {}
    for pair, line in zip(pairs, where, strict=True):
        for image, subject in _who_is_on(pair):
            before, earlier = known.setdefault(image, (subject, line))
            if subject != before:
                raise StageError(f"{line}: {image} is of {subject[:100]!r}, but of {before[:100]!r} in {earlier}")
        if pair.subject_a and (pair.subject_a == pair.subject_b) != (pair.same == 1):
            raise StageError(f"{line}: same is {pair.same}, of {pair.subject_a[:100]!r} and {pair.subject_b[:100]!r}")


def _csv_pair(row: Row) -> NamedPair:
    """Return the pair in a row; its fold is 0 if the row has none."""
    a, b = (inner_path(row[column], f"{row.where}: {column} is") for column in "ab")
    if a == b:
        raise StageError(f"{row.where}: pairs image {a} with itself")
    names = {column: row.get(column, "") for column in ("group", *SUBJECTS)}
    for column, name in names.items():
        if "\r" in name:
            raise StageError(
                f"{row.where}: {column} {name[:100]!r} has a carriage return, where a csv reader ends the row"
            )
        if column in row and not name and column in SUBJECTS:
            raise StageError(f"{row.where}: {column} is empty; expected who is on the image")
    fold = row.number("fold") if "fold" in row else 0
    return NamedPair(a, b, row.number("same", below=2), fold, **names)


def inner_path(text: str, what: str) -> str:
    """Return a path below the folder of images in its plain form; StageError, beginning with `what`, if it is none."""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise StageError(f"{what} {text[:200]!r}; expected a path below the folder of images")
    if "\r" in text:
        raise StageError(f"{what} {text[:200]!r}, which has a carriage return")
    return str(path)


def find_csv_images(folder: Path, names: list[str]) -> list[str]:
    """Return the path of each image, which is its name; StageError names all that cannot be used."""
    check_images(folder, names, [])
    return names


def check_images(folder: Path, paths: list[str], problems: list[str]) -> None:
    """Raise StageError, with a line for each of `paths` that is not a file with content, and for each of `problems`."""
    reasons = {path: reason for path in paths if (reason := _why_unusable(folder / path))}
    unusable = [f"{path}: {reason}" for path, reason in reasons.items()]
    if unusable:
        unusable[0] += _beside(folder, next(iter(reasons)))
    if len(unusable) == len(paths) > 1:  # another folder, most likely
        raise StageError(f"{folder}: has none of the {len(paths)} images; the first is {unusable[0]}")
    if problems + unusable:
        raise StageError("\n".join(f"{folder}/{problem}" for problem in problems + unusable))


def _beside(folder: Path, path: str) -> str:
    """Return what lies where an image is missing: its own name in other code points, or the nearest names."""
    parent, name = folder, ""
    for name in PurePosixPath(path).parts:  # as far as there are folders
        if not os.path.isdir(parent / name):
            break
        parent = parent / name
    names = sorted(os.listdir(parent)) if os.path.isdir(parent) and not os.path.lexists(parent / name) else []
    same = [other for other in names if unicodedata.normalize("NFC", other) == unicodedata.normalize("NFC", name)]
    if same:
        return (
            f"; {ascii(same[0])} lies there, the same letters in other code points than {ascii(name)} (NFC and NFD): "
            "`convmv -f utf8 -t utf8 --nfc -r --notest` renames files to NFC"
        )
    nearest = difflib.get_close_matches(name, names, MOST_NAMED, cutoff=0)
    return f"; beside it: {', '.join(nearest)}" if nearest else ""


def _why_unusable(path: Path) -> str:
    try:
        status = os.stat(path)
    except OSError as error:
        return str(error.strerror)
    if not stat.S_ISREG(status.st_mode):
        return "not a file"
    return "" if status.st_size else "zero bytes"
