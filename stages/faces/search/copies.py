"""Which images are copies or near copies of each other.

Two images are copies if their pixels are the same, or if they pass two looks. The first, at thumbnails of 8 x 8 pixels
(thumbnails.py), finds candidates among all images. The second, at the full size, tells copies from other photos of one
sitting, whose thumbnails can be as alike: other poses and expressions move the edges of eyes, nose and mouth. It
compares details, luminance less what is smooth over 9 x 9 pixels, at the best of all shifts by up to 2 pixels.

What the second look decides, as correlation of details (`DETAIL` is the least of copies):

    1,673 photos of LFW: the most alike pair but one               0.645   no copy
        the other one, one photo that is there twice               0.928   a copy
    drawn faces, 40 frontal sittings of 10 photos, 1,800 pairs: 508 have likeness 0.98, and of these 14 are over 0.9, so
        that of 400 photos 27 and not 345 are taken for copies (in grey, of 404 pairs 14, so 27 photos and not 322);
        `python -m benchmarks.copies` prints it
    JPEG of quality 30; 75                                         0.970; 0.995 on LFW, 0.900; 0.978 drawn (the lowest)
    a shift by 1 or 2 pixels, darker, in grey                      0.998
    shrunk to 56 x 56 and enlarged                                 0.968
    noise with a standard deviation of 10                          0.956 on LFW, 0.839 drawn: may be missed
    enlarged by 2 %; turned by 2 degrees                           0.821; 0.752: missed
"""

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from faces.core.image_size import SIDE
from faces.core.terminal import progress
from faces.search.thumbnails import blocks

DETAIL = 0.9
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
SMOOTH, COARSE = 3, 9  # pixels: details are what a mean of 3 x 3 keeps and a mean of 9 x 9 loses
MOST_SHIFT = 2  # pixels to each side
EDGE, STEP = 4, 2  # pixels left out at the edges, at least MOST_SHIFT; one pixel of two is compared
PAIRS_AT_ONCE = 512  # 50 MB of details

ReadImages = Callable[[NDArray[np.int64]], NDArray[np.uint8]]  # numbers of images -> uint8 (n, 112, 112, 3)


def digests(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return a hash of the pixels of each image (n, 112, 112, 3): (n,)."""
    hashes = [hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8).digest() for image in images]
    return np.frombuffer(b"".join(hashes), "<u8").astype(np.uint64)


def details(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the details of images (n, 112, 112, 3): float32 (n, 112, 112)."""
    luminance = images.astype(np.float32) @ LUMINANCE
    smooth, coarse = (uniform_filter(luminance, (0, size, size)) for size in (SMOOTH, COARSE))
    return smooth - coarse


def detail_likeness(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the highest correlation of two images' details (112, 112) over all shifts; 0 if one has none."""
    wanted, best = _unit(first, 0, 0), 0.0
    shifts = range(-MOST_SHIFT, MOST_SHIFT + 1)
    for down in shifts:
        for right in shifts:
            best = max(best, float(wanted @ _unit(second, down, right)))
    return best


def _unit(detail: NDArray[np.float32], down: int, right: int) -> NDArray[np.float32]:
    """Return the pixels of one image's details at a shift, as a vector of mean 0 and length 1, or 0 throughout."""
    rows, columns = (slice(EDGE + shift, SIDE - EDGE + shift, STEP) for shift in (down, right))
    values = detail[rows, columns].ravel()
    values = values - values.mean()
    length = np.linalg.norm(values)
    return values / length if length > 0 else values


def are_copies(first: NDArray[np.uint8], second: NDArray[np.uint8], pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for each pair of candidates (k, 2), numbers of images of `first` and `second`, whether they are copies."""
    if len(pairs) == 0:
        return np.zeros(0, dtype=bool)
    ours, theirs = details(first), details(second)
    return np.array([detail_likeness(ours[a], theirs[b]) >= DETAIL for a, b in pairs.tolist()], dtype=bool)


def confirm(candidates: NDArray[np.int64], read: ReadImages) -> NDArray[np.int64]:
    """Return those pairs of images that are copies, of candidates (k, 2) by number."""
    if len(candidates) == 0:
        return candidates
    kept, order = [], np.lexsort(candidates.T[::-1])  # so that a block needs few images
    for rows in progress(list(blocks(len(candidates), PAIRS_AT_ONCE)), "comparing candidates", unit="block"):
        pairs = candidates[order[rows]]
        numbers, places = np.unique(pairs, return_inverse=True)
        images = read(numbers)
        kept.append(pairs[are_copies(images, images, places.reshape(-1, 2))])
    return np.concatenate(kept)


def same_pixels(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return pairs (k, 2) of images of the same hash: each with the first one of its hash."""
    _, first, place = np.unique(hashes, return_index=True, return_inverse=True)
    pairs = np.stack([first[place], np.arange(len(hashes))], axis=1)
    return pairs[pairs[:, 0] != pairs[:, 1]]


def groups_of(pairs: NDArray[np.int64], images: int) -> NDArray[np.int64]:
    """Return the group of each of `images` images: (n,), from 0, in the order of the first image of each group.

    Images that pairs (k, 2) connect, directly or through others, are in one group.
    """
    graph = coo_array((np.ones(len(pairs), dtype=bool), tuple(pairs.T)), shape=(images, images))
    return connected_components(graph, directed=False)[1].astype(np.int64)
