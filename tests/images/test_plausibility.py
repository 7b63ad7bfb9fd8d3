import numpy as np
import pytest
from PIL import Image

from faces.images.plausibility import SampledImage, describe_no_crops, describe_swapped, is_no_crop, spread
from image_files import encoded


def of_size(width: int, height: int) -> SampledImage:
    content = encoded(Image.new("RGB", (width, height)))
    return SampledImage(f"{width}x{height}.png", content, np.zeros((112, 112, 3), np.uint8))


def of_colour(red: int, green: int, blue: int) -> SampledImage:
    return SampledImage("x.png", b"", np.full((112, 112, 3), (red, green, blue), np.uint8))


SKIN = (138, 105, 90)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(112, 112, False), (96, 112, False), (160, 160, False), (224, 224, False), (250, 250, True), (640, 480, True)]
    + [(112, 90, False), (112, 89, True)],  # 112 / 90 is 1.24, 112 / 89 is 1.26
)
def test_what_is_no_crop(width: int, height: int, expected: bool) -> None:
    assert is_no_crop(width, height) == expected


def test_images_that_are_no_crops_are_counted_and_the_first_is_named() -> None:
    sample = [of_size(112, 112), of_size(250, 250), of_size(640, 480)]
    assert describe_no_crops(sample) == (
        "2 of 3 images looked at have not the shape or size of aligned crops, as 250x250.png (250 x 250)"
    )
    assert describe_no_crops([of_size(112, 112), SampledImage("gone", b"", sample[0].pixels)]) == ""


def test_skin_says_which_way_round_the_channels_are() -> None:
    right, swapped, grey = of_colour(*SKIN), of_colour(*SKIN[::-1]), of_colour(99, 99, 99)
    assert describe_swapped([right] * 20) == describe_swapped([grey] * 20) == describe_swapped([]) == ""
    assert describe_swapped([swapped] * 10 + [right] * 10 + [grey] * 10) == ""  # as many of either kind
    assert describe_swapped([swapped] * 9) == ""  # too few to tell
    found = describe_swapped([swapped] * 20 + [right] * 5)
    assert found.startswith("20 of 25 images in colour that were looked at have more blue than red (means 128 and 100)")


def test_the_middle_counts_and_the_background_does_not() -> None:
    image = np.full((112, 112, 3), SKIN[::-1], np.uint8)
    image[28:84, 28:84] = SKIN
    assert describe_swapped([SampledImage("x.png", b"", image)] * 20) == ""


def test_a_sample_is_spread_over_all_images() -> None:
    assert spread(7).tolist() == list(range(7))
    places = spread(1000)
    assert len(places) == 100 and places[0] == 0 and places[-1] == 999 and np.diff(places).max() <= 11
