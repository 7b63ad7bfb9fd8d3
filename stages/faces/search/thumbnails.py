"""Search for candidates for copies of images by thumbnails of 8 x 8 pixels; copies.py decides.

A thumbnail hardly changes if the image is compressed, shifted or scaled a little. It is a perceptual hash that is
compared by cosine, the likeness, instead of by bits. Of 1,673 photographs of faces, 112 x 112, two different ones had a
likeness of 0.972 at most, except for one true pair of copies. Copies had 0.998 or more after JPEG of quality 30, 0.988
after a shift by one pixel both ways, 0.975 after an enlargement by 4 %, and 0.955 after a shift by two pixels.

Up to `duplicates.exact_images` images, all are compared with all. Above it, vectors are sorted into cells around
centres that k-means finds, and a query is compared with the vectors of the nearest cells (Sivic, Zisserman 2003, "Video
Google"; FAISS's IndexIVFFlat): copies have close vectors, which are in the same cell or in one nearby. Then
`exact_images` images at a time are in memory, and all others are compared with them.
"""

import math
from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray

from faces.core.terminal import progress

SIDE = 8
THUMBNAIL_SHAPE = (SIDE, SIDE, 3)
IMAGES_AT_ONCE = 1024  # 40 MB
QUERIES_AT_ONCE = 4096  # what FAISS multiplies at once
ROUNDING = 1e-5  # of a likeness, a sum of 192 products, each rounded by 6e-8: that of a copy may be less than 1
CELLS_PER_ROOT, CELLS_SEARCHED = 4, 16  # there are 4 * sqrt(images) cells
VECTORS_PER_CELL, ITERATIONS, SEED = 39, 10, 0  # of k-means


def thumbnails(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return thumbnails, uint8 (n, 8, 8, 3), of images (n, 112, 112, 3), RGB: the means of 14 x 14 pixels."""
    made = np.empty((len(images), *THUMBNAIL_SHAPE), dtype=np.uint8)
    for rows in blocks(len(images)):
        block = images[rows]
        size = block.shape[1] // SIDE
        pixels = block.reshape(len(block), SIDE, size, SIDE, size, 3).astype(np.float32)
        made[rows] = np.rint(pixels.mean(axis=(2, 4)))
    return made


def blocks(total: int, size: int = IMAGES_AT_ONCE) -> Iterator[slice]:
    """Yield slices of `size` that cover `total` images; the last one may reach beyond."""
    for start in range(0, total, size):
        yield slice(start, start + size)


def directions(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return thumbnails (n, 8, 8, 3) as vectors (n, 192); the dot product of two is their likeness, -1..1.

    Brightness and contrast do not count. An image of one colour has likeness 0 with all others.
    """
    vectors = small.reshape(len(small), -1).astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=vectors, where=lengths > 0)


def exact_index(vectors: NDArray[np.float32]) -> faiss.Index:
    """Return an index that compares a query with all vectors (n, 192)."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def make_cells(small: NDArray[np.uint8]) -> faiss.Index:
    """Return an empty index with cells for thumbnails (n, 8, 8, 3); the same thumbnails give the same cells."""
    size, cells = math.prod(THUMBNAIL_SHAPE), min(len(small), round(CELLS_PER_ROOT * len(small) ** 0.5))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(size), size, cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.niter, index.cp.max_points_per_centroid = SEED, ITERATIONS, VECTORS_PER_CELL
    index.cp.min_points_per_centroid = 1  # FAISS warns below it
    index.nprobe = CELLS_SEARCHED
    chosen = np.random.default_rng(SEED).choice(len(small), min(len(small), cells * VECTORS_PER_CELL), replace=False)
    index.train(directions(small[np.sort(chosen)]))
    return index


def slice_indices(small: NDArray[np.uint8], most: int) -> Iterator[tuple[slice, faiss.Index]]:
    """Yield slices of at most `most` thumbnails of (n, 8, 8, 3), each with an index of these; exact if one holds all.

    An index is emptied when the next one is asked for.
    """
    if len(small) <= most:
        yield slice(0, len(small)), exact_index(directions(small))
        return
    index = make_cells(small)
    for rows in blocks(len(small), most):
        for block in blocks(min(rows.stop, len(small)) - rows.start, QUERIES_AT_ONCE):
            index.add(directions(small[rows][block]))
        yield rows, index
        index.reset()


def alike(
    queries: NDArray[np.float32], index: faiss.Index, likeness: float, neighbours: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of a query and another thumbnail that are alike: rows of the queries, rows of the others, (k,).

    Args:
        queries: directions (n, 192).
        index: index of the directions of the others.
        likeness: two are alike at or above it, give or take `ROUNDING`.
        neighbours: most others for a query; the most alike ones count.
    """
    found_likeness, found = index.search(queries, neighbours)  # row -1 with the lowest likeness if there are fewer
    query, rank = np.nonzero(found_likeness >= likeness - ROUNDING)
    return query.astype(np.int64), found[query, rank].astype(np.int64)


def alike_pairs(small: NDArray[np.uint8], likeness: float, neighbours: int, exact_images: int) -> NDArray[np.int64]:
    """Return the pairs of thumbnails (n, 8, 8, 3) that are alike, each once, the lower number first: (k, 2).

    A thumbnail is paired with its `neighbours` most alike ones. Up to `exact_images`, all are compared with all; this
    is also the most that are held as vectors at a time, 768 bytes each.
    """
    links = [np.empty((2, 0), np.int64)]
    for rows, index in slice_indices(small, exact_images):
        later = blocks(len(small) - rows.start, QUERIES_AT_ONCE)  # the earlier ones have been compared
        for block in progress(list(later), "looking for copies", unit="block"):
            queries = small[rows.start :][block]
            query, other = alike(directions(queries), index, likeness, neighbours + 1)  # each finds itself
            pairs = np.sort(np.stack([query + block.start, other]) + rows.start, axis=0)
            links.append(pairs[:, pairs[0] != pairs[1]])
    return np.unique(np.concatenate(links, axis=1).T, axis=0)
