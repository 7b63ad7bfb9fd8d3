from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faces.core.errors import StageError
from faces.tables import external_sets as test_sets
from faces.tables.external_sets import load_test_sets, open_pixels, read_image_table, read_test_pairs

pytestmark = pytest.mark.usefixtures("in_new_folder")


def error_of(read: Callable[[], Any]) -> str:
    with pytest.raises(StageError) as error:
        read()
    return str(error.value)


# params.yaml


def write_params(text: str) -> None:
    Path("params.yaml").write_text(text, encoding="utf-8")


def test_test_sets_keep_their_order() -> None:
    write_params(
        "test_sets:\n"
        "  lfw: {format: lfw, images: data/lfw, pairs: data/pairs.txt}\n"
        "  agedb-30: {format: bin, images: /x/agedb_30.bin, pairs: /x/agedb_30.bin}\n"
        "  Own_2: {format: csv, images: faces, pairs: own.csv}\n"
    )
    test_sets = load_test_sets().items()
    assert [(name, entry.format, entry.images, entry.pairs) for name, entry in test_sets] == [
        ("lfw", "lfw", "data/lfw", "data/pairs.txt"),
        ("agedb-30", "bin", "/x/agedb_30.bin", "/x/agedb_30.bin"),
        ("Own_2", "csv", "faces", "own.csv"),
    ]


def test_there_may_be_none() -> None:
    write_params("test_sets: {}")
    assert load_test_sets() == {}


@pytest.mark.parametrize(
    "text, said",
    [
        ("pack: {}", "`test_sets:` is missing"),
        ("test_sets:", "params.yaml: test_sets: should have keys: {<key>: <value>, …}"),
        ("test_sets: [a]", "params.yaml: test_sets: should have keys: {<key>: <value>, …}"),
        ("test_sets: {a: b.bin}", "params.yaml: test_sets.a: 'b.bin': should have keys: {<key>: <value>, …}"),
        ("test_sets: {a: {}}", "params.yaml: test_sets.a.format: missing"),
        ("test_sets: {a: {format: lfw, images: x}}", "params.yaml: test_sets.a.pairs: missing"),
        ("test_sets: {a: {format: lfw, pairs: x}}", "params.yaml: test_sets.a.images: missing"),
        ("test_sets: {a: {format: lfw, pairs: x, images: ''}}", "test_sets.a.images: '': string should have"),
        ("test_sets: {a: {format: lfw, pairs: 7, images: x}}", "test_sets.a.pairs: 7: input should be a valid string"),
        ("test_sets: {a: {format: ijb, pairs: x, images: x}}", "test_sets.a.format: 'ijb': input should be 'lfw'"),
        ("test_sets: {a: {format: csv, pairs: x, images: x, fold: 1}}", "params.yaml: test_sets.a.fold: unknown key"),
        ("test_sets: {a: {format: bin, pairs: x, images: y}}", "images and pairs should be the same .bin file"),
        ("test_sets: {a/b: {format: lfw, pairs: x, images: x}}", "'a/b': string should match pattern '^[A-Za-z0-9]"),
        ("test_sets: {7: {format: lfw, pairs: x, images: x}}", "7: input should be a valid string"),
    ],
)  # fmt: skip
def test_a_wrong_test_set_is_named(text: str, said: str) -> None:
    write_params(text)
    assert said in error_of(load_test_sets)


def test_paths() -> None:
    assert test_sets.pixels_path("lfw") == Path("data/tests/lfw.npy")
    assert test_sets.image_table_path("lfw") == Path("data/tests/lfw.images.csv")
    assert test_sets.pair_table_path("lfw") == Path("data/tests/lfw.pairs.csv")


# The three outputs

PAIRS = "a,b,same,fold,group\n0,1,1,0,\n0,2,0,1,older\n1,2,0,0,\n"
IMAGES = "subject,path\nNA,NA/1.png\n007,007/1.png\n"


def put(name: str, content: str) -> None:
    Path("data/tests").mkdir(parents=True, exist_ok=True)
    Path("data/tests", name).write_bytes(content.encode())


