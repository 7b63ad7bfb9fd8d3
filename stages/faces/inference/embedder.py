"""Embeddings of images by a LiteRT model, several times as fast as by Keras on a processor.

This module runs what litert.py converts. They are two because running does not need TensorFlow: it starts in a fifth of
a second. formats.py has the other formats, which only `export` uses.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from faces.core.errors import StageError
from faces.core.files import require_file
from faces.core.quiet import quiet_stderr
from faces.core.threads import available_cores

CONVERTED_PATH = Path("models/backbone.tflite")  # the backbone as `embed` converts it


class Embedder:
    """A converted network: uint8 images (n, 112, 112, 3) -> embeddings float32 (n, D), not normalised.

    The network gets one image at a time, so an embedding depends neither on other images nor on the number of workers.
    """

    def __init__(self, content: bytes, workers: int = 0, flip: bool = False, threads: int = 1) -> None:
        """Load a model.

        Args:
            content: of the LiteRT model.
            workers: images that are embedded at the same time; 0: one per core.
            flip: whether an embedding is the mean of the image's and its mirror image's.
            threads: for each image; with many images, one is fastest.
        """
        self._flip = flip
        self._workers = workers or available_cores()
        with quiet_stderr():  # LiteRT prints which kernels it chose
            self._interpreters = [self._interpreter(content, threads) for _ in range(self._workers)]

    @staticmethod
    def _interpreter(content: bytes, threads: int) -> Any:
        interpreter = Interpreter(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
        return interpreter

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the embeddings of images, in the same order."""
        (output,) = self._interpreters[0].get_output_details()
        embeddings = np.empty((len(images), output["shape"][-1]), dtype=np.float32)

        def embed_image(interpreter: Any, image: NDArray[np.uint8]) -> NDArray[np.float32]:
            (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
            interpreter.set_tensor(source["index"], image[np.newaxis].astype(np.float32))
            interpreter.invoke()  # releases Python's global lock
            return interpreter.get_tensor(target["index"])[0]

        def work(interpreter: Any, first: int) -> None:
            for number in range(first, len(images), self._workers):
                embedding = embed_image(interpreter, images[number])
                if self._flip:
                    embedding = (embedding + embed_image(interpreter, images[number, :, ::-1])) / 2
                embeddings[number] = embedding

        with ThreadPoolExecutor(self._workers) as pool:
            list(pool.map(work, self._interpreters, range(self._workers)))
        return embeddings


def embedder_of(path: Path, content: bytes, workers: int = 0, flip: bool = False) -> Embedder:
    """Return the Embedder of the `content` of the file `path`; StageError names the file if it is no LiteRT model."""
    try:
        return Embedder(content, workers, flip)
    except (ValueError, RuntimeError) as error:
        raise StageError(f"{path}: not a LiteRT model ({' '.join(str(error).split())[:200]})") from None


def load_embedder(workers: int = 0, flip: bool = False) -> Embedder:
    """Return the Embedder of the converted backbone; StageError if its file is missing or no LiteRT model."""
    require_file(CONVERTED_PATH)
    try:
        content = CONVERTED_PATH.read_bytes()
    except FileNotFoundError:
        raise StageError(f"{CONVERTED_PATH} is missing; `dvc repro embed` makes it, `dvc pull` fetches it") from None
    return embedder_of(CONVERTED_PATH, content, workers, flip)
