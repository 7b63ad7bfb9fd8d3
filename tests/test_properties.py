"""Properties that hold for any input, checked on inputs that hypothesis derives, the same in every run."""

import io
import math
import tempfile
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from ruamel.yaml import YAML

from faces.core.csv_files import write_csv
from faces.core.errors import StageError
from faces.core.params import read_params
from faces.evaluation.verification import accuracy, best_threshold
from faces.images.decoding import RESIZE_FILTERS, Limits, ResizeFilter, read_image, ready_to_read
from faces.search.lsh import HyperplaneIndex
from faces.tables.embeddings import unit_length
from faces.tables.split_table import COLUMNS, PARTS, TEST_SEEN, TEST_UNSEEN, TRAIN, count_training_classes, read_split
from faces.tables.splitting import SplitParams
from pairs import PairsParams, draw_pairs, pairs_of_part
from small_project import split_images

few = settings(deadline=None, derandomize=True, max_examples=60)

# A name on disk: no "/" and no zero byte; the pack stage rejects a carriage return and what is not UTF-8.
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0\r"), min_size=1, max_size=12)
odd_names = st.sampled_from(["NA", "nan", "null", "007", "1e5", "-1", '"', '""', "'", ",", "\n", " a ", "#", "\ufeff"])
any_names = names | odd_names


@few
@given(st.lists(st.tuples(any_names, any_names), min_size=1, max_size=6, unique_by=lambda name: name[0]))
def test_any_name_comes_back_from_the_split_table(subjects: list[tuple[str, str]]) -> None:
    rows = [("s", n, subject, f"{subject}/{file}", n, TRAIN) for n, (subject, file) in enumerate(subjects)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "split.csv")
        write_csv(path, pd.DataFrame(rows, columns=list(COLUMNS)))
        assert list(read_split(path, names=True).itertuples(index=False, name=None)) == rows


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
like_numbers = st.text("0123456789+-._eExXobinfaNtruy:~<= ", max_size=8)  # one YAML reader may take them for numbers
scalars = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | texts | like_numbers


@few
@given(
    st.dictionaries(st.text("abcdefgh", min_size=1, max_size=5), scalars | st.lists(scalars, max_size=3), max_size=5)
)
def test_what_dvc_writes_is_read_as_it_was(section: dict[str, Any]) -> None:
    """`dvc exp run -S` writes params.yaml with ruamel.yaml; strings stay strings and numbers stay the same numbers."""
    text = io.StringIO()
    YAML().dump({"section": section}, text)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "params.yaml")
        path.write_text(text.getvalue(), encoding="utf-8")
        found = read_params(path)["section"]
    assert found == section
    for key, value in section.items():
        assert type(found[key]) is type(value)


@few
@given(st.text(max_size=40))
def test_any_text_as_params_is_a_dictionary_or_an_error(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "params.yaml")
        path.write_text(text, encoding="utf-8", errors="replace")
        try:
            assert isinstance(read_params(path), dict)
        except StageError as error:
            assert str(path) in str(error)


sizes = st.lists(st.integers(1, 9), min_size=2, max_size=15)
shares = st.floats(0.01, 0.99)


def split_params(seed: int, test_size: float, unseen: float) -> SplitParams:
    return SplitParams(
        seed=seed,
        test_size=test_size,
        validation_size=0.0,
        validation_subjects=0.0,
        validation_sources=[],
        unseen_subjects=unseen,
        same_names="two_people",
        drop_copies=False,
    )


def image_table(subject_sizes: list[int]) -> pd.DataFrame:
    rows = [("s", f"p{n}", f"p{n}/{i}.png") for n, size in enumerate(subject_sizes) for i in range(size)]
    table = pd.DataFrame(rows, columns=["source", "subject", "path"])
    table.insert(1, "row", range(len(table)))
    return table


def split_or_none(images: pd.DataFrame, params: SplitParams) -> pd.DataFrame | None:
    """Return the split, or None if there are too few images; the error must name a key of params.yaml."""
    try:
        return split_images(images, params)
    except StageError as error:
        assert str(error).startswith("params.yaml: split.")
        return None


