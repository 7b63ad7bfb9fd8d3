import os
from pathlib import Path

import pytest

from faces.core.errors import StageError
from faces.core.json_files import parse_json, read_json


def test_json_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"a": [1, 0.5, -2e3, null, true], "ü": {}}', encoding="utf-8")
    assert read_json(path) == {"a": [1, 0.5, -2000.0, None, True], "ü": {}}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_are_finite(number: str) -> None:
    with pytest.raises(ValueError, match=f"{number} is not a finite number"):
        parse_json(f'{{"a": [{number}]}}')


@pytest.mark.timeout(20)  # reading a pipe waits for ever
def test_what_is_no_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(StageError, match=f"{path} is missing"):
        read_json(path)
    for content in (b"", b"{", b"\xff", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(StageError, match=f"{path}: "):
            read_json(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(StageError, match="is not a file"):
        read_json(path)
