"""Every broken input of tests/broken is named, whatever lay beside it is still there, and nothing hangs.

A stage is run as its user runs it. `pytest tests/test_broken_inputs.py -rP -k how_many` prints how many there are.
"""

import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from broken.files import BrokenFile
from broken.images import IMAGES, WHOLE, BrokenImage, whole_images
from broken.parameters import ARGUMENTS, SETTINGS
from broken.tables import TABLES_AND_ARRAYS
from broken.weights import INITIAL, NETWORKS, SIMILARITY, WEIGHTS
from faces.core.run import run_and_exit
from faces.images.rejection import REASONS
from image_files import encoded, noise
from small_project import run_stage, working_in, write_params

HANDED_ON = [*TABLES_AND_ARRAYS, *SIMILARITY]
FILES = [*SETTINGS, *HANDED_ON, *NETWORKS]

pytestmark = pytest.mark.timeout(180)  # nothing may hang; the first case may have to wait for the small project

SUBJECTS = ("a", "broken", "names", "z")
GOOD = {
    f"{subject}/good {number}.png": noise(112, 112, len(subject) + number)
    for subject in SUBJECTS
    for number in range(4)
}


# Images


class Packed(NamedTuple):
    """What the pack stage made of a folder."""

    pixels: dict[str, NDArray[np.uint8]]
    rejected: dict[str, tuple[str, str]]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """Pack one folder with all broken images and the good ones."""
    root = tmp_path_factory.mktemp("images")
    with working_in(root):
        source = root / "faces"
        source.mkdir()
        with working_in(source):  # the path of a socket must be short
            for path, pixels in GOOD.items():
                Path(path).parent.mkdir(exist_ok=True)
                Path(path).write_bytes(encoded(Image.fromarray(pixels)))
            for image in IMAGES:
                subject, _, file = image.path.partition("/")
                if file:
                    Path(subject).mkdir(exist_ok=True)
                image.make(image.path)
        write_params(
            root, sources={"faces": {"path": "faces"}}, pack={"max_images_per_subject": 0, "shard_images": 100_000}
        )
        run_stage("pack", "faces")
        table, rejects = (
            pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
            for path in ("data/packed/faces/00000.csv", "data/rejected/faces.csv")
        )
        assert rejects["path"].is_unique
        return Packed(
            dict(zip(table["path"], np.load("data/packed/faces/00000.npy"), strict=True)),
            {path: (reason, detail) for path, reason, detail in rejects.itertuples(index=False)},
        )


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: ascii(image.path))
def test_an_image_is_rejected_by_name_or_packed_whole(packed: Packed, image: BrokenImage) -> None:
    listed = os.fsencode(image.path).decode("utf-8", "backslashreplace").replace("\r", "\\r")
    if listed in packed.rejected:
        reason, detail = packed.rejected[listed]
        assert reason in image.reasons and reason in REASONS
        assert detail
        assert image.path not in packed.pixels
    else:
        assert image.may_be_whole or not image.reasons, "it was packed"
        np.testing.assert_array_equal(packed.pixels[image.path], _whole(image.path))


def _whole(path: str) -> NDArray[np.uint8]:
    """Return the pixels of the file that `path` was cut from."""
    ending = path.rpartition(".")[2]
    return np.asarray(Image.open(io.BytesIO(whole_images()[ending])).convert("RGB")) if " of " in path else WHOLE


def test_all_good_images_beside_them_are_packed_and_nothing_else_is_listed(packed: Packed) -> None:
    for path, pixels in GOOD.items():
        np.testing.assert_array_equal(packed.pixels[path], pixels)
    assert len(packed.pixels) + len(packed.rejected) == len(GOOD) + len(IMAGES)


# Everything else

State = dict[str, tuple[int, int, int]]


def _state(apart: str) -> State:
    """Return what would change if a file were written, of all files but params.yaml, `apart`, and timings."""
    found = {}
    for folder in ("data", "models", "metrics"):
        for path in Path(folder).rglob("*"):
            if path.as_posix() != apart and path.is_file() and "speed" not in path.parts:
                status = path.stat()
                found[path.as_posix()] = (status.st_ino, status.st_mtime_ns, status.st_size)
    return found


def _contents(apart: str) -> dict[str, bytes]:
    return {path: Path(path).read_bytes() for path in _state(apart)}


def _copy(pristine: Path, folder: Path) -> None:
    shutil.copytree(pristine, folder)
    shutil.copy2(folder / WEIGHTS, folder / INITIAL)


