import numpy as np
import pytest

from faces.images.sheet import Cell, CellGroup, draw_grid

WHITE = [255, 255, 255]


def plain(grey: int, height: int = 112, width: int = 112) -> np.ndarray:
    return np.full((height, width, 3), grey, np.uint8)


def test_images_stand_where_the_grid_has_its_cells() -> None:
    cells = [Cell(plain(number), plain(100 + number), "") for number in range(6)]
    pixels = np.asarray(draw_grid([CellGroup(cells)]))
    assert pixels.shape == (2 * 142 + 12, 4 * 236 + 12, 3)
    for number in range(6):
        x, y = 12 + number % 4 * 236, 12 + number // 4 * 142
        assert (pixels[y : y + 112, x : x + 112] == number).all()
        assert (pixels[y : y + 112, x + 112 : x + 224] == 100 + number).all()
        pixels = pixels.copy()
        pixels[y : y + 112, x : x + 224] = 255
    assert (pixels == 255).all()


def test_a_large_image_is_shrunk_to_the_middle_of_its_place_and_the_right_one_may_be_missing() -> None:
    pixels = np.asarray(draw_grid([CellGroup([Cell(plain(7, height=112, width=224), None, "")])]))
    assert (pixels[12 + 28 : 12 + 84, 12 : 12 + 112] == 7).all()
    assert (pixels == 7).all(axis=-1).sum() == 56 * 112


@pytest.mark.parametrize("cells", [0, 1])
def test_titles_and_captions_have_bands_of_their_own(cells: int) -> None:
    group = CellGroup([Cell(plain(7), plain(8), "caption")] * cells, "title")
    pixels = np.asarray(draw_grid([group, group]))
    assert pixels.shape[0] == 2 * (32 + 142)
    for top in (0, 174):
        assert (pixels[top : top + 32] != WHITE).any()
        assert (pixels[top + 32 + 112 : top + 174] != WHITE).any() == bool(cells)
