import os
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold

from faces.core.csv_files import csv_rows
from faces.core.errors import StageError
from faces.external.pair_files import (
    NamedPair,
    contiguous_folds,
    find_csv_images,
    find_lfw_images,
    folds_by_people,
    image_names,
    image_subjects,
    people,
    read_csv_pairs,
    read_lfw_pairs,
)

few = settings(deadline=None, derandomize=True, max_examples=60)


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def file(content: str | bytes) -> Path:
    Path("pairs").write_bytes(content if isinstance(content, bytes) else content.encode())
    return Path("pairs")


def error_of(read: Callable[[], Any]) -> str:
    with pytest.raises(StageError) as error:
        read()
    return str(error.value)


# Folds and people


@pytest.mark.parametrize("pairs", [10, 11, 19, 20, 99, 6000, 7001])
def test_folds_are_those_of_scikit_learn(pairs: int) -> None:
    expected = np.empty(pairs, dtype=int)
    for fold, (_, test) in enumerate(KFold(10, shuffle=False).split(np.zeros(pairs))):
        expected[test] = fold
    assert contiguous_folds(pairs) == expected.tolist()


@pytest.mark.parametrize("pairs", range(10))
def test_fewer_than_ten_pairs_are_one_fold(pairs: int) -> None:
    assert contiguous_folds(pairs) == [0] * pairs


@few
@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_people_are_whom_chains_of_genuine_pairs_connect(case: tuple[int, list[tuple[int, int]]]) -> None:
    images, pairs = case
    expected = list(range(images))  # brute force: everybody takes the lowest number among those they are paired with
    for _ in range(images):
        for a, b in pairs:
            expected[a] = expected[b] = min(expected[a], expected[b])
    order = list(dict.fromkeys(expected))
    a, b = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    assert people(a, b, images).tolist() == [order.index(person) + 1 for person in expected]


def test_images_are_named_in_order_of_first_use() -> None:
    pairs = [NamedPair("c", "a", 1, 0), NamedPair("a", "b", 0, 0), NamedPair("c", "b", 0, 1)]
    assert image_names(pairs) == ["c", "a", "b"]


# lfw

TWO_SETS = """2\t1
Abel_Pacheco\t1\t4
Al_Gore\t2\tBo\t13
Bo\t13\t1
Al_Gore\t2\tAbel_Pacheco\t1
"""
PAIRS = [
    NamedPair("Abel_Pacheco/Abel_Pacheco_0001", "Abel_Pacheco/Abel_Pacheco_0004", 1, 0),
    NamedPair("Al_Gore/Al_Gore_0002", "Bo/Bo_0013", 0, 0),
    NamedPair("Bo/Bo_0013", "Bo/Bo_0001", 1, 1),
    NamedPair("Al_Gore/Al_Gore_0002", "Abel_Pacheco/Abel_Pacheco_0001", 0, 1),
]


@pytest.mark.parametrize(
    "text",
    [
        TWO_SETS,
        TWO_SETS.rstrip(),
        TWO_SETS + "\n\n",
        TWO_SETS.replace("\t", " "),
        TWO_SETS.replace("\t", "   "),
        TWO_SETS.replace("\n", "\r\n"),
        TWO_SETS.replace("\t", " \t "),
        TWO_SETS.replace("\t4", "\t0004"),
        "\ufeff" + TWO_SETS,
    ],
)
def test_pairs_txt(text: str) -> None:
    assert read_lfw_pairs(file(text)) == PAIRS


def test_one_set_as_in_pairs_dev_test() -> None:
    assert read_lfw_pairs(file("1\nAbel_Pacheco\t1\t4\nAl_Gore\t2\tBo\t13\n")) == PAIRS[:2]


