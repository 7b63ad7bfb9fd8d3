"""Gathering a test set: its images and pairs as one `GatheredSet`, and the pixels of the images.

READERS at the end lists the formats: a new format is a row there, with a function that reads it, and a word in
`ExternalSet.format` (faces/tables/external_sets.py).
"""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faces.core.dvc_folder import check_hashable, check_no_linked_folders, linked_folders
from faces.core.errors import StageError, errors_named
from faces.core.files import FileState, file_state
from faces.core.image_size import IMAGE_SHAPE
from faces.core.npy_files import write_npy_header
from faces.core.terminal import progress, warn
from faces.core.threads import available_cores, in_order
from faces.external.frcsyn_files import Comparisons, describe_images, read_comparisons
from faces.external.insightface_bin import read_bin
from faces.external.pair_files import (
    NamedPair,
    check_images,
    contiguous_folds,
    find_csv_images,
    find_lfw_images,
    folds_by_label,
    folds_by_people,
    image_names,
    image_subjects,
    people,
    read_csv_pairs,
    read_lfw_pairs,
)
from faces.images.decoding import DecodingParams, ready_to_read
from faces.images.detection import PhotosParams, check_installed
from faces.images.packing import ReadFace, face_reader
from faces.images.plausibility import SampledImage, spread, warn_about_sample
from faces.images.rejection import Rejected, Rejection
from faces.tables.external_sets import PAIR_COLUMNS, ExternalSet, check_pairs, rejected_table_path

UNUSABLE = np.full(IMAGE_SHAPE, 128, dtype=np.uint8)  # stands in the array for an image that cannot be used


@dataclass(frozen=True)
class GatheredSet:
    """A test set before its images are decoded; image i is `sources[i]`, a file or its content, named `paths[i]`."""

    sources: list[Path | bytes]
    paths: list[str]
    subjects: list[str]
    pairs: pd.DataFrame  # PAIR_COLUMNS, or those without `same`
    named: bool  # whether the test set names the subjects; else genuine pairs, if known, connect the images of one


def check_paths(name: str, entry: ExternalSet) -> None:
    """Raise StageError, a line for each path, unless `images` and `pairs` are a folder or file as the format needs."""
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


def gather_set(name: str, entry: ExternalSet) -> GatheredSet:
    """Return the images and pairs of a test set; StageError names all that are missing, or lie behind a link."""
    check_paths(name, entry)
    if entry.faces == "photos":
        check_installed()
    gathered = READERS[entry.format](entry)
    if entry.format != "bin":
        with errors_named(_images_parameter(name, entry)):
            check_no_linked_folders(linked_folders(Path(entry.images), gathered.paths))
    return gathered


def check_set(name: str, entry: ExternalSet) -> None:
    """Raise StageError if a test set cannot be gathered, or DVC cannot read its folder."""
    if entry.format != "bin":
        with errors_named(_images_parameter(name, entry)):
            check_hashable(Path(entry.images))
    gather_set(name, entry)


def _images_parameter(name: str, entry: ExternalSet) -> str:
    return f"params.yaml: test_sets.{name}.images: {entry.images!r}"


def read_lfw_set(entry: ExternalSet) -> GatheredSet:
    """Return a test set in LFW's format: folders of people, and LFW's pairs.txt or a file of the same form."""
    pairs = read_lfw_pairs(Path(entry.pairs))
    names, table = number_pairs(pairs, Path(entry.pairs))
    files = find_lfw_images(Path(entry.images), names)
    subjects = [file.split("/")[0] for file in files]
    return GatheredSet([Path(entry.images, file) for file in files], files, subjects, table, named=True)


def read_csv_set(entry: ExternalSet) -> GatheredSet:
    """Return a test set given as a folder of images and a CSV file of pairs, with subjects if it has their columns."""
    pairs = read_csv_pairs(Path(entry.pairs))
    names, table = number_pairs(pairs, Path(entry.pairs))
    files = find_csv_images(Path(entry.images), names)
    subjects = list(image_subjects(pairs).values())
    named = all(subjects)
    if not named:
        subjects = connected_subjects(table, len(files))
    return GatheredSet([Path(entry.images, file) for file in files], files, subjects, table, named)


