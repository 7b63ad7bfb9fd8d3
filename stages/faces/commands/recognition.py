"""What `faces verify`, `enrol` and `identify` share: their options, reading an image, and giving an answer."""

import argparse
import json
import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.commands.arguments import parser
from faces.core.errors import StageError
from faces.core.params import load_params
from faces.evaluation.threshold import ErrorRates, Thresholds
from faces.images.decoding import Limits, read_image, read_photo, ready_to_read
from faces.images.rejection import Rejection, unreadable
from faces.inference.model import EXPORT

HELP = """
Images are faces, cropped and aligned; an image that is not 112 x 112 is stretched to it. With --photos they are photos:
the face is found and aligned as `pack` does for `format: photos`, which takes some seconds more. Nothing is sent
anywhere, and images are only read.

Exit code: 0 same person, found or enrolled; 1 another person, or nobody; 2 no answer, with the reason on stderr.
"""
LIMITS = Limits(min_side=16, max_megapixels=50)
MAX_BYTES = 64 * 2**20  # of an image file
MAX_SHOWN = 200  # letters of an unexpected error
SAME, OTHER, NO_ANSWER = 0, 1, 2

Answer = tuple[int, dict[str, Any], str]  # exit code, content for --json, and the same in words
FaceReader = Callable[[Path], NDArray[np.uint8]]  # image file -> face, uint8 (112, 112, 3), RGB


def recognition_parser(name: str, description: str | None, asks_for_threshold: bool = True) -> argparse.ArgumentParser:
    """Return the parser of a command with the options that all three share, and --fmr if it compares with one."""
    known = parser(name, f"{description}{HELP}")
    known.add_argument("--json", action="store_true", help="print the answer as JSON")
    known.add_argument("--photos", action="store_true", help="find and align the face in each image")
    known.add_argument("--model", type=Path, default=EXPORT, help="folder of the exported model (%(default)s)")
    if asks_for_threshold:
        known.add_argument(
            "--fmr",
            metavar="rate",
            help="take the threshold for this false match rate, such as 0.01, not the one from training pairs",
        )
    return known


def answer(name: str, ask: Callable[[], Answer], as_json: bool) -> int:
    """Print the answer of `ask`, or on stderr why there is none; return the exit code.

    Whatever goes wrong gives NO_ANSWER, an answer that could not be printed too: other codes are answers.
    """
    try:
        with ready_to_read():
            code, content, words = ask()
        print(json.dumps(content, indent=2, allow_nan=False) if as_json else words)
        sys.stdout.flush()
    except StageError as error:
        return no_answer(name, str(error))
    except OSError as error:
        _drop_output()
        return no_answer(name, f"{error.filename or 'output'}: {error.strerror}")
    except Exception as error:
        return no_answer(name, f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:MAX_SHOWN]}")
    return code


def no_answer(name: str, reason: str) -> int:
    """Print on stderr why a command gives no answer; return its exit code."""
    with suppress(OSError):  # stderr may be closed, or full, too
        print(f"faces {name}: {reason}", file=sys.stderr)
    return NO_ANSWER


def _drop_output() -> None:
    """Send what is left of stdout nowhere, or Python would fail to print it once more as it exits."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_reader(photos: bool) -> FaceReader:
    """Return a function that reads a face from an image file, or finds it in a photo; it raises Rejection."""
    if not photos:
        return lambda path: read_image(check_file(path), LIMITS, "lanczos")
    from faces.images.detection import Detector, PhotosParams, align_photo

    params = load_params("photos", PhotosParams)
    detector = Detector(params)
    return lambda path: align_photo(read_photo(check_file(path), LIMITS), detector, params)


def check_file(path: Path) -> Path:
    """Return the path of an image file from an unknown sender; Rejection if it should not be opened."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise unreadable(error) from None
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for, a device has no end
        raise Rejection("not_a_file", "a folder, pipe, socket or device")
    if status.st_size > MAX_BYTES:
        raise Rejection("too_large", f"{status.st_size:,} bytes; at most {MAX_BYTES:,} are read")
    return path


def read_face(path: Path, read: FaceReader) -> NDArray[np.uint8]:
    """Return the face on an image that the command line names; StageError says why it cannot be used."""
    try:
        return read(path)
    except Rejection as rejection:
        raise StageError(f"{path}: {rejection.reason}: {rejection.detail}") from None


def choose_threshold(thresholds: Thresholds, fmr: str | None) -> dict[str, Any]:
    """Return the threshold for a false match rate, or else the one from training pairs, with its origin and errors."""
    if fmr is None:
        chosen: ErrorRates = thresholds
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


def describe_threshold(chosen: dict[str, Any]) -> str:
    """Return in words what `choose_threshold` returned."""
    return (
        f"threshold {chosen['threshold']:.3f}: {chosen['threshold_from']}\n"
        f"on {chosen['measured_on']} images, {chosen['fmr']:.2%} of {chosen['impostor_pairs']:,} impostor pairs were "
        f"at or above it (FMR), and {chosen['fnmr']:.2%} of {chosen['genuine_pairs']:,} genuine pairs below (FNMR)"
    )
