"""Arrays in NumPy's .npy and .npz formats, without pickle and dates, so that equal arrays are equal bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO
from zipfile import ZipFile, ZipInfo

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from faces.core.errors import StageError
from faces.core.files import replacing, require_file


def write_npz(path: Path, **arrays: ArrayLike) -> None:
    """Write named arrays in C order, uncompressed.

    `np.savez` makes room for members above 4 GB in any file, and patch releases of Python 3.11 do that in other bytes.
    """
    with replacing(path) as temporary, ZipFile(temporary, "w") as file:
        for name, content in arrays.items():
            array, member = np.asarray(content, order="C"), ZipInfo(f"{name}.npy")
            member.file_size = array.nbytes  # by which zipfile chooses the format of the member
            with file.open(member, "w") as stored:
                np.lib.format.write_array(stored, array, allow_pickle=False)


def write_npy_header(file: BinaryIO, dtype: DTypeLike, shape: Sequence[int]) -> None:
    """Write the header of an array; its rows follow in C order.

    NumPy pads the header for a first axis of any length, so it can be overwritten once the number of rows is known.
    """
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(file, header)


def open_npy(path: Path) -> NDArray[np.generic]:
    """Memory-map an array, read-only; StageError if the file is missing, truncated or not an array."""
    require_file(path)
    try:
        return np.lib.format.open_memmap(path, mode="r")  # np.load would accept a zip file too
    except FileNotFoundError:
        raise StageError(f"{path} is missing; `dvc repro` makes it, `dvc pull` fetches it") from None
    except OSError:
        raise
    except Exception as error:  # NumPy raises many types for a damaged header
        raise StageError(f"{path} is not a whole .npy file: {str(error)[:500]}") from None
