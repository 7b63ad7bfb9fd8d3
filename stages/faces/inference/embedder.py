"""Embeddings of images by a LiteRT model, several times as fast as by Keras on a processor.

This module runs what litert.py converts. They are two because running does not need TensorFlow: it starts in a fifth of
a second. formats.py has the other formats, which only `export` uses.
"""

from faces.core.portable import portable

import atexit
import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.environment import Environment
from ai_edge_litert.hardware_accelerator import HardwareAccelerator
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.options import CpuOptions, Options
from numpy.typing import NDArray

from faces.core.errors import StageError
from faces.core.files import require_file
from faces.core.image_size import IMAGE_SHAPE
from faces.core.quiet import quiet_stderr
from faces.core.threads import available_cores

CONVERTED_PATH = Path("models/backbone.tflite")  # the backbone as `embed` converts it
# TFLITE_XNNPACK_DELEGATE_FLAG_SLOW_CONSISTENT_ARITHMETIC of tensorflow/lite/delegates/xnnpack/xnnpack_delegate.h: the
# same results from the code for every processor.
CONSISTENT_ARITHMETIC = 0x200


class _Fast:
    """A model for one image (1, 112, 112, 3) at a time, as fast as this processor can."""

    def __init__(self, content: bytes, threads: int) -> None:
        self._interpreter = Interpreter(model_content=content, num_threads=threads)
        self._interpreter.allocate_tensors()
        (self._source,), (self._target,) = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self.size = int(self._target["shape"][-1])

    def __call__(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        self._interpreter.set_tensor(self._source["index"], image)
        self._interpreter.invoke()  # releases Python's global lock
        embedding: NDArray[np.float32] = self._interpreter.get_tensor(self._target["index"])[0]
        return embedding


class _Portable:
    """The same, with the same result on every processor. It keeps Python's global lock."""

    def __init__(self, content: bytes, threads: int) -> None:
        cpu = CpuOptions(num_threads=threads, xnnpack_flags=CONSISTENT_ARITHMETIC)
        options = Options(hardware_accelerators=HardwareAccelerator.CPU, cpu_options=cpu)
        self._model = CompiledModel.from_buffer(content, environment=_environment(), options=options)
        ((key, names),) = self._model.get_signature_list().items()
        (output,) = names["outputs"]
        self.size = int(self._model.get_output_tensor_details(key)[output]["shape"][-1])
        self._sources, self._targets = self._model.create_input_buffers(0), self._model.create_output_buffers(0)
        self(np.zeros((1, *IMAGE_SHAPE), np.float32))  # LiteRT prints something the first time

    def __call__(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        self._sources[0].write(image)
        self._model.run_by_index(0, self._sources, self._targets)
        embedding: NDArray[np.float32] = self._targets[0].read(self.size, np.float32)
        return embedding


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """Return what all models share, and keep it until the process ends: LiteRT prints then, here to nowhere."""
    atexit.register(lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 2))
    return Environment.create()


class Embedder:
    """A converted network: uint8 images (n, 112, 112, 3) -> embeddings float32 (n, D), not normalised.

    The network gets one image at a time, so an embedding depends neither on other images nor on the number of workers.
    """

    def __init__(self, content: bytes, workers: int = 0, flip: bool = False, threads: int = 1) -> None:
        """Load a model.

        Args:
            content: of the LiteRT model.
            workers: images that are embedded at the same time, or, where results are portable, threads for one image;
                0: one per core.
            flip: whether an embedding is the mean of the image's and its mirror image's.
            threads: for each image; with many images, one is fastest.
        """
        self._flip = flip
        workers = workers or available_cores()
        with quiet_stderr():  # LiteRT prints which kernels it chose
            if portable():
                self._models: list[Any] = [_Portable(content, workers * threads)]
            else:
                self._models = [_Fast(content, threads) for _ in range(workers)]

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the embeddings of images, in the same order."""
        embeddings = np.empty((len(images), self._models[0].size), dtype=np.float32)

        def work(model: Any, first: int) -> None:
            for number in range(first, len(images), len(self._models)):
                image = images[number : number + 1].astype(np.float32)
                embedding = model(image)
                if self._flip:
                    embedding = (embedding + model(np.ascontiguousarray(image[:, :, ::-1]))) / 2
                embeddings[number] = embedding

        with ThreadPoolExecutor(len(self._models)) as pool:
            list(pool.map(work, self._models, range(len(self._models))))
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
