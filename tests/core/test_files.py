import errno
import json
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from faces.core.csv_files import read_csv, write_csv
from faces.core.errors import StageError
from faces.core.files import replacing, write_metrics, write_text
from faces.core.npy_files import open_npy
from faces.core.run import USER_ERRORS


def test_a_failed_write_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_text(path, "old\n")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise RuntimeError
    assert path.read_text(encoding="utf-8") == "old\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device: .*table.csv"), replacing(tmp_path / "table.csv"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_the_temporary_name_keeps_the_suffix_and_the_folder(tmp_path: Path) -> None:
    with replacing(tmp_path / "new" / "x.npy") as temporary:
        assert temporary.suffix == ".npy" and temporary.parent == tmp_path / "new"
        temporary.touch()


def test_metrics_are_json_and_finite(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    write_metrics(path, {"accuracy": 0.25, "images": 3})
    assert json.loads(path.read_text(encoding="utf-8")) == {"accuracy": 0.25, "images": 3}
    with pytest.raises(ValueError, match="metric loss is nan"):
        write_metrics(path, {"loss": math.nan})
    assert json.loads(path.read_text(encoding="utf-8"))["images"] == 3


def test_csv_brings_every_float32_back(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    write_csv(tmp_path / "x.csv", pd.DataFrame({"value": values}))
    assert b"\r" not in (tmp_path / "x.csv").read_bytes()
    again = pd.read_csv(tmp_path / "x.csv")["value"].to_numpy().astype(np.float32)
    np.testing.assert_array_equal(again, values)


def test_cells_may_be_empty_in_columns_that_say_so(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    table = pd.DataFrame({"subject": ["", "NA"], "path": ["1", "2"]})
    write_csv(path, table)
    columns = {"subject": str, "path": str}
    pd.testing.assert_frame_equal(read_csv(path, columns, may_be_empty=["subject"]), table, check_dtype=False)
    with pytest.raises(StageError, match="line 2: subject is empty"):
        read_csv(path, columns)
    write_csv(path, table.rename(columns={"subject": "path", "path": "subject"}))
    with pytest.raises(StageError, match="line 2: path is empty"):
        read_csv(path, {"path": str, "subject": str}, may_be_empty=["subject"])


def test_an_array_is_read_and_a_damaged_or_missing_one_named(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    with pytest.raises(StageError, match="x.npy is missing"):
        open_npy(path)
    np.save(path, array := np.arange(1000).reshape(100, 10))
    np.testing.assert_array_equal(open_npy(path), array)
    whole = path.read_bytes()
    for content in (b"", whole[:50], whole[:-1], b"not an array" * 30):
        path.write_bytes(content)
        with pytest.raises(StageError, match=r"x\.npy is not a whole"):
            open_npy(path)


@pytest.mark.timeout(10)
def test_a_pipe_in_the_place_of_a_file_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StageError, match="pipe is not a file"):
        read_csv(tmp_path / "pipe", {"subject": str})
    with pytest.raises(StageError, match="pipe is not a file"):
        open_npy(tmp_path / "pipe")


def test_an_array_of_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(StageError, match=r"x\.npy is not a whole"):
        open_npy(path)


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("x")
    for path in (tmp_path / "README.md/x.html", tmp_path / "README.md/y/x.html"):
        with pytest.raises(OSError) as error:
            write_text(path, "report")
        assert error.value.errno in USER_ERRORS and error.value.filename == str(path)
