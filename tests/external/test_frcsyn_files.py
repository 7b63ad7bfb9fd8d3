"""FRCSyn's comparison files, what their paths say, and a test set of them from its files to its tables."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from faces.core.errors import StageError
from faces.external.frcsyn_files import describe_images, read_comparisons, read_paths
from faces.tables.external_sets import open_pixels, read_image_table, read_rejected, read_test_pairs
from image_files import noise
from small_project import run_stage, small_params

pytestmark = pytest.mark.usefixtures("in_new_folder")

# Two people in each of two races, two images each.
NAMES = [f"{race}/{person}/{image}.png" for race, people in (("Asian", "12"), ("Indian", "34")) for person in people
         for image in "ab"]  # fmt: skip
LINES = [
    "Asian/1/a.png;Asian/1/b.png",  # one person
    "Asian/2/a.png;Asian/1/a.png",
    "Indian/3/a.png;Asian/1/a.png",  # two races
    "Indian/3/a.png;Indian/3/b.png",  # one person
    "Indian/3/b.png;Indian/4/b.png",
    "Asian/1/b.png;Asian/1/a.png",  # one person, the first line the other way round
]
FIRST_USE = ["Asian/1/a.png", "Asian/1/b.png", "Asian/2/a.png", "Indian/3/a.png", "Indian/3/b.png", "Indian/4/b.png"]
A, B, SAME = [0, 2, 3, 3, 4, 1], [1, 0, 0, 4, 5, 0], [1, 0, 0, 1, 0, 1]
PATHS = "{race}/{subject}/{image}"


def file(text: str | bytes) -> Path:
    Path("list.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    return Path("list.txt")


def joined(lines: list[str], labels: list[int] | None = None, end: str = "\n") -> str:
    third = [""] * len(lines) if labels is None else [f";{label}" for label in labels]
    return "".join(f"{line}{label}{end}" for line, label in zip(lines, third, strict=True))


def error_of(read: Callable[[], Any]) -> str:
    with pytest.raises(StageError) as error:
        read()
    return str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        joined(LINES),
        joined(LINES)[:-1],
        joined(LINES, end="\r\n"),
        "\ufeff" + joined(LINES),
        joined(LINES).replace("Asian/1/b", "./Asian//1/b", 1),  # two ways to write a path are one image
    ],
)
def test_a_comparison_file(text: str) -> None:
    paths, a, b, same = read_comparisons(file(text))
    assert (paths, a.tolist(), b.tolist(), same) == (FIRST_USE, A, B, None)


def test_a_comparison_file_with_labels() -> None:
    found = read_comparisons(file(joined(LINES, SAME))).same
    assert found is not None and found.tolist() == SAME


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "list.txt: has no comparison"),
        ("a.png,b.png\n", "line 1: 'a.png,b.png'; expected <path>;<path>"),
        ("a.png;b.png\n\n", "line 2: ''; expected <path>;<path>"),
        ("a.png;b.png\na.png\n", "line 2: 'a.png'; expected <path>;<path>"),
        ("a.png;b.png\na.png;b.png;1\n", "line 2: 'a.png;b.png;1'; expected <path>;<path>"),
        ("a.png;b.png;1\na.png;b.png\n", "line 2: 'a.png;b.png'; expected <path>;<path>;<label>, as in those above"),
        ("a.png;b.png;1;1\n", "line 1: 'a.png;b.png;1;1'"),
        ("a.png;b.png;2\n", "line 1: label is '2'; expected 1 or 0"),
        ("a.png;b.png\n/etc/x;b.png\n", "line 2: a path is '/etc/x'; expected a path below the folder of images"),
        ("a.png;../b.png\n", "line 1: a path is '../b.png'"),
        ("a.png;\n", "line 1: a path is ''"),
        (b"a.png;\xe9.png\n", "list.txt: 'utf-8' codec"),
    ],
)
def test_a_wrong_comparison_file_is_named(text: str | bytes, said: str) -> None:
    message = error_of(lambda: read_comparisons(file(text)))
    assert message.startswith("list.txt: ") and said in message


def test_the_text_of_a_list_is_never_held() -> None:
    """A comparison is two numbers of 64 bits, with room to grow by an eighth, and not its 240 letters."""
    count, names = 40_000, [f"{'x' * 100}/{number}.png" for number in range(200)]
    path = file("".join(f"{names[n % 200]};{names[7 * n % 200]}\n" for n in range(count)))
    tracemalloc.start()
    try:
        _, a, _, _ = read_comparisons(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(a) == count and peak < 24 * count + 300_000


def test_what_paths_say() -> None:
    assert read_paths(["Asian/m.0x/7.jpg"], PATHS).to_dict("list") == {
        "race": ["Asian"], "subject": ["m.0x"], "image": ["7.jpg"],
    }  # fmt: skip
    agedb = read_paths(["16_MariaCallas_35_f.jpg"], "{number}_{subject}_{age}_{gender}.jpg")
    assert agedb.to_dict("list") == {"number": ["16"], "subject": ["MariaCallas"], "age": ["35"], "gender": ["f"]}
    cfp = read_paths(["Data/Images/001/frontal/01.jpg"], "Data/Images/{subject}/{pose}/{image}")
    assert cfp["subject"].tolist() == ["001"] and cfp["pose"].tolist() == ["frontal"]
    assert read_paths(["x"], "").shape == (1, 0)


@pytest.mark.parametrize(
    "pattern, said",
    [
        (PATHS, "the path 'a/b' is not like that"),
        ("{1}/{subject}", "expected such as {race}/{subject}/{image}"),
        ("{x}/{x}", "expected such as {race}/{subject}/{image}"),
    ],
)
def test_a_wrong_pattern_is_named(pattern: str, said: str) -> None:
    message = error_of(lambda: read_paths(["a/b"], pattern))
    assert message.startswith(f"paths: {pattern!r}: ") and said in message


@pytest.mark.parametrize(
    "pattern, path, one, other",
    [
        ("{race}_{subject}/{image}", "East_Asian_7/a.png", ("East_Asian", "7", "a.png"), ("East", "Asian_7", "a.png")),
        ("{x}{y}", "abc", ("ab", "c"), ("a", "bc")),
        ("{number}_{subject}_{age}_{gender}.jpg", "1_Al_Roy_35_f.jpg", ("1_Al", "Roy", "35", "f"),
         ("1", "Al", "Roy", "35_f")),
    ],
)  # fmt: skip
def test_a_path_that_can_be_read_in_two_ways_is_named(
    pattern: str, path: str, one: tuple[str, ...], other: tuple[str, ...]
) -> None:
    message = error_of(lambda: read_paths([path], pattern))
    assert f"paths: {pattern!r}: the path {path!r} can be read in two ways: " in message
    readings = message.split("two ways: ")[1].split(". Write")[0].split("; or ")
    assert [tuple(part.split("'")[1] for part in reading.split(", ")) for reading in readings] == [one, other]


def test_a_path_that_can_be_read_in_one_way_is_read() -> None:
    found = read_paths(["East_Asian/7_1.png", "a_b/c_d"], "{a}_{b}/{c}_{d}")
    assert found.to_numpy().tolist() == [["East", "Asian", "7", "1.png"], ["a", "b", "c", "d"]]


def attributes(text: str) -> None:
    Path("faces").mkdir(exist_ok=True)
    Path("faces/attributes.csv").write_text(text)


def test_groups_by_race_of_the_paths_and_gender_of_the_attributes() -> None:
    attributes("subject,gender\n1,female\n2,male\n3,male\n4,\n9,male\n")
    found = describe_images(Path("faces"), FIRST_USE, PATHS, ["race", "gender"])
    assert found.subjects == ["1", "1", "2", "3", "3", "4"]
    assert found.groups == ["Asian-female", "Asian-female", "Asian-male", "Indian-male", "Indian-male", ""]
    assert describe_images(Path("faces"), FIRST_USE, PATHS, []).groups == [""] * 6


def test_images_in_no_group_are_counted_and_the_first_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    attributes("subject,gender\n1,female\n2,\n9,male\n")
    describe_images(Path("faces"), FIRST_USE, PATHS, ["race", "gender"])
    printed = capsys.readouterr().err
    # Images of subject 1 alone have a gender: the first two. Subject 9 is on no image.
    said = "4 of 6 images are in no group, since a value is unknown: Asian/2/a.png, Indian/3/a.png, Indian/3/b.png, …"
    assert f"warning: group_by: race, gender: {said}\n" in printed
    assert "warning: attributes.csv: 1 of its 3 rows match no image; the first is '9'\n" in printed
    attributes("subject,gender\n1,female\n2,male\n3,male\n4,male\n9,male\n")
    describe_images(Path("faces"), FIRST_USE, PATHS, ["race", "gender"])
    assert capsys.readouterr().err == ""


def test_attributes_may_say_who_is_on_an_image() -> None:
    attributes("path,subject,race\nx.png,Al,Asian\ny.png,Bo,Asian\nz.png,Bo,Indian\n")
    assert describe_images(Path("faces"), ["y.png", "x.png"], "", ["race"]) == (["Bo", "Al"], ["Asian", "Asian"])
    assert "does not say who is on 'u.png'" in error_of(lambda: describe_images(Path("faces"), ["u.png"], "", []))


@pytest.mark.parametrize(
    "text, said",
    [
        ("subject,race\n1,Asian\n3,African\n4,African\n", "race of 'Indian/3/a.png' is 'African', but its path says "
         "'Indian'; 3 of 6 images are like that"),
        ("path,race\nAsian/2/a.png,Indian\nIndian/3/a.png,\n", "race of 'Asian/2/a.png' is 'Indian', but its path says "
         "'Asian'; 1 of 6 images are like that"),
        ("path,subject\nAsian/1/a.png,1\nIndian/4/b.png,3\n", "subject of 'Indian/4/b.png' is '3', but its path says "
         "'4'; 1 of 6 images are like that"),
    ],
)  # fmt: skip
def test_attributes_and_paths_that_disagree_are_named(text: str, said: str) -> None:
    attributes(text)
    message = error_of(lambda: describe_images(Path("faces"), FIRST_USE, PATHS, ["race"]))
    assert message == f"faces/attributes.csv: {said}"


def test_attributes_and_paths_may_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    attributes("path,subject,race\nAsian/1/a.png,1,Asian\nIndian/4/b.png,4,\n")
    found = describe_images(Path("faces"), FIRST_USE, PATHS, ["race"])
    assert found == (["1", "1", "2", "3", "3", "4"], ["Asian"] * 3 + ["Indian"] * 3) and not capsys.readouterr().err


def test_a_person_in_two_groups_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    describe_images(Path("faces"), ["Asian/1/a", "Indian/1/a", "Indian/2/a"], PATHS, ["race"])
    assert "1 subject(s) are in several groups; the first, '1', in Asian, Indian" in capsys.readouterr().err


@pytest.mark.parametrize(
    "pattern, group_by, text, said",
    [
        (
            PATHS,
            ["age"],
            None,
            "group_by: 'age' is no attribute of the images; known: race, subject, image; there is no "
            "faces/attributes.csv, which could say more",
        ),
        ("", ["race"], None, "known: none; there is no faces/attributes.csv"),
        (
            PATHS,
            ["age"],
            "subject,gender\n1,male\n",
            "known: race, subject, image, gender; faces/attributes.csv says no more",
        ),
        (PATHS, ["gender"], "subject,gender\n7,male\n", "group_by: gender: no image has a value of each"),
        ("", [], "subject,gender\n1,male\n", "has a row for each subject; `paths` should say who is on an image"),
    ],
)
def test_wrong_groups_are_named(pattern: str, group_by: list[str], text: str | None, said: str) -> None:
    if text:
        attributes(text)
    assert said in error_of(lambda: describe_images(Path("faces"), FIRST_USE, pattern, group_by))


# The stage


def put_images() -> None:
    for seed, name in enumerate(NAMES):
        Path("faces", name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(112, 112, seed)).save(Path("faces", name))


def gathered(text: str, **entry: Any) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, int]]:
    """Run `python stages/gather.py x`; return its images, its pairs and its metrics."""
    configure(text, **entry)
    run_stage("gather", "x")
    images = read_image_table("x", len(open_pixels("x")))
    return images, read_test_pairs("x", len(images)), json.loads(Path("metrics/gather@x.json").read_text())


def configure(text: str, **entry: Any) -> None:
    listed = {"format": "frcsyn", "images": "faces", "pairs": str(file(text)), **entry}
    settings = {name: small_params()[name] for name in ("decoding", "photos")} | {"test_sets": {"x": listed}}
    Path("params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")


def test_without_labels_pairs_are_gathered_in_order() -> None:
    put_images()
    images, pairs, counts = gathered(joined(LINES))
    assert images["path"].tolist() == FIRST_USE and images["subject"].eq("").all()
    assert "same" not in pairs and pairs["a"].tolist() == A and pairs["b"].tolist() == B
    assert counts == {"images": 6, "rejected": 0, "subjects": 0, "unlabelled": 6, "groups": 0}
    np.testing.assert_array_equal(open_pixels("x")[3], noise(112, 112, NAMES.index("Indian/3/a.png")))


def test_labels_of_the_file_and_of_the_paths_are_the_same() -> None:
    put_images()
    for text, entry in ((joined(LINES, SAME), {}), (joined(LINES), {"paths": PATHS, "group_by": ["race"]})):
        images, pairs, counts = gathered(text, **entry)
        assert pairs["same"].tolist() == SAME and counts["genuine"] == counts["impostor"] == 3
        assert images["subject"].tolist() == (["1", "1", "2", "3", "3", "4"] if entry else [""] * 6)
    assert pairs["group"].tolist() == ["Asian", "Asian", "", "Indian", "Indian", "Asian"]
    assert counts["subjects"] == 4 and counts["groups"] == 2
    assert counts["ungrouped"] == 1  # of two races


def test_comparisons_of_images_without_a_group_are_counted() -> None:
    put_images()
    attributes("subject,gender\n1,female\n2,female\n3,female\n")
    _, pairs, counts = gathered(joined(LINES), paths=PATHS, group_by=["gender"])
    assert pairs["group"].tolist() == ["female", "female", "female", "female", "", "female"]  # the fifth has subject 4
    assert (counts["groups"], counts["ungrouped"]) == (1, 1)


def test_it_is_the_same_test_set_as_a_csv_that_names_its_people() -> None:
    put_images()
    gathered(joined(LINES), paths=PATHS)
    first = {path.name: path.read_bytes() for path in Path("data/tests").iterdir()}
    pairs = [line.split(";") for line in LINES]
    rows = [f"{a},{b},{same},{a.split('/')[1]},{b.split('/')[1]}" for (a, b), same in zip(pairs, SAME, strict=True)]
    configure("\n".join(["a,b,same,subject_a,subject_b", *rows]), format="csv")
    run_stage("gather", "x")
    assert {path.name: path.read_bytes() for path in Path("data/tests").iterdir()} == first


def test_people_and_labels_that_disagree_are_named(fails_with: Callable[..., str]) -> None:
    put_images()
    configure(joined(LINES, [1, 0, 0, 1, 1, 1]), paths=PATHS)
    said = "list.txt: line 5: the label is 1, but Indian/3/b.png and Indian/4/b.png are of two people"
    assert said in fails_with("gather", "x")


@pytest.mark.parametrize("kind, said", [(1, "each of the 3 comparisons is of one person"), (0, "is of two people")])
def test_comparisons_of_one_kind_are_not_blamed_on_the_list(
    kind: int, said: str, fails_with: Callable[..., str]
) -> None:
    put_images()
    chosen = [line for line, same in zip(LINES, SAME, strict=True) if same == kind]
    configure(joined(chosen), paths=PATHS)
    message = fails_with("gather", "x")
    assert said in message and "list.txt: by their paths or attributes.csv, " in message
    configure(joined(chosen, [kind] * 3))
    kind_missing = "impostor" if kind else "genuine"
    assert f"list.txt: has no {kind_missing} pair" in fails_with("gather", "x")  # of labels, the list has to tell


@pytest.mark.parametrize("allow", [True, False])
def test_every_missing_image_is_named(
    allow: bool, fails_with: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    put_images()
    Path("faces/Asian/2/a.png").unlink()
    if not allow:
        configure(joined(LINES))
        assert "faces/Asian/2/a.png: No such file or directory" in fails_with("gather", "x")
        assert not Path("data").exists()
        return
    Path("faces/Indian/4/b.png").write_bytes(b"broken")
    images, pairs, counts = gathered(joined(LINES), allow_missing=True, paths=PATHS)
    assert len(pairs) == 6 and counts["rejected"] == 2
    assert images["path"][read_rejected("x", images)].tolist() == ["Asian/2/a.png", "Indian/4/b.png"]
    listed = pd.read_csv("data/tests/x.rejected.csv")
    assert listed["reason"].tolist() == ["unreadable", "unrecognised"]
    assert listed["detail"][0] == "No such file or directory"
    assert "2 of 6 images cannot be used; data/tests/x.rejected.csv lists each" in capsys.readouterr().err
    assert (open_pixels("x")[2] == 128).all()


def test_a_folder_with_none_of_the_images_is_refused_even_so(fails_with: Callable[..., str]) -> None:
    Path("faces").mkdir()
    configure(joined(LINES), allow_missing=True)
    assert "faces/Asian/1/a.png: unreadable: No such file or directory" in fails_with("gather", "x")


def test_its_parameters_are_of_no_other_format(fails_with: Callable[..., str]) -> None:
    configure(joined(LINES), format="csv", allow_missing=True)
    assert "allow_missing: of format frcsyn alone, and this is csv" in fails_with("gather", "x")
