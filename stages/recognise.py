"""Are two images of one person? Who of those enrolled is it? Asked of what `dvc repro` left in models/export.

    python stages/recognise.py verify one.png other.png
    python stages/recognise.py enrol /folder/of/people people.npz     # <folder>/<person>/<image>
    python stages/recognise.py identify one.png people.npz

The answer has the score (a cosine, -1 to 1), the threshold from which it counts as the same person, where that comes
from, and the errors that were measured at it. Images are faces, cropped and aligned; what is not 112 x 112 is stretched
to it. With --photos they are photos, in which the face is found and aligned as `pack` does for `format: photos`; that
takes some seconds more. Nothing is sent anywhere, and the images are only read.

Exit code: 0 same person, found or enrolled; 1 another person, or nobody; 2 no answer, with the reason on stderr.
"""

import argparse
import hashlib
import json
import os
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from faces.core.errors import StageError
from faces.core.params import load_params
from faces.images.decoding import Limits, read_image, read_photo, ready_to_read
from faces.images.image_folder import list_images
from faces.images.rejection import Rejected, Rejection, unreadable
from faces.inference.embedder import Embedder
from faces.inference.gallery import Gallery, read_gallery

EXPORT = Path("models/export")
MODEL, DESCRIPTION = "backbone_float32.tflite", "model.json"
LIMITS = Limits(min_side=16, max_megapixels=50)
MOST_BYTES = 64 * 2**20  # of an image file
IMAGES_AT_ONCE = 256
SAME, OTHER, NO_ANSWER = 0, 1, 2


class Errors(BaseModel):
    """A threshold on cosines, with the errors measured at it: shares of impostor and of genuine pairs."""

    threshold: float
    fmr: float = Field(ge=0, le=1)
    fnmr: float = Field(ge=0, le=1)


class Thresholds(Errors):
    """What models/threshold.json holds."""

    chosen_on: str
    measured_on: str
    genuine_pairs: int
    impostor_pairs: int
    at_fmr: dict[str, Errors]
    at_fmr_chosen_on: str


class Description(BaseModel):
    """What model.json says of the model beside it, as far as it is needed here."""

    flip: bool
    thresholds: Thresholds


