"""Write the model card: training data, metrics, where the model fails, how to make it again.

Reads   params.yaml, all of metrics/ but its speeds, models/threshold.json, models/backbone.weights.h5
Writes  models/MODEL_CARD.md
Run     python stages/card.py

Nothing in it is written by hand but the section `card:` of params.yaml. (Mitchell et al. 2019, "Model Cards for Model
Reporting", arXiv:1810.03993, has the headings.)
"""

import faces.core.portable  # noqa: F401  first, since NumPy and others read its settings when they are imported

import hashlib
from pathlib import Path

from pydantic import Field

from faces.core.files import write_text
from faces.core.json_files import read_json
from faces.core.params import Params, load_params, read_params
from faces.core.run import run
from faces.core.terminal import say
from faces.evaluation.rule_of_30 import is_supported
from faces.evaluation.threshold import read_thresholds
from faces.reporting.tables import (
    METRICS,
    NOTE_MEANS,
    Metrics,
    Table,
    exports_table,
    format_metric,
    labelled_test_sets,
    thresholds_table,
    training_data_tables,
    verification_table,
    worst_groups,
)
from faces.tables.sources import SYNTHETIC, load_sources
from faces.tables.split_table import TEST_UNSEEN

CARD_PATH = Path("models/MODEL_CARD.md")
WEIGHTS = Path("models/backbone.weights.h5")
FEW_PEOPLE = 1000  # of a training set: public ones have 10,000 and more


class CardParams(Params):
    name: str = Field(min_length=1)
    use: str
    licence: str
    contact: str


def limits(details: Metrics) -> list[str]:
    """Return warnings that follow from the metrics, and those that hold for every model."""
    split, found = read_json(METRICS / "split.json"), []
    if {Path(source.path).resolve() for source in load_sources().values()} == {(SYNTHETIC / "images").resolve()}:
        found.append("It has seen no real face: all images are synthetic. Errors on real faces are not measured here.")
    if split["subjects_train"] < FEW_PEOPLE:
        found.append(f"{split['subjects_train']} people are few to learn from; public training sets have thousands.")
    if "test_unseen" not in details:
        found.append("No people were held out: errors on people whom it has not seen are not measured here.")
    else:
        part = details["test_unseen"]
        missing = [rate for rate in ("0.001", "0.0001") if not is_supported(float(rate), part["impostor_pairs"])]
        if missing:
            found.append(f"Figures at an FMR of {' or '.join(missing)} rest on few impostor pairs.")
    if copies := split.get("copies_test_seen", 0) + split.get("copies_test_unseen", 0):
        found.append(f"{copies} test images are copies, or near copies, of training images.")
    if repeats := split.get("repeats_test_seen", 0) + split.get("repeats_test_unseen", 0):
        found.append(f"{repeats} test images are copies, or near copies, of another image of the same part.")
    found += [
        "Faces must be cropped and aligned to the 112 x 112 template as its training images were.",
        "It does not detect presentation attacks (photos, masks).",
        "Errors differ between groups of people. They are measured only where images have attributes.",
    ]
    return found


def md5(path: Path) -> str:
    """Return the MD5 of a file, by which DVC knows it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def reproduction(weights: str) -> str:
    """Return the commands that find the commit of the weights with this MD5, and make them again."""
    return f"""`{WEIGHTS}` has the MD5 {weights}, which `dvc.lock` lists. To reproduce it, check out the first commit
that contains these weights (once they are committed) and run the pipeline:

    commit=$(git log --all --reverse --format=%h -S {weights} -- dvc.lock | head -n 1)
    git checkout $commit && make repro"""


def describe_network(params: Metrics) -> str:
    """Return a sentence on the network: input, embedding, comparison."""
    mirrored = " An embedding is the mean of the image's and its mirror image's." if params["embed"]["flip"] else ""
    return (
        f"MobileFaceNet of width {params['train']['width']}: a face of 112 x 112 pixels, RGB, 0 to 255, becomes an "
        f"embedding of {params['train']['embedding_size']} numbers; two are compared by cosine.{mirrored}"
    )


def sections(params: CardParams) -> dict[str, str]:
    """Return the content of the card by heading."""
    whole, details = read_params(), read_json(METRICS / "evaluate/verification.json")
    thresholds, identified = read_thresholds(), read_json(METRICS / "identify.json")
    recipe = [
        [f"{section}.{key}", str(value)]
        for section in ("train", "augment", "embed")
        for key, value in whole[section].items()
    ]
    found = {
        "Use": params.use,
        "The model": describe_network(whole),
        "Trained on": "\n\n".join(map(str, training_data_tables())),
        "How well it does": "Verification, with 95 % intervals over people. The threshold has the "
        f"{thresholds.criterion} on `{thresholds.chosen_on}` pairs. {NOTE_MEANS}\n\n{verification_table(details)}",
        "Thresholds": f"Errors on every pair of `{thresholds.measured_on}`.\n\n{thresholds_table(thresholds)}",
        "Identification": str(
            Table(
                ["figure", "value"],
                [
                    [name, format_metric(identified, name)]
                    for name, value in identified.items()
                    if isinstance(value, float) and not name.endswith(("_low", "_high"))
                ],
            )
        ),
    }
    if scores := labelled_test_sets():
        found["Other test sets"] = str(verification_table(scores))
    if (groups := worst_groups()).rows:
        found["Where it fails most"] = str(groups)
    return found | {
        "Formats": f"Accuracy and AUC are of {whole['export']['compared_pairs']} pairs at most: differences of a few "
        f"hundredths are noise.\n\n{exports_table(read_json(METRICS / 'export.json'))}",
        "Limits": "\n".join(f"- {sentence}" for sentence in limits(details)),
        "Recipe": str(Table(["parameter", "value"], recipe)),
        "To reproduce it": reproduction(md5(WEIGHTS)),
        "Licence and contact": f"{params.licence}\n\n{params.contact}".strip(),
    }


def headline(evaluated: dict[str, float], identified: dict[str, float]) -> str:
    """Return the line that a run ends with."""
    figures = [
        f"{text} {evaluated[f'{name}_{TEST_UNSEEN}']:.3f}"
        for name, text in (("auc", "AUC"), ("eer", "EER"), ("accuracy", "accuracy"))
        if f"{name}_{TEST_UNSEEN}" in evaluated
    ]
    unseen = f"people never seen in training: {', '.join(figures)}; " if figures else ""
    return f"{unseen}kNN accuracy on people of training: {identified['knn_accuracy']:.3f}. All figures: `make report`"


def main() -> None:
    """Write the card."""
    params = load_params("card", CardParams)
    parts = [f"# {params.name}", *(f"## {heading}\n\n{text}" for heading, text in sections(params).items() if text)]
    write_text(CARD_PATH, "\n\n".join(parts) + "\n")
    say(headline(read_json(METRICS / "evaluate.json"), read_json(METRICS / "identify.json")))


if __name__ == "__main__":
    run(main)
