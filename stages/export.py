"""Export the backbone to the formats that phones and servers take, and measure what each costs.

Reads   models/backbone.{json,weights.h5}, models/threshold.json, data/split.csv, data/packed, data/pairs.csv
Writes  models/export/backbone.keras          Keras's own layers alone
        models/export/backbone_float32.tflite, backbone_float16.tflite, backbone_int8.tflite
                                              for LiteRT, an image at a time; int8 is calibrated on training images
        models/export/backbone.onnx           any number of images
        models/export/model.json              what a program must know beside: input, output, mirror images, thresholds
        metrics/export.json                   by format: bytes, how far it is from Keras, verification accuracy
        metrics/speed/export.json             milliseconds an image, by format and number of threads
Run     python stages/export.py

A format whose embedding of any compared image has a cosine to Keras's below its limit ends the stage.
"""

import json
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from faces.core.errors import StageError
from faces.core.files import replacing, write_metrics, write_text
from faces.core.params import Params, load_params
from faces.core.quiet import quiet_stderr
from faces.core.run import run
from faces.core.terminal import say
from faces.core.threads import load_threads
from faces.evaluation.roc import area_under_roc
from faces.evaluation.threshold import THRESHOLD_PATH, read_thresholds
from faces.evaluation.verification import accuracy
from faces.inference.embedder import Embedder
from faces.tables.embeddings import EmbedParams, cosine_of_pairs, lengths, unit_length
from faces.tables.packed_images import PackedImages
from faces.tables.pair_table import PAIRS_PATH, read_pair_table
from faces.tables.split_table import TEST_SEEN, TEST_UNSEEN, TRAIN, images_of, read_split

FOLDER = Path("models/export")
FILES = {
    "keras": FOLDER / "backbone.keras",
    "float32": FOLDER / "backbone_float32.tflite",
    "float16": FOLDER / "backbone_float16.tflite",
    "int8": FOLDER / "backbone_int8.tflite",
    "onnx": FOLDER / "backbone.onnx",
}
TIMED_THREADS = (1, 2)

Images = NDArray[np.uint8]
Embeddings = NDArray[np.float32]


class ExportParams(Params):
    calibration_images: int = Field(ge=1)
    compared_pairs: int = Field(ge=2)
    lowest_cosine: float = Field(ge=0, le=1)
    lowest_cosine_int8: float = Field(ge=0, le=1)
    timed_images: int = Field(ge=1)
    timed_rounds: int = Field(ge=1)
    seed: int = Field(ge=0)


class Compared(NamedTuple):
    """Pairs by which formats are compared: images (n, 112, 112, 3), and pairs of their rows, 1 for genuine ones."""

    images: Images
    a: NDArray[np.int64]
    b: NDArray[np.int64]
    same: NDArray[np.int64]


