from typing import get_args

from faces.images.listing import FORMATS
from faces.tables.sources import Format


def test_every_format_has_its_row() -> None:
    assert tuple(FORMATS) == get_args(Format)
