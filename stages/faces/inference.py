"""A trained network as a fixed function, some times as fast as in Keras: on LiteRT, TensorFlow's engine for phones."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from faces.files import open_npy, write_npy
from faces.runtime import keras, quiet_stderr, tf
from faces.stage import StageError, progress, say
from faces.threads import available_cores, in_order

CHUNK = 1024  # images between checkpoints: some seconds of work


def convert(network: keras.Model) -> bytes:
    """Return a network of one input and one output as a LiteRT model in float32, for one image at a time."""
    holder = tf.Module()
    holder.captured = [variable.value for variable in network.variables]
    call = tf.function(lambda image: network(image, training=False))
    image = tf.TensorSpec((1, *network.input_shape[1:]), tf.float32)
    with quiet_stderr():
        function = call.get_concrete_function(image)
        return tf.lite.TFLiteConverter.from_concrete_functions([function], holder).convert()


class Embedder:
    """A converted network: uint8 images (n, 112, 112, 3) -> embeddings float32 (n, D), not normalised.

    Each image goes through alone, on one thread, so its embedding depends neither on its neighbours nor on how many
    workers there are. `workers` images are at work at a time; 0 stands for one a core. With `flip`, an embedding is the
    mean of the image's and of its mirror image's.
    """

    def __init__(self, content: bytes, workers: int = 0, flip: bool = False) -> None:
        """Load what `convert` returned."""
        self._flip = flip
        self._workers = workers or available_cores()
        with quiet_stderr():  # LiteRT tells which kernels it takes
            self._interpreters = [self._interpreter(content) for _ in range(self._workers)]

    @staticmethod
    def _interpreter(content: bytes) -> Any:
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        return interpreter

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the embeddings of images, in their order."""
        (output,) = self._interpreters[0].get_output_details()
        embeddings = np.empty((len(images), output["shape"][-1]), dtype=np.float32)

        def of_image(interpreter: Any, image: NDArray[np.uint8]) -> NDArray[np.float32]:
            (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
            interpreter.set_tensor(source["index"], image[np.newaxis].astype(np.float32))
            interpreter.invoke()  # lets go of Python's lock
            return interpreter.get_tensor(target["index"])[0]

        def work(interpreter: Any, first: int) -> None:
            for number in range(first, len(images), self._workers):
                embedding = of_image(interpreter, images[number])
                if self._flip:
                    embedding = (embedding + of_image(interpreter, images[number, :, ::-1])) / 2
                embeddings[number] = embedding

        with ThreadPoolExecutor(self._workers) as pool:
            list(pool.map(work, self._interpreters, range(self._workers)))
        return embeddings


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
