import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

import synthesize
from faces.core.errors import StageError
from faces.core.params import check_params, load_params
from faces.drawing.camera import View
from faces.drawing.expression import pose_expression
from faces.drawing.head import draw_shape, landmarks
from faces.drawing.occlusion import OCCLUDERS
from faces.drawing.scene import draw_scene, random_generator
from faces.images.alignment import TEMPLATE
from synthesize import (
    SynthesizeParams,
    draw_subject,
    main,
    put_in_place,
)

SMALL: dict[str, Any] = {
    "subjects": 3,
    "images_per_subject": 2,
    "seed": 5,
    "workers": 1,
    "geometry_variation": 1.0,
    "colour_variation": 1.0,
    "yaw_degrees": 40.0,
    "pitch_degrees": 18.0,
    "roll_degrees": 25.0,
    "nearest_camera_metres": 0.5,
    "expression": 1.0,
    "gaze_degrees": 20.0,
    "light_degrees": 80.0,
    "light_contrast": 0.85,
    "light_colour": 0.7,
    "exposure_stops": 0.8,
    "background_contrast": 0.8,
    "blur_pixels": 1.5,
    "noise": 0.05,
    "lowest_resolution_pixels": 40,
    "lowest_jpeg_quality": 35,
    "alignment_jitter_pixels": 1.0,
    **{f"{kind}_probability": 0.2 for kind in OCCLUDERS},
}
COUNTS = ("subjects", "images_per_subject", "seed", "workers")
# Nothing varies but who it is, what the room is like and, a little, where the lamp is.
CALM: dict[str, Any] = {
    **{key: 0.0 for key in SMALL if key.endswith(("_degrees", "_probability", "_pixels")) and "lowest" not in key},
    "expression": 0.0,
    "light_colour": 0.0,
    "exposure_stops": 0.0,
    "noise": 0.0,
    "lowest_resolution_pixels": 112,
    "lowest_jpeg_quality": 100,
    "nearest_camera_metres": 1.0,
}


def params(**changes: object) -> SynthesizeParams:
    return check_params(SMALL | changes, SynthesizeParams, "params.yaml: synthesize")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    return tmp_path


def write(folder: Path, **changes: object) -> None:
    (folder / "params.yaml").write_text(yaml.safe_dump({"synthesize": SMALL | changes}), encoding="utf-8")


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def picture(folder: Path, index: int, number: int) -> np.ndarray:
    return np.asarray(cv2.imread(str(folder / f"{index:04d}" / f"{number:03d}.png")), np.float64)


def test_a_small_run_writes_images_tables_and_counts(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesize, "CONTACT_SHEET_SUBJECTS", 2)
    main()
    images = sorted(path.relative_to(project).as_posix() for path in project.glob("data/synthetic/images/*/*"))
    assert images == [f"data/synthetic/images/000{s}/00{n}.png" for s in range(3) for n in range(2)]
    for path in images:
        assert picture(Path(path).parents[1], int(path[-12:-8]), int(path[-7:-4])).shape == (112, 112, 3)
    table = pd.read_csv("data/synthetic/images/attributes.csv")
    assert [f"data/synthetic/images/{path}" for path in table["path"]] == images
    assert table["yaw_degrees"].abs().max() <= 40 and table["yaw_degrees"].nunique() == 6
    metrics = yaml.safe_load(Path("data/synthetic/synthesize.json").read_text(encoding="utf-8"))
    assert (metrics["subjects"], metrics["images"]) == (3, 6)
    assert metrics["share_glasses"] == pytest.approx(table["glasses"].mean(), abs=1e-6)
    sheet = cv2.imread("data/synthetic/contact_sheet.png")
    assert (sheet[112:, :112] == picture(project / "data/synthetic/images", 1, 0)).all()
    assert not list(project.glob("data/synthetic/.*"))


def test_the_same_bytes_from_one_worker_and_from_two(project: Path) -> None:
    main()
    alone = digests(project / "data")
    write(project, workers=2)
    main()
    assert digests(project / "data") == alone
    write(project, seed=6)
    main()
    other = digests(project / "data")
    assert other.keys() == alone.keys() and not set(other.values()) & set(alone.values())


def test_more_identities_and_images_leave_the_others_as_they_were(tmp_path: Path) -> None:
    few, many = tmp_path / "few", tmp_path / "many"
    for folder, wanted in ((few, params()), (many, params(subjects=9, images_per_subject=4))):
        draw_subject(1, wanted, folder)
    assert len(digests(many / "images")) == 4
    assert digests(few / "images").items() <= digests(many / "images").items()


