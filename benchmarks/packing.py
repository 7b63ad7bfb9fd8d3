"""Packing a folder of PNG files: by the stage, one by one, and decoding alone, which is the machine's limit."""

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import notebook
from benchmarks.default_data import image_files
from benchmarks.timing import alternate, table
from faces.core.params import load_params
from faces.core.threads import available_cores
from faces.images.decoding import DecodingParams, read_image, ready_to_read
from faces.images.image_folder import list_images
from faces.images.packing import Packing, face_reader, pack_source
from pack import PackParams

IMAGES = 3600


def main() -> None:
    """Print the table."""
    files = image_files(IMAGES)
    root = files[0].parent.parent
    params = load_params("pack", PackParams).model_copy(update={"max_images_per_subject": 0})
    decoding = load_params("decoding", DecodingParams)
    read = partial(read_image, limits=decoding.limits, resize_filter="lanczos")

    def ours(folder: Path) -> None:
        shutil.rmtree(folder / "shards", ignore_errors=True)
        packing = Packing(root, list_images(root), face_reader(decoding), params, decoding.workers)
        pack_source(packing, params, folder / "shards", "packing")

    def decoding_alone() -> None:
        with ready_to_read(), ThreadPoolExecutor(available_cores()) as pool:
            for _ in pool.map(read, files, chunksize=1):
                pass

    with tempfile.TemporaryDirectory() as folder:
        ways = {
            "ours": lambda: ours(Path(folder)),
            "one by one": lambda: np.save(Path(folder, "all.npy"), notebook.load_files(files).astype(np.uint8)),
            "limit: decoding alone, all cores": decoding_alone,
        }
        seconds = alternate(ways, rounds=3)
    table(f"packing {IMAGES} PNG files of 112 x 112", "images/s", seconds, dict.fromkeys(ways, IMAGES), "ours")


if __name__ == "__main__":
    main()
