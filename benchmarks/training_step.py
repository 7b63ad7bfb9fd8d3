"""One training step of the network: ours, stock Keras 3, and PyTorch if it is installed; at two sizes.

Run     python -m benchmarks.training_step

Each way has a process of its own, which does a step for every line on stdin and answers by a line: TensorFlow parts the
processor once a process, and TensorFlow and PyTorch crash in one.
"""

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from functools import partial

import numpy as np

from benchmarks.timing import alternate, table

SIZES = ((1.0, 64), (0.25, 32), (0.25, 16))  # width, images a step
CLASSES, ROUNDS = 500, 9
WAYS = {
    "ours": ["benchmarks.training_step", "ours"],
    "stock Keras 3": ["benchmarks.training_step", "stock"],
    "PyTorch": ["benchmarks.torch_step"],
}


def keras_step(stock: bool, width: float, batch: int) -> Callable[[], object]:
    """Return a step of the pipeline's own model, or of the same network with Keras 3's own layers on one device."""
    import train
    from benchmarks.notebook import stock_layers
    from faces.core.params import load_params
    from faces.training.model import build_model

    changes = {"width": width, "batch_size": batch} | ({"devices": 1} if stock else {})
    params = load_params("train", train.TrainParams).model_copy(update=changes)
    images = np.random.default_rng(0).integers(0, 256, (batch, 112, 112, 3)).astype(np.float32)
    labels = np.arange(batch) % CLASSES
    with stock_layers() if stock else nullcontext():
        model = build_model(params, CLASSES)
    return lambda: model.train_on_batch(images, labels, (0,))


def answer_lines(step: Callable[[], object]) -> None:
    """Do a step for every line on stdin, until it ends."""
    print("ready", flush=True)
    for _ in sys.stdin:
        step()
        print("done", flush=True)


def ask(process: subprocess.Popen[str]) -> None:
    """Make the other process do a step."""
    assert process.stdin and process.stdout
    process.stdin.write("step\n")
    process.stdin.flush()
    assert process.stdout.readline(), "the process has ended"


def compare(width: float, batch: int) -> None:
    """Print the table of one size."""
    with ExitStack() as stack:
        ways = {}
        for name, (module, *arguments) in WAYS.items():
            command = [sys.executable, "-m", module, *arguments, str(width), str(batch)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            assert process.stdout
            if process.stdout.readline():
                ways[name] = partial(ask, process)
        seconds = alternate(ways, ROUNDS)
    title = f"training step, width {width}, {batch} images"
    table(title, "images/s", seconds, dict.fromkeys(ways, batch), "ours")


def main() -> None:
    """Print the tables, or answer lines as one of the ways."""
    if len(sys.argv) > 1:
        _, way, width, batch = sys.argv
        answer_lines(keras_step(way == "stock", float(width), int(batch)))
    else:
        for size in SIZES:
            compare(*size)


if __name__ == "__main__":
    main()
