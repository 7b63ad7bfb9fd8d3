"""Are two images of one person? Asked of the model that `dvc repro` left in models/export.

    faces verify one.png other.png

The answer has the score (a cosine, -1 to 1), its likelihood ratio, the threshold at or above which it counts as the
same person, the origin of that threshold, and the errors that were measured at it, with 95 % intervals over people.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from faces.commands.recognition import (
    OTHER,
    SAME,
    Answer,
    answer,
    choose_threshold,
    describe_ratio,
    describe_threshold,
    make_reader,
    read_face,
    recognition_parser,
)
from faces.inference.model import load_model


def verify(options: argparse.Namespace) -> Answer:
    """Return exit code, content and words on whether two images are of one person."""
    model = load_model(options.model)
    read = make_reader(options.photos, model.description.resize_filter)
    one, other = read_face(options.one, read), read_face(options.other, read)
    chosen = choose_threshold(model.description.thresholds, options)
    first, second = model.embed([one, other])
    score = float(first @ second)
    same = score >= chosen["threshold"]
    ratio, meaning = describe_ratio(model.description.thresholds.calibration, score)
    answered = f"{'the same person' if same else 'different people'}: cosine {score:.3f}"
    content = {"same": same, "score": score, "likelihood_ratio": ratio, **chosen}
    return (SAME if same else OTHER), content, f"{answered}\n{meaning}\n{describe_threshold(chosen)}"


def main(arguments: Sequence[str]) -> int:
    """Answer, and return the exit code."""
    known = recognition_parser("verify", __doc__)
    known.add_argument("one", type=Path, help="an image of a face")
    known.add_argument("other", type=Path, help="another image of a face")
    options = known.parse_args(arguments)
    return answer("verify", lambda: verify(options), options.json)
