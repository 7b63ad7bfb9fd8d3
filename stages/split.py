"""Split the images of all sources into `train`, two parts for choices, `test_seen` and `test_unseen`.

Reads   data/packed/<source>/*.csv of the sources in params.yaml, a shard at a time, and data/duplicates.csv
Writes  data/split.csv, metrics/split.json
Run     python stages/split.py

`validation` has images of training people, `validation_unseen` all images of people who are in no other part: on them
thresholds are chosen, and an epoch.

With `same_names: one_person`, subjects of one name in several sources are one person, who is in one part or another
throughout; the shares of images are taken in each source.

Every choice depends on a hash of the seed and the names, not on a position in a list. So a new subject or image moves
others to another part only as far as the shares require.
"""

import faces.core.portable  # noqa: F401  first, since NumPy and others read its settings when they are imported

from pathlib import Path

from faces.core.csv_files import write_csv
from faces.core.errors import StageError
from faces.core.files import write_metrics
from faces.core.params import load_params
from faces.core.run import run
from faces.core.terminal import say, warn
from faces.tables.packed_tables import DuplicatesParams, read_duplicates, read_packed_tables
from faces.tables.sources import load_sources
from faces.tables.split_table import PARTS, SPLIT_PATH, TEST_SEEN, TEST_UNSEEN, TRAIN, VALIDATION_UNSEEN
from faces.tables.splitting import People, SplitParams, Splitting, count_namesakes, names_in_several_sources

NAMES_SHOWN = 5  # in a warning


def check_copies(params: SplitParams) -> bool:
    """Return whether `duplicates` searches copies; StageError if it does not and copies are to be dropped."""
    searched = load_params("duplicates", DuplicatesParams).neighbours > 0
    if params.drop_copies and not searched:
        raise StageError(
            "params.yaml: split.drop_copies: true: duplicates.neighbours: 0 looks for no copies, so none can be "
            "dropped; raise it, or set split.drop_copies to false"
        )
    return searched


def warn_about_names(people: People, params: SplitParams) -> None:
    """Warn of names that several sources have, or say that they were joined."""
    shared = names_in_several_sources(people.labels)
    if not shared:
        return
    named = ", ".join(f"{name!r} ({', '.join(sources)})" for name, sources in list(shared.items())[:NAMES_SHOWN])
    text = f"{len(shared)} name(s) are in several sources: {named}{', …' if len(shared) > NAMES_SHOWN else ''}"
    if params.same_names == "one_person":
        say(f"{text}; each is one person")
        return
    warn(
        f"{text}; each counts as two people, so {count_namesakes(people)} of {len(people.held_out.unseen)} subjects of "
        f"{TEST_UNSEEN} have the name of a training subject. `split.same_names: one_person` joins them"
    )


def warn_about_copies(splitting: Splitting, params: SplitParams) -> None:
    """Warn of copies that stay in the parts that are not trained on, or say how many were dropped."""
    found = {"training images": splitting.copies, "another image of the same part": splitting.repeats}
    for text, counts in found.items():
        if counts and params.drop_copies:
            say(f"{counts.total()} images outside `{TRAIN}` were copies, or near copies, of {text}; they are dropped")
        elif counts:
            warn(
                f"{counts.total()} images outside `{TRAIN}` are copies, or near copies, of {text}; "
                "`split.drop_copies` drops them"
            )


def main() -> None:
    """Write the split and its sizes."""
    params, sources = load_params("split", SplitParams), list(load_sources())
    searched = check_copies(params)
    splitting = Splitting(lambda: read_packed_tables(sources), params)
    warn_about_names(splitting.people, params)
    write_csv(SPLIT_PATH, splitting.paired_pieces(read_duplicates(splitting.images)))
    sizes = splitting.sizes
    if searched:
        for part in (TEST_SEEN, TEST_UNSEEN):
            sizes |= {f"copies_{part}": splitting.copies[part], f"repeats_{part}": splitting.repeats[part]}
    warn_about_copies(splitting, params)
    if sizes["subjects_with_one_image"]:
        warn(f"{sizes['subjects_with_one_image']} training subjects have one image: they are trained on, never tested")
    if params.unseen_subjects and sizes[f"subjects_{TEST_UNSEEN}"] < 2:
        warn(
            f"{TEST_UNSEEN} has {sizes[f'subjects_{TEST_UNSEEN}']} subject(s), so no impostor pairs and no metrics: "
            "raise split.unseen_subjects, or add people"
        )
    if params.validation_subjects and sizes[f"subjects_{VALIDATION_UNSEEN}"] < 2:
        warn(
            f"{VALIDATION_UNSEEN} has no impostor pairs, so thresholds come from `train` and `{TEST_SEEN}` pairs: "
            "raise split.validation_subjects, or add people"
        )
    write_metrics(Path("metrics/split.json"), sizes)
    say(
        ", ".join(
            f"{part}: {images} images of {sizes[f'subjects_{part}']} subjects"
            for part in PARTS
            if (images := sizes[f"images_{part}"])
        )
    )


if __name__ == "__main__":
    run(main)
