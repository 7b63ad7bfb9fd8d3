"""From a trained network to the embeddings of many images: LiteRT's format, and work in chunks."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.core.checkpoints import ResumableFile
from faces.core.npy_files import write_npy_header
from faces.core.quiet import quiet_stderr
from faces.core.terminal import progress, say
from faces.core.threads import in_order
from faces.network.runtime import keras, tf

CHUNK = 1024  # images between checkpoints: some seconds of work


def convert(network: keras.Model, adjust: Callable[[Any], None] | None = None) -> bytes:
    """Return a network of one input and one output as a LiteRT model, for one image at a time.

    In float32, unless `adjust` tells TensorFlow's converter otherwise.
    """
    holder = tf.Module()
    holder.captured = [variable.value for variable in network.variables]
    call = tf.function(lambda image: network(image, training=False))
    image = tf.TensorSpec((1, *network.input_shape[1:]), tf.float32)
    with quiet_stderr():
        function = call.get_concrete_function(image)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], holder)
        if adjust:
            adjust(converter)
        return converter.convert()


def embed(
    embedder: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    load: Callable[[int, int], NDArray[np.uint8]],
    total: int,
    title: str,
    checkpoints: Path,
) -> Path:
    """Embed `total` images while the next ones are loaded; return a .npy file of float32 (total, D).

    Args:
        embedder: uint8 images (n, 112, 112, 3) -> float32 (n, D).
        load: (start, stop) -> uint8 images (stop - start, 112, 112, 3); called on another thread.
        total: images in all.
        title: what a progress bar is labelled with.
        checkpoints: folder of the file, which a run that is cut off goes on writing.
    """
    with ResumableFile(checkpoints / "embeddings.npy") as grown, ThreadPoolExecutor(1) as worker:
        done = len(grown.notes) * CHUNK
        if done:
            say(f"going on after {min(done, total)} of {total} images, from {checkpoints}")
        starts = range(done, total, CHUNK)
        loaded = in_order(worker, lambda start: load(start, min(start + CHUNK, total)), starts, ahead=2)
        for start, images in zip(starts, progress(loaded, title, len(starts), "chunk"), strict=True):
            embeddings = np.ascontiguousarray(embedder(images), dtype="<f4")
            if start == 0:
                write_npy_header(grown.file, "<f4", (total, embeddings.shape[1]))
            grown.file.write(embeddings.data)
            grown.note(start)
    return grown.path
