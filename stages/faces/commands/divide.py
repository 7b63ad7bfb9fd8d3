"""Divide a folder of people into some to train on and others to test on, as the studies in experiments/ need them.

    faces divide <folder> [--test-people 22] [--seed 0]
    faces divide <folder> --pairs <folder>/pairs.txt [--folds 4 5]

It writes data/real/train/<person>/<image> and data/real/test/<person>/<image>, links to the images or copies, and
data/real/test.csv, pairs of the test people drawn at random, half of them genuine: a, b, same. With a list of pairs in
LFW's format, the test people are those of its folds, or of the named ones, counted from 1, and test.csv has their
pairs: a, b, same, fold. Files that are no images, and hidden ones, are left out. Git ignores data/real, since the
pictures show people.
"""

import random
import shutil
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from faces.commands.arguments import parser
from faces.core.errors import StageError
from faces.core.files import link_or_copy
from faces.external.pair_files import NamedPair, read_lfw_pairs
from faces.images.image_folder import is_image_name

REAL = Path("data/real")
MAX_PAIRS = 5_000  # of either kind


def place(images: list[Path], folder: Path) -> None:
    """Put images into a new folder."""
    folder.mkdir(parents=True)
    for image in images:
        link_or_copy(image, folder / image.name)


def draw_pairs(images: list[str], seed: int) -> pd.DataFrame:
    """Return pairs of images <person>/<name>, as many genuine as impostor ones: at most MAX_PAIRS each, at random.

    StageError if there is no genuine pair.
    """
    kinds: dict[int, list[tuple[str, str]]] = {1: [], 0: []}
    for a, b in combinations(images, 2):
        kinds[int(Path(a).parent == Path(b).parent)].append((a, b))
    if not kinds[1]:
        raise StageError("no test person has two images, so there is no genuine pair")
    most, rng = min(MAX_PAIRS, *map(len, kinds.values())), np.random.default_rng(seed)
    drawn = [
        (*pairs[number], same)
        for same, pairs in kinds.items()
        for number in np.sort(rng.permutation(len(pairs))[:most])
    ]
    return pd.DataFrame(drawn, columns=["a", "b", "same"])


def choose_people(people: list[str], wanted: int, seed: int) -> set[str]:
    """Return `wanted` of the people at random."""
    if not 2 <= wanted <= len(people) - 2:
        raise StageError(f"--test-people {wanted}: there are {len(people)}; leave two to train on")
    shuffled = sorted(people)
    random.Random(seed).shuffle(shuffled)
    return set(shuffled[:wanted])


def read_folds(path: Path, folds: list[int]) -> list[NamedPair]:
    """Return the pairs of the folds, counted from 1, of a list in LFW's format; of all folds if none is named."""
    pairs = read_lfw_pairs(path)
    known = {pair.fold + 1 for pair in pairs}
    if unknown := set(folds) - known:
        raise StageError(f"--folds {min(unknown)}: {path} has {len(known)}, counted from 1")
    return [pair for pair in pairs if not folds or pair.fold + 1 in folds]


def listed_pairs(pairs: list[NamedPair], images: list[str], path: Path) -> pd.DataFrame:
    """Return pairs of images <person>/<name> without an ending as pairs of those with one; StageError if one lacks."""
    whole = {image.rpartition(".")[0]: image for image in images}
    for pair in pairs:
        for name in (pair.a, pair.b):
            if name not in whole:
                raise StageError(f"{path}: names {name}, and there is no such image")
    rows = [(whole[pair.a], whole[pair.b], pair.same, pair.fold) for pair in pairs]
    return pd.DataFrame(rows, columns=["a", "b", "same", "fold"])


def main(arguments: Sequence[str]) -> int:
    """Divide the folder that the command line names."""
    known = parser("divide", __doc__)
    known.add_argument("folder", type=Path, help="<folder>/<person>/<image>")
    known.add_argument("--test-people", type=int, default=22, help="how many, drawn at random (%(default)s)")
    known.add_argument("--seed", type=int, default=0, help="of the draw")
    known.add_argument("--pairs", type=Path, help="a pairs.txt in LFW's format, whose people are tested on instead")
    known.add_argument("--folds", type=int, nargs="+", default=[], help="those of its folds, counted from 1; all")
    options = known.parse_args(arguments)
    if options.folds and not options.pairs:
        known.error("--folds goes with --pairs")
    if not options.folder.is_dir():
        raise StageError(f"{options.folder}: no such folder")
    if REAL.resolve() in (options.folder.resolve(), *options.folder.resolve().parents):
        raise StageError(f"{options.folder}: lies in {REAL}, which is made anew; move it elsewhere first")
    files = {
        person: sorted(path for path in person.iterdir() if path.is_file() and is_image_name(path.name))
        for person in sorted(options.folder.iterdir())
        if person.is_dir() and not person.name.startswith(".")
    }
    people = list(files)
    listed = read_folds(options.pairs, options.folds) if options.pairs else []
    if listed:
        tested = {name.partition("/")[0] for pair in listed for name in (pair.a, pair.b)}
        if len({person.name for person in people} - tested) < 2:
            raise StageError(f"--pairs {options.pairs}: {options.folder} has too few other people to train on")
    else:
        tested = choose_people([person.name for person in people], options.test_people, options.seed)
    images = [f"{person.name}/{path.name}" for person in people if person.name in tested for path in files[person]]
    pairs = listed_pairs(listed, images, options.pairs) if listed else draw_pairs(sorted(images), options.seed)
    if REAL.is_symlink():
        raise StageError(f"{REAL}: is a link, and would be made anew; remove it")
    if REAL.exists():
        shutil.rmtree(REAL)
    for person, own in files.items():
        place(own, REAL / ("test" if person.name in tested else "train") / person.name)
    pairs.to_csv(REAL / "test.csv", index=False, lineterminator="\n")
    print(f"{REAL}: {len(people) - len(tested)} people to train on, {len(tested)} to test on")
    print(f"{REAL / 'test.csv'}: {pairs['same'].sum()} genuine pairs, {(1 - pairs['same']).sum()} impostor pairs")
    return 0
