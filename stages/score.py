"""Score the pairs of an external test set, such as LFW, by the cosine of embeddings.

Reads   data/tests/<name>.{images,pairs}.csv, data/tests/<name>.embeddings.npy, data/tests/<name>.npy,
        models/threshold.json (chosen on training pairs), data/split.csv and data/packed (for what
        training has seen), data/pairs.csv (for the baseline's threshold)
Writes  metrics/score@<name>.json, metrics/score/<name>_roc.csv, metrics/score/<name>_scores.csv
Run     python stages/score.py <name>

A subject whose name is one of training's, where the test set names subjects, and an image that is a copy of a training
image, or nearly, are counted, and warned about. `score.drop_leaked` drops the pairs that have them.

`pixels_<figure>` is what the correlation of pixels gives, at the threshold that is best for it on training pairs: what
a network has to beat.

Where pairs have groups, the accuracy of each is given too, and FRCSyn's trade-off between them. A set that does not
name its subjects has no intervals, which are over people.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from faces.core.csv_files import write_csv
from faces.core.errors import StageError
from faces.core.files import write_metrics
from faces.core.params import Params, load_params
from faces.core.run import run
from faces.core.terminal import say, warn
from faces.core.threads import fixed_threads, load_threads
from faces.evaluation.bootstrap import Pairs, reordered
from faces.evaluation.metrics import (
    FiguresParams,
    categories,
    figures_at_rates,
    group_figures,
    roc_points,
    score_histogram,
    verification_figures,
)
from faces.evaluation.pixel_baseline import pixel_likeness
from faces.evaluation.threshold import read_thresholds
from faces.evaluation.verification import accuracy, area, best_threshold, equal_error, falling_order, roc
from faces.search.thumbnails import alike, blocks, directions, exact_index, thumbnails
from faces.tables.embeddings import UnitVectors, cosine_of_pairs, read_embeddings
from faces.tables.external_sets import (
    embeddings_path,
    named_test_set,
    open_pixels,
    read_image_table,
    read_pair_table,
)
from faces.tables.packed_images import PackedImages
from faces.tables.pair_table import PAIRS_PATH
from faces.tables.pair_table import read_pair_table as read_drawn_pairs
from faces.tables.split_table import TRAIN, images_of, read_split

MOST_PIXEL_PAIRS = 5_000  # of training, behind the baseline's threshold: about as many, in fact up to twice that


class ScoreParams(Params):
    drop_leaked: bool
    likeness: float = Field(gt=0, le=1)


def copies_of_training(pixels: NDArray[np.uint8], split: pd.DataFrame, likeness: float) -> NDArray[np.bool_]:
    """Return which images (n, 112, 112, 3) are copies of one that training has seen, or nearly: bool (n,)."""
    vectors = directions(thumbnails(pixels))
    images, numbers = PackedImages(split), images_of(split, TRAIN)
    copies = np.zeros(len(pixels), dtype=bool)
    for rows in blocks(len(numbers)):
        trained_on = exact_index(directions(thumbnails(images[numbers[rows]])))
        found, _ = alike(vectors, trained_on, likeness, neighbours=1)
        copies[found] = True
    return copies


def leaked_images(name: str, subjects: pd.Series, split: pd.DataFrame, likeness: float) -> pd.DataFrame:
    """Return by image of a test set whether it leaked from training: columns shared_subject and copy."""
    trained_on = set(split.loc[split["part"] == TRAIN, "subject"])
    shared = subjects.isin(trained_on)  # never of one that is not named, "": read_split refuses such names
    return pd.DataFrame({"shared_subject": shared, "copy": copies_of_training(open_pixels(name), split, likeness)})


def leakage(pairs: pd.DataFrame, subjects: pd.Series, leaked: pd.DataFrame) -> tuple[pd.Series, dict[str, int]]:
    """Return which pairs have a leaked image, and the counts."""
    either = leaked.any(axis=1).to_numpy()
    of_pairs = pd.Series(either[pairs["a"]] | either[pairs["b"]], index=pairs.index)
    counts = {
        "shared_subjects": int(subjects[leaked["shared_subject"]].nunique()),
        "copies_of_training": int(leaked["copy"].sum()),
        "leaked_pairs": int(of_pairs.sum()),
    }
    return of_pairs, counts


def scored_pairs(name: str, pairs: pd.DataFrame, subjects: pd.Series) -> Pairs:
    """Return the pairs of a test set with their cosines; `subjects` are those of all images."""
    a, b = pairs["a"].to_numpy(), pairs["b"].to_numpy()
    unit = UnitVectors(read_embeddings(len(subjects), embeddings_path(name)))
    person = pd.factorize(subjects)[0].astype(np.int32)
    return Pairs(cosine_of_pairs(unit, a, b), pairs["same"].to_numpy(dtype=np.int8), person[a], person[b])


def pixel_figures(pixels: NDArray[np.uint8], pairs: pd.DataFrame, split: pd.DataFrame) -> dict[str, float]:
    """Return the figures of pixels alone on the pairs of a test set, whose images are `pixels` (n, 112, 112, 3)."""
    drawn = read_drawn_pairs(PAIRS_PATH, len(split))
    known = drawn[drawn["part"] == TRAIN]
    known = known.iloc[:: max(1, len(known) // MOST_PIXEL_PAIRS)]
    images = PackedImages(split)
    own = pixel_likeness(lambda numbers: images[numbers], known["a"].to_numpy(), known["b"].to_numpy())
    threshold = best_threshold(own, known["same"].to_numpy())
    scores = pixel_likeness(lambda numbers: pixels[numbers], pairs["a"].to_numpy(), pairs["b"].to_numpy())
    curve = roc(scores, pairs["same"].to_numpy())
    values = {"accuracy": accuracy(scores, pairs["same"].to_numpy(), threshold)}
    values |= {"auc": area(curve), "eer": equal_error(curve)} | figures_at_rates(curve, [])[0]
    return {f"pixels_{name}": value for name, value in values.items()}


def main() -> None:
    """Write the figures of the test set named on the command line."""
    name, _ = named_test_set(__doc__)
    params, figures = load_params("score", ScoreParams), load_params("figures", FiguresParams)
    threshold = read_thresholds().threshold
    subjects = read_image_table(name, len(open_pixels(name)))["subject"]
    pairs = read_pair_table(name, len(subjects))
    with fixed_threads(load_threads()):
        split = read_split(names=True)
        leaked, counts = leakage(pairs, subjects, leaked_images(name, subjects, split, params.likeness))
    if leaked.any():
        warn(f"{name}: {counts}; {'dropped' if params.drop_leaked else 'kept: `score.drop_leaked` drops them'}")
    if params.drop_leaked:
        pairs = pairs[~leaked].reset_index(drop=True)
    if pairs["same"].nunique() < 2:
        raise StageError(f"params.yaml: score.drop_leaked: leaves {name} no pairs of both kinds")

    scored = scored_pairs(name, pairs, subjects)
    order = falling_order(scored.scores)
    scored, pairs = reordered(scored, order), pairs.iloc[order]
    folds = np.repeat(pairs[["fold"]].to_numpy(), 2, axis=1)
    found = verification_figures(scored, folds, scored, threshold, figures, identities_known=subjects.ne("").all())
    of_groups, groups_left_out = group_figures(scored, categories(pairs["group"]), threshold)
    for sentence in [*found.left_out, *groups_left_out]:
        say(f"{name}: {sentence}")
    metrics = found.flat() | {"threshold": threshold} | of_groups | counts
    with fixed_threads(load_threads()):
        metrics |= pixel_figures(open_pixels(name), pairs, split)
    write_csv(Path(f"metrics/score/{name}_roc.csv"), roc_points(name, found.curve, figures.curve_points))
    write_csv(Path(f"metrics/score/{name}_scores.csv"), score_histogram(name, scored, figures.histogram_bins))
    write_metrics(Path(f"metrics/score@{name}.json"), metrics)
    say(f"{name}: accuracy {metrics['accuracy']:.3f}, AUC {metrics['auc']:.3f}, EER {metrics['eer']:.3f}")


if __name__ == "__main__":
    run(main, takes_arguments=True)
