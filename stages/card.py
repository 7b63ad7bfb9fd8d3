"""Write the model card: what the model was trained on, how well it does, where it fails, how to make it again.

Reads   params.yaml, all of metrics/ but its speeds, models/threshold.json, models/backbone.weights.h5
Writes  models/MODEL_CARD.md
Run     python stages/card.py

Nothing in it is written by hand but the section `card:` of params.yaml. (Mitchell et al. 2019, "Model Cards for Model
Reporting", arXiv:1810.03993, has the headings.)
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from faces.core.csv_files import csv_rows
from faces.core.errors import StageError
from faces.core.files import write_text
from faces.core.params import Params, load_params, read_params
from faces.core.run import run
from faces.core.terminal import say
from faces.tables.external_sets import load_test_sets
from faces.tables.sources import load_sources
from faces.tables.split_table import SCORED

CARD_PATH = Path("models/MODEL_CARD.md")
METRICS = Path("metrics")
THRESHOLDS, WEIGHTS = Path("models/threshold.json"), Path("models/backbone.weights.h5")
RATE = "tar_at_far_"
MEANINGS = {
    "train": "images that the network was trained on",
    "test_seen": "other images of the training people",
    "test_unseen": "people that training never saw",
}
FEW_PEOPLE = 1000  # of a training set: public ones have 10,000 and more
WORST_GROUPS = 5


class CardParams(Params):
    name: str = Field(min_length=1)
    use: str
    licence: str
    contact: str


Figures = dict[str, Any]


def read_json(path: Path) -> Figures:
    """Return a file of figures; StageError names it if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StageError(
            f"{path} is missing; `dvc repro` makes it, `git checkout metrics && dvc checkout` brings it"
        ) from None
    except ValueError as error:
        raise StageError(f"{path}: {error}") from None


class Table(NamedTuple):
    """Texts in columns."""

    header: list[str]
    rows: list[list[str]]

    def __str__(self) -> str:
        """Return the table in Markdown."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def with_interval(figures: Figures, name: str) -> str:
    """Return a figure in three decimals, with its 95 % interval where there is one, or a dash."""
    if name not in figures:
        return "–"
    ends = [figures.get(f"{name}_{end}") for end in ("low", "high")]
    return f"{figures[name]:.3f}" + ("" if None in ends else f" ({ends[0]:.3f} to {ends[1]:.3f})")


def trained_on() -> tuple[Table, Table]:
    """Return which sources there are, and how their images were divided."""
    rows = []
    for name in load_sources():
        packed = read_json(METRICS / f"pack@{name}.json")
        rows.append([name, f"{packed['images']:,}", f"{packed['subjects']:,}", f"{packed['rejected']:,}"])
    split = read_json(METRICS / "split.json")
    parts = [
        [part, MEANINGS[part], f"{split[f'images_{part}']:,}", f"{split[f'subjects_{part}']:,}"]
        for part in SCORED
        if split[f"images_{part}"]
    ]
    return (
        Table(["source", "images", "people", "rejected"], rows),
        Table(["part", "what it is", "images", "people"], parts),
    )


def names_of(details: Figures) -> dict[str, str]:
    """Return what the figures of parts are called in a table, in its order; those that no part has are not in it."""
    rates = sorted(
        {name for part in details.values() for name in part if name.startswith(RATE) and name[-1].isdigit()},
        key=lambda name: -float(name.removeprefix(RATE)),
    )
    names = {"accuracy": "accuracy at the threshold", "auc": "AUC", "eer": "EER"}
    names |= {name: f"TAR at FAR {name.removeprefix(RATE)}" for name in rates}
    names |= {
        "fold_accuracy": "k-fold accuracy",
        "fmr_at_threshold": "FMR at the threshold",
        "fnmr_at_threshold": "FNMR at the threshold",
    }
    return {name: text for name, text in names.items() if any(name in part for part in details.values())}


def figures_by_part(details: Figures) -> Table:
    """Return the field's figures of every part, or test set, with intervals."""
    rows = [
        [text, *(with_interval(part, name) for part in details.values())] for name, text in names_of(details).items()
    ]
    pairs = [f"{part['genuine_pairs']:,}; {part['impostor_pairs']:,}" for part in details.values()]
    return Table(["", *details], [*rows, ["genuine; impostor pairs", *pairs]])


def thresholds_table(thresholds: Figures) -> Table:
    """Return thresholds with the errors measured at them."""
    chosen = {f"most accurate on `{thresholds['chosen_on']}` pairs": thresholds}
    chosen |= {
        f"FMR {rate} on `{thresholds['at_fmr_chosen_on']}`": point for rate, point in thresholds["at_fmr"].items()
    }
    rows = [[text, *(f"{point[name]:.4f}" for name in ("threshold", "fmr", "fnmr"))] for text, point in chosen.items()]
    return Table(["chosen for", "threshold", "FMR", "FNMR"], rows)


def exports_table(exports: Figures) -> Table:
    """Return what each format of the model weighs and how near it is to the network in Keras."""
    rows = [
        [
            name,
            f"{of_format['size_bytes']:,}",
            f"{of_format['lowest_cosine']:.5f}",
            f"{of_format['accuracy']:.3f}",
            f"{of_format['auc']:.3f}",
        ]
        for name, of_format in exports.items()
    ]
    return Table(["format", "bytes", "lowest cosine to Keras", "accuracy", "AUC"], rows)


