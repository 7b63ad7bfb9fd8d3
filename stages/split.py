"""Split the images of all sources into `train`, `validation`, `test_seen` and `test_unseen`.

Reads   data/packed/<source>.csv of every source in params.yaml (never what else lies in that folder), and
        data/duplicates.csv
Writes  data/split.csv, metrics/split.json
Run     python stages/split.py

Every choice is made by a hash of the seed and the names, not by position in a list. So a new subject or image moves
no other subject or image to another part, beyond what keeping the shares asks for.
"""

import hashlib
from pathlib import Path

import pandas as pd
from pydantic import Field

from faces.files import write_csv, write_metrics
from faces.packed_tables import DuplicatesParams, read_duplicates, read_packed_tables
from faces.sources import load_sources
from faces.split_table import COLUMNS, PARTS, SPLIT_PATH, TEST_SEEN, TEST_UNSEEN, TRAIN, VALIDATION, images_of
from faces.stage import Params, StageError, load_params, run, say, warn


class SplitParams(Params):
    seed: int = Field(ge=0)
    test_size: float = Field(gt=0, lt=1)
    validation_size: float = Field(ge=0, lt=1)
    unseen_subjects: float = Field(ge=0, lt=1)
    drop_copies: bool


def check_copies(params: SplitParams) -> bool:
    """Return whether copies have been looked for; StageError if they have not and should be dropped."""
    searched = load_params("duplicates", DuplicatesParams).neighbours > 0
    if params.drop_copies and not searched:
        raise StageError("params.yaml: split.drop_copies: true: duplicates.neighbours: 0 has no copies looked for")
    return searched


def draw(seed: int, *names: str) -> bytes:
    """Return a value that is uniform over names and fixed for each: what stands in for a shuffle."""
    text = "\0".join([str(seed), *names])
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()


def choose_unseen(subjects: list[tuple[str, str]], params: SplitParams) -> set[tuple[str, str]]:
    """Return the (source, subject) held out of training: the share asked for, rounded, but not fewer than two."""
    if params.unseen_subjects == 0:
        return set()
    count = max(2, round(params.unseen_subjects * len(subjects)))
    if len(subjects) - count < 2:
        raise StageError(
            f"params.yaml: split.unseen_subjects: {params.unseen_subjects}: holds out {count} of {len(subjects)} "
            "subjects (two at least, to have impostors); two must be left to train on. Use 0 to hold out none"
        )
    return set(sorted(subjects, key=lambda subject: draw(params.seed, *subject))[:count])


def choose_held_out(group: pd.DataFrame, params: SplitParams) -> tuple[list[int], list[int]]:
    """Return the index of the images of one training subject that go to `test_seen`, and to `validation`.

    One image, at least, is left to train on.
    """
    tested = min(round(params.test_size * len(group)), len(group) - 1)
    validated = min(round(params.validation_size * len(group)), len(group) - 1 - tested)
    drawn = [draw(params.seed, *names) for names in group[["source", "subject", "path"]].itertuples(index=False)]
    order = pd.Series(drawn, index=group.index).sort_values().index.tolist()
    return order[:tested], order[tested : tested + validated]


def split_images(images: pd.DataFrame, params: SplitParams) -> pd.DataFrame:
    """Return `images` with their label and part; StageError if a part that must have images has none."""
    identities = images.groupby(["source", "subject"], sort=True)
    subjects = sorted(set(zip(images["source"], images["subject"], strict=True)))
    if len(subjects) < 2:
        raise StageError(f"found {len(subjects)} subject(s) in all sources together; at least two are needed")
    unseen = choose_unseen(subjects, params)
    known = [subject for subject in subjects if subject not in unseen]
    label = {subject: number for number, subject in enumerate([*known, *sorted(unseen)])}

    split = images.copy()
    split["label"] = [label[key] for key in zip(images["source"], images["subject"], strict=True)]
    split["part"] = TRAIN
    for subject, group in identities:
        if subject in unseen:
            split.loc[group.index, "part"] = TEST_UNSEEN
        else:
            tested, validated = choose_held_out(group, params)
            split.loc[tested, "part"] = TEST_SEEN
            split.loc[validated, "part"] = VALIDATION
    if not (split["part"] == TEST_SEEN).any():
        raise StageError(
            f"params.yaml: split.test_size: {params.test_size}: leaves nothing to test on: no training subject has "
            "enough images for one of them to be set aside"
        )
    return split[list(COLUMNS)]


def copies_of_training(split: pd.DataFrame, groups: pd.DataFrame) -> pd.Series:
    """Return which images of the split, outside `train`, have a copy in `train`: bool, by its index.

    `groups` has source, row and group of every image that has copies.
    """
    group = split.merge(groups, on=["source", "row"], how="left", validate="1:1")["group"].set_axis(split.index)
    trained_on = set(group[split["part"] == TRAIN].dropna())
    return (split["part"] != TRAIN) & group.isin(trained_on)


def without(split: pd.DataFrame, copies: pd.Series) -> pd.DataFrame:
    """Return the split without the images marked in `copies`; StageError if nothing is left to test on."""
    kept = split[~copies].reset_index(drop=True)
    if not (kept["part"] == TEST_SEEN).any():
        raise StageError(f"params.yaml: split.drop_copies: all images of `{TEST_SEEN}` are copies of training images")
    return kept


def describe(split: pd.DataFrame) -> dict[str, int]:
    """Return images and subjects of each part, and how many training subjects have a single image."""
    sizes = {}
    for part in PARTS:
        members = split.loc[images_of(split, part)]
        sizes[f"images_{part}"] = len(members)
        sizes[f"subjects_{part}"] = members["label"].nunique()
    in_training = split[split["part"] != TEST_UNSEEN].groupby("label").size()
    sizes["subjects_with_one_image"] = int((in_training == 1).sum())
    return sizes


def main() -> None:
    """Write the split and its sizes."""
    params, sources = load_params("split", SplitParams), list(load_sources())
    searched, images = check_copies(params), read_packed_tables(sources)
    split = split_images(images, params)
    copies = copies_of_training(split, read_duplicates(images))
    parts = (TEST_SEEN, TEST_UNSEEN) if searched else ()
    counts = {f"copies_{part}": int(copies[split["part"] == part].sum()) for part in parts}
    if params.drop_copies:
        split = without(split, copies)
    elif copies.any():
        warn(f"{copies.sum()} test images are copies of training images, or nearly; `split.drop_copies` drops them")
    sizes = describe(split) | counts
    if sizes["subjects_with_one_image"]:
        warn(f"{sizes['subjects_with_one_image']} training subjects have one image: they are trained on, never tested")
    if params.unseen_subjects and sizes[f"subjects_{TEST_UNSEEN}"] < 2:
        warn(f"{TEST_UNSEEN} has {sizes[f'subjects_{TEST_UNSEEN}']} subject(s): no impostor pairs, hence no figures")
    write_csv(SPLIT_PATH, split)
    write_metrics(Path("metrics/split.json"), sizes)
    say(
        ", ".join(f"{part}: {sizes[f'images_{part}']} images of {sizes[f'subjects_{part}']} subjects" for part in PARTS)
    )


if __name__ == "__main__":
    run(main)
