"""Thumbnails of 8 x 8 pixels: what is left of an image when it is compressed, shifted or scaled a little.

A perceptual hash that is compared by cosine instead of by bits. Of 1,673 photographs of faces, 112 x 112, two different
ones had a likeness of at most 0.972, but for one true pair of copies; copies kept 0.998 or more under JPEG of quality
30, 0.988 if shifted by a pixel both ways, 0.975 if enlarged by 4 %, and 0.955 if shifted by two.

Up to a number of images, all are compared with all. Above it, vectors are sorted into cells round centres that k-means
has found, and a query looks into the nearest ones (Sivic, Zisserman 2003; FAISS's IndexIVFFlat): copies, whose vectors
are close, lie in the same cell or in one nearby. So many images at a time are then held in memory, and all others are
looked for among them.
"""

import math
from collections.abc import Iterator

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from faces.core.terminal import progress

SIDE = 8
THUMBNAIL_SHAPE = (SIDE, SIDE, 3)
IMAGES_AT_ONCE = 1024  # 40 MB
QUERIES_AT_ONCE = 4096  # what FAISS multiplies at once
ROUNDING = 1e-5  # of a likeness: a sum of 192 products, each rounded by 6e-8, so that a copy may have less than 1.0
CELLS_PER_ROOT, CELLS_SEARCHED = 4, 16  # there are 4 * sqrt(images) cells
TRAINED_ON, ROUNDS, SEED = 39, 10, 0  # of k-means: vectors a cell, iterations


def thumbnails(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the means of 14 x 14 pixels of images (n, 112, 112, 3), RGB: uint8 (n, 8, 8, 3)."""
    made = np.empty((len(images), *THUMBNAIL_SHAPE), dtype=np.uint8)
    for rows in blocks(len(images)):
        block = images[rows]
        size = block.shape[1] // SIDE
        pixels = block.reshape(len(block), SIDE, size, SIDE, size, 3).astype(np.float32)
        made[rows] = np.rint(pixels.mean(axis=(2, 4)))
    return made


def blocks(total: int, size: int = IMAGES_AT_ONCE) -> Iterator[slice]:
    """Yield slices that cover `total` images, `size` at a time."""
    for start in range(0, total, size):
        yield slice(start, start + size)


def directions(small: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return thumbnails (n, 8, 8, 3) as vectors (n, 192) whose dot product is the likeness of two, in -1..1.

    Brightness and contrast do not count. An image of one colour has likeness 0 to all others.
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


def cells_of(small: NDArray[np.uint8]) -> faiss.Index:
    """Return an empty index with cells for thumbnails (n, 8, 8, 3): the same ones every time."""
    size, cells = math.prod(THUMBNAIL_SHAPE), min(len(small), round(CELLS_PER_ROOT * len(small) ** 0.5))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(size), size, cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.niter, index.cp.max_points_per_centroid = SEED, ROUNDS, TRAINED_ON
    index.cp.min_points_per_centroid = 1  # below which FAISS prints a warning
    index.nprobe = CELLS_SEARCHED
    chosen = np.random.default_rng(SEED).choice(len(small), min(len(small), cells * TRAINED_ON), replace=False)
    index.train(directions(small[np.sort(chosen)]))
    return index


def slice_indices(small: NDArray[np.uint8], most: int) -> Iterator[tuple[slice, faiss.Index]]:
    """Yield indices of at most `most` thumbnails of (n, 8, 8, 3) after another, and which: exact if one holds all.

    Each is used up before the next is made.
    """
    if len(small) <= most:
        yield slice(0, len(small)), exact_index(directions(small))
        return
    index = cells_of(small)
    for rows in blocks(len(small), most):
        for block in blocks(min(rows.stop, len(small)) - rows.start, QUERIES_AT_ONCE):
            index.add(directions(small[rows][block]))
        yield rows, index
        index.reset()


def alike(
    queries: NDArray[np.float32], index: faiss.Index, likeness: float, neighbours: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which queries are alike to which others: rows of either, the most alike `neighbours` a query at most.

    Args:
        queries: directions (n, 192).
        index: of the directions of the others.
        likeness: from which two are alike; what rounding may have taken from it is made up for.
        neighbours: how many others a query may have.
    """
    found_likeness, found = index.search(queries, neighbours)  # -1, and the lowest likeness, where there are fewer
    query, rank = np.nonzero(found_likeness >= likeness - ROUNDING)
    return query.astype(np.int64), found[query, rank].astype(np.int64)


def groups_of_copies(
    small: NDArray[np.uint8], likeness: float, neighbours: int, exact_images: int
) -> NDArray[np.int64]:
    """Return the group of each thumbnail (n, 8, 8, 3), shape (n,): those that are alike, directly or through others.

    Groups are numbered by their first image. All are compared with all if they are `exact_images` at most; so many
    are held as vectors at a time, 768 bytes each.
    """
    links = [np.empty((2, 0), np.int64)]
    for rows, index in slice_indices(small, exact_images):
        later = blocks(len(small) - rows.start, QUERIES_AT_ONCE)  # earlier ones have been compared
        for block in progress(list(later), "looking for copies", unit="block"):
            queries = small[rows.start :][block]
            query, other = alike(directions(queries), index, likeness, neighbours + 1)  # each finds itself
            pairs = np.stack([query + block.start, other]) + rows.start
            links.append(pairs[:, pairs[0] != pairs[1]])
    first, second = np.concatenate(links, axis=1)
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(len(small), len(small)))
    _, group = connected_components(graph, directed=False)
    return group.astype(np.int64)
