"""Find images that are copies or near copies of each other: a copy of a training image is no fair test image.

Reads   data/packed of every source in params.yaml
Writes  data/duplicates.csv            source, row, group: every image that has a copy, in groups of copies
        data/copies_across_people.csv  for each copy under another person than the first of its group, source, subject
                                       and path of the first image (_a) and of the copy (_b)
        metrics/duplicates.json        counts
Run     python stages/duplicates.py

faces/search/copies.py defines a copy. With `neighbours: 0` the stage does not search: the table is empty, and the
metrics have `images_searched: 0` and no other count. `split.drop_copies` drops copies from all parts but `train`.

It also deletes the packed files of sources that params.yaml no longer lists.
"""

import faces.core.portable  # noqa: F401  first, since NumPy and others read its settings when they are imported

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
from faces.search.copies import confirm, digests, groups_of, same_pixels
from faces.search.thumbnails import THUMBNAIL_SHAPE, alike_pairs, blocks, thumbnails
from faces.tables.attributes import ATTRIBUTES_FOLDER
from faces.tables.packed_images import PACKED, PackedImages, open_shards
from faces.tables.packed_tables import DUPLICATES_COLUMNS, DUPLICATES_PATH, DuplicatesParams, read_packed_tables
from faces.tables.sources import load_sources

ACROSS_PEOPLE = Path("data/copies_across_people.csv")
IMAGE = ["source", "subject", "path"]  # columns that name an image


def delete_files_of_removed_sources(sources: list[str]) -> None:
    """Delete packed files, kept shards, attributes, metrics and pictures of sources that params.yaml no longer lists.

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
    named |= {path: path.stem for path in Path("metrics/pack").glob("*.png")}  # `card` depends on all of metrics/
    for path, source in named.items():
        if source not in sources:
            path.unlink()


def write_thumbnails(images: PackedImages, file: IO[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
    """Write the thumbnails of all images to a file; return them mapped from it, (N, 8, 8, 3), and digests (N,)."""
    hashes, numbers = [], np.arange(len(images))
    for rows in progress(list(blocks(len(images))), "making thumbnails", unit="block"):
        pixels = images[numbers[rows]]
        file.write(thumbnails(pixels).data)
        hashes.append(digests(pixels))
    file.flush()
    return np.memmap(file, np.uint8, "r", shape=(len(images), *THUMBNAIL_SHAPE)), np.concatenate(hashes)


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


def open_images(sources: list[str]) -> PackedImages:
    """Open all images of the sources, numbered in the order of `read_packed_tables`."""
    counts = {source: sum(shard.images for shard in open_shards(source)) for source in sorted(sources)}
    names = pd.Categorical.from_codes(np.repeat(np.arange(len(counts)), list(counts.values())), pd.Index(counts))
    rows = np.concatenate([np.arange(images) for images in counts.values()])
    return PackedImages(pd.DataFrame({"source": names, "row": rows}))


def group_copies(images: PackedImages, params: DuplicatesParams) -> NDArray[np.int64]:
    """Return the group of copies of each image, (N,); an image without a copy is a group of its own."""
    with fixed_threads(load_threads()), tempfile.TemporaryFile(dir=PACKED.parent) as file:
        small, hashes = write_thumbnails(images, file)
        same = same_pixels(hashes)
        candidates = alike_pairs(small, params.likeness, params.neighbours, params.exact_images)
        candidates = candidates[hashes[candidates[:, 0]] != hashes[candidates[:, 1]]]  # the others are in `same`
        return groups_of(np.concatenate([same, confirm(candidates, images.__getitem__)]), len(images))


def find_copies(sources: list[str], params: DuplicatesParams) -> pd.DataFrame:
    """Return the packed images that have a copy: source, row, subject, path, group."""
    group = group_copies(open_images(sources), params)
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
        copies, counts, found = (
            pd.DataFrame(columns=[*DUPLICATES_COLUMNS, *IMAGE[1:]]),
            {},
            "no copies were looked for (duplicates.neighbours: 0)",
        )
    write_csv(DUPLICATES_PATH, copies[list(DUPLICATES_COLUMNS)])
    write_csv(ACROSS_PEOPLE, pair_across_people(copies))
    write_metrics(Path("metrics/duplicates.json"), {"images_searched": images if counts else 0} | counts)
    delete_files_of_removed_sources(sources)
    if several := counts.get("groups_of_several_subjects"):
        warn(
            f"{several} group(s) of copies are filed under different people, so at least one name is wrong; "
            f"{ACROSS_PEOPLE} lists them: correct the folders"
        )
    say(found)


if __name__ == "__main__":
    run(main)
