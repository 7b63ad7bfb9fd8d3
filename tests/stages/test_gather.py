"""What is gathered of a test set; how its files are read has tests of its own, as has the decoding of an image."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from faces.images import packing
from faces.tables.external_sets import open_pixels, read_image_table, read_test_pairs
from image_files import encoded, noise
from small_project import run_stage, small_params, write_params

pytestmark = pytest.mark.usefixtures("in_new_folder")

DEFAULTS = {"resize_filter": "lanczos", "min_side": 16, "max_megapixels": 50.0, "workers": 2}

# Ten sets of a genuine and an impostor pair among three persons of four images each.
PEOPLE = ("Al_Gore", "Bo", "Cem_Öz")
LINES = [line for n in range(10) for line in (
    (PEOPLE[n % 3], 1 + n % 4, 1 + (n + 1 + n % 2) % 4),
    (PEOPLE[n % 3], 1 + n % 3, PEOPLE[(n + 1) % 3], 1 + n % 4),
)]  # fmt: skip
PAIRS = [  # (person, image), (person, image), same
    ((line[0], line[1]), (line[-2] if len(line) == 4 else line[0], line[-1]), int(len(line) == 3)) for line in LINES
]
FIRST_USE = list(dict.fromkeys(image for a, b, _ in PAIRS for image in (a, b)))
NAMES = {
    (person, number): f"{person}/{person}_{number:04d}{'.jpg' if number == 3 else '.png'}"
    for person in PEOPLE
    for number in range(1, 5)
}
PIXELS = {image: noise(112, 112, seed) for seed, image in enumerate(NAMES)}


def content(image: tuple[Any, ...]) -> bytes:
    return encoded(Image.fromarray(PIXELS[image]), "JPEG" if image[1] == 3 else "PNG")


def put_lfw() -> dict[str, str]:
    for image, name in NAMES.items():
        path = Path("faces", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(image))
    lines = ["10\t1", *("\t".join(map(str, line)) for line in LINES)]
    Path("pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"format": "lfw", "images": "faces", "pairs": "pairs.txt"}


def put_bin(images: list[bytes] | None = None, same: list[bool] | None = None) -> dict[str, str]:
    images = images or [content(image) for a, b, _ in PAIRS for image in (a, b)]
    Path("lfw.bin").write_bytes(pickle.dumps((images, same or [bool(same) for *_, same in PAIRS])))
    return {"format": "bin", "images": "lfw.bin", "pairs": "lfw.bin"}


def put_csv(header: str = "a,b,same", more: Callable[[int], str] = lambda _: "") -> dict[str, str]:
    put_lfw()
    rows = [f"{NAMES[a]},{NAMES[b]},{same}{more(n)}" for n, (a, b, same) in enumerate(PAIRS)]
    Path("pairs.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return {"format": "csv", "images": "faces", "pairs": "pairs.csv"}


def configure(**changes: Any) -> None:
    test_sets = {key: value for key, value in changes.items() if isinstance(value, dict)}
    parameters = {key: value for key, value in changes.items() if key not in test_sets}
    settings = {"test_sets": test_sets, "decoding": DEFAULTS | parameters, "photos": small_params()["photos"]}
    Path("params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")


def gathered(entry: dict[str, str], **changes: object) -> dict[str, bytes]:
    """Run `python stages/gather.py x`, and return what it wrote."""
    configure(x=entry, **changes)
    run_stage("gather", "x")
    return {path.name: path.read_bytes() for folder in ("data/tests", "metrics") for path in Path(folder).iterdir()}


def test_lfw_has_every_image_once_in_order_of_first_use() -> None:
    gathered(put_lfw())
    pixels = open_pixels("x")
    for image, found in zip(FIRST_USE, pixels, strict=True):
        if image[1] != 3:  # those are JPEG
            np.testing.assert_array_equal(found, PIXELS[image])
    images = read_image_table("x", len(pixels))
    assert list(images.itertuples(index=False, name=None)) == [(image[0], NAMES[image]) for image in FIRST_USE]
    pairs = read_test_pairs("x", len(pixels))
    assert list(pairs.itertuples(index=False, name=None)) == [
        (FIRST_USE.index(a), FIRST_USE.index(b), same, n // 2, "") for n, (a, b, same) in enumerate(PAIRS)
    ]
    assert json.loads(Path("metrics/gather@x.json").read_text(encoding="utf-8")) == {
        "images": len(FIRST_USE),
        "rejected": 0,
        "subjects": 3,
        "genuine": 10,
        "impostor": 10,
        "folds": 10,
        "groups": 0,
    }


def test_a_pairs_txt_a_bin_and_a_csv_of_the_same_images_are_the_same_test_set() -> None:
    lfw = gathered(put_lfw())
    for other in (gathered(put_bin()), gathered(put_csv())):
        assert other["x.npy"] == lfw["x.npy"] and other["x.pairs.csv"] == lfw["x.pairs.csv"]


def test_the_array_is_as_numpy_writes_it() -> None:
    found = gathered(put_lfw())["x.npy"]
    np.save("expected.npy", np.load("data/tests/x.npy"))
    assert found == Path("expected.npy").read_bytes()


def test_a_csv_that_names_subjects_is_the_same_as_lfw() -> None:
    lfw = gathered(put_lfw())
    columns = "a,b,same,fold,subject_a,subject_b"
    csv = gathered(put_csv(columns, lambda n: f",{n // 2},{PAIRS[n][0][0]},{PAIRS[n][1][0]}"))
    for name in ("x.npy", "x.images.csv", "x.pairs.csv", "gather@x.json"):
        assert csv[name] == lfw[name]


def test_subjects_of_a_csv_that_names_none_are_counted_by_genuine_pairs() -> None:
    gathered(put_csv())
    assert read_image_table("x", len(FIRST_USE))["subject"].tolist() == [""] * len(FIRST_USE)
    connected = [{a, b} for a, b, same in PAIRS if same]
    expected = {image: {image} for image in FIRST_USE}
    for _ in FIRST_USE:  # brute force
        for pair in connected:
            everybody = set().union(*(expected[image] for image in pair))
            expected |= dict.fromkeys(pair, everybody)
    people = {min(group) for group in expected.values()}
    assert json.loads(Path("metrics/gather@x.json").read_text(encoding="utf-8"))["subjects"] == len(people)


def test_folds_and_groups_of_a_csv() -> None:
    gathered(put_csv("a,b,same,fold,group", lambda n: f",{n % 4},{'older' if n % 5 else ''}"))
    pairs = read_test_pairs("x", len(FIRST_USE))
    assert pairs["fold"].tolist() == [n % 4 for n in range(20)]
    assert pairs["group"].tolist() == ["older" if n % 5 else "" for n in range(20)]
    metrics = json.loads(Path("metrics/gather@x.json").read_text(encoding="utf-8"))
    assert metrics["folds"] == 4 and metrics["groups"] == 1


def test_images_of_a_bin_with_the_same_bytes_are_one() -> None:
    one, other, third = (content(image) for image in FIRST_USE[:3])
    gathered(put_bin([one, other, third, one, other, third], [True, False, False]))
    assert read_image_table("x", 3)["path"].tolist() == ["0", "1", "2"]
    assert read_test_pairs("x", 3)[["a", "b"]].to_numpy().tolist() == [[0, 1], [2, 0], [1, 2]]
    assert read_image_table("x", 3)["subject"].tolist() == ["", "", ""]


def test_pairs_of_a_bin_that_make_little_sense_are_kept_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    one, other, third = (content(image) for image in FIRST_USE[:3])
    gathered(put_bin([one, other, other, third, one, third, one, one], [True, True, False, False]))
    assert len(read_test_pairs("x", 3)) == 4
    printed = capsys.readouterr().err
    assert "warning: lfw.bin: 1 pairs are of an image with itself; the first is pair 4" in printed
    assert "warning: lfw.bin: 1 impostor pairs are of images that genuine pairs connect to one person" in printed
    assert "pair 3\n" in printed


@pytest.mark.parametrize("put", [put_lfw, put_bin])
def test_the_bytes_do_not_depend_on_the_number_of_threads(put: Callable[[], dict[str, str]]) -> None:
    assert gathered(put(), workers=1) == gathered(put(), workers=5)


def test_channels_that_were_swapped_are_put_right(capsys: pytest.CaptureFixture[str]) -> None:
    entry = put_csv()
    right = gathered(entry)["x.npy"]
    assert "swapped" not in capsys.readouterr().err
    swapped = np.load("data/tests/x.npy")[..., ::-1]
    gathered(entry | {"channels": "bgr"})
    np.testing.assert_array_equal(np.load("data/tests/x.npy"), swapped)
    assert gathered(entry | {"channels": "rgb"})["x.npy"] == right


def test_photos_in_place_of_crops_are_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    entry = put_csv()
    gathered(entry)
    assert "aligned crops" not in capsys.readouterr().err
    Image.new("RGB", (250, 250)).save(f"faces/{NAMES[FIRST_USE[0]]}")
    gathered(entry)
    assert f"as {NAMES[FIRST_USE[0]]} (250 x 250); if they are photos, `faces: photos`" in capsys.readouterr().err


# What is wrong


def test_every_image_that_cannot_be_decoded_is_named_and_nothing_is_written(fails_with: Callable[..., str]) -> None:
    entry = put_lfw()
    Path("faces/Bo/Bo_0001.png").write_bytes(b"broken")
    Path("faces/Al_Gore/Al_Gore_0002.png").write_bytes(encoded(Image.new("RGB", (9, 9))))
    configure(x=entry)
    errors = [line for line in fails_with("gather", "x").splitlines() if line.startswith("error: ")]
    assert sorted(errors) == [
        "error: faces/Al_Gore/Al_Gore_0002.png: too_small: 9 x 9: a side under 16 pixels",
        "error: faces/Bo/Bo_0001.png: unrecognised: "
        "not PNG, JPEG, BMP, WebP, PPM, PGM, GIF, TIFF or AVIF inside, or cut short",
    ]
    assert not list(Path("data/tests").iterdir()) and not Path("metrics").exists()


def test_images_of_a_bin_that_cannot_be_decoded_are_named_by_their_place(fails_with: Callable[..., str]) -> None:
    images = [content(image) for a, b, _ in PAIRS for image in (a, b)]
    images[7], images[30] = b"broken", b""
    configure(x=put_bin(images))
    printed = fails_with("gather", "x")
    assert "lfw.bin: image 7: unrecognised" in printed and "lfw.bin: image 30: unrecognised" in printed


def test_every_image_that_is_missing_is_named_before_any_is_decoded(fails_with: Callable[..., str]) -> None:
    entry = put_lfw()
    Path("faces/Bo/Bo_0001.png").write_bytes(b"broken")
    Path("faces/Bo/Bo_0002.png").unlink()
    shutil.rmtree("faces/Cem_Öz")
    configure(x=entry)
    errors = [line for line in fails_with("gather", "x").splitlines() if line.startswith("error: ")]
    missing = [image for image in FIRST_USE if image[0] == "Cem_Öz" or image == ("Bo", 2)]
    beside = {"Bo": "; beside it: Bo_0004.png, Bo_0003.jpg, Bo_0001.png", "Cem_Öz": ""}
    assert errors == [
        f"error: faces/{person}/{person}_{number:04d}.*: No such file or directory{beside[person]}"
        for person, number in missing
    ]
    assert not Path("data").exists()


@pytest.mark.parametrize(
    "entry, said",
    [
        ({"format": "lfw", "images": "gone", "pairs": "gone.txt"}, "x.images: 'gone': there is no such folder"),
        ({"format": "lfw", "images": "gone", "pairs": "gone.txt"}, "x.pairs: 'gone.txt': there is no such file"),
        ({"format": "csv", "images": "pairs.txt", "pairs": "faces"}, "test_sets.x.images: 'pairs.txt': not a folder"),
        ({"format": "csv", "images": "pairs.txt", "pairs": "faces"}, "test_sets.x.pairs: 'faces': not a file"),
        ({"format": "csv", "images": "faces", "pairs": "pipe"}, "test_sets.x.pairs: 'pipe': not a file"),
        ({"format": "bin", "images": "faces", "pairs": "faces"}, "test_sets.x.images: 'faces': not a file"),
        ({"format": "bin", "images": "pairs.txt", "pairs": "pairs.txt"}, "pairs.txt: is refused"),
        ({"format": "csv", "images": "faces", "pairs": "pairs.txt"}, "pairs.txt: the first line is '10\\t1'"),
        ({"format": "lfw", "images": "faces", "pairs": "lfw.bin"}, "lfw.bin: 'utf-8' codec can't decode"),
        ({"format": "csv", "images": "faces", "pairs": "empty.csv"}, "empty.csv: has no impostor pair"),
    ],
)  # fmt: skip
def test_a_wrong_test_set_is_named(entry: dict[str, str], said: str, fails_with: Callable[..., str]) -> None:
    put_lfw()
    put_bin()
    os.mkfifo("pipe")
    Path("empty.csv").write_text("a,b,same\n", encoding="utf-8")
    configure(x=entry)
    assert said in fails_with("gather", "x")


def test_images_behind_a_linked_folder_are_refused_since_dvc_would_miss_every_change(
    fails_with: Callable[..., str],
) -> None:
    configure(x=put_lfw())
    Path("faces/Bo").rename("elsewhere")
    os.symlink("../elsewhere", "faces/Bo")
    printed = fails_with("gather", "x")
    assert "test_sets.x.images: 'faces': 1 link(s) to folders, first 'Bo'" in printed


@pytest.mark.parametrize("same, kind", [(True, "impostor"), (False, "genuine")])
def test_both_kinds_of_pairs_are_needed(same: bool, kind: str, fails_with: Callable[..., str]) -> None:
    configure(x=put_bin(same=[same] * 20))
    assert f"lfw.bin: has no {kind} pair" in fails_with("gather", "x")


def test_an_attack_ends_the_stage_and_runs_nothing(fails_with: Callable[..., str]) -> None:
    Path("lfw.bin").write_bytes(b"cposix\nsystem\n(S'touch pwned'\ntR.")
    configure(x={"format": "bin", "images": "lfw.bin", "pairs": "lfw.bin"})
    assert "lfw.bin: is refused: posix.system" in fails_with("gather", "x")
    assert not Path("pwned").exists() and not Path("data").exists()


def test_an_unknown_name_is_named(fails_with: Callable[..., str]) -> None:
    configure(x=put_lfw())
    assert "test_sets: 'y' is not among them; allowed: x" in fails_with("gather", "y")
    configure()
    assert "test_sets: 'y' is not among them; allowed: none" in fails_with("gather", "y")


def test_a_file_that_changes_meanwhile_is_noticed(
    fails_with: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = packing.read_image

    def read_and_write(source: Path, *arguments: Any) -> Any:
        Path("pairs.txt").write_text("another", encoding="utf-8")
        return read(source, *arguments)

    configure(x=put_lfw())
    monkeypatch.setattr(packing, "read_image", read_and_write)
    assert "test_sets.x: a file changed while it was being read" in fails_with("gather", "x")
    assert not list(Path("data/tests").iterdir())


# Before DVC starts


def check_of(test_sets: dict[str, Any], fails_with: Callable[..., str]) -> list[str]:
    """Return the errors of `faces check`, less those on what has nothing to do with test sets."""
    write_params(Path("."), test_sets=test_sets)
    return [line for line in fails_with("faces", "check").splitlines() if "test_sets" in line or "faces" in line]


def test_every_problem_of_every_test_set_is_found_before_dvc_starts(fails_with: Callable[..., str]) -> None:
    good = put_lfw()
    Path("faces/Bo/Bo_0002.png").unlink()
    test_sets = {"one": good, "three": good | {"images": "gone"}, "two": good | {"pairs": "gone.txt"}}
    assert check_of(test_sets, fails_with) == [
        "error: faces/Bo/Bo_0002.*: No such file or directory; beside it: Bo_0004.png, Bo_0003.jpg, Bo_0001.png",
        "error: params.yaml: test_sets.three.images: 'gone': there is no such folder",
        "error: params.yaml: test_sets.two.pairs: 'gone.txt': there is no such file",
    ]


def test_what_dvc_has_yet_to_bring_is_left_to_dvc(fails_with: Callable[..., str]) -> None:
    good = put_lfw()
    Path("later.dvc").touch()
    Path("later.bin.dvc").touch()
    later = {"later": good | {"images": "later"}, "bin": {"format": "bin", "images": "later.bin", "pairs": "later.bin"}}
    assert check_of(later | {"wrong": good | {"format": "ijb"}}, fails_with)[0].startswith(
        "error: params.yaml: test_sets.wrong.format"
    )
    assert check_of(later | {"other": good | {"images": "gone"}}, fails_with) == [
        "error: params.yaml: test_sets.other.images: 'gone': there is no such folder"
    ]
