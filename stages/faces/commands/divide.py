"""Divide a folder of people into some to train on and others to test on, as the studies in experiments/ need them.

    faces divide <folder> [--test-people 22] [--seed 0]

It writes data/real/train/<person>/<image> and data/real/test/<person>/<image>, links to the images or copies, and
data/real/test.csv, pairs of the test people drawn at random: a, b, same. Git ignores data/real, since the pictures show
people.
"""

import os
import random
import shutil
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from faces.commands.arguments import parser
from faces.core.errors import StageError

REAL = Path("data/real")
MAX_GENUINE, MAX_IMPOSTOR = 5_000, 20_000


def place(images: list[Path], folder: Path) -> None:
    """Put images into a folder, without a second copy of their bytes where the disk allows."""
    folder.mkdir(parents=True)
    for image in images:
        try:
            os.link(image, folder / image.name)
        except OSError:
            shutil.copyfile(image, folder / image.name)


def draw_pairs(images: list[str], seed: int) -> pd.DataFrame:
    """Return pairs of images <person>/<name>: genuine pairs, then impostor pairs, at most MAX_… of each at random."""

    def of_kind(same: bool) -> Iterator[tuple[str, str]]:
        return ((a, b) for a, b in combinations(images, 2) if (Path(a).parent == Path(b).parent) == same)

    rng, drawn = np.random.default_rng(seed), []
    for same, most in ((True, MAX_GENUINE), (False, MAX_IMPOSTOR)):
        pairs = list(of_kind(same))
        chosen = np.sort(rng.permutation(len(pairs))[:most])
        drawn += [(*pairs[number], int(same)) for number in chosen]
    return pd.DataFrame(drawn, columns=["a", "b", "same"])


def main(arguments: Sequence[str]) -> int:
    """Divide the folder that the command line names."""
    known = parser("divide", __doc__)
    known.add_argument("folder", type=Path, help="<folder>/<person>/<image>")
    known.add_argument("--test-people", type=int, default=22)
    known.add_argument("--seed", type=int, default=0)
    options = known.parse_args(arguments)
    if not options.folder.is_dir():
        raise StageError(f"{options.folder}: no such folder")
    if REAL.resolve() in (options.folder.resolve(), *options.folder.resolve().parents):
        raise StageError(f"{options.folder}: lies in {REAL}, which is made anew; move it elsewhere first")
    people, wanted = sorted(path for path in options.folder.iterdir() if path.is_dir()), options.test_people
    if not 2 <= wanted <= len(people) - 2:
        raise StageError(f"--test-people {wanted}: {options.folder} has {len(people)}; leave two to train on")
    random.Random(options.seed).shuffle(people)
    shutil.rmtree(REAL, ignore_errors=True)
    for number, person in enumerate(people):
        part = "test" if number < options.test_people else "train"
        place(sorted(path for path in person.iterdir() if path.is_file()), REAL / part / person.name)
    test = REAL / "test"
    images = sorted(path.relative_to(test).as_posix() for path in test.glob("*/*"))
    pairs = draw_pairs(images, options.seed)
    pairs.to_csv(REAL / "test.csv", index=False, lineterminator="\n")
    print(f"{REAL}: {len(people) - options.test_people} people to train on, {options.test_people} to test on")
    print(f"{REAL / 'test.csv'}: {pairs['same'].sum()} genuine pairs, {(1 - pairs['same']).sum()} impostor pairs")
    return 0
