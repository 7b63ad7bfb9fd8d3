"""Thumbnails of 8 x 8 pixels: what is left of an image when it is compressed, shifted or scaled a little.

A perceptual hash that is compared by cosine instead of by bits. Of 1,673 photographs of faces, 112 x 112, two different
ones had a likeness of at most 0.972, but for one true pair of copies; copies kept 0.998 or more under JPEG of quality
30, 0.988 if shifted by a pixel both ways, 0.975 if enlarged by 4 %, and 0.955 if shifted by two.
"""

from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SIDE = 8
IMAGES_AT_ONCE = 1024  # 40 MB


def thumbnails(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the means of 14 x 14 pixels of images (n, 112, 112, 3), RGB: uint8 (n, 8, 8, 3)."""
    made = np.empty((len(images), SIDE, SIDE, 3), dtype=np.uint8)
    for rows in blocks(len(images)):
        block = images[rows]
        size = block.shape[1] // SIDE
        pixels = block.reshape(len(block), SIDE, size, SIDE, size, 3).astype(np.float32)
        made[rows] = np.rint(pixels.mean(axis=(2, 4)))
    return made


def blocks(total: int) -> Iterator[slice]:
    """Yield slices that cover `total` images, some at a time."""
    for start in range(0, total, IMAGES_AT_ONCE):
        yield slice(start, start + IMAGES_AT_ONCE)


def directions(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return thumbnails (n, 8, 8, 3) as vectors (n, 192) whose dot product is the likeness of two, in -1..1.

    Brightness and contrast do not count. An image of one colour has likeness 0 to all others.
    """
    vectors = small.reshape(len(small), -1).astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=vectors, where=lengths > 0)


def alike(
    queries: NDArray[np.uint8], others: NDArray[np.uint8], likeness: float, neighbours: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which queries are alike to which others: rows of either, the most alike `neighbours` a query at most."""
    found_likeness, found = faiss.knn(
        directions(queries), directions(others), min(neighbours, len(others)), metric=faiss.METRIC_INNER_PRODUCT
    )
    query, rank = np.nonzero(found_likeness >= likeness)
    return query.astype(np.int64), found[query, rank].astype(np.int64)


def groups_of_copies(small: NDArray[np.uint8], likeness: float, neighbours: int) -> NDArray[np.int64]:
    """Return the group of each thumbnail (n, 8, 8, 3), shape (n,): those that are alike, directly or through others.

    Groups are numbered by their first image.
    """
    first, second = alike(small, small, likeness, neighbours + 1)  # each finds itself
    links = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(len(small), len(small)))
    _, group = connected_components(links, directed=False)
    return group.astype(np.int64)