@few
@given(sizes, shares, st.just(0.0) | shares, st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_a_split_keeps_its_promises(
    subject_sizes: list[int], test_size: float, unseen: float, seed: int, random: Any
) -> None:
    images, params = (
        image_table(subject_sizes),
        split_params(seed, test_size, unseen),
    )
    split = split_or_none(images, params)
    assume(split is not None)
    assert split is not None
    subjects = {part: set(split.loc[split["part"] == part, "subject"]) for part in PARTS}
    assert subjects[TEST_SEEN] <= subjects[TRAIN]
    assert not subjects[TEST_UNSEEN] & subjects[TRAIN]
    assert subjects[TRAIN] | subjects[TEST_UNSEEN] == set(images["subject"])  # each known subject has an image in train
    assert len(subjects[TEST_UNSEEN]) == (max(2, round(unseen * len(subject_sizes))) if unseen else 0)
    for _, group in split[split["part"] != TEST_UNSEEN].groupby("subject"):
        tested = (group["part"] == TEST_SEEN).sum()
        assert tested == min(round(test_size * len(group)), len(group) - 1)

    labels = split.groupby("subject")["label"].agg(["min", "max"])
    assert (labels["min"] == labels["max"]).all()
    assert sorted(labels["min"]) == list(range(len(subject_sizes)))
    assert count_training_classes(split) == len(subjects[TRAIN])
    pd.testing.assert_frame_equal(
        split[["source", "row", "subject", "path"]], images[["source", "row", "subject", "path"]]
    )

    order = random.sample(range(len(images)), len(images))
    pd.testing.assert_frame_equal(split_images(images.iloc[order], params).sort_index(), split)


@few
@given(sizes, st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(0, 10**6))
def test_pairs_keep_their_promises(
    subject_sizes: list[int], anchors: int, positives: int, negatives: int, seed: int
) -> None:
    params = PairsParams(seed=seed, anchors=anchors, positives=positives, negatives=negatives)
    split = split_or_none(image_table(subject_sizes), split_params(seed, 0.3, 0.3))
    assume(split is not None)
    assert split is not None
    subject, part_of = split["subject"].to_numpy(), split["part"].to_numpy()
    for part in PARTS:
        table = pairs_of_part(split, part, params)
        a, b = table["a"].to_numpy(), table["b"].to_numpy()
        assert (a != b).all()
        assert len({frozenset(pair) for pair in zip(a, b, strict=True)}) == len(table)
        assert ((subject[a] == subject[b]) == table["same"].to_numpy(dtype=bool)).all()
        assert (part_of[a] == part).all() and (part_of[b] == part).all() and (table["part"] == part).all()
        counts = table.groupby(["a", "same"]).size().unstack(fill_value=0).reindex(columns=[0, 1], fill_value=0)
        assert (counts[1] <= positives).all() and (counts[0] <= negatives).all()
        assert counts.groupby(subject[counts.index]).size().le(anchors).all()


@few
@given(st.lists(st.integers(0, 4), max_size=20), st.integers(0, 10**6))
def test_enough_anchors_meet_every_genuine_pair(labels: list[int], seed: int) -> None:
    params = PairsParams(seed=seed, anchors=20, positives=20, negatives=1)
    drawn = draw_pairs(np.array(labels, dtype=np.int64), params)
    genuine = {tuple(sorted(pair)) for pair in drawn[drawn[:, 2] == 1, :2].tolist()}
    assert genuine == {(i, j) for i, j in combinations(range(len(labels)), 2) if labels[i] == labels[j]}


@few
@given(st.lists(st.tuples(st.integers(-8, 8), st.booleans()), min_size=2, max_size=25))
def test_no_threshold_beats_the_best(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([score / 8 for score, _ in pairs])
    same = np.array([label for _, label in pairs])
    assume(0 < same.sum() < len(same))
    attainable = [np.mean((scores >= threshold) == same) for threshold in [*scores, math.inf]]
    threshold = best_threshold(scores, same)
    assert accuracy(scores, same, threshold) == max(attainable)
    assert threshold not in scores
    lower = [t for t in np.unique(scores) if t < threshold]  # of equally good thresholds, the lowest
    assert all(np.mean((scores >= t) == same) < max(attainable) for t in lower)


MODES = {"1": 1, "L": 1, "LA": 2, "P": 1, "RGB": 3, "RGBA": 4, "I;16": 2}  # bytes per pixel


@few
@given(
    st.sampled_from(sorted(MODES)),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 10**6),
    st.sampled_from(sorted(RESIZE_FILTERS)),
)
def test_any_small_png_becomes_112_x_112(
    mode: str, width: int, height: int, seed: int, resize_filter: ResizeFilter
) -> None:
    values = np.random.default_rng(seed).bytes(width * height * MODES[mode])
    image = Image.frombytes(mode, (width, height), values)
    if mode == "P":
        image.putpalette(np.random.default_rng(seed).bytes(768))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.png")
        image.save(path)
        with ready_to_read():
            pixels = read_image(path, Limits(1, 1.0), resize_filter)
    assert pixels.shape == (112, 112, 3) and pixels.dtype == np.uint8
    if mode in ("L", "1", "I;16"):
        assert (pixels == pixels[..., :1]).all()  # grey stays grey
    if (width, height) == (1, 1) and mode == "RGB":
        assert (pixels == np.frombuffer(values, np.uint8)).all()


@few
@given(
    st.sampled_from([8, 16, 24]), st.integers(0, 3), st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(2, 9)
)
def test_candidates_are_all_hashes_within_the_radius(
    planes: int, radius: int, seed: int, count: int, size: int
) -> None:
    random = np.random.default_rng(seed)
    unit = unit_length(random.standard_normal((count, size)).astype(np.float32))
    normals = np.random.default_rng(seed).standard_normal((size, planes))
    bits = unit.astype(np.float64) @ normals >= 0
    index = HyperplaneIndex(unit, planes, radius, seed)
    for query, found in zip(range(count), index.candidates(unit), strict=True):
        differing = (bits != bits[query]).sum(axis=1)
        assert found.tolist() == np.flatnonzero(differing <= radius).tolist()


@pytest.mark.parametrize("word", ["no", "on", "0b11", "1_000", "1:30", "0o8", "0x", "+", ".", "1e", "e5"])
def test_what_yaml_1_2_has_no_number_for_is_a_text(word: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"a: {word}\n", encoding="utf-8")
    assert read_params(path) == {"a": word}
