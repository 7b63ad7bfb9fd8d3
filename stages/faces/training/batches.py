"""The training batches: which images, in which order, augmented by threads while the network trains."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from faces.core.params import Params
from faces.core.threads import available_cores, in_order
from faces.tables.packed_images import PackedImages
from faces.tables.split_table import TRAIN, part_images
from faces.training.augmentation import PhotoAugmenter
from faces.training.teacher import Teacher

MAX_LOADERS = 4  # threads that make batches; more wait for each other (docs/scale.md)

Batch = tuple[NDArray[Any], ...]
BatchSize = Annotated[int, Field(ge=2)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class BatchParams(Params):
    """Parameters of the batches, part of the section `train:`."""

    batch_size: BatchSize
    epoch_images: int = Field(ge=0)
    balance: Literal["images", "sources"]
    seed: Seed


def image_groups(split: pd.DataFrame, params: BatchParams) -> list[NDArray[np.int64]]:
    """Return the numbers of the training images: one group, or one a source if sources are to be balanced."""
    images = part_images(split, TRAIN)
    if params.balance == "images":
        return [images]
    sources = split["source"].to_numpy()[images]
    return [images[sources == source] for source in sorted(set(sources))]


def whole_batch(images: int) -> slice:
    """Return the rows of a batch that a process works on if it trains alone: all of them."""
    return slice(0, images)


@dataclass
class Batches:
    """The batches of every epoch. They depend only on the seed and the epoch, so a resumed run sees the same ones.

    Attributes:
        images: All images of the split.
        groups: Image numbers; every group gives equally many images to an epoch.
        labels: Label of every image of the split, (N,).
        params: Batch size, images an epoch and seed.
        augmenter: Changes the images of a batch.
        share: Given the size of a batch, the rows that this process loads.
        devices: Devices of all processes, which share each batch; `batch_size` is a multiple of it.
        teacher: Whose embeddings the images of a batch come with; None: nobody's.
    """

    images: PackedImages
    groups: list[NDArray[np.int64]]
    labels: NDArray[np.int64]
    params: BatchParams
    augmenter: PhotoAugmenter
    share: Callable[[int], slice] = whole_batch
    devices: int = 1
    teacher: Teacher | None = None

    @property
    def image_count(self) -> int:
        """Images to train on, in all groups."""
        return sum(map(len, self.groups))

    @property
    def images_per_batch(self) -> int:
        """Images of a batch: `batch_size`, or those of an epoch if these are fewer; equally many for each device."""
        images = min(self.params.batch_size, len(self.groups) * self._images_per_group)
        return images // self.devices * self.devices

    def __len__(self) -> int:
        """Batches an epoch; images that fill no whole batch are left to other epochs, whose order differs."""
        return max(1, len(self.groups) * self._images_per_group // self.params.batch_size)

    @property
    def _images_per_group(self) -> int:
        return max(1, (self.params.epoch_images or self.image_count) // len(self.groups))

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch while threads make the next ones.

        A batch of B images is float32 (n, 112, 112, 3), 0..255, this process's share, and labels (B,), those of all.
        With a teacher, there are also its embeddings of the share, float32 (n, D).
        """
        order, loaders = self.order(epoch), min(MAX_LOADERS, available_cores())
        with ThreadPoolExecutor(loaders) as pool:
            yield from in_order(pool, lambda index: self.load(epoch, index, order), range(len(self)), ahead=loaders + 1)

    def load(self, epoch: int, index: int, order: NDArray[np.int64]) -> Batch:
        """Return batch `index` of an epoch with this `order`, as `epoch` yields it."""
        chosen = order[index * self.params.batch_size :][: self.images_per_batch]
        share, seed = self.share(len(chosen)), (self.params.seed, epoch, index)
        if self.augmenter.needs_whole_batch:
            pixels = self.augmenter(self.images[chosen], seed)[share]
        else:
            pixels = self.augmenter(self.images[chosen[share]], seed, share, len(chosen))
        batch = pixels.astype(np.float32), self.labels[chosen]
        return (*batch, self.teacher.of(chosen[share])) if self.teacher else batch

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Return the image numbers of an epoch in order: `epoch_images` of them, or all; the groups alternate.

        Each group has an endless row of its images, shuffled anew for every pass over them; every epoch takes the next
        ones of that row.
        """
        count = self._images_per_group
        by_group = [self._from_row(group, epoch * count, count) for group in range(len(self.groups))]
        return np.stack(by_group, axis=1).ravel()

    def _from_row(self, group: int, first: int, count: int) -> NDArray[np.int64]:
        """Return the images at positions `first` to `first + count` in the row of a group."""
        images = self.groups[group]
        passes = range(first // len(images), (first + count - 1) // len(images) + 1)
        seed = (self.params.seed, group) if group else (self.params.seed,)
        shuffled = [np.random.default_rng((*seed, number)).permutation(images) for number in passes]
        return np.concatenate(shuffled)[first % len(images) :][:count]
