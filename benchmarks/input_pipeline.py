"""The input pipeline: images a second and core, and whether training waits for it."""

import sys
import time
from statistics import median

import numpy as np

import train
from benchmarks import notebook
from benchmarks.default_data import image_files
from benchmarks.timing import alternate, ratio, table
from faces.core.params import load_params
from faces.tables.packed_images import PackedImages
from faces.tables.split_table import labels_of, read_split, training_identities
from faces.training.augmentation import Augmenter, AugmentParams, PhotoAugmenter

BATCH, STEPS, ROUNDS = 64, 12, 7


def main() -> None:
    """Print one table of batches made, and one line a width of how fast training runs on them."""
    split = read_split()
    params = load_params("train", train.TrainParams).model_copy(update={"batch_size": BATCH})
    augment = PhotoAugmenter(load_params("augment", AugmentParams))
    batches = train.Batches(PackedImages(split), train.groups_of(split, params), labels_of(split), params, augment)
    files = image_files(BATCH)
    augmenter = Augmenter()
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
    classes = training_identities(split)
    width = float(sys.argv[1]) if len(sys.argv) > 1 else params.width
    model = train.build(params.model_copy(update={"width": width}), classes)
    share(model, batches, width)


def share(model: train.Model, batches: train.Batches, width: float) -> None:
    """Print how fast training runs on augmented batches, as a share of its speed on one batch that never changes."""
    images, labels = batches.load(0, 0, batches.groups[0])
    fixed, fed = [], []
    for epoch in range(ROUNDS + 1):
        began = time.perf_counter()
        for _ in range(STEPS):
            model.train_on_batch(images, labels, (0,))
        fixed.append(time.perf_counter() - began)
        began = time.perf_counter()
        for step, batch in enumerate(batches.epoch(epoch)):
            model.train_on_batch(*batch, (0,))
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
