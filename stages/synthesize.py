"""Draw the default data: photographs of people who do not exist.

Reads   the section `synthesize:` of params.yaml, nothing else
Writes  data/synthetic/images/<subject>/<image>.png  112 x 112 RGB crops, aligned by eyes, nose and mouth
        data/synthetic/images/attributes.csv         a row an image: pose, light, camera, expression, what is worn
        data/synthetic/contact_sheet.png             a row an identity, a column an image
        metrics/synthesize.json                      counts, and the share of images with each occlusion
Run     python stages/synthesize.py

Every identity and every image has random numbers of its own, keyed by the seed and its place. So the same seed gives
the same files whatever the number of workers, and asking for more identities or images leaves the others as they were.
An interrupted run goes on after the identities that are finished.
(A processor without AVX2 rounds otherwise: there, one value in ten thousand differs, by one or two of 255.)
"""

import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from pydantic import Field

from faces.core.checkpoints import checkpoint_folder, finish_checkpoints
from faces.core.csv_files import write_csv
from faces.core.errors import StageError
from faces.core.files import replacing, write_metrics, write_text
from faces.core.image_size import SIDE
from faces.core.params import Params, load_params
from faces.core.run import run
from faces.core.terminal import progress, say
from faces.core.threads import available_cores
from faces.drawing.camera import Camera
from faces.drawing.head import Expression, draw_shape
from faces.drawing.occlusion import Worn
from faces.drawing.photograph import Light, Scene, photograph
from faces.drawing.skin import make_look
from faces.drawing.traits import draw_traits
from faces.tables.attributes import ATTRIBUTES

IMAGES = Path("data/synthetic/images")
CONTACT_SHEET = Path("data/synthetic/contact_sheet.png")
METRICS = Path("metrics/synthesize.json")
OCCLUSIONS = ("glasses", "sunglasses", "mask", "cap", "hand", "bar")
GAZE_MM_PER_DEGREE = 0.2  # an iris turns on a ball of 12 mm radius

Row = dict[str, str | int | float]


class SynthesizeParams(Params):
    """What to draw, and how far it varies."""

    subjects: int = Field(ge=1, le=1_000_000)
    images_per_subject: int = Field(ge=1, le=10_000)
    seed: int = Field(ge=0)
    workers: int = Field(ge=0, le=1024)
    geometry_variation: float = Field(ge=0, le=2)
    colour_variation: float = Field(ge=0, le=1.5)
    yaw_degrees: float = Field(ge=0, le=75)
    pitch_degrees: float = Field(ge=0, le=40)
    roll_degrees: float = Field(ge=0, le=90)
    nearest_camera_metres: float = Field(ge=0.3, le=10)
    expression: float = Field(ge=0, le=1.5)
    gaze_degrees: float = Field(ge=0, le=30)
    light_degrees: float = Field(ge=0, le=120)
    light_contrast: float = Field(ge=0, le=1)
    light_colour: float = Field(ge=0, le=1)
    exposure_stops: float = Field(ge=0, le=3)
    background_contrast: float = Field(ge=0, le=2)
    blur_pixels: float = Field(ge=0, le=5)
    noise: float = Field(ge=0, le=0.3)
    lowest_resolution_pixels: int = Field(ge=16, le=SIDE)
    lowest_jpeg_quality: int = Field(ge=1, le=100)
    alignment_jitter_pixels: float = Field(ge=0, le=8)
    glasses_probability: float = Field(ge=0, le=1)
    sunglasses_probability: float = Field(ge=0, le=1)
    mask_probability: float = Field(ge=0, le=1)
    cap_probability: float = Field(ge=0, le=1)
    hand_probability: float = Field(ge=0, le=1)
    bar_probability: float = Field(ge=0, le=1)
    contact_sheet_subjects: int = Field(ge=1, le=100)
    contact_sheet_images: int = Field(ge=1, le=100)


