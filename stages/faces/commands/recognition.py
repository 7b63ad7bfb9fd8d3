"""What `faces verify`, `enrol` and `identify` share: their options, reading an image, and giving an answer."""

import argparse
import json
import math
import os
import stat
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faces.commands.arguments import parser
from faces.core.errors import StageError
from faces.core.params import load_params
from faces.evaluation.rule_of_30 import MIN_FALSE_MATCHES
from faces.evaluation.threshold import Calibration, ErrorRates, Thresholds
from faces.images.decoding import Limits, ResizeFilter, read_image, read_photo, ready_to_read
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
        threshold = known.add_mutually_exclusive_group()
        threshold.add_argument(
            "--fmr",
            metavar="rate",
            type=false_match_rate,
            help="take the threshold for this FMR, such as 0.005 or 1e-2",
        )
        threshold.add_argument("--threshold", metavar="cosine", type=cosine, help="take this threshold, -1 to 1")
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


def make_reader(photos: bool, resize_filter: ResizeFilter) -> FaceReader:
    """Return a function that reads a face from an image file, or finds it in a photo; it raises Rejection."""
    if not photos:
        return lambda path: read_image(check_file(path), LIMITS, resize_filter)
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


def false_match_rate(text: str) -> float:
    """Return a rate above 0 and below 1; argparse.ArgumentTypeError if the text is none."""
    return _number(text, 0 < number(text) < 1, "a false match rate, above 0 and below 1")


def cosine(text: str) -> float:
    """Return a number of -1 to 1; argparse.ArgumentTypeError if the text is none."""
    return _number(text, -1 <= number(text) <= 1, "a cosine, -1 to 1")


def number(text: str) -> float:
    """Return the number of a text; NaN if it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _number(text: str, allowed: bool, what: str) -> float:
    if not allowed:
        raise argparse.ArgumentTypeError(f"{text!r}: {what}")
    return float(text)


def choose_threshold(thresholds: Thresholds, options: argparse.Namespace) -> dict[str, Any]:
    """Return the threshold that is asked for, or else the most accurate one, with its origin and errors.

    StageError if `--fmr` is lower than the pairs support.
    """
    chosen: ErrorRates = thresholds
    origin = f"chosen for the {thresholds.criterion} on pairs of {thresholds.chosen_on} images"
    if options.threshold is not None:
        chosen, origin = thresholds.curve.at(options.threshold), "as asked for"
    elif options.fmr is not None:
        try:
            chosen = thresholds.for_fmr(options.fmr)
        except StageError as error:
            raise StageError(f"--fmr: {error}") from None
        origin = f"for an FMR of {options.fmr:g} on {thresholds.at_fmr_chosen_on} images"
    return {
        "threshold": chosen.threshold,
        "threshold_from": origin,
        "fmr": chosen.fmr,
        "fmr_interval": chosen.fmr_interval,
        "fnmr": chosen.fnmr,
        "fnmr_interval": chosen.fnmr_interval,
        "measured_on": thresholds.measured_on,
        "genuine_pairs": thresholds.genuine_pairs,
        "impostor_pairs": thresholds.impostor_pairs,
    }


def describe_threshold(chosen: dict[str, Any]) -> str:
    """Return in words what `choose_threshold` returned."""
    few = chosen["fmr"] * chosen["impostor_pairs"] < MIN_FALSE_MATCHES
    advice = ": go by its interval" if chosen["fmr_interval"] else ""
    note = f"\nfewer than {MIN_FALSE_MATCHES} false matches are behind this FMR{advice}" if few else ""
    return (
        f"threshold {chosen['threshold']:.3f}: {chosen['threshold_from']}\n"
        f"on {chosen['measured_on']} images, {_rate(chosen, 'fmr')} of {chosen['impostor_pairs']:,} impostor pairs "
        f"were wrongly accepted (FMR), and {_rate(chosen, 'fnmr')} of {chosen['genuine_pairs']:,} genuine pairs "
        f"wrongly rejected (FNMR){note}"
    )


def _rate(chosen: dict[str, Any], name: str) -> str:
    return with_interval(chosen[name], chosen[f"{name}_interval"])


def with_interval(share: float, ends: Sequence[float] | None) -> str:
    """Return a share in per cent, with the ends of its 95 % confidence interval if there is one."""
    return percent(share) + (f" (95% CI {percent(ends[0])} to {percent(ends[1])})" if ends else "")


def percent(share: float) -> str:
    """Return a share in per cent with two decimals, or two digits if it is small."""
    return f"{share:.2%}" if share >= 0.001 or share == 0 else f"{share * 100:.2g}%"


def describe_ratio(calibration: Calibration, score: float) -> tuple[float, str]:
    """Return the likelihood ratio of a cosine, and what it means in words."""
    log_ratio = float(calibration.log_ratios(np.array([score]))[0])
    ratio = math.exp(abs(log_ratio))
    beyond = log_ratio in (calibration.lowest, calibration.highest)
    times = f"{float(f'{ratio:.2g}'):,.0f}" if ratio >= 10 else f"{ratio:.2g}"
    kinds = "one person as of two" if log_ratio >= 0 else "two people as of one"
    named = f"{times}{' or more' if beyond else ''}" if log_ratio >= 0 else f"1 / {times}{' or less' if beyond else ''}"
    meaning = f"this cosine is {'at least ' if beyond else ''}{times} times as frequent among images of {kinds}"
    if times == "1" and not beyond:
        named, meaning = "1", "this cosine is as frequent among images of one person as of two"
    return math.exp(log_ratio), f"a likelihood ratio of {named}: {meaning}"
