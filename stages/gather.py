"""Gather the images and pairs of an external test set, such as LFW, into one array and two tables.

Reads   `test_sets.<name>` of params.yaml: its images and its pairs
Writes  data/tests/<name>.npy            uint8 (N, 112, 112, 3), RGB, every image once, in order of first use
        data/tests/<name>.images.csv     subject,path: row i is image i; path is relative to the folder of images,
                                         subject empty where the test set does not say who is on its images
        data/tests/<name>.pairs.csv      a,b,same,fold,group, in the order of the protocol; a and b are image numbers
        metrics/gather@<name>.json       counts
Run     python stages/gather.py <name>

faces/external/pair_files.py describes the formats `lfw` and `csv`, insightface_bin.py beside it `bin`, in which images
of the same bytes are one image, whose path is the number of its first place in the list, and whose fold follows from
the order, as InsightFace has it.

The subject of an image is the person's name in `lfw`, and in `csv` where it has subjects. Elsewhere, for counts and
warnings alone, images are of one person if a chain of genuine pairs connects them.

What a published protocol asks for is needed as a whole: one image that is missing or broken ends the stage, all of
them are named, and nothing is written.
"""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faces.core.csv_files import write_csv
from faces.core.errors import StageError
from faces.core.files import replacing, write_metrics
from faces.core.image_size import IMAGE_SHAPE
from faces.core.npy_files import write_npy_header
from faces.core.params import load_params
from faces.core.run import run
from faces.core.terminal import progress, say, warn
from faces.core.threads import available_cores, in_order
from faces.external.insightface_bin import read_bin
from faces.external.pair_files import (
    NamedPair,
    contiguous_folds,
    find_csv_images,
    find_lfw_images,
    names_of,
    people,
    read_csv_pairs,
    read_lfw_pairs,
    subjects_of,
)
from faces.images.decoding import DecodingParams, read_image, ready_to_read
from faces.images.rejection import Rejection
from faces.tables.external_sets import (
    PAIR_COLUMNS,
    ExternalSet,
    check_pairs,
    image_table_path,
    named_test_set,
    pair_table_path,
    pixels_path,
)


@dataclass(frozen=True)
class Gathered:
    """A test set before any image is decoded; image i is `sources[i]`, a file or its content, called `paths[i]`."""

    sources: list[Path | bytes]
    paths: list[str]
    subjects: list[str]
    pairs: pd.DataFrame  # PAIR_COLUMNS
    named: bool  # whether subjects are the test set's, not those that genuine pairs connect


def check_paths(name: str, entry: ExternalSet) -> None:
    """Raise StageError, with a line each, unless images and pairs are what the format takes: a folder or a file."""
    problems = []
    for key, path in entry.model_dump(include={"images", "pairs"}).items():
        where = f"params.yaml: test_sets.{name}.{key}: {path!r}"
        wanted = "folder" if key == "images" and entry.format != "bin" else "file"
        if not os.path.exists(path):
            problems.append(f"{where}: there is no such {wanted}")
        elif not (os.path.isdir(path) if wanted == "folder" else os.path.isfile(path)):
            problems.append(f"{where}: not a {wanted}")
    if problems:
        raise StageError("\n".join(problems))


def read(name: str, entry: ExternalSet) -> Gathered:
    """Return what a test set consists of; StageError names all that is missing."""
    check_paths(name, entry)
    path = Path(entry.pairs)
    if entry.format == "bin":
        return read_bin_set(path)
    pairs = read_lfw_pairs(path) if entry.format == "lfw" else read_csv_pairs(path)
    names = names_of(pairs)
    table = number(pairs, names)
    check_pairs(table, path)
    if entry.format == "lfw":
        files = find_lfw_images(Path(entry.images), names)
        subjects = [file.split("/")[0] for file in files]
    else:
        files = find_csv_images(Path(entry.images), names)
        subjects = list(subjects_of(pairs).values())
    named = all(subjects)
    if not named:
        subjects = connected_subjects(table, len(files))
    return Gathered([Path(entry.images, file) for file in files], files, subjects, table, named)


def read_bin_set(path: Path) -> Gathered:
    """Return what a .bin file of InsightFace consists of; images of the same bytes are one."""
    images, same = read_bin(path)
    places: dict[bytes, str] = {}
    for place, image in enumerate(images):
        places.setdefault(image, str(place))
    called = [places[image] for image in images]
    folds = contiguous_folds(len(same))
    pairs = [NamedPair(*pair) for pair in zip(called[::2], called[1::2], map(int, same), folds, strict=True)]
    table = number(pairs, list(places.values()))
    check_pairs(table, path)
    return Gathered(list(places), list(places.values()), connected_subjects(table, len(places)), table, named=False)


