"""The input pipeline: images a second and core, and whether training waits for it."""

import sys
import time
from statistics import median

import numpy as np

from benchmarks import notebook
from benchmarks.default_data import image_files
from benchmarks.timing import alternate, ratio, table
from faces.core.params import load_params
from faces.tables.packed_images import PackedImages
from faces.tables.split_table import count_training_classes, image_labels, read_split
from faces.training.augmentation import AugmentParams, NotebookAugmenter, PhotoAugmenter
from faces.training.batches import Batches, image_groups
from faces.training.model import TrainingModel, build_model
from train import TrainParams

BATCH, STEPS, ROUNDS = 64, 12, 7


def main() -> None:
    """Print a table of the speed of making batches, and a line on the speed of training with them."""
    split = read_split()
    params = load_params("train", TrainParams).model_copy(update={"batch_size": BATCH})
    augment = PhotoAugmenter(load_params("augment", AugmentParams))
    batches = Batches(PackedImages(split), image_groups(split, params), image_labels(split), params, augment)
    files = image_files(BATCH)
    augmenter = NotebookAugmenter()
    order = np.random.default_rng(0).permutation(batches.groups[0])
    ways = {
        "ours, the notebook's changes": lambda: augmenter(batches.images[order[:BATCH]], (0,)),
        "ours": lambda: batches.load(0, 0, order),
        "notebook: decode and augment": lambda: notebook.training_batch(files, 1000, augmenter, 0),
    }
    seconds = alternate(ways, rounds=9)
    table(
        f"batches of {BATCH} augmented images, one core",
        "images/s",
        seconds,
        dict.fromkeys(ways, BATCH),
        next(iter(ways)),
    )
    classes = count_training_classes(split)
    width = float(sys.argv[1]) if len(sys.argv) > 1 else params.width
    model = build_model(params.model_copy(update={"width": width}), classes)
    print_share(model, batches, width)


def print_share(model: TrainingModel, batches: Batches, width: float) -> None:
    """Print the speed of training on augmented batches as a share of its speed on a fixed batch."""
    images, labels = batches.load(0, 0, batches.groups[0])
    fixed, fed = [], []
    for epoch in range(ROUNDS + 1):
        began = time.perf_counter()
        for _ in range(STEPS):
            model.train_on_batch(images, labels, (0,))
        fixed.append(time.perf_counter() - began)
        began = time.perf_counter()
        for step, (fresh, of_them) in enumerate(batches.epoch(epoch)):
            model.train_on_batch(fresh, of_them, (0,))
            if step + 1 == STEPS:
                break
        fed.append(time.perf_counter() - began)
    speed = ratio(fed[1:], fixed[1:])
    print(
        f"\ntraining at width {width:g}: {speed} of the speed on a fixed batch, whose step takes "
        f"{median(fixed[1:]) / STEPS:.3g} s"
    )


if __name__ == "__main__":
    main()
