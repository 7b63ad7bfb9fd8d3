"""Who of those enrolled is on an image? Asked of the model that `dvc repro` left in models/export.

    faces identify one.png people.npz

The answer lists the most similar people, and says who is found: the first, if their score reaches the threshold. Every
enrolled image is one more comparison that may err, so it also gives the false positive identification rate (FPIR).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from faces.commands.arguments import positive
from faces.commands.recognition import (
    OTHER,
    SAME,
    Answer,
    answer,
    choose_threshold,
    describe_threshold,
    make_reader,
    read_face,
    recognition_parser,
    with_interval,
)
from faces.core.errors import StageError
from faces.inference.gallery import read_gallery
from faces.inference.model import MODEL, load_model


def identify(options: argparse.Namespace) -> Answer:
    """Return exit code, content and words on who of a gallery is on an image."""
    gallery, model = read_gallery(options.gallery), load_model(options.model)
    face = read_face(options.image, make_reader(options.photos, model.description.resize_filter))
    if gallery.model != model.digest:
        raise StageError(f"{options.gallery}: enrolled with another model than {options.model / MODEL}; enrol anew")
    chosen = choose_threshold(model.description.thresholds, options)
    embedding = model.embed([face])[0]
    if (size := gallery.embeddings.shape[1]) != len(embedding):
        raise StageError(
            f"{options.gallery}: embeddings of {size} numbers; the model makes {len(embedding)}; enrol anew"
        )
    ranked = gallery.rank(embedding, options.most)
    found = ranked[0][0] if ranked[0][1] >= chosen["threshold"] else None
    people, images = len(set(gallery.subjects.tolist())), len(gallery.subjects)
    fpir = 1 - (1 - chosen["fmr"]) ** images
    ends = [1 - (1 - end) ** images for end in chosen["fmr_interval"] or ()]
    lines = [f"{'nobody of those enrolled' if found is None else found}"]
    lines += [f"  {score:.3f}  {subject}" for subject, score in ranked]
    lines += [
        describe_threshold(chosen),
        f"these are rates of one comparison; with {images:,} comparisons, to the images of {people} people, "
        f"{with_interval(fpir, ends)} of strangers would be wrongly identified as somebody (FPIR, if comparisons were "
        "independent)",
    ]
    content = {
        "found": found,
        "candidates": [{"subject": subject, "score": score} for subject, score in ranked],
        "enrolled_people": people,
        "fpir_if_independent": fpir,
        "fpir_interval": ends or None,
        **chosen,
    }
    return (OTHER if found is None else SAME), content, "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Answer, and return the exit code."""
    known = recognition_parser("identify", __doc__)
    known.add_argument("image", type=Path, help="an image of a face")
    known.add_argument("gallery", type=Path, help="the .npz file that `faces enrol` wrote")
    known.add_argument("--most", type=positive, default=5, help="how many people are listed (%(default)s)")
    options = known.parse_args(arguments)
    return answer("identify", lambda: identify(options), options.json)
