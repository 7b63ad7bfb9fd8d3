"""Gather the images and pairs of an external test set, such as LFW, into one array and two tables.

Reads   `test_sets.<name>` of params.yaml: its images and its pairs
Writes  data/tests/<name>.npy            uint8 (N, 112, 112, 3), RGB, every image once, in order of first use
        data/tests/<name>.images.csv     subject,path: row i is image i; path is relative to the folder of images,
                                         subject is empty if the test set does not name people
        data/tests/<name>.pairs.csv      a,b,same,fold,group, in the order of the protocol; a and b are image numbers;
                                         without `same` if the test set has no labels
        data/tests/<name>.rejected.csv   path,reason,detail: images that could not be used
        metrics/gather@<name>.json       counts
Run     python stages/gather.py <name>

faces/external/pair_files.py describes the formats `lfw` and `csv`; insightface_bin.py and frcsyn_files.py beside it
describe `bin` and `frcsyn`.

With `faces: photos`, the largest face in each image is found and aligned (faces/images/detection.py).

A protocol is used as a whole: if an image is missing or broken, the stage fails, names all such images, and writes
nothing. A set of format `frcsyn` may say `allow_missing: true`: such an image is then grey, and listed.
"""

import faces.core.portable  # noqa: F401  first, since NumPy and others read its settings when they are imported

from pathlib import Path

import pandas as pd

from faces.core.csv_files import write_csv
from faces.core.errors import StageError
from faces.core.files import replacing, write_metrics
from faces.core.params import load_params
from faces.core.run import run
from faces.core.terminal import say
from faces.external.gathering import (
    GatheredSet,
    file_states,
    gather_set,
    reader_of,
    warn_about_images,
    warn_about_pairs,
    write_pixels,
)
from faces.images.decoding import DecodingParams
from faces.images.detection import PhotosParams
from faces.images.rejection import Rejected
from faces.tables.external_sets import (
    image_table_path,
    named_test_set,
    open_pixels,
    pair_table_path,
    pixels_path,
    rejected_table_path,
)


def count_pairs(gathered: GatheredSet, rejected: list[Rejected], asked_for_groups: bool) -> dict[str, int]:
    """Return the metrics: numbers of images, of those rejected, of subjects, pairs, folds and named groups.

    If groups were asked for, `ungrouped` is the number of pairs in none: an image is in no group, or the two images
    are in different ones.
    """
    pairs = gathered.pairs
    counts = {"images": len(gathered.paths), "rejected": len(rejected), "subjects": len(set(gathered.subjects) - {""})}
    if "same" in pairs:
        counts |= {"genuine": int((pairs["same"] == 1).sum()), "impostor": int((pairs["same"] == 0).sum())}
        counts |= {"folds": int(pairs["fold"].nunique())}
    else:
        counts |= {"unlabelled": len(pairs)}
    counts |= {"groups": len(set(pairs["group"].unique()) - {""})}
    return counts | ({"ungrouped": int((pairs["group"] == "").sum())} if asked_for_groups else {})


def main() -> None:
    """Gather the test set named on the command line."""
    name, entry = named_test_set(__doc__)
    decoding, photos = load_params("decoding", DecodingParams), load_params("photos", PhotosParams)
    gathered = gather_set(name, entry)
    warn_about_pairs(entry.pairs, gathered)
    before = file_states(entry, gathered)
    where = f"{entry.images}: image " if entry.format == "bin" else f"{entry.images}/"
    read = reader_of(entry, decoding, photos)
    with replacing(pixels_path(name)) as temporary:
        with open(temporary, "wb") as target:
            workers, title = decoding.workers, f"gathering {name}"
            rejected = write_pixels(gathered, where, read, workers, target, title, entry.allow_missing)
        if file_states(entry, gathered) != before:
            raise StageError(f"params.yaml: test_sets.{name}: a file changed while it was being read; run again")
        subjects = gathered.subjects if gathered.named else ""
        images = pd.DataFrame({"subject": subjects, "path": gathered.paths})
        write_csv(image_table_path(name), images)
        write_csv(pair_table_path(name), gathered.pairs)
        write_csv(rejected_table_path(name), pd.DataFrame(rejected, columns=Rejected._fields))
        counts = count_pairs(gathered, rejected, bool(entry.group_by))
        write_metrics(Path(f"metrics/gather@{name}.json"), counts)
    warn_about_images(name, entry, gathered, open_pixels(name), rejected)
    unnamed = "" if gathered.named else " (the test set names no subjects: genuine pairs connect the images of one)"
    if "same" not in gathered.pairs:
        unnamed = " (the test set has no labels)"
    say(f"{name}: {', '.join(f'{key}: {count}' for key, count in counts.items())}{unnamed}")


if __name__ == "__main__":
    run(main, takes_arguments=True)
