"""Files of named arrays, against NumPy and the zip format."""

import struct
from pathlib import Path

import numpy as np

from faces.core.npy_files import write_npz


def test_named_arrays_come_back_and_any_python_writes_the_same_bytes(tmp_path: Path) -> None:
    arrays = {"text": np.array("a – b"), "set/column": np.arange(6, dtype=np.float32).reshape(2, 3).T}
    write_npz(tmp_path / "some.npz", **arrays)
    with np.load(tmp_path / "some.npz", allow_pickle=False) as file:
        assert file.files == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(file[name], array)
    # The local header of the first member, by PKWARE's APPNOTE: signature, version needed, flags, method, time, date.
    content = (tmp_path / "some.npz").read_bytes()
    first_of_1980 = (1 << 5) | 1
    assert struct.unpack("<4s5H", content[:14]) == (b"PK\3\4", 20, 0, 0, 0, first_of_1980)
    name_length, extra_length = struct.unpack("<2H", content[26:30])
    assert (name_length, extra_length) == (len("text.npy"), 0)  # the sizes of members above 4 GB would be in an extra
