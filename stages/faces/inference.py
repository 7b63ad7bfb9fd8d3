"""From a trained network to the embeddings of many images: LiteRT's format, and work in chunks."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.files import open_npy, write_npy
from faces.quiet import quiet_stderr
from faces.runtime import keras, tf
from faces.stage import StageError, progress, say
from faces.threads import in_order

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
) -> NDArray[np.float32]:
    """Return the embeddings of `total` images, float32 (total, D), while the next images are loaded.

    Args:
        embedder: uint8 images (n, 112, 112, 3) -> float32 (n, D).
        load: (start, stop) -> uint8 images (stop - start, 112, 112, 3); called on another thread.
        total: images in all.
        title: what a progress bar is labelled with.
        checkpoints: folder in which finished chunks are kept, for a run that is cut off to go on from.
    """
    paths = {start: checkpoints / f"{start:09d}.npy" for start in range(0, total, CHUNK)}
    missing = [start for start, path in paths.items() if not _is_whole(path)]
    if len(missing) < len(paths):
        say(f"going on after {len(paths) - len(missing)} of {len(paths)} chunks, from {checkpoints}")
    with ThreadPoolExecutor(1) as worker:
        loaded = in_order(worker, lambda start: load(start, min(start + CHUNK, total)), missing, ahead=2)
        for start, images in zip(missing, progress(loaded, title, len(missing), "chunk"), strict=True):
            write_npy(paths[start], embedder(images))
    embeddings = np.empty((total, open_npy(paths[0]).shape[1]), dtype=np.float32)
    for start, path in paths.items():
        embeddings[start : start + CHUNK] = open_npy(path)  # one at a time: each is an open file
    return embeddings


def _is_whole(path: Path) -> bool:
    try:
        return open_npy(path).ndim == 2
    except StageError:
        return False
