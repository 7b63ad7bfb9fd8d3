"""Divide a folder of real people into some to train on and others to test on, for the studies beside this script.

Run     python experiments/real_people.py <folder> [--test-people 22] [--seed 0]
Writes  data/real/train/<person>/<image>, data/real/test/<person>/<image>: links to the images, or copies
        data/real/test.csv  a, b, same: pairs of the test people, drawn at random

Git ignores data/real: pictures of people stay with whom they were entrusted to.
"""

import argparse
import os
import random
import shutil
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

REAL = Path("data/real")
MOST_GENUINE, MOST_IMPOSTOR = 5_000, 20_000


def place(images: list[Path], folder: Path) -> None:
    """Put images into a folder, without a second copy of their bytes where the disk allows."""
    folder.mkdir(parents=True)
    for image in images:
        try:
            os.link(image, folder / image.name)
        except OSError:
            shutil.copyfile(image, folder / image.name)


def draw_pairs(images: list[str], seed: int) -> pd.DataFrame:
    """Return pairs of images <person>/<name>, genuine ones first: all of a kind, or so many drawn at random."""

    def of_kind(same: bool) -> Iterator[tuple[str, str]]:
        return ((a, b) for a, b in combinations(images, 2) if (Path(a).parent == Path(b).parent) == same)

    rng, drawn = np.random.default_rng(seed), []
    for same, most in ((True, MOST_GENUINE), (False, MOST_IMPOSTOR)):
        pairs = list(of_kind(same))
        chosen = np.sort(rng.permutation(len(pairs))[:most])
        drawn += [(*pairs[number], int(same)) for number in chosen]
    return pd.DataFrame(drawn, columns=["a", "b", "same"])


def main() -> None:
    """Divide the folder on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="<folder>/<person>/<image>")
    parser.add_argument("--test-people", type=int, default=22)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        sys.exit(f"{arguments.folder}: no such folder")
    if REAL.resolve() in (arguments.folder.resolve(), *arguments.folder.resolve().parents):
        sys.exit(f"{arguments.folder}: lies in {REAL}, which is made anew; move it elsewhere first")
    people = sorted(path for path in arguments.folder.iterdir() if path.is_dir())
    if not 2 <= arguments.test_people <= len(people) - 2:
        sys.exit(f"--test-people {arguments.test_people}: {arguments.folder} has {len(people)}; leave two to train on")
    random.Random(arguments.seed).shuffle(people)
    shutil.rmtree(REAL, ignore_errors=True)
    for number, person in enumerate(people):
        part = "test" if number < arguments.test_people else "train"
        place(sorted(path for path in person.iterdir() if path.is_file()), REAL / part / person.name)
    test = REAL / "test"
    images = sorted(path.relative_to(test).as_posix() for path in test.glob("*/*"))
    pairs = draw_pairs(images, arguments.seed)
    pairs.to_csv(REAL / "test.csv", index=False, lineterminator="\n")
    print(f"{REAL}: {len(people) - arguments.test_people} people to train on, {arguments.test_people} to test on")
    print(f"{REAL / 'test.csv'}: {pairs['same'].sum()} genuine pairs, {(1 - pairs['same']).sum()} impostor pairs")


if __name__ == "__main__":
    main()
