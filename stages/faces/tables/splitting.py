"""Assigning images to the parts of the split, by hashes of the seed and the names, a shard at a time."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import Field

from faces.core.errors import StageError
from faces.core.params import Params
from faces.tables.split_table import COLUMNS, PARTS, TEST_SEEN, TEST_UNSEEN, TRAIN, VALIDATION


class SplitParams(Params):
    """The section `split:` of params.yaml."""

    seed: int = Field(ge=0)
    test_size: float = Field(gt=0, lt=1)
    validation_size: float = Field(ge=0, lt=1)
    unseen_subjects: float = Field(ge=0, lt=1)
    drop_copies: bool


def hash_names(seed: int, *names: str) -> bytes:
    """Return a hash of the names; sorting by it is a shuffle that other names do not change."""
    text = "\0".join([str(seed), *names])
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()


def choose_unseen(subjects: list[tuple[str, str]], params: SplitParams) -> set[tuple[str, str]]:
    """Return the subjects (source, subject) held out of training: `unseen_subjects` of all, at least two."""
    if params.unseen_subjects == 0:
        return set()
    count = max(2, round(params.unseen_subjects * len(subjects)))
    if len(subjects) - count < 2:
        raise StageError(
            f"params.yaml: split.unseen_subjects: {params.unseen_subjects}: holds out {count} of {len(subjects)} "
            "subjects (two at least, to have impostors); two must be left to train on. Use 0 to hold out none"
        )
    return set(sorted(subjects, key=lambda subject: hash_names(params.seed, *subject))[:count])


class People(NamedTuple):
    """The label of every subject (source, subject), and the subjects that training never sees."""

    labels: dict[tuple[str, str], int]
    unseen: set[tuple[str, str]]


def choose_people(subjects: list[tuple[str, str]], params: SplitParams) -> People:
    """Return labels and held-out subjects; StageError if too few are left to train on."""
    if len(subjects) < 2:
        raise StageError(f"found {len(subjects)} subject(s) in all sources together; at least two are needed")
    subjects = sorted(subjects)
    unseen = choose_unseen(subjects, params)
    known = [subject for subject in subjects if subject not in unseen]
    return People({subject: number for number, subject in enumerate([*known, *sorted(unseen)])}, unseen)


def choose_held_out(names: tuple[str, str], paths: list[str], params: SplitParams) -> tuple[list[int], list[int]]:
    """Return the positions of a training subject's images for `test_seen` and for `validation`.

    `names` is (source, subject). At least one image is left to train on.
    """
    tested = min(round(params.test_size * len(paths)), len(paths) - 1)
    validated = min(round(params.validation_size * len(paths)), len(paths) - 1 - tested)
    order = sorted(range(len(paths)), key=lambda place: hash_names(params.seed, *names, paths[place]))
    return order[:tested], order[tested : tested + validated]


def assign(images: pd.DataFrame, people: People, params: SplitParams) -> pd.DataFrame:
    """Return the split of images of whole subjects; `images` has source, row, subject and path."""
    part = np.full(len(images), TRAIN, dtype=object)
    label = np.empty(len(images), dtype=np.int64)
    paths = images["path"].to_numpy()
    rows_by_subject: dict[Any, Any] = images.groupby(["source", "subject"]).indices
    for names, rows in rows_by_subject.items():
        label[rows] = people.labels[names]
        if names in people.unseen:
            part[rows] = TEST_UNSEEN
        else:
            tested, validated = choose_held_out(names, paths[rows].tolist(), params)
            part[rows[tested]] = TEST_SEEN
            part[rows[validated]] = VALIDATION
    return images.assign(label=label, part=part)[list(COLUMNS)]


def match_groups(split: pd.DataFrame, groups: pd.DataFrame) -> pd.Series:
    """Return the group of copies of each image of a split, with its index; NaN if the image has no copy.

    `groups` has source, row and group of each image that has a copy.
    """
    return split.merge(groups, on=["source", "row"], how="left", validate="1:1")["group"].set_axis(split.index)


def groups_in_training(splits: Iterable[pd.DataFrame], groups: pd.DataFrame) -> set[int]:
    """Return the groups of copies that have an image in `train`."""
    return {
        int(group)
        for split in splits
        for group in match_groups(split, groups)[split["part"] == TRAIN].dropna().unique()
    }


def find_copies_of_training(split: pd.DataFrame, groups: pd.DataFrame, trained_on: set[int]) -> pd.Series:
    """Return, for each image of a split, whether it is outside `train` and its group has an image in `train`."""
    return (split["part"] != TRAIN) & match_groups(split, groups).isin(trained_on)


def describe(split: pd.DataFrame) -> Counter[str]:
    """Return the numbers of images and subjects of each part, and of training subjects with a single image.

    The counts of tables of whole subjects add up.
    """
    sizes = Counter[str]()
    for part in PARTS:
        members = split[split["part"] == part]
        sizes[f"images_{part}"] = len(members)
        sizes[f"subjects_{part}"] = members["label"].nunique()
    in_training = split[split["part"] != TEST_UNSEEN].groupby("label").size()
    sizes["subjects_with_one_image"] = int((in_training == 1).sum())
    return sizes


def has_genuine_pair(split: pd.DataFrame) -> bool:
    """Return whether a subject has two images in `train`."""
    return bool(split["label"][split["part"] == TRAIN].duplicated().any())


@dataclass
class Splitting:
    """Splits all shards, one after another; `sizes` and `copies` count the images that were yielded."""

    tables: Callable[[], Iterable[pd.DataFrame]]  # yields the packed images, whole subjects in each table
    params: SplitParams
    sizes: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.images, self.has_genuine_pair = Counter[str](), False
        subjects = set[tuple[str, str]]()
        for table in self.tables():
            source = str(table["source"].iloc[0])
            self.images[source] += len(table)
            subjects |= {(source, subject) for subject in table["subject"].unique()}
        self._people = choose_people(list(subjects), self.params)

    def _assigned(self) -> Iterator[pd.DataFrame]:
        return (assign(table, self._people, self.params) for table in self.tables())

    def pieces(self, groups: pd.DataFrame) -> Iterator[pd.DataFrame]:
        """Yield the split in pieces; StageError at the end if nothing is left to test on.

        `groups` has source, row and group of each image that has a copy.
        """
        trained_on = groups_in_training(self._assigned(), groups) if len(groups) else set[int]()
        for split in self._assigned():
            copies = find_copies_of_training(split, groups, trained_on)
            self.copies.update(split["part"][copies])
            if self.params.drop_copies:
                split = split[~copies]
            self.sizes.update(describe(split))
            self.has_genuine_pair |= has_genuine_pair(split)
            yield split
        check_tested(self.sizes, self.copies, self.params)

    def paired_pieces(self, groups: pd.DataFrame) -> Iterator[pd.DataFrame]:
        """Yield `pieces`; StageError at the end if `train` has no genuine pair, so that later stages would fail."""
        yield from self.pieces(groups)
        if not self.has_genuine_pair:
            raise StageError(
                f"no subject has two images in `{TRAIN}`, so it has no genuine pair and no threshold can be chosen: "
                "pack subjects of three images or more, or lower params.yaml: "
                f"split.test_size: {self.params.test_size}, split.validation_size: {self.params.validation_size}"
            )


def check_tested(sizes: Counter[str], copies: Counter[str], params: SplitParams) -> None:
    """Raise StageError if a part that must have images has none."""
    if sizes[f"images_{TEST_SEEN}"]:
        return
    if params.drop_copies and copies[TEST_SEEN]:
        raise StageError(f"params.yaml: split.drop_copies: all images of `{TEST_SEEN}` are copies of training images")
    raise StageError(
        f"params.yaml: split.test_size: {params.test_size}: leaves nothing to test on: no training subject has "
        "enough images for one of them to be set aside"
    )
