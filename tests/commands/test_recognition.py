import json
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faces.commands.main import dispatch
from faces.commands.recognition import MAX_BYTES, NO_ANSWER, describe_ratio
from faces.core.errors import StageError
from faces.evaluation.threshold import Calibration
from faces.inference.embedder import Embedder
from faces.inference.litert import convert
from faces.inference.model import DESCRIPTION, MODEL, Description, FaceModel
from faces.network import mobilefacenet
from small_project import ROOT

CURVE = {
    "threshold": [1.0, 0.999999, 0.9, 0.0, -1.0],
    "chosen_fmr": [0.0, 0.01, 0.08, 0.6, 1.0],
    "fmr": [0.0, 0.02, 0.1, 0.7, 1.0],
    "fnmr": [1.0, 0.5, 0.2, 0.1, 0.0],
    "fmr_low": [0.0, 0.01, 0.05, 0.6, 0.9],
    "fmr_high": [0.1, 0.03, 0.15, 0.8, 1.0],
    "fnmr_low": [0.9, 0.4, 0.1, 0.05, 0.0],
    "fnmr_high": [1.0, 0.6, 0.3, 0.15, 0.1],
}
THRESHOLDS = {
    "threshold": 0.9,
    "fmr": 0.1,
    "fnmr": 0.2,
    "fmr_interval": [0.05, 0.15],
    "chosen_on": "train",
    "measured_on": "test_unseen",
    "genuine_pairs": 10,
    "impostor_pairs": 20,
    "at_fmr": {"0.01": {"threshold": 0.999999, "fmr": 0.02, "fnmr": 0.5}},
    "at_fmr_chosen_on": "test_seen",
    "lowest_fmr": 0.01,
    "calibration": {"slope": 10.0, "intercept": -5.0, "lowest": -3.0, "highest": 6.0},
    "curve": CURVE,
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    (folder / MODEL).write_bytes(convert(mobilefacenet.build(0.125, 16)))
    (folder / DESCRIPTION).write_text(json.dumps({"flip": False, "resize_filter": "box", "thresholds": THRESHOLDS}))
    return folder


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Three people with two images each, <folder>/people/<person>/<number>.png, who differ in colour and pattern."""
    random = np.random.default_rng(0)
    for person in ("ann", "bob", "cy"):
        folder = tmp_path / "people" / person
        folder.mkdir(parents=True)
        pattern = random.integers(0, 256, (7, 7, 3)).repeat(16, axis=0).repeat(16, axis=1)
        for number in range(2):
            noisy = np.clip(pattern + random.normal(0, 5, pattern.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / f"{number}.png")
    return tmp_path / "people"


def ask(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict]:
    code = dispatch([*map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert dispatch(list(map(str, arguments))) == NO_ANSWER
    return capsys.readouterr().err


def cosine(exported: Path, *paths: Path, flip: bool = False) -> float:
    images = np.stack([np.asarray(Image.open(path)) for path in paths])
    embedder = Embedder((exported / MODEL).read_bytes())
    a, b = (embedder(images) + embedder(images[:, :, ::-1])) / 2 if flip else embedder(images)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_verify_gives_the_cosine_the_threshold_and_its_errors(
    exported: Path, people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other, stranger = people / "ann/0.png", people / "ann/1.png", people / "bob/0.png"
    code, answer = ask(capsys, "verify", one, other, "--model", exported)
    assert answer["score"] == pytest.approx(cosine(exported, one, other), abs=1e-6)
    assert (answer["same"], code) == (answer["score"] >= 0.9, int(answer["score"] < 0.9))
    expected = {key: THRESHOLDS[key] for key in ("threshold", "fmr", "fnmr", "measured_on", "genuine_pairs")}
    assert expected.items() <= answer.items() and "train" in answer["threshold_from"]
    code, answer = ask(capsys, "verify", one, stranger, "--model", exported, "--fmr", "0.01")
    assert (code, answer["same"]) == (1, False) and answer["score"] < 0.999999
    assert (answer["threshold"], answer["fmr"], answer["fnmr"]) == (0.999999, 0.02, 0.5)
    assert ask(capsys, "verify", one, one, "--model", exported)[1]["score"] == pytest.approx(1, abs=1e-6)
    dispatch(["verify", str(one), str(one), "--model", str(exported)])
    said = capsys.readouterr().out
    assert "the same person: cosine 1.000" in said
    assert "10.00% (95% CI 5.00% to 15.00%) of 20 impostor pairs" in said and "20.00% of 10 genuine pairs" in said
    assert "fewer than 30 false matches are behind this FMR" in said  # 2 of 20
    assert "go by its interval" in said
    # A cosine of 1 has the log-likelihood ratio 10 - 5, and e ** 5 is 148.4.
    meaning = "a likelihood ratio of 150: this cosine is 150 times as frequent among images of one person as of two"
    assert meaning in said
    assert ask(capsys, "verify", one, one, "--model", exported)[1]["likelihood_ratio"] == pytest.approx(148.4, rel=1e-3)


def test_images_of_another_size_are_resized_as_those_of_the_model(
    exported: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pillow's filter box takes the mean of every 2 x 2 pixels, which are equal here: the image is as it was."""
    double = tmp_path / "double.png"
    Image.fromarray(np.asarray(Image.open(people / "ann/0.png")).repeat(2, axis=0).repeat(2, axis=1)).save(double)
    score = ask(capsys, "verify", people / "ann/0.png", double, "--model", exported)[1]["score"]
    assert score == pytest.approx(1, abs=1e-6)
    other = tmp_path / "lanczos"
    shutil.copytree(exported, other)
    description = json.loads((exported / DESCRIPTION).read_text()) | {"resize_filter": "lanczos"}
    (other / DESCRIPTION).write_text(json.dumps(description))
    assert ask(capsys, "verify", people / "ann/0.png", double, "--model", other)[1]["score"] < score


@pytest.mark.parametrize(
    ("score", "ratio", "said"),
    [
        (0.5, 1.0, "a likelihood ratio of 1: this cosine is as frequent among images of one person as of two"),
        (0.4, np.exp(-1), "of 1 / 2.7: this cosine is 2.7 times as frequent among images of two people as of one"),
        (0.1, np.exp(-3), "ratio of 1 / 20 or less: this cosine is at least 20 times as frequent among images of two"),
        (
            1.1,
            np.exp(6),
            "a likelihood ratio of 400 or more: this cosine is at least 400 times as frequent among images of one",
        ),
    ],
)
def test_a_likelihood_ratio_in_words(score: float, ratio: float, said: str) -> None:
    found, words = describe_ratio(Calibration.model_validate(THRESHOLDS["calibration"]), score)
    assert found == pytest.approx(ratio) and said in words


def test_any_threshold_or_rate_can_be_asked_for(
    exported: Path, people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = people / "ann/0.png", people / "bob/0.png"
    ask_with = ("verify", one, other, "--model", exported)
    _, answer = ask(capsys, *ask_with, "--threshold", "0.45")  # halfway between 0.9 and 0
    assert (answer["threshold"], answer["fmr"], answer["fnmr"]) == pytest.approx((0.45, 0.4, 0.15))
    assert answer["fmr_interval"] == pytest.approx([0.325, 0.475]) and answer["same"] == (answer["score"] >= 0.45)
    for rate, threshold in (("1e-2", 0.999999), ("0.0799", 0.999999), ("0.08", 0.9), ("0.5", 0.9), ("0.6", 0.0)):
        assert ask(capsys, *ask_with, "--fmr", rate)[1]["threshold"] == threshold
    assert "--fmr: an FMR of 0.005: too few pairs of test_seen images; the lowest possible here is 0.01," in refused(
        capsys, *ask_with, "--fmr", "0.005"
    )
    for wrong in (("--fmr", "0"), ("--fmr", "1"), ("--fmr", "x"), ("--threshold", "2"), ("--threshold", "nan")):
        with pytest.raises(SystemExit) as exit_:
            dispatch([*map(str, ask_with), *wrong])
        assert exit_.value.code == 2
    with pytest.raises(SystemExit):
        dispatch([*map(str, ask_with), "--fmr", "0.1", "--threshold", "0.5"])


def test_mirror_images_count_where_the_model_says_so(
    exported: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / MODEL).write_bytes((exported / MODEL).read_bytes())
    (tmp_path / DESCRIPTION).write_text(json.dumps({"flip": True, "resize_filter": "box", "thresholds": THRESHOLDS}))
    one, other = people / "ann/0.png", people / "bob/0.png"
    _, answer = ask(capsys, "verify", one, other, "--model", tmp_path)
    assert answer["score"] == pytest.approx(cosine(exported, one, other, flip=True), abs=1e-6)
    assert answer["score"] != pytest.approx(cosine(exported, one, other), abs=1e-6)


def test_enrol_and_identify_against_every_cosine(
    exported: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (people / "bob" / "broken.png").write_bytes(b"no image")
    (people / "dee").mkdir()
    gallery, model = tmp_path / "people.npz", ("--model", exported)
    code, answer = ask(capsys, "enrol", people, gallery, *model)
    assert (code, answer["people"], answer["images"]) == (0, 3, 6)
    assert [(row["path"], row["reason"]) for row in answer["rejected"]] == [("bob/broken.png", "unrecognised")]
    first = gallery.read_bytes()
    assert dispatch(["enrol", str(people), str(gallery), *map(str, model)]) == 0
    assert "refused: bob/broken.png: unrecognised" in capsys.readouterr().out and gallery.read_bytes() == first

    probe = people / "bob/1.png"
    code, answer = ask(capsys, "identify", probe, gallery, *model)
    assert (code, answer["found"]) == (0, "bob")
    rejected_by_all = (1 - answer["fmr"]) ** 6  # of the images that are enrolled
    assert 0 < answer["fmr"] < 1 and answer["fpir_if_independent"] == pytest.approx(1 - rejected_by_all)
    assert answer["fpir_interval"] == pytest.approx([1 - 0.95**6, 1 - 0.85**6])
    code, answer = ask(capsys, "identify", probe, gallery, *model, "--fmr", "0.01")
    assert answer["fpir_if_independent"] == pytest.approx(1 - 0.98**6) and answer["threshold"] == 0.999999
    best = {who: max(cosine(exported, probe, path) for path in (people / who).glob("?.png")) for who in ("ann", "cy")}
    found = {row["subject"]: row["score"] for row in answer["candidates"]}
    assert found == pytest.approx(best | {"bob": 1.0}, abs=1e-6)
    assert list(found) == sorted(found, key=lambda who: -found[who])
    code, answer = ask(capsys, "identify", probe, gallery, *model, "--most", 1)
    assert len(answer["candidates"]) == 1

    Image.new("RGB", (112, 112), "white").save(tmp_path / "stranger.png")
    thresholds = THRESHOLDS | {"threshold": 1.5}
    strict = tmp_path / "strict"
    strict.mkdir()
    (strict / MODEL).write_bytes((exported / MODEL).read_bytes())
    (strict / DESCRIPTION).write_text(json.dumps({"flip": False, "resize_filter": "box", "thresholds": thresholds}))
    code, answer = ask(capsys, "identify", tmp_path / "stranger.png", gallery, "--model", strict)
    assert (code, answer["found"], len(answer["candidates"])) == (1, None, 3)


def bomb(side: int) -> bytes:
    """A PNG of some kilobytes that says it has side x side pixels, all black."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + checksum

    header = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    rows = zlib.compress(bytes(side // 8 + 1) * side)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_hostile_images_are_refused_by_name(
    exported: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = people / "ann/0.png", tmp_path / "bad.png"
    contents = {
        b"": "unrecognised",
        b"<svg/>": "unrecognised",
        good.read_bytes()[:900]: "damaged",
        bomb(30_000): "too_large",
    }
    for content, reason in contents.items():
        bad.write_bytes(content)
        assert f"{bad}: {reason}: " in refused(capsys, "verify", good, bad, "--model", exported)
    Image.new("RGB", (112, 8)).save(bad)
    assert f"{bad}: too_small: 112 x 8" in refused(capsys, "verify", bad, good, "--model", exported)
    with open(bad, "wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert f"{bad}: too_large: 67,108,865 bytes" in refused(capsys, "verify", good, bad, "--model", exported)
    bad.unlink()
    assert f"{bad}: unreadable: No such file" in refused(capsys, "verify", good, bad, "--model", exported)
    os.mkfifo(bad)
    assert f"{bad}: not_a_file" in refused(capsys, "verify", good, bad, "--model", exported)
    assert "not_a_file" in refused(capsys, "verify", good, people, "--model", exported)


def test_what_is_missing_or_wrong_is_named(
    exported: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    face, folder = people / "ann/0.png", tmp_path / "model"
    folder.mkdir()
    assert f"{folder / MODEL}: No such file" in refused(capsys, "verify", face, face, "--model", folder)
    (folder / MODEL).write_bytes(b"no model")
    (folder / DESCRIPTION).write_text("{}")
    assert f"{folder / DESCRIPTION}: flip: " in refused(capsys, "verify", face, face, "--model", folder)
    (folder / DESCRIPTION).write_bytes((exported / DESCRIPTION).read_bytes())
    assert "not a LiteRT model" in refused(capsys, "verify", face, face, "--model", folder)

    gallery = tmp_path / "gallery.npz"
    identify = ("identify", face, gallery, "--model", exported)
    assert f"{gallery} is missing" in refused(capsys, *identify)
    gallery.write_bytes(b"no gallery")
    assert f"{gallery}: not a gallery" in refused(capsys, *identify)
    np.savez(gallery, embeddings=np.array([object()]), subjects=np.array(["ann"]), model=np.array("x"))
    assert f"{gallery}: not a gallery" in refused(capsys, *identify)  # it holds a pickle, which is not loaded
    np.savez(gallery, embeddings=np.eye(1, 16, dtype="f4"), subjects=np.array(["ann"]), model=np.array("x"))
    assert f"{gallery}: enrolled with another model" in refused(capsys, *identify)
    assert "no usable image" in refused(capsys, "enrol", exported, gallery, "--model", exported)
    with pytest.raises(SystemExit) as exit_:
        dispatch(["identify", str(face), str(gallery), "--most", "0"])
    assert exit_.value.code == 2


def changed(exported: Path, folder: Path, **description: object) -> Path:
    """A copy of the exported model with another description."""
    folder.mkdir()
    (folder / MODEL).write_bytes((exported / MODEL).read_bytes())
    (folder / DESCRIPTION).write_text(
        json.dumps({"flip": False, "resize_filter": "box", "thresholds": THRESHOLDS} | description)
    )
    return folder


def test_a_gallery_of_other_embeddings_is_refused(
    exported: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A factor would be the score; zeros and NaN would be nobody; 100 numbers have no cosine with 16."""
    gallery, face = tmp_path / "people.npz", people / "ann/0.png"
    assert dispatch(["enrol", str(people), str(gallery), "--model", str(exported)]) == 0
    with np.load(gallery) as arrays:
        known = dict(arrays)
    identify = ("identify", face, gallery, "--model", exported)
    embeddings = known["embeddings"]
    longer = np.eye(6, 100, dtype="f4")
    for wrong, said in (
        (embeddings * np.float32(1e6), "not of length 1"),
        (embeddings * 0, "not of length 1"),
        (embeddings * np.float32(np.nan), "not of length 1"),
        (longer, "embeddings of 100 numbers; the model makes 16"),
    ):
        np.savez(gallery, **known | {"embeddings": wrong})
        assert said in refused(capsys, *identify)
    np.savez(gallery, **known)
    assert dispatch([*map(str, identify)]) == 0


def test_another_flip_is_another_model(
    exported: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the other flip, an enrolled image scored 0.992 against itself."""
    gallery, face = tmp_path / "people.npz", people / "ann/0.png"
    assert dispatch(["enrol", str(people), str(gallery), "--model", str(exported)]) == 0
    flipped = changed(exported, tmp_path / "flipped", flip=True)
    assert "enrolled with another model" in refused(capsys, "identify", face, gallery, "--model", flipped)
    assert dispatch(["enrol", str(people), str(gallery), "--model", str(flipped)]) == 0
    capsys.readouterr()
    assert ask(capsys, "identify", face, gallery, "--model", flipped)[1]["candidates"][0] == {
        "subject": "ann",
        "score": pytest.approx(1, abs=1e-6),
    }


@pytest.mark.parametrize(
    "threshold, said",
    [
        (float("nan"), "finite number"),
        (float("-inf"), "finite number"),
        (1e6, "less than or equal to 2.5"),
        ("1e999", "finite number"),
    ],
)
def test_a_threshold_that_is_no_cosine_is_no_answer(
    threshold: float, said: str, exported: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = changed(exported, tmp_path / "model", thresholds=THRESHOLDS | {"threshold": threshold})
    face = people / "ann/0.png"
    assert f"{model / DESCRIPTION}: thresholds.threshold: " in (
        printed := refused(capsys, "verify", face, face, "--model", model)
    )
    assert said in printed


@pytest.mark.timeout(60)  # opening a pipe waits for ever, /dev/zero has no end
def test_a_pipe_or_device_is_no_gallery_and_no_model(
    exported: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    face, pipe = people / "ann/0.png", tmp_path / "pipe"
    os.mkfifo(pipe)
    for gallery in (pipe, Path("/dev/zero")):
        assert f"{gallery} is not a file" in refused(capsys, "identify", face, gallery, "--model", exported)
    assert f"{pipe} is not a file" in refused(capsys, "enrol", people, pipe, "--model", exported)
    for name in (MODEL, DESCRIPTION):
        model = changed(exported, tmp_path / f"without {name}")
        (model / name).unlink()
        os.mkfifo(model / name)
        assert f"{model / name} is not a file" in refused(capsys, "verify", face, face, "--model", model)


def test_a_gallery_may_have_any_name_and_one_that_cannot_be_written_is_told_at_once(
    exported: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = tmp_path / "new/people"
    assert dispatch(["enrol", str(people), str(gallery), "--model", str(exported)]) == 0
    assert [path.name for path in gallery.parent.iterdir()] == ["people"]
    assert dispatch(["identify", str(people / "ann/0.png"), str(gallery), "--model", str(exported)]) == 0
    capsys.readouterr()
    monkeypatch.setattr(FaceModel, "embed", None)  # nothing may be embedded before
    blocked = people / "ann/0.png/people.npz"
    assert f"{blocked}: cannot be written" in refused(capsys, "enrol", people, blocked, "--model", exported)
    assert f"{people} is not a file" in refused(capsys, "enrol", people, people, "--model", exported)


def test_whatever_is_no_answer_ends_with_2(
    exported: Path, people: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise IndexError("whatever\nit is")

    face = people / "ann/0.png"
    monkeypatch.setattr(FaceModel, "embed", fail)
    assert refused(capsys, "verify", face, face, "--model", exported) == (
        "faces verify: unexpected IndexError: whatever it is\n"
    )
    monkeypatch.setitem(sys.modules, "faces.commands.verify", None)
    assert "faces verify: ModuleNotFoundError" in refused(capsys, "verify", face, face)


def test_an_answer_that_nobody_can_read_ends_with_2(exported: Path, people: Path) -> None:
    face = people / "ann/0.png"
    command = [sys.executable, "-m", "faces.commands.main", "verify", *map(str, (face, face, "--model", exported))]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "stages")}
    reader, writer = os.pipe()
    os.close(reader)
    with open("/dev/full", "w") as full, open(writer, "w", closefd=True) as closed:
        for stdout, said in ((full, "No space left on device"), (closed, "Broken pipe")):
            ran = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=environment, text=True)
            assert (ran.returncode, ran.stderr) == (NO_ANSWER, f"faces verify: output: {said}\n")


def test_a_name_that_the_terminal_cannot_show_is_escaped(exported: Path, people: Path, tmp_path: Path) -> None:
    (people / "ann").rename(people / "Zoë")
    gallery = tmp_path / "people.npz"
    assert dispatch(["enrol", str(people), str(gallery), "--model", str(exported)]) == 0
    command = list(map(str, ["identify", people / "Zoë/0.png", gallery, "--model", exported]))
    environment = os.environ | {"PYTHONPATH": str(ROOT / "stages"), "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run(
        [sys.executable, "-m", "faces.commands.main", *command], capture_output=True, text=True, env=environment
    )
    assert ran.stdout.startswith("Zo\\xeb\n") and ran.returncode == 0


def test_it_starts_without_tensorflow() -> None:
    commands = "import faces.commands.verify, faces.commands.enrol, faces.commands.identify"
    script = f"{commands}, sys; print({{'tensorflow', 'keras'}} & {{*sys.modules}})"
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT / "stages", capture_output=True, text=True, check=True
    )
    assert ran.stdout == "set()\n"


def test_an_embedding_without_direction_is_no_answer() -> None:
    description = Description.model_validate({"flip": False, "resize_filter": "box", "thresholds": THRESHOLDS})
    broken = FaceModel(lambda images: np.zeros((len(images), 4), "f4"), description, "")  # type: ignore[arg-type]
    with pytest.raises(StageError, match="no usable embedding"):
        broken.embed([np.zeros((112, 112, 3), np.uint8)])
