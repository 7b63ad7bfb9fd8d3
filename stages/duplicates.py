"""Find images that are copies of each other, or nearly: a test on a copy of a training image tests memory.

Reads   data/packed of every source in params.yaml
Writes  data/duplicates.csv      source, row, group: every image that has a copy, in groups of copies
        metrics/duplicates.json  counts
        and removes what pack left of sources that are gone
Run     python stages/duplicates.py

faces/search/thumbnails.py says what counts as a copy. With `neighbours: 0` none is looked for: the table is empty, and
the metrics have `images_searched: 0` and no other count. What becomes of copies in different parts is the split's to
decide (`split.drop_copies`).
"""

import shutil
import tempfile
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faces.core.checkpoints import CHECKPOINTS
from faces.core.csv_files import write_csv
from faces.core.files import write_metrics
from faces.core.params import load_params
from faces.core.run import run
from faces.core.terminal import progress, say, warn
from faces.core.threads import fixed_threads, load_threads
from faces.search.thumbnails import THUMBNAIL_SHAPE, blocks, groups_of_copies, thumbnails
from faces.tables.attributes import ATTRIBUTES_FOLDER
from faces.tables.packed_images import PACKED, Shard, open_shards
from faces.tables.packed_tables import DUPLICATES_COLUMNS, DUPLICATES_PATH, DuplicatesParams, packed_tables
from faces.tables.sources import load_sources


def remove_unlisted(sources: list[str]) -> None:
    """Remove the packed files, shards and metrics of sources that params.yaml no longer lists.

    DVC does not: they would stay in the folder that this stage and later ones depend on, and be missing from a
    colleague's. Its cache still has them.
    """
    kept = CHECKPOINTS / "pack"
    for folder in (*PACKED.iterdir(), *(kept.iterdir() if kept.exists() else ())):
        if folder.is_dir() and folder.name not in sources:
            shutil.rmtree(folder)
    for path in (*PACKED.glob("*.npy"), *PACKED.glob("*.csv")):  # sources once had no folder of their own
        path.unlink()
    named = {path: path.stem for path in ATTRIBUTES_FOLDER.glob("*.csv")}
    named |= {path: path.stem.removeprefix("pack@") for path in Path("metrics").glob("pack@*.json")}
    for path, source in named.items():
        if source not in sources:
            path.unlink()


def write_thumbnails(shards: list[Shard], file: IO[bytes]) -> NDArray[np.uint8]:
    """Write the thumbnails of all images, one after another, and return them, mapped: (N, 8, 8, 3)."""
    pieces = [(shard, rows) for shard in shards for rows in blocks(shard.images)]
    for shard, rows in progress(pieces, "making thumbnails", unit="block"):
        file.write(thumbnails(shard.read(np.arange(shard.images)[rows])).data)
    file.flush()
    return np.memmap(file, np.uint8, "r", shape=(sum(shard.images for shard in shards), *THUMBNAIL_SHAPE))


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


def find_copies(sources: list[str], params: DuplicatesParams) -> pd.DataFrame:
    """Return which of all packed images have a copy: source, row, subject, path and a column `group`."""
    shards = [shard for source in sorted(sources) for shard in open_shards(source)]
    with fixed_threads(load_threads()), tempfile.TemporaryFile(dir=PACKED.parent) as file:
        small = write_thumbnails(shards, file)
        group = groups_of_copies(small, params.likeness, params.neighbours, params.exact_images)
    sizes = np.bincount(group)
    copies, first = [], 0
    for table in packed_tables(sources):
        of_table = group[first : first + len(table)]
        first += len(table)
        copies.append(table.assign(group=of_table)[sizes[of_table] > 1])
    return pd.concat(copies, ignore_index=True)


def main() -> None:
    """Write the groups of copies."""
    params, sources = load_params("duplicates", DuplicatesParams), list(load_sources())
    images = sum(len(table) for table in packed_tables(sources))
    if params.neighbours:
        copies = find_copies(sources, params)
        counts = describe(copies)
        found = f"{counts['images']} images have a copy, in {counts['groups']} groups"
    else:
        copies, counts, found = pd.DataFrame(columns=list(DUPLICATES_COLUMNS)), {}, "no copies were looked for"
    write_csv(DUPLICATES_PATH, copies[list(DUPLICATES_COLUMNS)])
    write_metrics(Path("metrics/duplicates.json"), {"images_searched": images if counts else 0} | counts)
    remove_unlisted(sources)
    if counts.get("groups_of_several_subjects"):
        warn(f"{counts['groups_of_several_subjects']} groups of copies are under several subjects")
    say(found)


if __name__ == "__main__":
    run(main)
