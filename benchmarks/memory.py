"""Peak memory of the stages that read packed images, on ever more of them.

Run     python -m benchmarks.memory [images …] [--stages pack split …]
Prints  a row a stage: gigabytes of its own at the peak, and seconds, for each number of images

The images are drawn: PNG files of 16 x 16 coloured noise, 20 a person, which `pack` enlarges to 112 x 112, so that
200,000 of them take minutes and 7.5 GB of packed pixels. The network is the smallest, and an epoch has 320 images: more
of them take time, not memory. Parameters that bound memory are low too: identify.pixel_images, mine.queries. Memory is
counted as in benchmarks.growth.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.growth import new_project, run_stage
from faces.core.params import read_params

PER_SUBJECT = 20
STAGES = ("pack", "duplicates", "split", "train", "embed", "identify", "mine", "pairs", "similarity", "evaluate")
SMALL = {
    "train": {"width": 0.125, "embedding_size": 16, "epochs": 1, "epoch_images": 320},
    "embed": {"flip": False},
    "identify": {"pixel_images": 500},
    "mine": {"queries": 2000},
    "similarity": {"epochs": 1, "augmented_views": 1},
}


def draw_images(root: Path, images: int) -> None:
    """Write <root>/<subject>/<image>.png."""
    random = np.random.default_rng(0)
    for subject in range(images // PER_SUBJECT):
        folder = root / f"{subject:06d}"
        folder.mkdir(parents=True)
        for number, pixels in enumerate(random.integers(0, 256, (PER_SUBJECT, 16, 16, 3), np.uint8)):
            Image.fromarray(pixels).save(folder / f"{number:02d}.png", compress_level=0)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=int, nargs="*", default=[5_000, 50_000, 200_000])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    arguments = parser.parse_args()
    params = read_params()
    for section, values in SMALL.items():
        params[section] |= values
    params["sources"] = {"synthetic": {"path": "images"}}
    print("| images | stage | GB at the peak | seconds |\n|---|---|---|---|", flush=True)
    for images in arguments.images:
        with tempfile.TemporaryDirectory() as temporary:
            folder = new_project(Path(temporary, "project"), params)
            draw_images(folder / "images", images)
            for stage in arguments.stages:
                seconds, gigabytes = run_stage(stage, folder)
                print(f"| {images:,} | {stage} | {gigabytes:.2f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
