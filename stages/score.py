"""Score the pairs of an external test set, such as LFW, by the cosine of embeddings.

Reads   data/tests/<name>.{images,pairs,rejected}.csv, data/tests/<name>.embeddings.npy, data/tests/<name>.npy,
        models/threshold.json (threshold and calibration, chosen on other people), data/split.csv and data/packed (for
        the leakage), data/pairs.csv (for the threshold of the baseline)
Writes  metrics/score@<name>.json, metrics/score/<name>_roc.csv, metrics/score/<name>_scores.csv,
        metrics/score/<name>_reliability.csv, metrics/score/<name>_groups.csv (ROC and DET of each group),
        data/tests/<name>.scores.npz (which `faces compare` and `faces frcsyn submit` read)
Run     python stages/score.py <name>

Leakage is counted and warned about: subjects who have the name of a training subject, if the test set names subjects,
and images that are copies or near copies of training images. `score.drop_leaked` drops the pairs with such images.

`pixels_<metric>` is the baseline without a network: the correlation of pixels, at its best threshold on training pairs.

If pairs have groups, there are FMR, FNMR and accuracy of each group, and FRCSyn's trade-off over the `groups_measured`
groups that have enough pairs. A set that does not name its subjects has no intervals, since those are over people.

A set without labels is scored, and the metrics that need them are left out. A comparison fails if an image of it could
not be used. Its score is -1, the lowest cosine: it is judged to be of two people, as ISO/IEC 19795-1 counts it.

To add a metric, see faces/evaluation/metrics.py.
"""

import faces.core.portable  # noqa: F401  first, since NumPy and others read its settings when they are imported

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
from faces.core.terminal import say, say_left_out, warn
from faces.core.threads import fixed_threads, load_threads
from faces.evaluation.calibration import reliability
from faces.evaluation.groups import group_metrics, to_categories
from faces.evaluation.metrics import MetricsParams, metrics_at_rates, verification_metrics
from faces.evaluation.pixel_baseline import pixel_correlation
from faces.evaluation.plots import histogram, roc_points, score_histogram, without_markup
from faces.evaluation.roc import accept, area, descending_order, equal_error, roc_curve
from faces.evaluation.scored_pairs import ScoredPairs
from faces.evaluation.threshold import read_thresholds
from faces.evaluation.verification import accuracy, best_threshold
from faces.search.copies import are_copies, digests
from faces.search.thumbnails import alike, blocks, directions, exact_index, thumbnails
from faces.tables.embeddings import UnitVectors, cosine_of_pairs, read_embeddings
from faces.tables.external_sets import (
    ExternalSet,
    embeddings_path,
    named_test_set,
    open_pixels,
    read_image_table,
    read_rejected,
    read_test_pairs,
)
from faces.tables.kept_scores import (
    KeptScores,
    KeptSet,
    NamedImages,
    hash_embeddings,
    hash_names,
    test_set_path,
    write_kept,
)
from faces.tables.packed_images import PackedImages
from faces.tables.pair_table import PAIRS_PATH, read_pair_table
from faces.tables.split_table import TRAIN, part_images, read_split

NEIGHBOURS = 8  # of the training images in a block, the most that a test image is compared with at full size
PIXEL_PAIRS = 5_000  # of training, behind the threshold of the baseline: about as many, up to twice that
MOST_PIXEL_PAIRS = 100_000  # of a test set, in the baseline: every one, or up to twice as many, evenly spread
FAILED_SCORE = -1.0  # of a comparison with an image that could not be used
NEED_LABELS = "accuracy, auc, eer, d_prime, fmr_, fnmr_, tar_, fold_accuracy, cllr, group and pixels_ metrics"


class ScoreParams(Params):
    drop_leaked: bool
    likeness: float = Field(gt=0, le=1)


def find_near_copies(pixels: NDArray[np.uint8], split: pd.DataFrame, likeness: float) -> NDArray[np.bool_]:
    """Return which images (n, 112, 112, 3) are copies or near copies of a training image, (n,)."""
    vectors, hashes = directions(thumbnails(pixels)), digests(pixels)
    images, numbers = PackedImages(split), part_images(split, TRAIN)
    copies = np.zeros(len(pixels), dtype=bool)
    for rows in blocks(len(numbers)):
        trained_on = images[numbers[rows]]
        copies |= np.isin(hashes, digests(trained_on))
        pairs = np.stack(alike(vectors, exact_index(directions(thumbnails(trained_on))), likeness, NEIGHBOURS), axis=1)
        pairs = pairs[~copies[pairs[:, 0]]]
        asked, place = np.unique(pairs[:, 0], return_inverse=True)
        pairs[:, 0] = place
        copies[asked[pairs[are_copies(pixels[asked], trained_on, pairs), 0]]] = True
    return copies