class Model(NamedTuple):
    """The network, what is known of it, and the SHA-256 of its file."""

    embedder: Embedder
    description: Description
    digest: str

    def embed(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return embeddings (n, D) of length 1 of images (112, 112, 3)."""
        embeddings = self.embedder(np.stack(images))
        norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
        if not np.isfinite(norms).all() or not norms.all():
            raise StageError("the model gives no usable embedding of an image")
        return embeddings / norms


def load_model(folder: Path) -> Model:
    """Return the exported model of a folder; StageError names what is missing or wrong."""
    path, description = folder / MODEL, folder / DESCRIPTION
    try:
        content, text = path.read_bytes(), description.read_bytes()
    except OSError as error:
        raise StageError(
            f"{error.filename}: {error.strerror}; `make repro` makes it, `dvc pull` or `dvc artifacts get` fetches it"
        ) from None
    try:
        known = Description.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise StageError(f"{description}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    try:
        embedder = Embedder(content, flip=known.flip)
    except (ValueError, RuntimeError) as error:
        raise StageError(f"{path}: not a LiteRT model ({' '.join(str(error).split())[:200]})") from None
    return Model(embedder, known, hashlib.sha256(content).hexdigest())


Reader = Callable[[Path], NDArray[np.uint8]]


def reader(photos: bool) -> Reader:
    """Return what makes a face, uint8 (112, 112, 3), RGB, of an image file, or of a photo; Rejection if it cannot."""
    if not photos:
        return lambda path: read_image(checked(path), LIMITS, "lanczos")
    from faces.images.detection import Detector, PhotosParams, align_photo

    params = load_params("photos", PhotosParams)
    detector = Detector(params)
    return lambda path: align_photo(read_photo(checked(path), LIMITS), detector, params)


def checked(path: Path) -> Path:
    """Return the path of a file that anybody may have sent; Rejection if it should not be opened."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise unreadable(error) from None
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for, a device has no end
        raise Rejection("not_a_file", "a folder, pipe, socket or device")
    if status.st_size > MOST_BYTES:
        raise Rejection("too_large", f"{status.st_size:,} bytes; at most {MOST_BYTES:,} are read")
    return path


def face_of(path: Path, read: Reader) -> NDArray[np.uint8]:
    """Return the image that the command line names; StageError says why it cannot be used."""
    try:
        return read(path)
    except Rejection as rejection:
        raise StageError(f"{path}: {rejection.reason}: {rejection.detail}") from None


def threshold_of(thresholds: Thresholds, fmr: str | None) -> dict[str, Any]:
    """Return the threshold for a false match rate, or else the one from training pairs, with what is known of it."""
    if fmr is None:
        chosen: Errors = thresholds
        origin = f"the most accurate on pairs of {thresholds.chosen_on} images"
    elif fmr in thresholds.at_fmr:
        chosen = thresholds.at_fmr[fmr]
        origin = f"for an FMR of {fmr} on {thresholds.at_fmr_chosen_on} images"
    else:
        raise StageError(f"--fmr {fmr}: no threshold is known for it; known: {', '.join(thresholds.at_fmr) or 'none'}")
    return {
        "threshold": chosen.threshold,
        "threshold_from": origin,
        "fmr": chosen.fmr,
        "fnmr": chosen.fnmr,
        "measured_on": thresholds.measured_on,
        "genuine_pairs": thresholds.genuine_pairs,
        "impostor_pairs": thresholds.impostor_pairs,
    }


def in_words(answer: dict[str, Any]) -> str:
    """Return what is to be said of the threshold of an answer."""
    return (
        f"threshold {answer['threshold']:.3f}: {answer['threshold_from']}\n"
        f"on {answer['measured_on']} images, {answer['fmr']:.2%} of {answer['impostor_pairs']:,} impostor pairs were "
        f"at or above it (FMR), and {answer['fnmr']:.2%} of {answer['genuine_pairs']:,} genuine pairs below (FNMR)"
    )


def verify(options: argparse.Namespace) -> tuple[int, dict[str, Any], str]:
    """Return exit code, answer and words on whether two images are of one person."""
    read = reader(options.photos)
    one, other = face_of(options.one, read), face_of(options.other, read)
    model = load_model(options.model)
    answer = threshold_of(model.description.thresholds, options.fmr)
    first, second = model.embed([one, other])
    score = float(first @ second)
    same = score >= answer["threshold"]
    words = f"{'the same person' if same else 'different people'}: cosine {score:.3f}\n{in_words(answer)}"
    return (SAME if same else OTHER), {"same": same, "score": score, **answer}, words


def identify(options: argparse.Namespace) -> tuple[int, dict[str, Any], str]:
    """Return exit code, answer and words on who of a gallery is on an image."""
    face, gallery = face_of(options.image, reader(options.photos)), read_gallery(options.gallery)
    model = load_model(options.model)
    if gallery.model != model.digest:
        raise StageError(f"{options.gallery}: enrolled with another model than {options.model / MODEL}; enrol anew")
    answer = threshold_of(model.description.thresholds, options.fmr)
    ranked = gallery.rank(model.embed([face])[0], options.most)
    found = ranked[0][0] if ranked[0][1] >= answer["threshold"] else None
    people, images = len(set(gallery.subjects.tolist())), len(gallery.subjects)
    fpir = 1 - (1 - answer["fmr"]) ** images
    lines = [f"{'nobody of those enrolled' if found is None else found}"]
    lines += [f"  {score:.3f}  {subject}" for subject, score in ranked]
    lines += [
        in_words(answer),
        f"these are rates of one comparison, and there were {images:,}, with the images of {people} people: were they "
        f"independent, {fpir:.2%} of strangers would be found (FPIR)",
    ]
    candidates = [{"subject": subject, "score": score} for subject, score in ranked]
    answer = {
        "found": found,
        "candidates": candidates,
        "enrolled_people": people,
        "fpir_if_independent": fpir,
        **answer,
    }
    return (OTHER if found is None else SAME), answer, "\n".join(lines)


def enrol(options: argparse.Namespace) -> tuple[int, dict[str, Any], str]:
    """Write the gallery of a folder; return exit code, answer and words, in which refused images are named."""
    if not options.folder.is_dir():
        raise StageError(f"{options.folder}: there is no such folder")
    listing = list_images(options.folder)
    read, model, rejected = reader(options.photos), load_model(options.model), list(listing.rejected)
    images, subjects, embeddings = list[NDArray[np.uint8]](), list[str](), list[NDArray[np.float32]]()
    for file in (file for subject in listing.subjects for file in listing.images(subject)):
        try:
            images.append(read(options.folder / file.path))
            subjects.append(file.subject)
        except Rejection as rejection:
            rejected.append(rejection.row(file.path))
        if len(images) == IMAGES_AT_ONCE:
            embeddings.append(model.embed(images))
            images.clear()
    if images:
        embeddings.append(model.embed(images))
    if not subjects:
        raise StageError(f"{options.folder}: no usable image of the form <person>/<image>{_listed(rejected)}")
    Gallery(np.concatenate(embeddings), np.array(subjects), model.digest).write(options.gallery)
    answer = {
        "gallery": str(options.gallery),
        "people": len(set(subjects)),
        "images": len(subjects),
        "rejected": [row._asdict() for row in sorted(rejected)],
    }
    words = f"{answer['people']} people with {answer['images']} images are in {options.gallery}{_listed(rejected)}"
    return SAME, answer, words


def _listed(rejected: list[Rejected]) -> str:
    return "".join(f"\nrefused: {row.path}: {row.reason}: {row.detail}" for row in sorted(rejected))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print the answer as JSON")
    common.add_argument("--photos", action="store_true", help="find and align the face in each image")
    common.add_argument("--model", type=Path, default=EXPORT, help="folder of the exported model (%(default)s)")
    asking = argparse.ArgumentParser(add_help=False)
    asking.add_argument(
        "--fmr", metavar="rate", help="a threshold for this false match rate, such as 0.01, not that of training pairs"
    )
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog="recognise.py"
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    one = commands.add_parser("verify", parents=[common, asking], help="are two images of one person?")
    one.add_argument("one", type=Path, help="an image of a face")
    one.add_argument("other", type=Path, help="another")
    one.set_defaults(command=verify)
    many = commands.add_parser("identify", parents=[common, asking], help="who of those enrolled is it?")
    many.add_argument("image", type=Path, help="an image of a face")
    many.add_argument("gallery", type=Path, help="what `enrol` wrote")
    many.add_argument("--most", type=_positive, default=5, help="how many people are listed (%(default)s)")
    many.set_defaults(command=identify)
    new = commands.add_parser("enrol", parents=[common], help="make a gallery of a folder")
    new.add_argument("folder", type=Path, help="images as <folder>/<person>/<image>")
    new.add_argument("gallery", type=Path, help="the .npz file to write")
    new.set_defaults(command=enrol)
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: a whole number, 1 or more")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer, and return the exit code."""
    options = _arguments(arguments)
    try:
        with ready_to_read():
            code, answer, words = options.command(options)
    except StageError as error:
        print(f"recognise: {error}", file=sys.stderr)
        return NO_ANSWER
    except OSError as error:
        print(f"recognise: {error.filename or 'output'}: {error.strerror}", file=sys.stderr)
        return NO_ANSWER
    print(json.dumps(answer, indent=2) if options.json else words)
    return code


if __name__ == "__main__":
    sys.exit(main())