def worst_groups() -> Table:
    """Return the values of attributes for which FNMR, and FMR, are highest; no rows where no attribute is known."""
    columns = ("attribute", "value", "kind", "rate", "pairs")
    known = list(csv_rows(METRICS / "review/attributes.csv", columns))
    rows = []
    for kind in ("FNMR", "FMR"):
        worst = sorted((row for row in known if row["kind"] == kind), key=lambda row: -float(row["rate"]))
        rows += [[kind, row["value"], f"{float(row['rate']):.3f}", row["pairs"]] for row in worst[:WORST_GROUPS]]
    return Table(["error", "images with", "rate", "pairs"], rows)


def limits(details: Figures) -> list[str]:
    """Return what a reader must know before relying on the figures, as far as the figures themselves tell."""
    split, found = read_json(METRICS / "split.json"), []
    if set(load_sources()) == {"synthetic"}:
        found.append("It has seen no real face: all images are drawn. How it does on real ones is not measured here.")
    if split["subjects_train"] < FEW_PEOPLE:
        found.append(f"{split['subjects_train']} people are few to learn from; public training sets have thousands.")
    if "test_unseen" not in details:
        found.append("No people were held out: nothing here says how it does on people whom it has not seen.")
    else:
        part = details["test_unseen"]
        missing = [rate for rate in ("0.001", "0.0001") if f"{RATE}{rate}" not in part]
        if missing:
            found.append(f"Too few impostor pairs to say anything at an FMR of {' or '.join(missing)}.")
    if copies := split.get("copies_test_seen", 0) + split.get("copies_test_unseen", 0):
        found.append(f"{copies} test images are copies of training images, or nearly.")
    found += [
        "Faces must be cropped and aligned to the 112 x 112 template as its training images were.",
        "It tells nothing about whether a face is alive, and it was not tried against attacks.",
        "Errors differ between groups of people; without attributes of images they are not measured.",
    ]
    return found


def digest_of(path: Path) -> str:
    """Return the MD5 of a file, by which DVC knows it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def reproduction(weights: str) -> str:
    """Return the commands that find the commit which recorded weights of this MD5, and make them again."""
    return f"""`{WEIGHTS}` has the MD5 {weights}, by which `dvc.lock` knows it. The first commit that has it there,
once there is one, and what makes everything again:

    commit=$(git log --all --reverse --format=%h -S {weights} -- dvc.lock | head -n 1)
    git checkout $commit && make repro"""


def described(params: Figures) -> str:
    """Return in words what the network takes and gives."""
    mirrored = " An embedding is the mean of the image's and its mirror image's." if params["embed"]["flip"] else ""
    return (
        f"MobileFaceNet of width {params['train']['width']}: a face of 112 x 112 pixels, RGB, 0 to 255, becomes an "
        f"embedding of {params['train']['embedding_size']} numbers; two are compared by cosine.{mirrored}"
    )


def sections(params: CardParams) -> dict[str, str]:
    """Return the content of the card by heading."""
    whole, details = read_params(), read_json(METRICS / "evaluate/verification.json")
    thresholds, identified = read_json(THRESHOLDS), read_json(METRICS / "identify.json")
    recipe = [
        [f"{section}.{key}", str(value)]
        for section in ("train", "augment", "embed")
        for key, value in whole[section].items()
    ]
    found = {
        "Use": params.use,
        "The model": described(whole),
        "Trained on": "\n\n".join(map(str, trained_on())),
        "How well it does": "Verification, with 95 % intervals over people. The threshold is the most accurate on "
        f"drawn pairs of training images.\n\n{figures_by_part(details)}",
        "Thresholds": f"Errors on every pair of `{thresholds['measured_on']}`.\n\n{thresholds_table(thresholds)}",
        "Identification": str(
            Table(
                ["figure", "value"],
                [[name, f"{value:.3f}"] for name, value in identified.items() if isinstance(value, float)],
            )
        ),
    }
    scores = {name: read_json(METRICS / f"score@{name}.json") for name in load_test_sets()}
    if scores:
        found["Other test sets"] = str(figures_by_part(scores))
    if (groups := worst_groups()).rows:
        found["Where it fails most"] = str(groups)
    return found | {
        "Formats": str(exports_table(read_json(METRICS / "export.json"))),
        "Limits": "\n".join(f"- {sentence}" for sentence in limits(details)),
        "Recipe": str(Table(["parameter", "value"], recipe)),
        "To reproduce it": reproduction(digest_of(WEIGHTS)),
        "Licence and contact": f"{params.licence}\n\n{params.contact}".strip(),
    }


def main() -> None:
    """Write the card."""
    params = load_params("card", CardParams)
    parts = [f"# {params.name}", *(f"## {heading}\n\n{text}" for heading, text in sections(params).items() if text)]
    write_text(CARD_PATH, "\n\n".join(parts) + "\n")
    say(f"{CARD_PATH}: {len(parts) - 1} sections")


if __name__ == "__main__":
    run(main)