def read_bin_set(entry: ExternalSet) -> GatheredSet:
    """Return a test set in InsightFace's .bin format; images with the same bytes are one image.

    Its path is the number of its first place in the list. Folds follow from the order of pairs, as InsightFace has it.
    """
    path = Path(entry.pairs)
    images, same = read_bin(path)
    places: dict[bytes, str] = {}
    for place, image in enumerate(images):
        places.setdefault(image, str(place))
    numbers = [places[image] for image in images]
    folds = contiguous_folds(len(same))
    pairs = [NamedPair(*pair) for pair in zip(numbers[::2], numbers[1::2], map(int, same), folds, strict=True)]
    _, table = number_pairs(pairs, path, list(places.values()))
    return GatheredSet(list(places), list(places.values()), connected_subjects(table, len(places)), table, named=False)


def read_frcsyn_set(entry: ExternalSet) -> GatheredSet:
    """Return a test set of FRCSyn: a folder of images and a comparison file, labelled by people or by the file."""
    path, folder = Path(entry.pairs), Path(entry.images)
    comparisons = read_comparisons(path)
    paths, a, b, _ = comparisons
    if not entry.allow_missing:
        check_images(folder, paths, [])
    with errors_named(entry.pairs):
        subjects, groups = describe_images(folder, paths, entry.paths, entry.group_by)
    named = all(subjects)
    people = pd.factorize(np.array(subjects, dtype=object))[0]
    same = labels_of(comparisons, people if named else None, path)
    columns = {"a": a, "b": b} if same is None else {"a": a, "b": b, "same": same}
    table = pd.DataFrame(columns)
    table["fold"] = 0
    if same is not None:
        table["fold"] = folds_by_people(people[a].data, people[b].data, same.data) if named else folds_by_label(same)
    table["group"] = groups_of_comparisons(groups, a, b)
    if named and table["same"].nunique() < 2:
        kind = "one person" if table["same"].all() else "two people"
        raise StageError(
            f"{path}: by their paths or attributes.csv, each of the {len(a):,} comparisons is of {kind}, and figures "
            "need both kinds: is `{subject}` in `paths` the person? Without it, the set is scored as one without labels"
        )
    check_pairs(table, path)
    if not named and same is not None:
        subjects = connected_subjects(table, len(paths))
    return GatheredSet([folder / name for name in paths], paths, subjects, table, named)


def labels_of(comparisons: Comparisons, people: NDArray[np.int64] | None, path: Path) -> NDArray[np.int8] | None:
    """Return 1 or 0 for each comparison, (n,), None if nothing tells; StageError if people and labels disagree.

    `people` (N,) numbers who is on each image, if that is known; `path` is the file, for messages.
    """
    if people is None:
        return comparisons.same
    by_people = (people[comparisons.a] == people[comparisons.b]).astype(np.int8)
    if comparisons.same is not None and len(wrong := np.flatnonzero(by_people != comparisons.same)):
        place = wrong[0]
        a, b = comparisons.paths[comparisons.a[place]], comparisons.paths[comparisons.b[place]]
        raise StageError(
            f"{path}: line {place + 1}: the label is {comparisons.same[place]}, but {a} and {b} are of "
            f"{'one person' if by_people[place] else 'two people'}, by their paths or attributes.csv"
        )
    return by_people


def groups_of_comparisons(groups: list[str], a: NDArray[np.int64], b: NDArray[np.int64]) -> pd.Categorical:
    """Return the group of each comparison of images a[i] and b[i]: that of both images, or "" if they differ."""
    codes, names = pd.factorize(np.array(["", *groups], dtype=object))  # "" has the code 0
    of_image = codes[1:].astype(np.int32)
    return pd.Categorical.from_codes(np.where(of_image[a] == of_image[b], of_image[a], 0), categories=pd.Index(names))


def number_pairs(pairs: list[NamedPair], path: Path, names: list[str] | None = None) -> tuple[list[str], pd.DataFrame]:
    """Return the names of images and the pairs as a table with `PAIR_COLUMNS`, a and b being positions of names.

    `names` are in order of first use, unless given. StageError, with `path`, if the pairs make no protocol.
    """
    names = image_names(pairs) if names is None else names
    numbers = {name: position for position, name in enumerate(names)}
    rows = [(numbers[pair.a], numbers[pair.b], pair.same, pair.fold, pair.group) for pair in pairs]
    table = pd.DataFrame(rows, columns=list(PAIR_COLUMNS)).astype(PAIR_COLUMNS)
    check_pairs(table, path)
    return names, table


def connected_subjects(pairs: pd.DataFrame, images: int) -> list[str]:
    """Return the subject of each image: images are of one subject if a chain of genuine pairs connects them."""
    genuine = pairs[pairs["same"] == 1]
    return [str(person) for person in people(genuine["a"].to_numpy(), genuine["b"].to_numpy(), images)]


