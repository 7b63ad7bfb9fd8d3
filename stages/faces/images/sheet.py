"""A grid of pictures in pairs, with captions, as one image for a person to look at."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from faces.core.image_size import SIDE

GAP, CAPTION, TITLE = 12, 18, 32  # pixels: between cells, and of the bands for a caption and a title
PER_ROW = 4  # cells
WIDTH, HEIGHT = 2 * SIDE + GAP, SIDE + CAPTION + GAP  # of a cell, pixels


class Cell(NamedTuple):
    """Two images side by side, uint8 (height, width, 3), RGB, and the text below them.

    The left one may have any size and is shrunk to fit; the right one is (112, 112, 3), or None.
    """

    left: NDArray[np.uint8]
    right: NDArray[np.uint8] | None
    caption: str


class CellGroup(NamedTuple):
    """Cells in rows, with a title above if there is one."""

    cells: Sequence[Cell]
    title: str = ""


def draw_grid(groups: Sequence[CellGroup]) -> Image.Image:
    """Return the groups one below the other; a group without cells takes the room of one row."""
    tops = np.cumsum([0, *(_group_height(group) for group in groups)]).tolist()
    picture = Image.new("RGB", (PER_ROW * WIDTH + GAP, tops[-1]), "white")
    draw = ImageDraw.Draw(picture)
    for group, top in zip(groups, tops, strict=False):
        if group.title:
            draw.text((GAP, top + 8), group.title, fill="black")
        top += _band_height(group)
        for place, cell in enumerate(group.cells):
            _draw_cell(picture, draw, cell, GAP + place % PER_ROW * WIDTH, top + place // PER_ROW * HEIGHT)
    return picture


def _band_height(group: CellGroup) -> int:
    return TITLE if group.title else GAP


def _group_height(group: CellGroup) -> int:
    rows = max(1, -(-len(group.cells) // PER_ROW))
    return _band_height(group) + rows * HEIGHT


def _draw_cell(picture: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, x: int, y: int) -> None:
    left = Image.fromarray(cell.left)
    left.thumbnail((SIDE, SIDE))
    picture.paste(left, (x + (SIDE - left.width) // 2, y + (SIDE - left.height) // 2))
    if cell.right is not None:
        picture.paste(Image.fromarray(cell.right), (x + SIDE, y))
    draw.text((x, y + SIDE + 2), cell.caption, fill="black")
