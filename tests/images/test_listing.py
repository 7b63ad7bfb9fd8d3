from typing import get_args

import pytest

from faces.core.errors import StageError
from faces.images.listing import FORMATS, list_source
from faces.tables.sources import Format, Source
from image_files import put

pytestmark = pytest.mark.usefixtures("in_new_folder")


def test_every_format_has_its_row() -> None:
    assert tuple(FORMATS) == get_args(Format)


def put_groups() -> None:
    """Two groups of two people each, with an image a person."""
    for path in ("African/ann/1.png", "African/bob/1.png", "Asian/cem/1.png", "Asian/dan/1.png"):
        put(path)


def test_people_a_level_deeper_are_warned_of_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    put_groups()
    listing = list_source("x", Source(path="faces"))
    assert list(listing.subjects) == ["African", "Asian"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "warning: faces: 2 of 2 people have images in folders below their own, such as 'African/ann' of 'African'; "
        "if those folders are the people, set `depth: 2` for this source, else `depth: 1`"
    )


@pytest.mark.parametrize(
    ("depth", "subjects"), [(1, ["African", "Asian"]), (2, ["African/ann", "African/bob", "Asian/cem", "Asian/dan"])]
)
def test_a_source_says_how_deep_its_people_lie(
    depth: int, subjects: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    put_groups()
    listing = list_source("x", Source(path="faces", depth=depth))
    assert list(listing.subjects) == subjects
    assert [len(listing.images(subject)) for subject in subjects] == [4 // len(subjects)] * len(subjects)
    assert capsys.readouterr().err == ""


def test_images_above_the_depth_belong_to_nobody() -> None:
    put_groups()
    put("African/stray.png")
    rejected = list_source("x", Source(path="faces", depth=2)).rejected
    assert [(row.path, row.reason) for row in rejected] == [("African/stray.png", "outside_subject")]


def test_one_folder_around_all_people_is_named() -> None:
    for path in ("images/ann/1.png", "images/bob/1.png"):
        put(path)
    with pytest.raises(StageError, match="such as 'images/ann' of 'images'; .* set `depth: 2`"):
        list_source("x", Source(path="faces"))