def test_names_may_have_spaces_between_tabs() -> None:
    found = read_lfw_pairs(file("1\nAl Gore\t1\t4\nAl Gore\t2\t李小龍\t13\n"))
    assert found[1] == NamedPair("Al Gore/Al Gore_0002", "李小龍/李小龍_0013", 0, 0)


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("2\t1", "", "line 1: ''; expected the number of sets and of pairs"),
        ("2\t1", "0\t1", "line 1: '0\\t1'; expected"),
        ("2\t1", "-2\t1", "line 1"),
        ("2\t1", "2\t1\t1", "line 1"),
        ("2\t1", "two sets", "line 1"),
        ("2\t1\n", "", "line 1: 'Abel_Pacheco\\t1\\t4'"),
        ("2\t1", "10\t1", "has 4 pairs; its first line promises 10 x 2 x 1"),
        ("2\t1", "999999999\t1", "has 4 pairs; its first line promises 999999999 x 2 x 1"),
        ("2\t1", "1\t1", "has 4 pairs; its first line promises 1 x 2 x 1"),
        ("2\t1", "2\t2", "line 3: 'Al_Gore\\t2\\tBo\\t13'; expected <name> <i> <j>, for genuine pair 2 of 2 in set 1"),
        (
            "Bo\t13\t1\n",
            "",
            "line 4: 'Al_Gore\\t2\\tAbel_Pacheco\\t1'; expected <name> <i> <j>, for genuine",
        ),
        ("Bo\t13\t1\n", "\n", "line 4: ''; expected <name> <i> <j>"),
        ("Bo\t13\t1", "Bo\t13\tone", "line 4"),
        ("Bo\t13\t1", "Bo\t13\t-1", "line 4"),
        ("Bo\t13\t1", "Bo\t13\t1.5", "line 4"),
        ("Bo\t13\t1", "Bo\t13\t١", "line 4"),
        ("Bo\t13\t1", "Bo\t13\t" + "1" * 5000, "line 4"),
        ("Bo\t13\t1", "Bo\t13\t\t1", "line 4"),
        ("Bo\t13\t1", "Bo\t13\t13", "line 4: pairs image Bo/Bo_0013 with itself"),
        ("Bo\t13\t1", "Bo\t13\t0013", "line 4: pairs image Bo/Bo_0013 with itself"),
        ("Al_Gore\t2\tBo\t13", "Bo\t2\tBo\t13", "line 3: both images are of Bo, among the pairs of two people"),
        (
            "Al_Gore\t2\tBo\t13",
            "Al_Gore\t2\tBo",
            "line 3: 'Al_Gore\\t2\\tBo'; expected <name> <i> <name> <j>",
        ),
        ("Al_Gore\t2\tBo", "Al_Gore\tBo\t2", "line 3"),
        ("Al_Gore\t2\tBo", "..\t2\tBo", "line 3: '..' is not a person's name"),
        ("Al_Gore\t2\tBo", "/etc\t2\tBo", "line 3: '/etc' is not a person's name"),
        ("Al_Gore\t2\tBo", "../x\t2\tBo", "line 3: '../x' is not a person's name"),
        ("Al_Gore\t2\tBo", "a\0b\t2\tBo", "is not a person's name"),
        (TWO_SETS, "", "line 1: ''"),
    ],
)
def test_a_wrong_pairs_txt_is_named(old: str, new: str, said: str) -> None:
    assert old in TWO_SETS
    message = error_of(lambda: read_lfw_pairs(file(TWO_SETS.replace(old, new, 1))))
    assert message.startswith("pairs: ") and said in message and len(message) < 400


def test_a_pairs_txt_that_is_not_text_is_named() -> None:
    assert error_of(lambda: read_lfw_pairs(file(b"\x80\x04\x95"))).startswith("pairs: 'utf-8' codec")


letters = st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters="/\ufeff")
people_names = st.text(letters, min_size=1, max_size=9)
numbers = st.integers(0, 12_345)


@st.composite
def protocols(draw: st.DrawFn) -> tuple[int, int, list[tuple[Any, ...]]]:
    """Return sets, pairs of each kind a set, and the lines of a pairs.txt as tuples."""
    sets, size = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    names = draw(st.lists(people_names.filter(lambda name: name not in (".", "..")), min_size=2, unique=True))
    lines: list[tuple[Any, ...]] = []
    for _ in range(sets):
        for _ in range(size):
            i, j = draw(st.lists(numbers, min_size=2, max_size=2, unique=True))
            lines.append((draw(st.sampled_from(names)), i, j))
        for _ in range(size):
            one, other = draw(st.permutations(names))[:2]
            lines.append((one, draw(numbers), other, draw(numbers)))
    return sets, size, lines


