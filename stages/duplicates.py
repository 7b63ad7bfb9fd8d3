"""Find images that are copies of each other, or nearly: a test on a copy of a training image tests memory.

Reads   data/packed of every source in params.yaml
Writes  data/duplicates.csv      source, row, group: every image that has a copy, in groups of copies
        metrics/duplicates.json  counts
        and removes what pack left of sources that are gone
Run     python stages/duplicates.py

faces/thumbnails.py says what counts as a copy. With `neighbours: 0` none is looked for: the table is empty, and the
metrics have `images_searched: 0` and no other count. What becomes of copies in different parts is the split's to decide
(`split.drop_copies`).
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faces.attributes import ATTRIBUTES_FOLDER
from faces.files import write_csv, write_metrics
from faces.packed_images import open_packed
from faces.packed_tables import DUPLICATES_COLUMNS, DUPLICATES_PATH, DuplicatesParams, read_packed_tables
from faces.sources import PACKED, images_path, load_sources
from faces.stage import load_params, progress, run, say, warn
from faces.threads import fixed_threads
from faces.thumbnails import blocks, groups_of_copies, thumbnails


def remove_unlisted(sources: list[str]) -> None:
    """Remove the packed files and metrics of sources that params.yaml no longer lists.

    DVC does not: they would stay in the folder that this stage and later ones depend on, and be missing from a
    colleague's. Its cache still has them.
    """
    for path in (*PACKED.iterdir(), *ATTRIBUTES_FOLDER.glob("*.csv")):
        if path.suffix in (".npy", ".csv") and path.stem not in sources:
            path.unlink()
    for path in Path("metrics").glob("pack@*.json"):
        if path.stem.removeprefix("pack@") not in sources:
            path.unlink()


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


def find_copies(images: pd.DataFrame, params: DuplicatesParams) -> pd.DataFrame:
    """Return which of all packed images have a copy, with a column `group`."""
    small = np.concatenate([thumbnails_of(source) for source in images["source"].unique()])
    with fixed_threads(params.threads):
        group = groups_of_copies(small, params.likeness, params.neighbours, params.exact_images)
    grouped = images.assign(group=group)
    return grouped[grouped["group"].duplicated(keep=False)]


def main() -> None:
    """Write the groups of copies."""
    params, sources = load_params("duplicates", DuplicatesParams), list(load_sources())
    images = read_packed_tables(sources)
    if params.neighbours:
        copies = find_copies(images, params)
        counts = describe(copies)
        found = f"{counts['images']} images have a copy, in {counts['groups']} groups"
    else:
        copies, counts, found = pd.DataFrame(columns=list(DUPLICATES_COLUMNS)), {}, "no copies were looked for"
    write_csv(DUPLICATES_PATH, copies[list(DUPLICATES_COLUMNS)])
    write_metrics(Path("metrics/duplicates.json"), {"images_searched": len(images) if counts else 0} | counts)
    remove_unlisted(sources)
    if counts.get("groups_of_several_subjects"):
        warn(f"{counts['groups_of_several_subjects']} groups of copies are under several subjects")
    say(found)


if __name__ == "__main__":
    run(main)
