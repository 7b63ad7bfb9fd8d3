"""Assigning images to the parts of the split, by hashes of the seed and the names, a shard at a time."""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from faces.core.errors import StageError
from faces.core.params import Params
from faces.tables.sources import Name
from faces.tables.split_table import (
    COLUMNS,
    HELD_OUT,
    PARTS,
    TEST_SEEN,
    TEST_UNSEEN,
    TRAIN,
    VALIDATION,
    VALIDATION_UNSEEN,
)


class SplitParams(Params):
    """The section `split:` of params.yaml."""

    seed: int = Field(ge=0)
    test_size: float = Field(gt=0, lt=1)
    validation_size: float = Field(ge=0, lt=1)
    validation_subjects: float = Field(ge=0, lt=1)
    validation_sources: list[Name]
    unseen_subjects: float = Field(ge=0, lt=1)
    same_names: Literal["two_people", "one_person"]
    drop_copies: bool


Subject = tuple[str, str]  # source, name


class HeldOut(NamedTuple):
    """The subjects that training never sees: those of `test_unseen` and those of `validation_unseen`."""

    unseen: set[Subject]
    validated: set[Subject]


def shuffle_key(seed: int, *names: str) -> bytes:
    """Return a hash of the names; sorting by it is a shuffle that other names do not change."""
    text = "\0".join([str(seed), *names])
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()


def check_validation_sources(wanted: Iterable[str], sources: Collection[str]) -> None:
    """Raise StageError if people are to be set aside from a source that is none."""
    for name in sorted(wanted):
        if name not in sources:
            raise StageError(f"params.yaml: split.validation_sources: {name!r} is none of `sources`")


def choose_held_out_people(subjects: list[Subject], homes: dict[Subject, set[str]], params: SplitParams) -> HeldOut:
    """Return who is held out of training: for `test_unseen` and, of the others, for `validation_unseen`.

    Each share takes at least two people, to have impostors, or none if it is 0. Who is in `test_unseen` does not depend
    on `validation_subjects`.

    Args:
        subjects: all people.
        homes: the sources of each person.
        params: the shares, and the sources of the people of `validation_unseen`.
    """
    order = sorted(subjects, key=lambda subject: shuffle_key(params.seed, *subject))
    count = _count(params.unseen_subjects, len(order))
    _check_count(f"unseen_subjects: {params.unseen_subjects}", count, len(order), len(order) - 2)
    unseen, others = order[:count], order[count:]
    if wanted := set(params.validation_sources):
        check_validation_sources(wanted, set().union(*homes.values()))
        others = [subject for subject in others if homes[subject] & wanted]
    total = sum(bool(homes[subject] & wanted) for subject in order) if wanted else len(order)
    count = _count(params.validation_subjects, total)
    most = min(len(others), len(order) - len(unseen) - 2)
    _check_count(f"validation_subjects: {params.validation_subjects}", count, total, most)
    return HeldOut(set(unseen), set(others[:count]))


def _count(share: float, total: int) -> int:
    return max(2, round(share * total)) if share else 0


def _check_count(parameter: str, count: int, total: int, most: int) -> None:
    """Raise StageError if `count` of `total` subjects are to be held out, and only `most` can be."""
    if count and count > most:
        raise StageError(
            f"params.yaml: split.{parameter}: holds out {count} of {total} subjects (two at least, to have impostors); "
            "two must be left to train on. Use 0 to hold out none"
        )


class People(NamedTuple):
    """The label of every subject (source, subject), and the subjects that are held out."""

    labels: dict[Subject, int]
    held_out: HeldOut


def names_in_several_sources(subjects: Iterable[Subject]) -> dict[str, list[str]]:
    """Return the sources, sorted, of each name that is in several, in order of names."""
    sources: dict[str, list[str]] = {}
    for source, name in sorted(subjects):
        sources.setdefault(name, []).append(source)
    return {name: found for name, found in sorted(sources.items()) if len(found) > 1}


def choose_people(subjects: list[Subject], params: SplitParams) -> People:
    """Return labels and held-out subjects; StageError if too few are left to train on.

    With `same_names: one_person`, subjects of one name are one person, who is called by the first of them.
    """
    subjects = sorted(subjects)
    shared = names_in_several_sources(subjects) if params.same_names == "one_person" else {}
    person = {(source, name): (shared.get(name, [source])[0], name) for source, name in subjects}
    people = sorted(set(person.values()))
    if len(people) < 2:
        raise StageError(f"found {len(people)} subject(s) in all sources together; at least two are needed")
    homes: dict[Subject, set[str]] = {one: set() for one in people}
    for (source, _), one in person.items():
        homes[one].add(source)
    unseen, validated = choose_held_out_people(people, homes, params)
    known = [one for one in people if one not in unseen | validated]
    labels = {one: number for number, one in enumerate([*known, *sorted(validated), *sorted(unseen)])}
    held_out = HeldOut(*({subject for subject, one in person.items() if one in part} for part in (unseen, validated)))
    return People({subject: labels[one] for subject, one in person.items()}, held_out)


def count_namesakes(people: People) -> int:
    """Return how many subjects of `test_unseen` have the name of one that training sees, in another source."""
    trained_on = {name for _, name in people.labels.keys() - people.held_out.unseen - people.held_out.validated}
    return sum(name in trained_on for _, name in people.held_out.unseen)


def choose_held_out(names: Subject, paths: list[str], params: SplitParams) -> tuple[list[int], list[int]]:
    """Return the positions of a training subject's images for `test_seen` and for `validation`.

    `names` is (source, subject). At least one image is left to train on.
    """
    tested = min(round(params.test_size * len(paths)), len(paths) - 1)
    validated = min(round(params.validation_size * len(paths)), len(paths) - 1 - tested)
    order = sorted(range(len(paths)), key=lambda place: shuffle_key(params.seed, *names, paths[place]))
    return order[:tested], order[tested : tested + validated]