def random_numbers(seed: int, *place: int) -> np.random.Generator:
    """Return the generator of one identity (place: its index) or one image (its identity's index, its own index)."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=place))


def swing(rng: np.random.Generator, amplitude: float) -> float:
    """Draw from a bell between -amplitude and amplitude."""
    return float(amplitude * (2 * rng.beta(2.2, 2.2) - 1))


def draw_scene(rng: np.random.Generator, params: SynthesizeParams) -> Scene:
    """Draw all that sets one image apart; every number is drawn whatever the others are."""
    return Scene(
        camera=_draw_camera(rng, params),
        light=_draw_light(rng, params),
        expression=_draw_expression(rng, params.expression),
        worn=_draw_worn(rng, params),
        gaze=(
            swing(rng, params.gaze_degrees) * GAZE_MM_PER_DEGREE,
            swing(rng, 0.5 * params.gaze_degrees) * GAZE_MM_PER_DEGREE,
        ),
        background_contrast=float(params.background_contrast * rng.uniform(0.2, 1)),
    )


def _draw_camera(rng: np.random.Generator, params: SynthesizeParams) -> Camera:
    poor = rng.beta(1, 2.5, 3)  # most pictures are good, a few are bad
    return Camera(
        yaw=swing(rng, params.yaw_degrees),
        pitch=swing(rng, params.pitch_degrees),
        roll=swing(rng, params.roll_degrees),
        distance=float(params.nearest_camera_metres * np.exp(rng.uniform(0, 2))),
        jitter=(params.alignment_jitter_pixels * rng.standard_normal((5, 2))).astype(np.float32),
        exposure=swing(rng, params.exposure_stops),
        blur=float(params.blur_pixels * poor[0]),
        blur_angle=float(rng.uniform(0, 180)),
        blur_stretch=float(1 + 1.5 * rng.beta(1, 3)),
        noise=float(params.noise * poor[1]),
        resolution=int(round(SIDE - (SIDE - params.lowest_resolution_pixels) * poor[2])),
        jpeg_quality=int(round(100 - (100 - params.lowest_jpeg_quality) * rng.uniform(0, 1))),
    )


def _draw_light(rng: np.random.Generator, params: SynthesizeParams) -> Light:
    warmth = params.light_colour * rng.normal(0, 0.28, 2)
    tint = params.light_colour * rng.normal(0, 0.10, 2)
    lamp, ambient = (np.exp([w, t, -w]).astype(np.float32) for w, t in zip(warmth, tint, strict=True))
    return Light(
        azimuth=swing(rng, params.light_degrees),
        elevation=float(np.clip(20 + swing(rng, 0.75 * params.light_degrees), -35, 80)),
        contrast=float(params.light_contrast * rng.beta(1.6, 1.1)),
        colour=lamp,
        ambient_colour=ambient,
    )


def _draw_expression(rng: np.random.Generator, strength: float) -> Expression:
    smiles, opens, blinks, raises, frowns, pouts = rng.random(6) < [0.45, 0.35, 0.07, 0.25, 0.15, 0.1]
    amount = rng.uniform(0.2, 1.0, 6) * strength
    return Expression(
        smile=float(smiles * amount[0]),
        mouth_open=float(np.clip(opens * amount[1] ** 1.5, 0, 1.2)),
        eyes_closed=float(min(1.0, blinks * amount[2] * 1.2 + 0.22 * strength * rng.random())),
        brow_raise=float(raises * amount[3]),
        frown=float(frowns * amount[4]),
        pout=float(pouts * amount[5]),
    )


def _draw_worn(rng: np.random.Generator, params: SynthesizeParams) -> Worn:
    chances = [getattr(params, f"{kind}_probability") for kind in OCCLUSIONS]
    return Worn(
        **{kind: bool(worn) for kind, worn in zip(OCCLUSIONS, rng.random(len(OCCLUSIONS)) < chances, strict=True)}
    )


def attributes(path: str, scene: Scene) -> Row:
    """Return one row of the table of attributes; a column's unit is in its name, shares and flags have none."""
    camera, light, worn = scene.camera, scene.light, scene.worn
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
        **{kind: int(getattr(worn, kind)) for kind in OCCLUSIONS},
    }


def draw_subject(index: int, params: SynthesizeParams, folder: Path) -> list[Row]:
    """Draw all images of one identity into `folder`/images/<subject>, unless it is there; return their attributes."""
    subject = f"{index:04d}"
    images, finished = folder / "images" / subject, folder / f"{subject}.json"
    if finished.exists() and images.exists():
        with suppress(ValueError):
            return json.loads(finished.read_text(encoding="utf-8"))
    shutil.rmtree(images, ignore_errors=True)  # of a run that was cut off
    images.mkdir(parents=True)
    rows = draw_images(index, subject, params, images)
    write_text(finished, json.dumps(rows))
    return rows


