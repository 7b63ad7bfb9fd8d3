"""A picture of some images before and after they were packed."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from faces.core.image_size import SIDE

GAP, CAPTION, PER_ROW = 12, 18, 4
LONGEST_CAPTION = 38  # letters that fit below two images


class Cell(NamedTuple):
    """An image as it was (height, width, 3), as it is packed (112, 112, 3) or None, and what to call it."""

    before: NDArray[np.uint8]
    after: NDArray[np.uint8] | None
    caption: str


def draw_cells(cells: list[Cell]) -> Image.Image:
    """Return the cells as a picture, some in a row: each image as it was, shrunk to fit, beside what became of it."""
    width, height = 2 * SIDE + GAP, SIDE + CAPTION + GAP
    rows = max(1, -(-len(cells) // PER_ROW))
    picture = Image.new("RGB", (PER_ROW * width + GAP, rows * height + GAP), "white")
    draw = ImageDraw.Draw(picture)
    for place, cell in enumerate(cells):
        left, top = GAP + place % PER_ROW * width, GAP + place // PER_ROW * height
        before = Image.fromarray(cell.before)
        before.thumbnail((SIDE, SIDE))
        picture.paste(before, (left + (SIDE - before.width) // 2, top + (SIDE - before.height) // 2))
        if cell.after is not None:
            picture.paste(Image.fromarray(cell.after), (left + SIDE, top))
        printable = cell.caption.encode("ascii", "replace").decode()  # Pillow's own font has no other letters
        draw.text((left, top + SIDE + 2), printable[:LONGEST_CAPTION], fill="black")
    return picture
