"""The sheet metrics/pack/<source>.png: some images before and after packing, and photos without a usable face."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faces.core.files import replacing
from faces.images.decoding import Limits, read_photo, ready_to_read
from faces.images.finished_shards import PackedShard, packed_at
from faces.images.image_folder import subject_in
from faces.images.listing import SourceListing, find_source
from faces.images.plausibility import spread
from faces.images.rejection import PHOTO_REASONS, Rejected
from faces.images.sheet import Cell, CellGroup, draw_grid
from faces.tables.sources import sheet_path

SHOWN = 12  # packed images on the sheet, and as many rejected photos
MAX_CAPTION = 38  # letters that fit below two images


class Sample(NamedTuple):
    """An image for the sheet: its subject and path, and its pixels (112, 112, 3) as packed, None if it was rejected."""

    subject: str
    path: str
    after: NDArray[np.uint8] | None
    caption: str


def sample_images(shards: list[PackedShard], rejected: list[Rejected], depth: int = 1) -> list[Sample]:
    """Return some images, evenly spread over all shards, and the first photos without a usable face.

    `depth` is that of the subjects' folders, whose paths are their names.
    """
    places = spread(sum(shard.images for shard in shards), SHOWN)
    samples = [Sample(subject, path, pixels, path) for subject, path, pixels in packed_at(shards, places)]
    photos = [row for row in rejected if row.reason in PHOTO_REASONS][:SHOWN]
    return samples + [
        Sample(subject_in(photo.path, depth), photo.path, None, f"{photo.reason}: {photo.path}") for photo in photos
    ]


def write_sheet(name: str, root: Path, listing: SourceListing, limits: Limits, samples: list[Sample]) -> None:
    """Write the sheet of the source `name`: each sample as it is in the folder `root`, and as it was packed."""
    cells = []
    with ready_to_read():
        for sample in samples:
            before = read_photo(find_source(root, listing, sample.subject, sample.path), limits)
            cells.append(Cell(before, sample.after, _printable(sample.caption)))
    with replacing(sheet_path(name)) as temporary:
        draw_grid([CellGroup(cells)]).save(temporary)


def _printable(caption: str) -> str:
    return caption.encode("ascii", "replace").decode()[:MAX_CAPTION]  # Pillow's own font has no other letters
