"""A trained network as a fixed function, some times as fast as in Keras: on LiteRT, TensorFlow's engine for phones.

It starts in a fifth of a second, for it does not need TensorFlow.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from faces.core.quiet import quiet_stderr
from faces.core.threads import available_cores


class Embedder:
    """A converted network: uint8 images (n, 112, 112, 3) -> embeddings float32 (n, D), not normalised.

    Each image goes through alone, so its embedding depends neither on its neighbours nor on how many workers there are.
    `workers` images are at work at a time; 0 stands for one a core. With `flip`, an embedding is the mean of the
    image's and of its mirror image's. `threads` work on one image: with many images, one thread each is fastest.
    """

    def __init__(self, content: bytes, workers: int = 0, flip: bool = False, threads: int = 1) -> None:
        """Load what `convert` returned."""
        self._flip = flip
        self._workers = workers or available_cores()
        with quiet_stderr():  # LiteRT tells which kernels it takes
            self._interpreters = [self._interpreter(content, threads) for _ in range(self._workers)]

    @staticmethod
    def _interpreter(content: bytes, threads: int) -> Any:
        interpreter = Interpreter(model_content=content, num_threads=threads)
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
