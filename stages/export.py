"""Export the backbone to the formats that phones and servers take, and measure each.

Reads   models/backbone.{json,weights.h5,tflite}, models/threshold.json, data/split.csv, data/packed, data/pairs.csv
Writes  models/export/backbone.keras          Keras's own layers alone
        models/export/backbone_float32.tflite, backbone_float16.tflite, backbone_int8.tflite
                                              for LiteRT, one image at a time; int8 is calibrated on training images
        models/export/backbone.onnx           any number of images
        models/export/model.json              what a program must know besides: input, output, mirror image, thresholds
        metrics/export.json                   by format: bytes, distance to Keras, verification accuracy
        metrics/speed/export.json             milliseconds an image, by format and number of threads
Run     python stages/export.py

The stage fails if an embedding of a format has a cosine to Keras's below the format's limit.
"""

import faces.core.portable  # noqa: F401  first, since NumPy and others read its settings when they are imported
from faces.core.portable import portable

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from faces.core.files import replacing, write_metrics, write_text
from faces.core.params import Params, load_params
from faces.core.quiet import quiet_stderr
from faces.core.run import run
from faces.core.terminal import say
from faces.core.threads import load_threads
from faces.evaluation.threshold import read_thresholds
from faces.images.decoding import DecodingParams, ResizeFilter
from faces.inference.model import DESCRIPTION, EXPORT
from faces.tables.embeddings import EmbedParams
from faces.tables.packed_images import PackedImages
from faces.tables.split_table import TRAIN, part_images, read_split

DECIMALS = 4


class ExportParams(Params):
    calibration_images: int = Field(ge=1)
    compared_pairs: int = Field(ge=2)
    lowest_cosine: float = Field(ge=0, le=1)
    lowest_cosine_int8: float = Field(ge=0, le=1)
    seed: int = Field(ge=0)


def make_files(network: Any, calibration: NDArray[np.uint8]) -> dict[str, bytes]:
    """Return the content of each format's file."""
    from faces.inference.formats import FORMATS

    return {name: known.write(network, calibration) for name, known in FORMATS.items()}


def rounded(figures: dict[str, float]) -> dict[str, float]:
    """Return the figures of a format to four decimals, without that of which all digits differ between processors."""
    return {name: round(figure, DECIMALS) for name, figure in figures.items() if name != "largest_difference"}


def describe_model(embedding_size: int, flip: bool, resize_filter: ResizeFilter) -> dict[str, Any]:
    """Return the content of model.json: all that a program needs to use the model without this project's code."""
    return {
        "input": "float32 (n, 112, 112, 3), RGB, 0 to 255, a face aligned as those that the model was trained on",
        "output": f"float32 (n, {embedding_size}); two are compared by cosine, the same person at or above a threshold",
        "flip": flip,
        "flip_means": "if true, an embedding is the mean of the image's and of its mirror image's",
        "resize_filter": resize_filter,
        "resize_filter_means": "of images that are not 112 x 112, as Pillow names it",
        "thresholds": read_thresholds().model_dump(),
    }


def main() -> None:
    """Write the files and their metrics."""
    params, flip = load_params("export", ExportParams), load_params("embed", EmbedParams).flip
    split = read_split()
    images = PackedImages(split)
    training = part_images(split, TRAIN)
    sample = np.random.default_rng(params.seed).permutation(training)[: params.calibration_images]

    # TensorFlow takes seconds to import: errors above come first.
    from faces.inference import comparison
    from faces.inference.formats import FORMATS
    from faces.network import backbone, runtime

    compared = comparison.draw_compared_pairs(images, len(split), params.compared_pairs, params.seed)
    runtime.start(load_threads())
    network = backbone.load_backbone()
    files = make_files(network, images[np.sort(sample)])
    with quiet_stderr():  # TensorFlow's input pipeline writes messages that are no errors
        predict = lambda images: network.predict(images, verbose=0)  # noqa: E731
        by_keras = comparison.embed_with_mirror(predict, compared.images, flip)
    ways = comparison.embedders(files, threads=1)
    metrics = {}
    for name, content in files.items():
        embeddings = comparison.embed_with_mirror(ways[name], compared.images, flip) if name in ways else by_keras
        metrics[name] = comparison.measure(name, len(content), embeddings, by_keras, compared)
        say(f"{name}: {len(content):,} bytes, lowest cosine to Keras's embeddings {metrics[name]['lowest_cosine']:.5f}")
    comparison.check_cosines(metrics, params.model_dump())
    if portable():  # ONNX Runtime chooses its kernels by the processor
        metrics["onnx"] = rounded(metrics["onnx"])
    described = describe_model(by_keras.shape[1], flip, load_params("decoding", DecodingParams).resize_filter)
    for name, content in files.items():
        with replacing(FORMATS[name].path) as temporary:
            temporary.write_bytes(content)
    write_text(EXPORT / DESCRIPTION, json.dumps(described, indent=2) + "\n")
    write_metrics(Path("metrics/export.json"), metrics)
    timed = comparison.time_formats(network, files, compared.images[: comparison.TIMED_IMAGES])
    write_metrics(Path("metrics/speed/export.json"), timed)


if __name__ == "__main__":
    run(main)