@pytest.mark.parametrize("index", range(4))
def test_faces_stand_at_the_template_without_jitter(index: int) -> None:
    calm = params(**CALM)
    shape = draw_shape(random_generator(1, index), 1.0)
    marks = landmarks(pose_expression(shape, draw_scene(random_generator(1, index, 0), calm).expression))
    scene = draw_scene(random_generator(1, index, 0), calm)
    view = View(scene.camera, marks)
    # One similarity has 4 degrees of freedom for 10 coordinates: what is left is how faces differ, in pixels.
    off = view.to_crop(view.to_camera(marks)) - TEMPLATE
    assert np.abs(off.mean(axis=0)).max() < 1e-3
    assert np.abs(off).max() < 7
    # A tilted head is set upright again: alignment undoes the roll.
    tilted = View(replace(scene.camera, roll=30.0), marks)
    np.testing.assert_allclose(tilted.to_crop(tilted.to_camera(marks)) - TEMPLATE, off, atol=0.05)


def test_identities_differ_more_than_images_of_one_identity(tmp_path: Path) -> None:
    calm = params(**CALM | {"light_contrast": 0.0, "background_contrast": 0.0})
    for index in range(4):
        draw_subject(index, calm, tmp_path)
    faces = np.array([[picture(tmp_path / "images", s, n)[30:100, 30:82] for n in range(2)] for s in range(4)])
    within = np.abs(faces[:, 0] - faces[:, 1]).mean(axis=(1, 2, 3))
    between = [np.abs(faces[a, 0] - faces[b, 0]).mean() for a in range(4) for b in range(a)]
    # In still light the face alone differs, so two images of a person are the same but for the exposure's rounding.
    assert within.max() < 1.5 < 5 < min(between)


@pytest.mark.parametrize("kind", OCCLUDERS)
def test_probabilities_decide_what_is_worn(kind: str) -> None:
    none = params(**{f"{each}_probability": 0.0 for each in OCCLUDERS})
    always = none.model_copy(update={f"{kind}_probability": 1.0})
    for number in range(5):
        assert not any(vars(draw_scene(random_generator(0, 0, number), none).occluders).values())
        assert getattr(draw_scene(random_generator(0, 0, number), always).occluders, kind)


def test_shares_follow_the_probabilities() -> None:
    some = params(glasses_probability=0.3)
    worn = [draw_scene(random_generator(0, 0, n), some).occluders.glasses for n in range(1000)]
    assert np.mean(worn) == pytest.approx(0.3, abs=0.06)  # four standard deviations of a share of 1000


@pytest.mark.parametrize("key", [key for key in SMALL if key not in COUNTS])
def test_every_range_is_read(key: str, tmp_path: Path) -> None:
    changed = {"nearest_camera_metres": 1.5, "lowest_resolution_pixels": 112, "lowest_jpeg_quality": 100}.get(key, 0.0)
    if key.endswith("_probability"):
        changed = 1.0
    before, after = tmp_path / "before", tmp_path / "after"
    for folder, wanted in ((before, params()), (after, params(**{key: changed}))):
        draw_subject(0, wanted, folder)
    assert digests(before / "images") != digests(after / "images")


@pytest.mark.parametrize(
    "key, value, allowed",
    [
        ("subjects", 0, "greater than or equal to 1"),
        ("yaw_degrees", 90.0, "less than or equal to 75"),
        ("mask_probability", 1.5, "less than or equal to 1"),
        ("lowest_jpeg_quality", 0, "greater than or equal to 1"),
        ("workers", "all", "valid integer"),
        ("yaw", 3, "unknown key"),
    ],
)
def test_a_wrong_parameter_is_named(project: Path, key: str, value: object, allowed: str) -> None:
    write(project, **{key: value})
    with pytest.raises(StageError, match=rf"synthesize\.{key}: .*{allowed}"):
        load_params("synthesize", SynthesizeParams)
    with pytest.raises(StageError):
        main()
    assert not (project / "data").exists()


def test_a_run_that_fails_leaves_the_old_images_and_the_next_one_goes_on(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main()
    old = digests(project / "data") | digests(project / "metrics")
    write(project, seed=6)
    draw: Callable[..., Any] = synthesize.draw_images
    drawn: list[int] = []

    def fails_once_at_the_second(index: int, *arguments: Any) -> Any:
        drawn.append(index)
        rows = draw(index, *arguments)
        if len(drawn) == 2:
            raise OSError(28, "No space left on device")
        return rows

    monkeypatch.setattr(synthesize, "draw_images", fails_once_at_the_second)
    with pytest.raises(OSError, match="No space"):
        main()
    assert digests(project / "data") | digests(project / "metrics") == old
    main()
    assert drawn == [0, 1, 1, 2]  # what was finished was not drawn again
    resumed = digests(project / "data") | digests(project / "metrics")
    monkeypatch.undo()
    monkeypatch.chdir(project)
    shutil.rmtree("models")
    main()
    assert digests(project / "data") | digests(project / "metrics") == resumed != old


def test_images_take_the_place_of_what_a_killed_run_left(tmp_path: Path) -> None:
    for name in ("new", "images", ".images.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name.strip(".")).write_text("", encoding="utf-8")
    put_in_place(tmp_path / "new", tmp_path / "images")
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["images", "images/new"]
