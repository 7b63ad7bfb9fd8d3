"""Images made in a test, as files of a source folder `faces`."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RED, GREEN = (255, 0, 0), (0, 255, 0)
PACK_DEFAULTS = {
    "shard_images": 1000,
    "max_subjects": 0,
    "min_images_per_subject": 1,
    "max_images_per_subject": 0,
}
DECODING_DEFAULTS = {
    "resize_filter": "lanczos",
    "min_side": 8,
    "max_megapixels": 50,
    "workers": 2,
}


def flat(colour: tuple[int, ...] | int, mode: str = "RGB", side: int = 112) -> Image.Image:
    return Image.new(mode, (side, side), colour)


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def put(path: str | Path, content: bytes | None = None) -> Path:
    """Write a file below the source folder `faces`; a red image if nothing else is asked for."""
    file = Path("faces") / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encoded(flat(RED)) if content is None else content)
    return file


def pack_settings(**changes: object) -> dict[str, Any]:
    """Return the sections that `pack` reads, for a source `faces` in the folder `faces`, with some keys changed."""
    decoding = {key: value for key, value in changes.items() if key in DECODING_DEFAULTS}
    packing = {key: value for key, value in changes.items() if key not in DECODING_DEFAULTS}
    return {
        "sources": {"faces": {"path": "faces"}},
        "runtime": {"threads": 2},
        "decoding": DECODING_DEFAULTS | decoding,
        "pack": PACK_DEFAULTS | packing,
    }
