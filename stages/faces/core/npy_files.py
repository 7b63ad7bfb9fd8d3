"""Arrays on disk in NumPy's own .npy format, which holds no dates and no pickle."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from faces.core.errors import StageError
from faces.core.files import replacing, require_file


def write_npy(path: Path, array: NDArray[np.generic]) -> None:
    """Write one array."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)


def write_npy_header(file: BinaryIO, dtype: DTypeLike, shape: Sequence[int]) -> None:
    """Write the header of an array whose rows follow in C order.

    NumPy pads it for a first axis of any length, so the header can be written again when the number of rows is known.
    """
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(file, header)


def open_npy(path: Path) -> NDArray[np.generic]:
    """Map an array from disk, read-only; StageError if the file is missing, cut short or not an array."""
    require_file(path)
    try:
        return np.lib.format.open_memmap(path, mode="r")  # np.load would accept a zip file too
    except FileNotFoundError:
        raise StageError(f"{path} is missing; `dvc repro` makes it, `dvc pull` fetches it") from None
    except OSError:
        raise
    except Exception as error:  # a damaged header raises many kinds
        raise StageError(f"{path} is not a whole .npy file: {str(error)[:500]}") from None