def warn_about_pairs(path: str, gathered: GatheredSet) -> None:
    """Warn about pairs of an image with itself and impostor pairs within a subject; the protocol keeps them."""
    pairs, subjects = gathered.pairs, pd.factorize(np.array(gathered.subjects, dtype=object))[0]
    selves = pairs["a"] == pairs["b"]
    if selves.any():
        warn(f"{path}: {selves.sum()} pairs are of an image with itself; the first is pair {selves.argmax() + 1}")
    if "same" not in pairs:
        return
    torn = (pairs["same"] == 0) & (subjects[pairs["a"]] == subjects[pairs["b"]]) & ~selves
    if torn.any():
        warn(
            f"{path}: {torn.sum()} impostor pairs are of images that genuine pairs connect to one person; the first "
            f"is pair {torn.argmax() + 1}"
        )


def reader_of(entry: ExternalSet, decoding: DecodingParams, photos: PhotosParams) -> ReadFace:
    """Return the function that reads an image of a test set as a face; StageError if the detector is not installed.

    A protocol is used as a whole: of a photo, the largest face is taken, however small or turned it is.
    """
    any_face = photos.model_copy(update={"second_face": 1.0, "min_eye_distance": 1.0, "most_turn": math.inf})
    return face_reader(decoding, any_face if entry.faces == "photos" else None, entry.channels)


def read_or_reject(source: Path | bytes, read: ReadFace) -> NDArray[np.uint8] | Rejection:
    """Return the pixels of an image, or the reason for its rejection."""
    try:
        return read(source)
    except Rejection as rejection:
        return rejection


def write_pixels(
    gathered: GatheredSet, where: str, read: ReadFace, workers: int, target: BinaryIO, title: str, allow_missing: bool
) -> list[Rejected]:
    """Write all images as one .npy file; StageError names all that cannot be read, each after `where`.

    The bytes do not depend on the number of `workers`, 0 for one per core. With `allow_missing`, grey stands for such
    an image, and they are returned; StageError if there is no other.
    """
    write_npy_header(target, np.uint8, (len(gathered.sources), *IMAGE_SHAPE))
    workers, rejected = workers or available_cores(), []
    with ready_to_read(), ThreadPoolExecutor(workers) as pool:
        results = in_order(pool, partial(read_or_reject, read=read), gathered.sources, ahead=8 * workers)
        bar = progress(results, title, total=len(gathered.sources), unit="image")
        for path, result in zip(gathered.paths, bar, strict=True):
            if isinstance(result, Rejection):
                rejected.append(result.row(path))
                result = UNUSABLE
            target.write(result.data)
    if rejected and not allow_missing:
        raise StageError("\n".join(f"{where}{row.path}: {row.reason}: {row.detail}" for row in rejected))
    if len(rejected) == len(gathered.sources):
        first = rejected[0]
        raise StageError(f"{where}{first.path}: {first.reason}: {first.detail}; the other images cannot be used either")
    return rejected


def warn_about_images(
    name: str, entry: ExternalSet, gathered: GatheredSet, pixels: NDArray[np.uint8], rejected: list[Rejected]
) -> None:
    """Warn of rejected images, and if a sample of the others looks like photos of no crop, or has channels swapped."""
    if rejected:
        warn(
            f"{name}: {len(rejected)} of {len(gathered.paths)} images cannot be used; {rejected_table_path(name)} "
            "lists each, and their comparisons fail"
        )
    usable = np.flatnonzero(~np.isin(gathered.paths, [row.path for row in rejected]))
    rows = usable[spread(len(usable))]
    sample = [SampledImage(gathered.paths[row], gathered.sources[row], pixels[row]) for row in rows]
    warn_about_sample(name, sample, "test set", entry.channels, "faces: photos" if entry.faces == "aligned" else "")


def file_states(entry: ExternalSet, gathered: GatheredSet) -> list[FileState | None]:
    """Return the state of every file of a test set; None for one that is not there."""
    files = [Path(entry.pairs), *(source for source in gathered.sources if isinstance(source, Path))]
    return [_state(file) for file in files]


def _state(file: Path) -> FileState | None:
    try:
        return file_state(os.stat(file))
    except OSError:
        return None


READERS: dict[str, Callable[[ExternalSet], GatheredSet]] = {
    "lfw": read_lfw_set,
    "csv": read_csv_set,
    "bin": read_bin_set,
    "frcsyn": read_frcsyn_set,
}
