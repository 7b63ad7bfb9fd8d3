"""One training step of the network at full width, batch 64: ours, stock Keras 3, and PyTorch if it is installed."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np

import train
from benchmarks.notebook import stock_layers
from benchmarks.timing import alternate, table
from faces.core.params import load_params
from faces.training.model import build_model

BATCH, CLASSES = 64, 500
IMAGES = np.random.default_rng(0).integers(0, 256, (BATCH, 112, 112, 3)).astype(np.float32)
LABELS = np.arange(BATCH) % CLASSES


def keras_step(stock: bool) -> Callable[[], object]:
    """Return a step of the pipeline's own model, or of the same network with Keras 3's own layers."""
    params = load_params("train", train.TrainParams).model_copy(
        update={"width": 1.0, "head": "notebook", "pixel_range": "unit"}
    )
    with stock_layers() if stock else nullcontext():
        model = build_model(params, CLASSES)
    return lambda: model.train_on_batch(IMAGES, LABELS, (0,))


def torch_step(process: subprocess.Popen[str]) -> None:
    """Make the other process do a step."""
    assert process.stdin and process.stdout
    process.stdin.write("step\n")
    process.stdin.flush()
    assert process.stdout.readline(), "PyTorch's process has ended"


def main() -> None:
    """Print the table."""
    ways = {"ours": keras_step(stock=False), "stock Keras 3": keras_step(stock=True)}
    # In another process: each of the two libraries brings its own LLVM, and a process with both crashes.
    command = [sys.executable, "-m", "benchmarks.torch_step"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        if process.stdout.readline():
            ways["PyTorch"] = lambda: torch_step(process)
        seconds = alternate(ways, rounds=7)
        process.terminate()
    table(f"training step, width 1.0, batch {BATCH}", "images/s", seconds, dict.fromkeys(ways, BATCH), "ours")


if __name__ == "__main__":
    main()
