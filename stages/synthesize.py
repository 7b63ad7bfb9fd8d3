"""Draw the default data: photographs of people who do not exist.

Reads   the section `synthesize:` of params.yaml, nothing else
Writes  data/synthetic/images/<subject>/<image>.png  112 x 112 RGB crops, aligned by eyes, nose and mouth
        data/synthetic/images/attributes.csv         per image: pose, light, camera, expression, occluders
        data/synthetic/contact_sheet.png             a row per identity, a column per image
        data/synthetic/synthesize.json               counts, and the share of images with each occluder
Run     python stages/synthesize.py

Every identity and every image has its own random generator, keyed by the seed and its index: the files do not depend on
the number of workers, and more identities or images leave the others unchanged. An interrupted run continues after the
finished identities. (Without AVX2, one pixel value in 10,000 differs, by one or two of 255.)
"""

import faces.core.portable  # noqa: F401  first, since NumPy and others read its settings when they are imported

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from pydantic import Field

from faces.core.checkpoints import checkpoint_folder, finish_checkpoints
from faces.core.csv_files import write_csv
from faces.core.files import replacing, write_metrics, write_text
from faces.core.params import load_params
from faces.core.processes import map_in_processes
from faces.core.run import run
from faces.core.terminal import progress, say
from faces.core.threads import available_cores
from faces.drawing.expression import Expression
from faces.drawing.head import draw_shape
from faces.drawing.look import make_look
from faces.drawing.occlusion import OCCLUDERS
from faces.drawing.photograph import photograph
from faces.drawing.scene import Scene, SceneParams, draw_scene, random_generator
from faces.drawing.traits import draw_traits
from faces.tables.attributes import ATTRIBUTES

IMAGES, CONTACT_SHEET = Path("data/synthetic/images"), Path("data/synthetic/contact_sheet.png")
METRICS = Path("data/synthetic/synthesize.json")
CONTACT_SHEET_SUBJECTS, CONTACT_SHEET_IMAGES = 12, 12  # rows and columns, at most
Row = dict[str, str | int | float]


class SynthesizeParams(SceneParams):
    """How many images to draw, how far identities differ and, from SceneParams, how far the images of one differ."""

    subjects: int = Field(ge=1, le=1_000_000)
    images_per_subject: int = Field(ge=1, le=10_000)
    seed: int = Field(ge=0)
    workers: int = Field(ge=0, le=1024)
    geometry_variation: float = Field(ge=0, le=2)
    colour_variation: float = Field(ge=0, le=1.5)


def attributes(path: str, scene: Scene) -> Row:
    """Return an image's row of the attributes table; a column's unit is in its name, shares and flags have none."""
    camera, light = scene.camera, scene.light
    return {
        "path": path,
        "yaw_degrees": camera.yaw,
        "pitch_degrees": camera.pitch,
        "roll_degrees": camera.roll,
        "camera_metres": camera.distance,
        "light_azimuth_degrees": light.azimuth,
        "light_elevation_degrees": light.elevation,
        "light_contrast": light.contrast,
        "exposure_stops": camera.exposure,
        "blur_pixels": camera.blur,
        "noise": camera.noise,
        "resolution_pixels": camera.resolution,
        "jpeg_quality": camera.jpeg_quality,
        **{name: getattr(scene.expression, name) for name in Expression.__dataclass_fields__},
        **{name: int(getattr(scene.occluders, name)) for name in OCCLUDERS},
    }


def draw_subject(index: int, params: SynthesizeParams, folder: Path) -> list[Row]:
    """Draw an identity's images into `folder`/images/<subject>, unless a former run did; return their attributes."""
    subject = f"{index:04d}"
    images, finished = folder / "images" / subject, folder / f"{subject}.json"
    if finished.exists() and images.exists():
        with suppress(ValueError):
            return json.loads(finished.read_text(encoding="utf-8"))
    shutil.rmtree(images, ignore_errors=True)  # left by an interrupted run
    images.mkdir(parents=True)
    rows = draw_images(index, subject, params, images)
    write_text(finished, json.dumps(rows))
    return rows


def draw_images(index: int, subject: str, params: SynthesizeParams, folder: Path) -> list[Row]:
    """Draw an identity's images into `folder`; return their attributes."""
    cv2.setNumThreads(1)  # the worker processes already use all cores
    rng = random_generator(params.seed, index)
    shape = draw_shape(rng, params.geometry_variation)
    look = make_look(rng, draw_traits(rng, params.colour_variation))
    rows = []
    for number in range(params.images_per_subject):
        rng = random_generator(params.seed, index, number)
        scene = draw_scene(rng, params)
        picture = photograph(shape, look, scene, rng)
        name = f"{number:03d}.png"
        _, data = cv2.imencode(".png", picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 3])
        with replacing(folder / name) as temporary:
            temporary.write_bytes(data.tobytes())  # cv2.imwrite would not say why it fails
        rows.append(attributes(f"{subject}/{name}", scene))
    return rows


def draw_subjects(params: SynthesizeParams, folder: Path) -> Iterator[list[Row]]:
    """Draw all identities into `folder`, in parallel; yield the attributes of each, in order."""
    workers = min(params.workers or available_cores(), params.subjects)
    draw = partial(draw_subject, params=params, folder=folder)
    return map_in_processes(draw, range(params.subjects), workers, "synthesize.workers")


def put_in_place(folder: Path, path: Path) -> None:
    """Rename `folder` to `path`; the former content of `path` is removed last."""
    old = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(old, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.rename(old)
    folder.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def write_contact_sheet(params: SynthesizeParams, folder: Path) -> None:
    """Write the first images of the first identities as one picture."""
    subjects = range(min(CONTACT_SHEET_SUBJECTS, params.subjects))
    numbers = range(min(CONTACT_SHEET_IMAGES, params.images_per_subject))
    rows = [np.hstack([cv2.imread(str(folder / f"{s:04d}/{n:03d}.png")) for n in numbers]) for s in subjects]
    with replacing(CONTACT_SHEET) as temporary:
        temporary.write_bytes(cv2.imencode(".png", np.vstack(rows))[1].tobytes())


def summarise(table: pd.DataFrame, subjects: int) -> dict[str, int | float]:
    """Return the metrics: counts, and the share of images with each occluder."""
    counts: dict[str, int | float] = {"subjects": subjects, "images": len(table)}
    shares = {f"share_{name}": round(float(table[name].mean()), 6) for name in OCCLUDERS}
    return counts | shares | {"share_occluded": round(float(table[list(OCCLUDERS)].any(axis=1).mean()), 6)}


def main() -> None:
    """Draw everything into a checkpoint folder, then put it in place of the former output."""
    params = load_params("synthesize", SynthesizeParams)
    started = time.monotonic()
    folder = checkpoint_folder("synthesize", params, ignored={"workers"})
    if done := len(list(folder.glob("*.json"))):
        say(f"resuming after {done} of {params.subjects} identities, from {folder}")
    drawn = progress(draw_subjects(params, folder), "synthesize", params.subjects, "identity")
    table = pd.DataFrame([row for rows in drawn for row in rows])
    write_contact_sheet(params, folder / "images")
    write_csv(folder / "images" / ATTRIBUTES, table)
    write_metrics(METRICS, summarise(table, params.subjects))
    put_in_place(folder / "images", IMAGES)
    finish_checkpoints(folder)
    say(f"{IMAGES}: {len(table)} images of {params.subjects} identities in {time.monotonic() - started:.0f} seconds")


if __name__ == "__main__":
    run(main)