def compared_pairs(images: PackedImages, total: int, params: ExportParams) -> Compared:
    """Return drawn pairs of people that training never saw, or of `test_seen` if there are none: as many as wanted."""
    pairs = read_pair_table(PAIRS_PATH, total)
    kinds = pairs.groupby("part")["same"].nunique()
    part = next((part for part in (TEST_UNSEEN, TEST_SEEN) if kinds.get(part, 0) == 2), "")
    if not part:
        raise StageError(f"{PAIRS_PATH}: `{TEST_UNSEEN}` or `{TEST_SEEN}` needs genuine and impostor pairs")
    table = pairs[pairs["part"] == part]
    random = np.random.default_rng(params.seed)
    each = max(1, params.compared_pairs // 2)
    chosen = [rows.index[random.permutation(len(rows))[:each]] for _, rows in table.groupby("same")]
    table = table.loc[np.sort(np.concatenate(chosen))]
    rows, places = np.unique(table[["a", "b"]].to_numpy(), return_inverse=True)
    a, b = places.reshape(-1, 2).T
    return Compared(images[rows], a, b, table["same"].to_numpy())


def mirrored(embed: Callable[[Images], Embeddings], images: Images, flip: bool) -> Embeddings:
    """Return embeddings, with `flip` the means of the images' and their mirror images'."""
    embeddings = embed(images)
    return (embeddings + embed(images[:, :, ::-1])) / 2 if flip else embeddings


def make_files(network: Any, calibration: Images) -> dict[str, bytes]:
    """Return the content of every file, by format."""
    from faces.inference import formats
    from faces.inference import litert as inference

    return {
        "keras": formats.as_keras(network),
        "float32": inference.convert(network),
        "float16": formats.as_float16(network),
        "int8": formats.as_int8(network, calibration),
        "onnx": formats.as_onnx(network),
    }


def embedders(files: dict[str, bytes], threads: int) -> dict[str, Callable[[Images], Embeddings]]:
    """Return what embeds images (n, 112, 112, 3), one at a time, in each format but Keras's."""
    from faces.inference.formats import onnx_session

    session = onnx_session(files["onnx"], threads)
    found: dict[str, Callable[[Images], Embeddings]] = {
        name: Embedder(files[name], workers=1, threads=threads) for name in ("float32", "float16", "int8")
    }
    found["onnx"] = lambda images: np.concatenate([session(image[np.newaxis].astype(np.float32)) for image in images])
    return found


def measure(name: str, size: int, embeddings: Embeddings, by_keras: Embeddings, compared: Compared) -> dict[str, float]:
    """Return how near embeddings (n, D) are to Keras's, and how well they verify at the threshold of `evaluate`."""
    lengths(embeddings, f"{FILES[name]}: the embedding of compared image")
    unit, reference = unit_length(embeddings), unit_length(by_keras)
    cosines = np.einsum("nd,nd->n", unit.astype(np.float64), reference)
    scores = cosine_of_pairs(unit, compared.a, compared.b)
    return {
        "size_bytes": size,
        "largest_difference": float(np.abs(embeddings - by_keras).max()),
        "lowest_cosine": float(cosines.min()),
        "mean_cosine": float(cosines.mean()),
        "accuracy": accuracy(scores, compared.same, read_thresholds().threshold),
        "auc": area_under_roc(scores, compared.same),
    }


def check_cosines(metrics: dict[str, dict[str, float]], params: ExportParams) -> None:
    """Raise StageError if a format is too far from Keras, by limits of which 0 is none."""
    for name, of_format in metrics.items():
        key = "lowest_cosine_int8" if name == "int8" else "lowest_cosine"
        limit = getattr(params, key)
        if limit and of_format["lowest_cosine"] < limit:
            raise StageError(
                f"{FILES[name]}: an embedding has a cosine of {of_format['lowest_cosine']:.5f} to that of Keras; "
                f"params.yaml: export.{key} asks for {limit:g} at least"
            )


def milliseconds(network: Any, files: dict[str, bytes], images: Images, rounds: int) -> dict[str, float]:
    """Return the median time an image takes by itself, by format and threads, all of them by turns in each round.

    Keras has the threads that the stage has.
    """
    ways = {
        f"{name}_{threads}_threads": way for threads in TIMED_THREADS for name, way in embedders(files, threads).items()
    }
    ways["keras"] = lambda images: np.concatenate([network.predict_on_batch(image[np.newaxis]) for image in images])
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way(images[:1])
    for _, (name, way) in product(range(rounds), ways.items()):
        began = time.perf_counter()
        way(images)
        times[name].append((time.perf_counter() - began) * 1000 / len(images))
    return {name: float(np.median(taken)) for name, taken in times.items()}


def description(embedding_size: int, flip: bool) -> dict[str, Any]:
    """Return what a program must know to use a model without this project's code."""
    return {
        "input": "float32 (n, 112, 112, 3), RGB, 0 to 255, a face aligned as those that the model was trained on",
        "output": f"float32 (n, {embedding_size}); two are compared by cosine, the same person at or above a threshold",
        "flip": flip,
        "flip_means": "if true, an embedding is the mean of the image's and of its mirror image's",
        "thresholds": json.loads(THRESHOLD_PATH.read_text(encoding="utf-8")),
    }


def main() -> None:
    """Write the files and the figures."""
    params, flip = load_params("export", ExportParams), load_params("embed", EmbedParams).flip
    split = read_split()
    images = PackedImages(split)
    compared = compared_pairs(images, len(split), params)
    training = images_of(split, TRAIN)
    sample = np.random.default_rng(params.seed).permutation(training)[: params.calibration_images]

    from faces.network import backbone, runtime  # TensorFlow takes seconds to import: errors above come first

    runtime.start(load_threads())
    network = backbone.load_backbone()
    files = make_files(network, images[np.sort(sample)])
    with quiet_stderr():  # of its input pipeline TensorFlow writes what is no error
        by_keras = mirrored(lambda images: network.predict(images, verbose=0), compared.images, flip)
    ways = embedders(files, threads=1)
    metrics = {}
    for name, content in files.items():
        embeddings = by_keras if name == "keras" else mirrored(ways[name], compared.images, flip)
        metrics[name] = measure(name, len(content), embeddings, by_keras, compared)
        say(f"{name}: {len(content):,} bytes, lowest cosine {metrics[name]['lowest_cosine']:.5f}")
    check_cosines(metrics, params)
    for name, content in files.items():
        with replacing(FILES[name]) as temporary:
            temporary.write_bytes(content)
    write_text(FOLDER / "model.json", json.dumps(description(by_keras.shape[1], flip), indent=2) + "\n")
    write_metrics(Path("metrics/export.json"), metrics)
    timed = milliseconds(network, files, compared.images[: params.timed_images], params.timed_rounds)
    write_metrics(Path("metrics/speed/export.json"), timed)


if __name__ == "__main__":
    run(main)
