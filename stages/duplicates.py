"""Find images that are copies or near copies of each other: a copy of a training image is no fair test image.

Reads   data/packed of every source in params.yaml
Writes  data/duplicates.csv            source, row, group: every image that has a copy, in groups of copies
        data/copies_across_people.csv  for each copy under another person than the first of its group, source, subject
                                       and path of the first image (_a) and of the copy (_b)
        metrics/duplicates.json        counts
Run     python stages/duplicates.py

faces/search/thumbnails.py defines a copy. With `neighbours: 0` the stage does not search: the table is empty, and the
metrics have `images_searched: 0` and no other count. `split.drop_copies` drops copies of training images.

It also deletes the packed files of sources that params.yaml no longer lists.
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
from faces.tables.packed_tables import DUPLICATES_COLUMNS, DUPLICATES_PATH, DuplicatesParams, read_packed_tables
from faces.tables.sources import load_sources

ACROSS_PEOPLE = Path("data/copies_across_people.csv")
IMAGE = ["source", "subject", "path"]  # columns that name an image


def delete_files_of_removed_sources(sources: list[str]) -> None:
    """Delete the packed files, kept shards, attributes and metrics of sources that params.yaml no longer lists.

    DVC forgets these outputs of `pack` without deleting them. They would stay in data/packed, on which this stage and
    later ones depend as a folder, and a colleague's folder would not have them: the stages would run again there. DVC's
    cache still has the files.
    """
    kept = CHECKPOINTS / "pack"
    for folder in (*PACKED.iterdir(), *(kept.iterdir() if kept.exists() else ())):
        if folder.is_dir() and folder.name not in sources:
            shutil.rmtree(folder)
    for path in (*PACKED.glob("*.npy"), *PACKED.glob("*.csv")):  # belong to no source, and change the folder's hash
        path.unlink()
    named = {path: path.stem for path in ATTRIBUTES_FOLDER.glob("*.csv")}
    named |= {path: path.stem.removeprefix("pack@") for path in Path("metrics").glob("pack@*.json")}
    for path, source in named.items():
        if source not in sources:
            path.unlink()


def write_thumbnails(shards: list[Shard], file: IO[bytes]) -> NDArray[np.uint8]:
    """Write the thumbnails of all images to a file, and return them mapped from it: uint8 (N, 8, 8, 3)."""
    pieces = [(shard, rows) for shard in shards for rows in blocks(shard.images)]
    for shard, rows in progress(pieces, "making thumbnails", unit="block"):
        file.write(thumbnails(shard.read(np.arange(shard.images)[rows])).data)
    file.flush()
    return np.memmap(file, np.uint8, "r", shape=(sum(shard.images for shard in shards), *THUMBNAIL_SHAPE))


def describe(copies: pd.DataFrame) -> dict[str, int]:
    """Return the number of images that have a copy, of groups, and of groups with several subjects.

    `copies` has a row for each image that has a copy: source, subject, group.
    """
    people = copies.groupby("group")[["source", "subject"]].apply(lambda rows: len(rows.drop_duplicates()))
    return {
        "images": len(copies),
        "groups": copies["group"].nunique(),
        "groups_of_several_subjects": int((people > 1).sum()) if len(copies) else 0,
    }


def find_copies(sources: list[str], params: DuplicatesParams) -> pd.DataFrame:
    """Return the packed images that have a copy: source, row, subject, path, group."""
    shards = [shard for source in sorted(sources) for shard in open_shards(source)]
    with fixed_threads(load_threads()), tempfile.TemporaryFile(dir=PACKED.parent) as file:
        small = write_thumbnails(shards, file)
        group = groups_of_copies(small, params.likeness, params.neighbours, params.exact_images)
    sizes = np.bincount(group)
    copies, first = [], 0
    for table in read_packed_tables(sources):
        groups = group[first : first + len(table)]
        first += len(table)
        copies.append(table.assign(group=groups)[sizes[groups] > 1])
    return pd.concat(copies, ignore_index=True)


def pair_across_people(copies: pd.DataFrame) -> pd.DataFrame:
    """Return the copies under another person than the first image of their group, each beside that image.

    `copies` has a row for each image that has a copy: source, subject, path, group. The result has the first three
    twice: with _a of the first image of the group, with _b of the copy.
    """
    first = copies.drop_duplicates("group").set_index("group")[IMAGE]
    pairs = copies[[*IMAGE, "group"]].join(first, on="group", lsuffix="_b", rsuffix="_a")
    other = (pairs["source_a"] != pairs["source_b"]) | (pairs["subject_a"] != pairs["subject_b"])
    return pairs.loc[other, [f"{column}_{side}" for side in "ab" for column in IMAGE]]


def main() -> None:
    """Write the groups of copies."""
    params, sources = load_params("duplicates", DuplicatesParams), list(load_sources())
    images = sum(len(table) for table in read_packed_tables(sources))
    if params.neighbours:
        copies = find_copies(sources, params)
        counts = describe(copies)
        found = f"{counts['images']} images have a copy, in {counts['groups']} groups"
    else:
        copies, counts, found = pd.DataFrame(columns=[*DUPLICATES_COLUMNS, *IMAGE[1:]]), {}, "no copies were searched"
    write_csv(DUPLICATES_PATH, copies[list(DUPLICATES_COLUMNS)])
    write_csv(ACROSS_PEOPLE, pair_across_people(copies))
    write_metrics(Path("metrics/duplicates.json"), {"images_searched": images if counts else 0} | counts)
    delete_files_of_removed_sources(sources)
    if several := counts.get("groups_of_several_subjects"):
        warn(f"{several} groups of copies are under several subjects, as {ACROSS_PEOPLE} lists")
    say(found)


if __name__ == "__main__":
    run(main)