def draw_images(index: int, subject: str, params: SynthesizeParams, folder: Path) -> list[Row]:
    """Draw all images of one identity into `folder`; return their attributes."""
    cv2.setNumThreads(1)  # the workers are the parallelism
    rng = random_numbers(params.seed, index)
    shape = draw_shape(rng, params.geometry_variation)
    look = make_look(rng, draw_traits(rng, params.colour_variation))
    rows = []
    for number in range(params.images_per_subject):
        rng = random_numbers(params.seed, index, number)
        scene = draw_scene(rng, params)
        picture = photograph(shape, look, scene, rng)
        name = f"{number:03d}.png"
        _, data = cv2.imencode(".png", picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 3])
        with replacing(folder / name) as temporary:
            temporary.write_bytes(data.tobytes())  # unlike cv2.imwrite, it says why it fails
        rows.append(attributes(f"{subject}/{name}", scene))
    return rows


def draw_subjects(params: SynthesizeParams, folder: Path) -> Iterator[list[Row]]:
    """Yield the attributes of each identity, in order, as all of them are drawn into `folder` by all workers."""
    draw = partial(draw_subject, params=params, folder=folder)
    workers = min(params.workers or available_cores(), params.subjects)
    if workers == 1:
        yield from map(draw, range(params.subjects))
        return
    # Spawned, not forked: a fork copies locks that other threads hold.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_live_and_die_with_the_parent)
    try:
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited by the workers while they start
        drawn = pool.map(draw, range(params.subjects))
        signal.signal(signal.SIGINT, handler)
        yield from drawn
    except BrokenProcessPool:
        raise StageError(f"a worker was killed, probably for want of memory; synthesize.workers: {workers}") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _live_and_die_with_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    threading.Thread(target=_exit_after, args=[multiprocessing.parent_process()], daemon=True).start()


def _exit_after(parent: BaseProcess) -> None:
    parent.join()  # a parent that is killed cannot end its workers
    os._exit(1)


def put_in_place(folder: Path, path: Path) -> None:
    """Make `folder` the new `path`; what was there goes last."""
    old = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(old, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.rename(old)
    folder.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def write_contact_sheet(params: SynthesizeParams, folder: Path) -> None:
    """Write the first images of the first identities as one picture."""
    subjects = range(min(params.contact_sheet_subjects, params.subjects))
    numbers = range(min(params.contact_sheet_images, params.images_per_subject))
    rows = [np.hstack([cv2.imread(str(folder / f"{s:04d}/{n:03d}.png")) for n in numbers]) for s in subjects]
    with replacing(CONTACT_SHEET) as temporary:
        temporary.write_bytes(cv2.imencode(".png", np.vstack(rows))[1].tobytes())


def summarise(table: pd.DataFrame, subjects: int) -> dict[str, int | float]:
    """Return the metrics: counts, and the share of images with each occlusion."""
    counts: dict[str, int | float] = {"subjects": subjects, "images": len(table)}
    shares = {f"share_{kind}": round(float(table[kind].mean()), 6) for kind in OCCLUSIONS}
    return counts | shares | {"share_occluded": round(float(table[list(OCCLUSIONS)].any(axis=1).mean()), 6)}


def main() -> None:
    """Draw everything aside, then put it in the place of what was there."""
    params = load_params("synthesize", SynthesizeParams)
    started = time.monotonic()
    folder = checkpoint_folder("synthesize", params, ignored={"workers"})
    if done := len(list(folder.glob("*.json"))):
        say(f"going on after {done} of {params.subjects} identities, from {folder}")
    drawn = progress(draw_subjects(params, folder), "synthesize", params.subjects, "identity")
    table = pd.DataFrame([row for rows in drawn for row in rows])
    write_contact_sheet(params, folder / "images")
    write_csv(folder / "images" / ATTRIBUTES, table)
    write_metrics(METRICS, summarise(table, params.subjects))
    put_in_place(folder / "images", IMAGES)
    finish_checkpoints(folder)
    pace = len(table) / (time.monotonic() - started)
    say(f"{IMAGES}: {len(table)} images of {params.subjects} identities, {pace:.0f} a second")


if __name__ == "__main__":
    run(main)
