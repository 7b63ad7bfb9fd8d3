"""Images embedded per second at full width: ours, the notebook's `model.predict` on decoded files, other engines."""

from collections.abc import Callable

import numpy as np

from benchmarks import notebook
from benchmarks.default_data import image_files, pixels
from benchmarks.timing import alternate, table
from faces.inference.embedder import Embedder
from faces.inference.litert import convert
from faces.inference.onnx_model import as_onnx
from faces.inference.onnx_session import onnx_session
from faces.network import mobilefacenet, runtime

IMAGES, BATCH, THREADS = 256, 64, 2


def main() -> None:
    """Print the table."""
    runtime.start(THREADS)
    network = mobilefacenet.build(width=1.0)
    with notebook.stock_layers():
        stock = mobilefacenet.build(width=1.0)
    files, images = image_files(IMAGES), pixels(IMAGES)
    embedder = Embedder(convert(network))
    compiled = runtime.tf.function(lambda batch: network(batch, training=False), reduce_retracing=True)
    in_onnx, floats = onnx_session(as_onnx(network), THREADS), images.astype(np.float32)
    batches = [floats[start : start + BATCH] for start in range(0, IMAGES, BATCH)]
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: embedder(images),
        "notebook: predict on decoded files": lambda: stock.predict(
            notebook.load_files(files), batch_size=32, verbose=0
        ),
        "tf.function": lambda: [compiled(batch) for batch in batches],
        "ONNX Runtime": lambda: [in_onnx.run(None, {"images": batch}) for batch in batches],
    }
    seconds = alternate(ways, rounds=5)
    table("embedding, width 1.0", "images/s", seconds, dict.fromkeys(ways, IMAGES), "ours")


if __name__ == "__main__":
    main()