def number(pairs: Iterable[NamedPair], names: list[str]) -> pd.DataFrame:
    """Return pairs of names as a table with `PAIR_COLUMNS`, of positions in `names`."""
    numbers = {name: position for position, name in enumerate(names)}
    rows = [(numbers[pair.a], numbers[pair.b], pair.same, pair.fold, pair.group) for pair in pairs]
    return pd.DataFrame(rows, columns=list(PAIR_COLUMNS)).astype(PAIR_COLUMNS)


def connected_subjects(pairs: pd.DataFrame, images: int) -> list[str]:
    """Return the subject of each image, where only genuine pairs tell who is who."""
    genuine = pairs[pairs["same"] == 1]
    return [str(person) for person in people(genuine["a"].to_numpy(), genuine["b"].to_numpy(), images)]


def warn_of_contradictions(path: str, gathered: Gathered) -> None:
    """Warn of pairs that are kept, since they are part of the protocol, but make little sense."""
    pairs, subjects = gathered.pairs, np.array(gathered.subjects)
    selves = pairs["a"] == pairs["b"]
    if selves.any():
        warn(f"{path}: {selves.sum()} pairs are of an image with itself; the first is pair {selves.argmax() + 1}")
    torn = (pairs["same"] == 0) & (subjects[pairs["a"]] == subjects[pairs["b"]]) & ~selves
    if torn.any():
        warn(
            f"{path}: {torn.sum()} impostor pairs are of images that genuine pairs connect to one person; the first "
            f"is pair {torn.argmax() + 1}"
        )


def decode(source: Path | bytes, decoding: DecodingParams) -> NDArray[np.uint8] | Rejection:
    """Return the pixels of an image, or why there are none."""
    try:
        return read_image(source, decoding.limits, decoding.resize_filter)
    except Rejection as rejection:
        return rejection


def write_pixels(gathered: Gathered, where: str, decoding: DecodingParams, target: BinaryIO, title: str) -> None:
    """Write all images as one .npy file, piece by piece; StageError names all that cannot be decoded, after `where`.

    The bytes do not depend on `workers`.
    """
    write_npy_header(target, np.uint8, (len(gathered.sources), *IMAGE_SHAPE))
    workers, problems = decoding.workers or available_cores(), []
    with ready_to_read(), ThreadPoolExecutor(workers) as pool:
        results = in_order(pool, partial(decode, decoding=decoding), gathered.sources, ahead=8 * workers)
        bar = progress(results, title, total=len(gathered.sources), unit="image")
        for path, result in zip(gathered.paths, bar, strict=True):
            if isinstance(result, Rejection):
                problems.append(f"{where}{path}: {result.reason}: {result.detail}")
            else:
                target.write(result.data)
    if problems:
        raise StageError("\n".join(problems))


def states(entry: ExternalSet, gathered: Gathered) -> list[tuple[int, int]]:
    """Return size and time of every file of a test set."""
    files = [Path(entry.pairs), *(source for source in gathered.sources if isinstance(source, Path))]
    return [(status.st_size, status.st_mtime_ns) for status in map(os.stat, files)]


def describe(gathered: Gathered) -> dict[str, int]:
    """Return the counts; a pair without a group counts for none."""
    pairs = gathered.pairs
    return {
        "images": len(gathered.paths),
        "subjects": len(set(gathered.subjects)),
        "genuine": int((pairs["same"] == 1).sum()),
        "impostor": int((pairs["same"] == 0).sum()),
        "folds": int(pairs["fold"].nunique()),
        "groups": len(set(pairs["group"]) - {""}),
    }


def main() -> None:
    """Gather the test set named on the command line."""
    name, entry = named_test_set(__doc__)
    decoding = load_params("decoding", DecodingParams)
    gathered = read(name, entry)
    warn_of_contradictions(entry.pairs, gathered)
    before = states(entry, gathered)
    where = f"{entry.images}: image " if entry.format == "bin" else f"{entry.images}/"
    with replacing(pixels_path(name)) as temporary:
        with open(temporary, "wb") as target:
            write_pixels(gathered, where, decoding, target, f"gathering {name}")
        if states(entry, gathered) != before:
            raise StageError(f"params.yaml: test_sets.{name}: a file changed while it was being read; run again")
        subjects = gathered.subjects if gathered.named else ""
        images = pd.DataFrame({"subject": subjects, "path": gathered.paths})
        write_csv(image_table_path(name), images)
        write_csv(pair_table_path(name), gathered.pairs)
        counts = describe(gathered)
        write_metrics(Path(f"metrics/gather@{name}.json"), counts)
    unnamed = "" if gathered.named else " (subjects are images that genuine pairs connect: the set names none)"
    say(f"{name}: {', '.join(f'{key}: {count}' for key, count in counts.items())}{unnamed}")


if __name__ == "__main__":
    run(main, takes_arguments=True)