@pytest.fixture(scope="module")
def pristine(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished small project, with rows in data/duplicates.csv to be broken: none of its images is a copy."""
    folder = tmp_path_factory.mktemp("with_copies") / "project"
    shutil.copytree(pristine, folder)
    rows = [f"drawn,{image},{image // 2}\n" for image in range(12)]
    (folder / "data/duplicates.csv").write_text("source,row,group\n" + "".join(rows), encoding="utf-8")
    with working_in(folder):
        run_stage("split")
    return folder


@pytest.fixture(scope="module")
def shared(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished small project for this module, so that not every case needs its own."""
    folder = tmp_path_factory.mktemp("shared") / "project"
    _copy(pristine, folder)
    return folder


Breaker = Callable[[BrokenFile], None]


@pytest.fixture
def broken(shared: Path, pristine: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Breaker]:
    """Break one file of the project; afterwards, see to it that nothing else has changed, and mend it."""
    monkeypatch.chdir(shared)
    case, before = list[BrokenFile](), State()

    def break_it(broken_file: BrokenFile) -> None:
        broken_file.make(Path(broken_file.path))
        case.append(broken_file)
        before.update(_state(apart=broken_file.path))

    yield break_it
    path = Path(case[0].path)
    unchanged = not case[0].said or _state(apart=case[0].path) == before
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    shutil.copy2(pristine / (WEIGHTS if case[0].path == INITIAL else case[0].path), path)
    if not unchanged:
        shutil.rmtree(shared)
        _copy(pristine, shared)
    assert unchanged, "an output was written or lost"


def _check_error(printed: str, said: tuple[str, ...]) -> None:
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    for words in said:
        assert any(words in line for line in errors), printed
    assert len(printed) < 5000  # a line, not a dump of the file


def _is_named_or_harmless(case: BrokenFile, fails_with: Callable[..., str], pristine: Path) -> None:
    arguments = ARGUMENTS.get(case.stage, ())
    if case.said:
        _check_error(fails_with(case.stage, *arguments), case.said)
        return
    run_stage(case.stage, *arguments)
    after = _contents(case.path)
    with working_in(pristine):
        expected = _contents(case.path)
    assert {path: content for path, content in after.items() if path != INITIAL} == expected


@pytest.mark.slow  # half a minute
@pytest.mark.parametrize("case", SETTINGS, ids=lambda case: ascii(case.name))
def test_a_wrong_setting_is_named(
    case: BrokenFile, broken: Breaker, fails_with: Callable[..., str], pristine: Path
) -> None:
    broken(case)
    _is_named_or_harmless(case, fails_with, pristine)


@pytest.mark.parametrize("case", HANDED_ON, ids=lambda case: ascii(case.name))
def test_a_broken_file_between_stages_is_named(
    case: BrokenFile, broken: Breaker, fails_with: Callable[..., str], pristine: Path
) -> None:
    broken(case)
    if case.stage == "similarity" and not case.said:  # takes seconds to run
        from faces.tables.pair_table import read_pair_table

        pd.testing.assert_frame_equal(read_pair_table(Path(case.path), 36), read_pair_table(pristine / case.path, 36))
    else:
        _is_named_or_harmless(case, fails_with, pristine)


@pytest.fixture(scope="module")
def network() -> Any:
    """The small project's network, built once, since building takes most of the time."""
    from faces.network import mobilefacenet

    return mobilefacenet.build(0.125, 16)


@pytest.mark.parametrize("case", NETWORKS, ids=lambda case: ascii(case.name))
def test_a_broken_network_is_named(
    case: BrokenFile,
    broken: Breaker,
    network: Any,
    fails_with: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    from faces.network import weights

    broken(case)
    before = [array.copy() for array in network.get_weights()]
    if case.path == WEIGHTS:
        printed = _fails(lambda: weights.load_weights(network, Path(WEIGHTS)), capsys)
    elif case.path == INITIAL:
        printed = _fails(lambda: weights.load_initial_weights(network, Path(INITIAL)), capsys)
    else:
        printed = fails_with(case.stage)
    _check_error(printed, case.said)
    for array, as_it_was in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(array, as_it_was)


def _fails(main: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as exit_:
        patch.setattr(sys, "argv", ["stage.py"])
        run_and_exit(main)
    printed = capsys.readouterr().err
    assert exit_.value.code == 1 and "Traceback" not in printed
    return printed


WHOLE_STAGE = [case for case in NETWORKS if case.name.endswith((": of another width", ": cut at 50%", ": no groups"))]


@pytest.mark.parametrize("case", WHOLE_STAGE, ids=lambda case: ascii(case.name))
def test_a_stage_names_weights_that_do_not_fit(
    case: BrokenFile, broken: Breaker, fails_with: Callable[..., str], shared: Path
) -> None:
    broken(case)
    write_params(shared, train={"initial_weights": INITIAL} | {"width": 0.125, "embedding_size": 16, "epochs": 1})
    try:
        _check_error(fails_with(case.stage), case.said)
    finally:
        write_params(shared)


def test_how_many() -> None:
    names = [case.name for case in FILES] + [image.path for image in IMAGES]
    assert len(set(names)) == len(names)
    harmless = sum(not case.said for case in FILES) + sum(not image.reasons for image in IMAGES)
    print(f"{len(names) - harmless} broken inputs, all named; {harmless} odd ones, all read as they should be")
    assert len(names) - harmless == 4194  # which docs/guarantees.md states