@few
@given(protocols(), st.sampled_from(["\t", " ", "  "]), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_any_pairs_txt_comes_back(
    protocol: tuple[int, int, list[tuple[Any, ...]]], between: str, end: str, short: bool
) -> None:
    sets, size, lines = protocol
    header = (size,) if short and sets == 1 else (sets, size)
    text = "".join(between.join(map(str, line)) + end for line in [header, *lines])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pairs.txt")
        path.write_bytes(text.encode())
        found = read_lfw_pairs(path)
    assert [(pair.fold, pair.same) for pair in found] == [
        (fold, same) for fold in range(sets) for same in (1, 0) for _ in range(size)
    ]
    for pair, line in zip(found, lines, strict=True):
        one, i, other, j = line if len(line) == 4 else (line[0], line[1], line[0], line[2])
        assert (pair.a, pair.b) == (f"{one}/{one}_{i:04d}", f"{other}/{other}_{j:04d}")


def put(*paths: str) -> None:
    for path in paths:
        Path("images", path).parent.mkdir(parents=True, exist_ok=True)
        Path("images", path).write_bytes(b"content")


def test_lfw_images_are_found_by_any_ending_in_any_case() -> None:
    put("Al/Al_0001.jpg", "Al/Al_0002.PNG", "Al/Al_0003.txt", "Bo/Bo_10000.JpEg", "Bo/Bo_0010.jpg", "Bo/bo_0010.png")
    found = find_lfw_images(Path("images"), ["Bo/Bo_10000", "Al/Al_0002", "Bo/Bo_0010", "Al/Al_0001"])
    assert found == ["Bo/Bo_10000.JpEg", "Al/Al_0002.PNG", "Bo/Bo_0010.jpg", "Al/Al_0001.jpg"]


def test_every_lfw_image_that_cannot_be_used_is_named_at_once() -> None:
    put("Al/Al_0001.jpg", "Al/Al_0002.png", "Al/Al_0002.JPG", "Al/Al_0004.txt", "Al/Al_0005.jpg", "Al/Al_006.jpg")
    Path("images/Al/Al_0005.jpg").write_bytes(b"")
    Path("images/Al/Al_0007.jpg").mkdir()
    Path("images/Al/Al_0008.jpg").symlink_to("nowhere")
    names = [f"Al/Al_000{number}" for number in range(1, 9)] + ["Bo/Bo_0001", "x" * 300 + "/y"]
    assert error_of(lambda: find_lfw_images(Path("images"), names)).splitlines() == [
        "images/Al/Al_0002: is several files: Al_0002.JPG, Al_0002.png",
        "images/Al/Al_0003.*: No such file or directory; beside it: Al_0008.jpg, Al_0007.jpg, Al_0005.jpg",
        "images/Al/Al_0004.*: No such file or directory",
        "images/Al/Al_0005.jpg: zero bytes",
        "images/Al/Al_0006.*: No such file or directory",
        "images/Al/Al_0007.jpg: not a file",
        "images/Al/Al_0008.jpg: No such file or directory",
        "images/Bo/Bo_0001.*: No such file or directory",
        f"images/{'x' * 300}/y.*: File name too long",
    ]


def test_another_folder_is_one_line_and_not_thousands() -> None:
    put("Al/Al_0001.jpg")
    names = [f"Bo/Bo_{number:04d}" for number in range(5000)]
    said = "images: has none of the 5000 images; the first is Bo/Bo_0000.*: No such file or directory; beside it: Al"
    assert error_of(lambda: find_lfw_images(Path("images"), names)) == said


def test_what_lies_beside_a_missing_image_is_shown() -> None:
    put("Al/Al_0.png", "Al/Al_1.png")
    said = error_of(lambda: find_lfw_images(Path("images"), ["Al/Al_0001", "Al/Al_0002"]))
    assert "Al/Al_0001.*: No such file or directory; beside it: Al_1.png, Al_0.png" in said


@pytest.mark.parametrize("form, other", [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_in_other_code_points_is_told_apart(form: Literal["NFC", "NFD"], other: Literal["NFC", "NFD"]) -> None:
    there, asked = (unicodedata.normalize(kind, "Zoë/Zoë_0001.png") for kind in (form, other))
    put(there)
    said = error_of(lambda: find_csv_images(Path("images"), [asked]))
    assert f"{ascii(there.split('/')[0])} lies there, the same letters in other code points" in said


@pytest.mark.parametrize("line", ["name same_person", "Al_1.jpg 1"])
def test_a_list_of_cplfw_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(f"{line}\nAl_1.jpg 1\nAl_2.jpg 1\n")
    assert "this looks like CPLFW's list" in error_of(lambda: read_lfw_pairs(path))


# csv

TABLE = "a,b,same\nx/1.png,x/2.png,1\nx/1.png,y.png,0\n"


@pytest.mark.parametrize(
    "text, extra",
    [
        (TABLE, [(0, ""), (0, "")]),
        ("\ufeff" + TABLE, [(0, ""), (0, "")]),
        (TABLE.rstrip(), [(0, ""), (0, "")]),
        (TABLE.replace("\n", "\r\n"), [(0, ""), (0, "")]),
        ("same,fold,b,a\n1,1,x/2.png,x/1.png\n0,0,y.png,x/1.png\n", [(1, ""), (0, "")]),
        ("group,a,b,same\n,x/1.png,x/2.png,1\nolder,x/1.png,y.png,0\n", [(0, ""), (0, "older")]),
        ('group,fold,a,b,same\n"a, b",1,./x/1.png,x//2.png,1\nNA,0,"x/./1.png",y.png,0\n', [(1, "a, b"), (0, "NA")]),
    ],
)
def test_a_csv_in_any_order_of_columns(text: str, extra: list[tuple[int, str]]) -> None:
    expected = [("x/1.png", "x/2.png", 1, *extra[0]), ("x/1.png", "y.png", 0, *extra[1])]
    assert read_csv_pairs(file(text)) == [NamedPair(*pair) for pair in expected]


def sorted_list(same: int, other: int) -> str:
    """Return a csv of genuine pairs, then impostor pairs, as many lists come: without folds."""
    genuine = "".join(f"g{n}/1.png,g{n}/2.png,1\n" for n in range(same))
    return f"a,b,same\n{genuine}" + "".join(f"i{n}/1.png,j{n}/1.png,0\n" for n in range(other))


def test_folds_of_a_sorted_csv_have_both_labels() -> None:
    pairs = read_csv_pairs(file(sorted_list(30, 50)))
    assert [pair.fold for pair in pairs] == [n // 3 for n in range(30)] + [n // 5 for n in range(50)]
    # Four genuine pairs make four folds; 30 impostor pairs are 8, 7, 8 and 7 to a fold.
    pairs = read_csv_pairs(file(sorted_list(4, 30)))
    assert [pair.fold for pair in pairs][:4] == [0, 1, 2, 3]
    assert [sum(pair.fold == fold for pair in pairs[4:]) for fold in range(4)] == [8, 7, 8, 7]


def test_folds_of_a_csv_with_subjects_part_no_persons_pairs() -> None:
    """Three genuine pairs of each of 20 people, then each person with the next: a run would have one label."""
    rows = [(f"p{n}/{i}.png", f"p{n}/{i + 1}.png", 1, f"p{n}", f"p{n}") for n in range(20) for i in range(3)]
    rows += [(f"p{n}/0.png", f"p{(n + 1) % 20}/0.png", 0, f"p{n}", f"p{(n + 1) % 20}") for n in range(20)]
    text = "a,b,same,subject_a,subject_b\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)
    pairs = read_csv_pairs(file(text))
    assert [pair.fold for pair in pairs[:60]] == [n // 6 for n in range(60)]  # two people to a fold
    for number, pair in enumerate(pairs[60:]):
        assert pair.fold in (number // 2, (number + 1) % 20 // 2)  # that of one of its people
    assert {pair.fold for pair in pairs[60:]} == set(range(10))


def test_impostors_of_people_without_a_genuine_pair_are_spread_over_the_folds() -> None:
    rows = [f"p{n}/0.png,p{n}/1.png,1,p{n},p{n}" for n in range(5)]
    rows += [f"q{n}/0.png,r{n}/0.png,0,q{n},r{n}" for n in range(10)]
    pairs = read_csv_pairs(file("a,b,same,subject_a,subject_b\n" + "\n".join(rows) + "\n"))
    assert [pair.fold for pair in pairs] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4]


def test_a_person_with_most_of_the_genuine_pairs_leaves_no_fold_empty() -> None:
    """Of 20 genuine pairs, p0 has 11, the middle of which lies in the third of ten folds; the next begins the sixth."""
    same = [1] * 20 + [0] * 10
    first = ["p0"] * 11 + [f"p{n}" for n in range(1, 10)] + [f"q{n}" for n in range(10)]
    found = folds_by_people(first, first[:20] + [f"r{n}" for n in range(10)], same)
    assert sorted(set(found.tolist())) == list(range(len(set(found.tolist())))) and len(set(found[:11].tolist())) == 1


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("a,b,same", "a,b", "the first line is 'a,b'; expected a,b,same[,fold][,group][,subject_a][,subject_b]"),
        ("a,b,same", "a,b,same,score", "the first line is 'a,b,same,score'"),
        ("a,b,same", "a,b,same,a", "the first line is"),
        ("a,b,same\n", "", "the first line is 'x/1.png,x/2.png,1'"),
        (TABLE, "", "the first line is ''"),
        (",0\n", ",0,0\n", "line 3: 4 cells; expected 3: a,b,same"),
        (",0\n", "\n", "line 3: 2 cells"),
        (",0\n", ",2\n", "line 3: same is '2'; expected 0 to 1"),
        (",0\n", ",\n", "line 3: same is ''"),
        (",0\n", ",true\n", "line 3: same is 'true'"),
        (",0\n", ",-0\n", "line 3: same is '-0'"),
        ("y.png", "/etc/passwd", "line 3: b is '/etc/passwd'; expected a path below the folder of images"),
        ("y.png", "../y.png", "line 3: b is '../y.png'"),
        ("y.png", "x/../y.png", "line 3: b is 'x/../y.png'"),
        ("y.png", "", "line 3: b is ''"),
        ("y.png", ".", "line 3: b is '.'"),
        ("y.png", "./x/1.png", "line 3: pairs image x/1.png with itself"),
        ("y.png", '"a\rb.png"', "has a carriage return"),
        ("y.png", '"a', "pairs: "),
        ("y.png", '"a"b', "pairs: "),
        ("y.png", "a\0b", "holds a zero byte"),
    ],
)  # fmt: skip
def test_a_wrong_csv_is_named(old: str, new: str, said: str) -> None:
    assert old in TABLE
    message = error_of(lambda: read_csv_pairs(file(TABLE.replace(old, new, 1))))
    assert message.startswith("pairs: ") and said in message


@pytest.mark.parametrize("fold", ["-1", "1.0", "", "one", "1" * 30])
def test_a_wrong_fold_is_named(fold: str) -> None:
    text = f"a,b,same,fold\n1.png,2.png,1,0\n1.png,3.png,0,{fold}\n"
    assert f"line 3: fold is {fold!r}; expected a whole number" in error_of(lambda: read_csv_pairs(file(text)))


def test_a_wrong_group_is_named() -> None:
    text = 'a,b,same,group\n1.png,2.png,1,"a\rb"\n'
    assert "line 3: group 'a\\rb' has a carriage return" in error_of(lambda: read_csv_pairs(file(text)))


NAMED = """subject_b,a,b,same,subject_a
Al,1.png,2.png,1,Al
"Bo, Jr.",2.png,3.png,0,Al
NA,./1.png,4.png,0,Al
"""


def test_a_csv_may_name_subjects() -> None:
    pairs = read_csv_pairs(file(NAMED))
    assert pairs[1] == NamedPair("2.png", "3.png", 0, 0, "", "Al", "Bo, Jr.")
    assert list(image_subjects(pairs).items()) == [
        ("1.png", "Al"),
        ("2.png", "Al"),
        ("3.png", "Bo, Jr."),
        ("4.png", "NA"),
    ]
    assert image_subjects(read_csv_pairs(file(TABLE))) == {"x/1.png": "", "x/2.png": "", "y.png": ""}


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("2.png,3.png,0,Al", "2.png,3.png,0,Cy", "line 3: 2.png is of 'Cy', but of 'Al' in pairs: line 2"),
        ("NA,./1.png,4.png", "NA,./1.png,3.png", "line 4: 3.png is of 'NA', but of 'Bo, Jr.' in pairs: line 3"),
        ("4.png,0", "4.png,1", "line 4: same is 1, of 'Al' and 'NA'"),
        ("2.png,1", "2.png,0", "line 2: same is 0, of 'Al' and 'Al'"),
        ("NA,", ",", "line 4: subject_b is empty; expected who is on the image"),
        ("NA,", '"N\rA",', "subject_b 'N\\rA' has a carriage return"),
        (",subject_a", ",group", "has one of the columns subject_a and subject_b; expected both or neither"),
    ],
)
def test_a_wrong_subject_is_named(old: str, new: str, said: str) -> None:
    assert old in NAMED
    message = error_of(lambda: read_csv_pairs(file(NAMED.replace(old, new, 1))))
    assert message.startswith("pairs: ") and said in message and "\n" not in message


def test_a_csv_that_is_not_utf_8_is_named() -> None:
    assert error_of(lambda: read_csv_pairs(file(b"a,b,same\n\xe9.png,b.png,1\n"))).startswith("pairs: 'utf-8' codec")


def test_a_pipe_is_not_waited_for() -> None:
    os.mkfifo("pipe")
    assert error_of(lambda: list(csv_rows(Path("pipe"), ["a"]))) == "pipe is not a file"


def test_every_csv_image_that_cannot_be_used_is_named_at_once() -> None:
    put("1.png", "a/2.png", "empty.png")
    Path("images/empty.png").write_bytes(b"")
    names = ["1.png", "a/2.png", "gone.png", "empty.png", "a", "1.png/x.png"]
    assert error_of(lambda: find_csv_images(Path("images"), names)).splitlines() == [
        "images/gone.png: No such file or directory; beside it: 1.png, empty.png, a",
        "images/empty.png: zero bytes",
        "images/a: not a file",
        "images/1.png/x.png: Not a directory",
    ]
    assert find_csv_images(Path("images"), names[:2]) == names[:2]
