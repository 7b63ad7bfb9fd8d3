"""Find images that are copies of each other, or nearly: a test on a copy of a training image tests memory.

Reads   data/packed of every source in params.yaml
Writes  data/duplicates.csv      source, row, group: every image that has a copy, in groups of copies
        metrics/duplicates.json  counts
Run     python stages/duplicates.py

faces/thumbnails.py says what counts as a copy. What becomes of copies in different parts is the split's to decide
(`split.drop_copies`).
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from faces.files import write_csv, write_metrics
from faces.packed_images import open_packed
from faces.packed_tables import DUPLICATES_COLUMNS, DUPLICATES_PATH, read_packed_tables
from faces.sources import images_path, load_sources
from faces.stage import Params, load_params, progress, run, say, warn
from faces.threads import fixed_threads
from faces.thumbnails import blocks, groups_of_copies, thumbnails


class DuplicatesParams(Params):
    likeness: float = Field(gt=0, le=1)
    neighbours: int = Field(ge=1, le=1000)
    threads: int = Field(ge=1, le=1024)


def thumbnails_of(source: str) -> NDArray[np.uint8]:
    """Return the thumbnails of all packed images of a source."""
    images = open_packed(images_path(source))
    made = [thumbnails(images[rows]) for rows in progress(list(blocks(len(images))), source, unit="block")]
    return np.concatenate(made)


def describe(copies: pd.DataFrame) -> dict[str, int]:
    """Return how many images have a copy, in how many groups, and how many groups have several subjects.

    `copies` has a row an image that has a copy, with source, subject and group.
    """
    people = copies.groupby("group")[["source", "subject"]].apply(lambda rows: len(rows.drop_duplicates()))
    return {
        "images": len(copies),
        "groups": copies["group"].nunique(),
        "groups_of_several_subjects": int((people > 1).sum()) if len(copies) else 0,
    }


def main() -> None:
    """Write the groups of copies."""
    params, sources = load_params("duplicates", DuplicatesParams), sorted(load_sources())
    images = read_packed_tables(sources)
    small = np.concatenate([thumbnails_of(source) for source in sources])
    with fixed_threads(params.threads):
        images["group"] = groups_of_copies(small, params.likeness, params.neighbours)
    copies = images[images["group"].duplicated(keep=False)]
    counts = describe(copies)
    write_csv(DUPLICATES_PATH, copies[list(DUPLICATES_COLUMNS)])
    write_metrics(Path("metrics/duplicates.json"), counts)
    if counts["groups_of_several_subjects"]:
        warn(f"{counts['groups_of_several_subjects']} groups of copies are under several subjects")
    say(f"{counts['images']} images have a copy, in {counts['groups']} groups")


if __name__ == "__main__":
    run(main)