def test_pairs_come_back() -> None:
    put("x.pairs.csv", PAIRS)
    table = read_test_pairs("x", images=3)
    assert list(table.itertuples(index=False, name=None)) == [(0, 1, 1, 0, ""), (0, 2, 0, 1, "older"), (1, 2, 0, 0, "")]
    assert [table[column].dtype for column in ("a", "b", "same", "fold")] == [np.int64] * 4


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("0,1,1,0", "0,3,1,0", "line 2: b is '3'; expected 0 to 2"),
        ("0,1,1,0", "-1,1,1,0", "line 2: a is '-1'; expected 0 to 2"),
        ("0,2,0,1", "0,2,2,1", "line 3: same is '2'; expected 0 to 1"),
        ("0,2,0,1", "0,2,0,x", "line 3: fold is 'x'; expected a whole number, 0 or more"),
        ("0,2,0,1", "0,2,0,2", "no pair is in fold 1, but one is in fold 2"),
        ("0,2,0,1", "0,2,0,999999999999999999", "no pair is in fold 1"),
        ("0,2,0,1,older", "0,2,0,1", "line 3: 4 cells; expected 5"),
        ("group", "kind", "the first line is 'a,b,same,fold,kind'; expected a,b,fold,group[,same]"),
        ("1,2,0,0,\n", "1,2,0,0,", "is cut short"),
        ("0,1,1,0", "0,1,0,0", "has no genuine pair"),
        (PAIRS[20:], "", "has no pair"),
        (PAIRS[20:], "0,1,1,0,\n", "has no impostor pair"),
        (PAIRS, "", "the first line is ''"),
    ],
)
def test_hand_edits_of_the_pairs_are_named(old: str, new: str, said: str) -> None:
    assert old in PAIRS
    put("x.pairs.csv", PAIRS.replace(old, new))
    message = error_of(lambda: read_test_pairs("x", images=3))
    assert message.startswith("data/tests/x.pairs.csv: ") and said in message


def test_pairs_without_labels_come_back() -> None:
    put("x.pairs.csv", "a,b,fold,group\n0,1,0,\n0,2,0,older\n")
    table = read_test_pairs("x", images=3)
    assert list(table.columns) == ["a", "b", "fold", "group"]
    assert list(table.itertuples(index=False, name=None)) == [(0, 1, 0, ""), (0, 2, 0, "older")]


def test_subjects_that_a_test_set_does_not_name_come_back_empty() -> None:
    put("x.images.csv", "subject,path\n,1.png\n,2.png\n")
    assert read_image_table("x", images=2)["subject"].tolist() == ["", ""]


def test_images_come_back() -> None:
    put("x.images.csv", IMAGES)
    table = read_image_table("x", images=2)
    assert list(table.itertuples(index=False, name=None)) == [("NA", "NA/1.png"), ("007", "007/1.png")]


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("007,007/1.png\n", "", "describes 1 images; data/tests/x.npy holds 2"),
        ("007/1.png", "NA/1.png", "line 3: path 'NA/1.png' comes twice"),
        ("subject", "person", "columns are person, path"),
    ],
)
def test_hand_edits_of_the_images_are_named(old: str, new: str, said: str) -> None:
    put("x.images.csv", IMAGES.replace(old, new))
    message = error_of(lambda: read_image_table("x", images=2))
    assert message.startswith("data/tests/x.images.csv: ") and said in message


def test_pixels_come_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    Path("data/tests").mkdir(parents=True)
    np.save("data/tests/x.npy", pixels)
    np.testing.assert_array_equal(open_pixels("x"), pixels)


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 96, 112, 3), np.uint8), np.zeros((2, 112, 112, 3)), np.zeros((0, 112, 112, 3), np.uint8)]
)
def test_pixels_of_another_shape_are_named(wrong: np.ndarray) -> None:
    Path("data/tests").mkdir(parents=True)
    np.save("data/tests/x.npy", wrong)
    assert error_of(lambda: open_pixels("x")).startswith("data/tests/x.npy: ")


@pytest.mark.parametrize(
    "read, path",
    [
        (lambda: open_pixels("x"), "data/tests/x.npy"),
        (lambda: read_image_table("x", 1), "data/tests/x.images.csv"),
        (lambda: read_test_pairs("x", 1), "data/tests/x.pairs.csv"),
    ],
)
def test_what_is_missing_is_named(read: Callable[[], Any], path: str) -> None:
    assert error_of(read) == f"{path} is missing; `dvc repro` makes it, `dvc pull` fetches it"
