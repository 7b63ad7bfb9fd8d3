"""A gallery: embeddings of enrolled people in one .npz file, read without pickle."""

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faces.core.errors import StageError
from faces.core.files import require_file
from faces.core.npy_files import write_npz

LENGTH_ERROR = 1e-3  # from 1: far above rounding, far below what moves a cosine across a threshold
MAX_BYTES = 2**33  # of a gallery once it is unpacked: 4 million images of 512 numbers


class Gallery(NamedTuple):
    """Embeddings float32 (n, D) of length 1, the subject of each (n,), and the digest of the model that made them."""

    embeddings: NDArray[np.float32]
    subjects: NDArray[np.str_]
    model: str

    def write(self, path: Path) -> None:
        """Write the file; the same people give the same bytes."""
        write_npz(path, embeddings=self.embeddings, subjects=self.subjects, model=np.array(self.model))

    def rank(self, embedding: NDArray[np.float32], most: int) -> list[tuple[str, float]]:
        """Return the `most` subjects nearest to an embedding (D,) of length 1, with the cosine of the nearest image."""
        subjects, rows = np.unique(self.subjects, return_inverse=True)
        best = np.full(len(subjects), -np.inf)
        np.maximum.at(best, rows, self.embeddings @ embedding)
        order = np.argsort(-best, kind="stable")[:most]
        return [(str(subjects[place]), float(best[place])) for place in order]


def read_gallery(path: Path) -> Gallery:
    """Return the gallery of a file; StageError names the file if it is not a gallery."""
    require_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > MAX_BYTES:
            raise StageError(f"{path}: {unpacked:,} bytes once unpacked; at most {MAX_BYTES:,} are read")
        with np.load(path, allow_pickle=False) as arrays:
            gallery = Gallery(arrays["embeddings"], arrays["subjects"], str(arrays["model"]))
    except FileNotFoundError:
        raise StageError(f"{path} is missing; `enrol` makes it") from None
    except (KeyError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, OSError) as error:
        raise StageError(f"{path}: not a gallery that `enrol` wrote ({' '.join(str(error).split())[:200]})") from None
    embeddings, subjects, _ = gallery
    if embeddings.dtype != np.float32 or embeddings.ndim != 2 or subjects.dtype.kind != "U":
        raise StageError(f"{path}: {embeddings.dtype} {embeddings.shape}; expected float32 (n, D), and names")
    if subjects.shape != embeddings.shape[:1] or not len(subjects):
        raise StageError(f"{path}: damaged: {len(embeddings)} embeddings of {subjects.shape} people")
    off = np.abs(np.linalg.norm(embeddings.astype(np.float64), axis=1) - 1)
    if not (off <= LENGTH_ERROR).all():  # NaN is not, either
        raise StageError(f"{path}: embeddings are not of length 1, as those that `enrol` writes; enrol anew")
    return gallery
