"""Write a gallery: the embeddings of a folder of people, which `faces identify` searches.

    faces enrol /folder/of/people people.npz     # <folder>/<person>/<image>

The answer counts people and images, and names each image that cannot be used.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from faces.commands.recognition import SAME, Answer, answer, make_reader, recognition_parser
from faces.core.errors import StageError
from faces.core.files import require_file
from faces.core.terminal import warn
from faces.images.image_folder import list_images
from faces.images.rejection import Rejected, Rejection
from faces.inference.gallery import Gallery
from faces.inference.model import load_model

BATCH_IMAGES = 256  # embedded together: 10 MB of pixels


def enrol(options: argparse.Namespace) -> Answer:
    """Write the gallery of a folder; return exit code, content and words, which name rejected images."""
    if not options.folder.is_dir():
        raise StageError(f"{options.folder}: there is no such folder")
    check_target(options.gallery)
    listing = list_images(options.folder)
    if deeper := listing.describe_deeper():
        warn(f"{options.folder}: {deeper.partition(';')[0]}; a person is a folder directly in it")
    model, rejected = load_model(options.model), list(listing.rejected)
    read = make_reader(options.photos, model.description.resize_filter)
    images, subjects, embeddings = list[NDArray[np.uint8]](), list[str](), list[NDArray[np.float32]]()
    for file in (file for subject in listing.subjects for file in listing.images(subject)):
        try:
            images.append(read(options.folder / file.path))
            subjects.append(file.subject)
        except Rejection as rejection:
            rejected.append(rejection.row(file.path))
        if len(images) == BATCH_IMAGES:
            embeddings.append(model.embed(images))
            images.clear()
    if images:
        embeddings.append(model.embed(images))
    if not subjects:
        raise StageError(f"{options.folder}: no usable image of the form <person>/<image>{_list(rejected)}")
    Gallery(np.concatenate(embeddings), np.array(subjects), model.digest).write(options.gallery)
    content = {
        "gallery": str(options.gallery),
        "people": len(set(subjects)),
        "images": len(subjects),
        "rejected": [row._asdict() for row in sorted(rejected)],
    }
    words = f"{content['people']} people with {content['images']} images are in {options.gallery}{_list(rejected)}"
    return SAME, content, words


def check_target(gallery: Path) -> None:
    """Raise StageError if a gallery cannot be written there, which would else show after minutes of work."""
    require_file(gallery)
    folder = next(place for place in gallery.absolute().parents if place.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise StageError(f"{gallery}: cannot be written: {folder} is no folder that you may write to")


def _list(rejected: list[Rejected]) -> str:
    return "".join(f"\nrefused: {row.path}: {row.reason}: {row.detail}" for row in sorted(rejected))


def main(arguments: Sequence[str]) -> int:
    """Enrol, and return the exit code."""
    known = recognition_parser("enrol", __doc__, asks_for_threshold=False)
    known.add_argument("folder", type=Path, help="images as <folder>/<person>/<image>")
    known.add_argument("gallery", type=Path, help="the .npz file to write")
    options = known.parse_args(arguments)
    return answer("enrol", lambda: enrol(options), options.json)