def find_leaked_images(name: str, subjects: pd.Series, split: pd.DataFrame, likeness: float) -> pd.DataFrame:
    """Return for each image of a test set whether it leaked from training: columns shared_subject and copy."""
    trained_on = set(split.loc[split["part"] == TRAIN, "subject"])
    shared = subjects.isin(trained_on)  # "", a subject without a name, is never among them: read_split refuses it
    return pd.DataFrame({"shared_subject": shared, "copy": find_near_copies(open_pixels(name), split, likeness)})


def find_leaked_pairs(
    pairs: pd.DataFrame, subjects: pd.Series, leaked: pd.DataFrame
) -> tuple[pd.Series, dict[str, int]]:
    """Return which pairs have a leaked image, and the counts of what leaked."""
    either = leaked.any(axis=1).to_numpy()
    leaked_pairs = pd.Series(either[pairs["a"]] | either[pairs["b"]], index=pairs.index)
    counts = {
        "shared_subjects": int(subjects[leaked["shared_subject"]].nunique()),
        "copies_of_training": int(leaked["copy"].sum()),
        "leaked_pairs": int(leaked_pairs.sum()),
    }
    return leaked_pairs, counts


def drop_or_warn(name: str, pairs: pd.DataFrame, leaked: pd.Series, counts: dict[str, int], drop: bool) -> pd.DataFrame:
    """Return the pairs to score, with a warning if some leaked; StageError if none of a kind are left."""
    if leaked.any():
        warn(
            f"{name}: {counts['leaked_pairs']} pairs contain people or images seen in training: "
            f"{counts['shared_subjects']} people by name, {counts['copies_of_training']} images as copies; "
            f"{'these pairs are dropped' if drop else 'they are scored too; `score.drop_leaked: true` drops them'}"
        )
    if drop:
        pairs = pairs[~leaked].reset_index(drop=True)
    if pairs.empty or ("same" in pairs and pairs["same"].nunique() < 2):
        raise StageError(f"params.yaml: score.drop_leaked: leaves {name} no pairs of both kinds")
    return pairs


def keep_scores(
    name: str,
    entry: ExternalSet,
    images: pd.DataFrame,
    pairs: pd.DataFrame,
    scores: NDArray[np.float64],
    threshold: float,
) -> None:
    """Write the scores of a test set, for comparisons with other experiments; `images` has its subjects and paths."""
    subjects, unnamed = images["subject"], np.empty(0, dtype=np.uint64)
    names = NamedImages(hash_names(images["path"]), hash_names(subjects) if subjects.ne("").all() else unnamed)
    same = pairs["same"].to_numpy() if "same" in pairs else np.empty(0, dtype=np.int8)
    kept = names.keep(pairs["a"].to_numpy(), pairs["b"].to_numpy(), same, scores, all_pairs=entry.format == "frcsyn")
    embeddings = hash_embeddings(read_embeddings(len(images), embeddings_path(name)))
    write_kept(test_set_path(name), KeptScores(embeddings, threshold, {name: KeptSet(kept, kept)}, {}))


def write_unlabelled(name: str, scores: NDArray[np.float64], threshold: float, counts: dict[str, int]) -> None:
    """Write what can be told of a set without labels: its size and how many comparisons are accepted; empty curves."""
    say(f"{name}: has no labels; left out: {NEED_LABELS}")
    metrics: dict[str, float] = {"comparisons": len(scores), "accepted": float(accept(scores, threshold).mean())}
    curve = pd.DataFrame({column: [] for column in ("set", "fmr", "tar", "fnmr")})
    write_csv(Path(f"metrics/score/{name}_roc.csv"), curve)
    write_csv(Path(f"metrics/score/{name}_groups.csv"), curve)
    write_csv(Path(f"metrics/score/{name}_scores.csv"), histogram(name, "unlabelled", scores))
    write_csv(
        Path(f"metrics/score/{name}_reliability.csv"),
        pd.DataFrame({column: [] for column in ("set", "stated", "observed")}),
    )
    write_metrics(Path(f"metrics/score@{name}.json"), metrics | {"threshold": threshold, **counts})
    say(f"{name}: {len(scores):,} comparisons without labels, {metrics['accepted']:.1%} of them accepted")


