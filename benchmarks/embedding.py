"""Images embedded per second at full width: ours, the notebook's `model.predict` on decoded files, other engines."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import notebook
from benchmarks.default_data import image_files, pixels
from benchmarks.timing import alternate, table
from faces.inference.embedder import Embedder
from faces.inference.litert import convert
from faces.network import mobilefacenet, runtime

IMAGES, BATCH, THREADS = 256, 64, 2


def onnx_runtime(network: Any, images: Any) -> Callable[[], object] | None:
    """Return a function that embeds the images by Keras's export in ONNX Runtime; None if that is not installed."""
    try:
        import onnxruntime
        import tf2onnx  # noqa: F401  # Keras exports with it
    except ImportError:
        print("ONNX Runtime is left out, since it is not installed: pip install onnxruntime tf2onnx")
        return None
    with tempfile.TemporaryDirectory() as folder:
        network.export(f"{folder}/network.onnx", format="onnx", verbose=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        session = onnxruntime.InferenceSession(Path(folder, "network.onnx").read_bytes(), options)
    (name,) = [argument.name for argument in session.get_inputs()]
    floats = images.astype(np.float32)
    return lambda: [session.run(None, {name: floats[start : start + BATCH]}) for start in range(0, IMAGES, BATCH)]


def main() -> None:
    """Print the table."""
    runtime.start(THREADS)
    network = mobilefacenet.build(width=1.0)
    with notebook.stock_layers():
        stock = mobilefacenet.build(width=1.0)
    files, images = image_files(IMAGES), pixels(IMAGES)
    embedder = Embedder(convert(network))
    compiled = runtime.tf.function(lambda batch: network(batch, training=False), reduce_retracing=True)
    floats = images.astype(np.float32)
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: embedder(images),
        "notebook: predict on decoded files": lambda: stock.predict(
            notebook.load_files(files), batch_size=32, verbose=0
        ),
        "tf.function": lambda: [compiled(floats[start : start + BATCH]) for start in range(0, IMAGES, BATCH)],
    }
    if in_onnx := onnx_runtime(network, images):
        ways["ONNX Runtime"] = in_onnx
    seconds = alternate(ways, rounds=5)
    table("embedding, width 1.0", "images/s", seconds, dict.fromkeys(ways, IMAGES), "ours")


if __name__ == "__main__":
    main()