def assign(images: pd.DataFrame, people: People, params: SplitParams) -> pd.DataFrame:
    """Return the split of images of whole subjects; `images` has source, row, subject and path."""
    part = np.full(len(images), TRAIN, dtype=object)
    label = np.empty(len(images), dtype=np.int64)
    paths = images["path"].to_numpy()
    rows_by_subject: dict[Any, Any] = images.groupby(["source", "subject"]).indices
    for names, rows in rows_by_subject.items():
        label[rows] = people.labels[names]
        if names in people.held_out.unseen:
            part[rows] = TEST_UNSEEN
        elif names in people.held_out.validated:
            part[rows] = VALIDATION_UNSEEN
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


def find_repeats(split: pd.DataFrame, groups: pd.DataFrame, seen: set[tuple[str, int]]) -> pd.Series:
    """Return, for each image of a split, whether it is outside `train` and a copy of an earlier one of its part.

    `seen` has the part and group of earlier images, and gets those of the split.
    """
    keys = pd.DataFrame({"part": split["part"], "group": match_groups(split, groups)})
    keys = keys[(keys["part"] != TRAIN) & keys["group"].notna()]
    pairs = list(zip(keys["part"], keys["group"].astype(int), strict=True))
    repeated = keys.duplicated() | pd.Series([pair in seen for pair in pairs], keys.index, dtype=bool)
    seen.update(pairs)
    return repeated.reindex(split.index, fill_value=False)


ImageCounts = dict[str, NDArray[np.int64]]  # part -> the number of images of each label, (people,)


def no_images(people: int) -> ImageCounts:
    """Return counts of zero, to which `count_images` adds."""
    return {part: np.zeros(people, np.int64) for part in PARTS}


def count_images(counts: ImageCounts, split: pd.DataFrame) -> None:
    """Add the images of a split to the counts."""
    for part, images in counts.items():
        np.add.at(images, split.loc[split["part"] == part, "label"].to_numpy(), 1)


def describe(counts: ImageCounts) -> dict[str, int]:
    """Return the numbers of images and subjects of each part, and of training subjects with a single image."""
    sizes = {}
    for part, images in counts.items():
        sizes[f"images_{part}"] = int(images.sum())
        sizes[f"subjects_{part}"] = int(np.count_nonzero(images))
    in_training = sum(images for part, images in counts.items() if part not in HELD_OUT)
    sizes["subjects_with_one_image"] = int(np.count_nonzero(in_training == 1))
    return sizes


@dataclass
class Splitting:
    """Splits all shards, one after another; `sizes`, `copies` and `repeats` count the images that were yielded."""

    tables: Callable[[], Iterable[pd.DataFrame]]  # yields the packed images, whole subjects in each table
    params: SplitParams
    copies: Counter[str] = field(default_factory=Counter)  # part -> images that are copies of training images
    repeats: Counter[str] = field(default_factory=Counter)  # part -> others that are copies of another of the part

    def __post_init__(self) -> None:
        self.images = Counter[str]()
        subjects = set[Subject]()
        for table in self.tables():
            source = str(table["source"].iloc[0])
            self.images[source] += len(table)
            subjects |= {(source, subject) for subject in table["subject"].unique()}
        self.people = choose_people(list(subjects), self.params)
        self._counts = no_images(len(subjects))

    @property
    def sizes(self) -> dict[str, int]:
        """The numbers of images and subjects of each part."""
        return describe(self._counts)

    def _assigned(self) -> Iterator[pd.DataFrame]:
        return (assign(table, self.people, self.params) for table in self.tables())

    def pieces(self, groups: pd.DataFrame) -> Iterator[pd.DataFrame]:
        """Yield the split in pieces; StageError at the end if nothing is left to test on.

        `groups` has source, row and group of each image that has a copy.
        """
        trained_on = groups_in_training(self._assigned(), groups) if len(groups) else set[int]()
        seen = set[tuple[str, int]]()
        for split in self._assigned():
            copies = find_copies_of_training(split, groups, trained_on)
            repeats = find_repeats(split, groups, seen) & ~copies
            self.copies.update(split["part"][copies])
            self.repeats.update(split["part"][repeats])
            if self.params.drop_copies:
                split = split[~(copies | repeats)]
            count_images(self._counts, split)
            yield split
        check_tested(self.sizes, self.copies, self.params)

    def paired_pieces(self, groups: pd.DataFrame) -> Iterator[pd.DataFrame]:
        """Yield `pieces`; StageError at the end if `train` has no genuine pair, so that later stages would fail."""
        yield from self.pieces(groups)
        if self._counts[TRAIN].max() < 2:
            raise StageError(
                f"no subject has two images in `{TRAIN}`, so it has no genuine pair and no threshold can be chosen: "
                "pack subjects of three images or more, or lower params.yaml: "
                f"split.test_size: {self.params.test_size}, split.validation_size: {self.params.validation_size}"
            )


def check_tested(sizes: dict[str, int], copies: Counter[str], params: SplitParams) -> None:
    """Raise StageError if a part that must have images has none."""
    if sizes[f"images_{TEST_SEEN}"]:
        return
    if params.drop_copies and copies[TEST_SEEN]:
        raise StageError(f"params.yaml: split.drop_copies: all images of `{TEST_SEEN}` are copies of training images")
    raise StageError(
        f"params.yaml: split.test_size: {params.test_size}: leaves nothing to test on: no training subject has "
        "enough images for one of them to be set aside"
    )