def thin_out(pairs: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return about `most` pairs, at equal distances among those of each kind: lists may alternate between kinds."""
    step = max(1, len(pairs) // most)
    return pairs[pairs.groupby("same").cumcount() % step == 0]


def pixel_metrics(pixels: NDArray[np.uint8], pairs: pd.DataFrame, split: pd.DataFrame) -> dict[str, float]:
    """Return the metrics of the pixel baseline on the pairs of a test set with images `pixels` (n, 112, 112, 3)."""
    drawn = read_pair_table(PAIRS_PATH, len(split))
    training, pairs = thin_out(drawn[drawn["part"] == TRAIN], PIXEL_PAIRS), thin_out(pairs, MOST_PIXEL_PAIRS)
    images = PackedImages(split)
    own = pixel_correlation(lambda numbers: images[numbers], training["a"].to_numpy(), training["b"].to_numpy())
    threshold = best_threshold(own, training["same"].to_numpy())
    scores = pixel_correlation(lambda numbers: pixels[numbers], pairs["a"].to_numpy(), pairs["b"].to_numpy())
    curve = roc_curve(scores, pairs["same"].to_numpy())
    values = {"accuracy": accuracy(scores, pairs["same"].to_numpy(), threshold)}
    values |= {"auc": area(curve), "eer": equal_error(curve)} | metrics_at_rates(curve, [])[0]
    return {f"pixels_{name}": value for name, value in values.items()}


def main() -> None:
    """Write the metrics and curves of the test set named on the command line."""
    name, entry = named_test_set(__doc__)
    params, metrics_params = load_params("score", ScoreParams), load_params("metrics", MetricsParams)
    thresholds = read_thresholds()
    threshold, calibration = thresholds.threshold, thresholds.calibration
    images = read_image_table(name, len(open_pixels(name)))
    subjects = images["subject"]
    pairs = read_test_pairs(name, len(subjects))
    with fixed_threads(load_threads()):
        split = read_split(names=True)
        leaked, counts = find_leaked_pairs(pairs, subjects, find_leaked_images(name, subjects, split, params.likeness))
    pairs = drop_or_warn(name, pairs, leaked, counts, params.drop_leaked)

    a, b = pairs["a"].to_numpy(), pairs["b"].to_numpy()
    scores = cosine_of_pairs(UnitVectors(read_embeddings(len(images), embeddings_path(name))), a, b)
    rejected = read_rejected(name, images)
    failed = rejected[a] | rejected[b]
    scores[failed] = FAILED_SCORE
    counts["failed_comparisons"] = int(failed.sum())
    keep_scores(name, entry, images, pairs, scores, threshold)
    if "same" not in pairs:
        write_unlabelled(name, scores, threshold, counts)
        return
    person, order = pd.factorize(subjects)[0].astype(np.int32), descending_order(scores)
    scored = ScoredPairs(scores, pairs["same"].to_numpy(dtype=np.int8), person[a], person[b]).take(order)
    folds = np.repeat(pairs[["fold"]].to_numpy()[order], 2, axis=1)
    identities_known = bool(subjects.ne("").all())
    advice = "the test set has too few pairs or, in a csv, too many folds in its column `fold`"
    found = verification_metrics(
        scored, folds, scored, threshold, metrics_params, calibration, identities_known, help_with_folds=advice
    )
    groups = to_categories(pairs["group"].iloc[order])
    by_group = group_metrics(scored, groups, threshold, metrics_params, identities_known)
    say_left_out(name, [*found.left_out, *by_group.left_out])
    metrics = found.flat() | {"threshold": threshold} | by_group.values | counts
    if by_group.values:
        metrics["groups_measured"] = len(by_group.curves)
    with fixed_threads(load_threads()):
        metrics |= pixel_metrics(open_pixels(name), pairs, split)
    curves = by_group.curves or {name: found.curve}
    write_csv(Path(f"metrics/score/{name}_roc.csv"), roc_points(name, found.curve))
    write_csv(
        Path(f"metrics/score/{name}_groups.csv"),
        without_markup(pd.concat([roc_points(group, curve) for group, curve in curves.items()])),
    )
    write_csv(Path(f"metrics/score/{name}_scores.csv"), score_histogram(name, scored))
    write_csv(Path(f"metrics/score/{name}_reliability.csv"), reliability(name, scored, calibration))
    write_metrics(Path(f"metrics/score@{name}.json"), metrics)
    say(f"{name}: accuracy {metrics['accuracy']:.3f}, AUC {metrics['auc']:.3f}, EER {metrics['eer']:.3f}")


if __name__ == "__main__":
    run(main, takes_arguments=True)
