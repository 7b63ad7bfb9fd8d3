"""The trained network in the formats that other programs take, the same bytes from the same weights.

FORMATS at the end lists them: a new format is a row there, with a function that writes it and one that runs it.
Every model takes pixel values float32 (n, 112, 112, 3), RGB, 0 to 255, and gives embeddings float32 (n, D), not
normalised; n is 1 for LiteRT, and any number else. None needs this project's code.
"""

import io
import json
import re
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from faces.inference.embedder import CONVERTED_PATH, Embedder
from faces.inference.embedding import Embed
from faces.inference.litert import convert
from faces.inference.model import EXPORT
from faces.inference.onnx_model import as_onnx
from faces.inference.onnx_session import onnx_session
from faces.network.layers import BatchNormalization
from faces.network.runtime import keras, tf

ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file knows
CHANGING_KEYS = re.compile(r"date_saved|shared_object_id")  # differ from run to run, and nothing needs them


def as_keras(network: keras.Model) -> bytes:
    """Return the network as a .keras file of Keras's own layers."""
    plain = keras.models.clone_model(network, clone_function=_stock_layer)
    plain.set_weights(network.get_weights())
    written, rewritten = io.BytesIO(), io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        plain.save(path := Path(folder, "network.keras"))
        written.write(path.read_bytes())
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(rewritten, "w") as target:
        for name in sorted(source.namelist()):
            content = source.read(name)
            if name.endswith(".json"):
                content = json.dumps(_without_changing_keys(json.loads(content))).encode()
            target.writestr(zipfile.ZipInfo(name, ZIP_DATE), content)
    return rewritten.getvalue()


def _stock_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    kind = keras.layers.BatchNormalization if isinstance(layer, BatchNormalization) else type(layer)
    return kind.from_config(layer.get_config())


def _without_changing_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_changing_keys(part) for key, part in value.items() if not CHANGING_KEYS.fullmatch(key)}
    return [_without_changing_keys(part) for part in value] if isinstance(value, list) else value


def as_float16(network: keras.Model) -> bytes:
    """Return a LiteRT model with 16-bit weights; it computes in 32 bits on a processor without 16-bit arithmetic."""

    def adjust(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    return convert(network, adjust)


def as_int8(network: keras.Model, calibration: NDArray[np.uint8]) -> bytes:
    """Return a LiteRT model that computes in 8 bits; input and output are float32.

    `calibration` are images (n, 112, 112, 3) from which the converter takes the range of every layer's outputs.
    """

    def adjust(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[np.newaxis].astype(np.float32)] for image in calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]

    return convert(network, adjust)


def _embed_by_onnx(content: bytes, threads: int) -> Embed:
    run = onnx_session(content, threads).run
    return lambda images: np.concatenate(
        [run(None, {"images": image[np.newaxis].astype(np.float32)})[0] for image in images]
    )


def _embed_by_litert(content: bytes, threads: int) -> Embed:
    return Embedder(content, workers=1, threads=threads)


class Format(NamedTuple):
    """A format of the exported model.

    write: (network, calibration images uint8 (n, 112, 112, 3)) -> content of the file.
    embed: (content, threads) -> a function that embeds images one at a time; None for Keras, which is the reference.
    limit: key of the section `export:` with the lowest cosine to Keras that is accepted.
    """

    file: str
    write: Callable[[keras.Model, NDArray[np.uint8]], bytes]
    embed: Callable[[bytes, int], Embed] | None = _embed_by_litert
    limit: str = "lowest_cosine"

    @property
    def path(self) -> Path:
        """Return the file in the project."""
        return EXPORT / self.file


FORMATS = {
    "keras": Format("backbone.keras", lambda network, _: as_keras(network), embed=None),
    "float32": Format("backbone_float32.tflite", lambda *_: CONVERTED_PATH.read_bytes()),
    "float16": Format("backbone_float16.tflite", lambda network, _: as_float16(network)),
    "int8": Format("backbone_int8.tflite", as_int8, limit="lowest_cosine_int8"),
    "onnx": Format("backbone.onnx", lambda network, _: as_onnx(network), embed=_embed_by_onnx),
}
