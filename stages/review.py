"""Show how the embeddings lie, which pairs go most wrong, and for which attributes of images errors are frequent.

Reads   data/embeddings.npy, data/split.csv, data/packed, data/attributes, models/threshold.json
Writes  metrics/review/tsne.csv         x, y, subject (a number): embeddings of some people in two dimensions
        metrics/review/worst_pairs.png  impostor pairs of the highest and genuine pairs of the lowest cosine; kept by
                                        DVC, not by Git, as it shows faces
        metrics/review/attributes.csv   FNMR and FMR of the pairs that have an image with each attribute
        metrics/review.json             number of pairs and attributes; errors by group if `group_by` is set
Run     python stages/review.py

The images are those of `test_unseen`, people that training never saw, or of `test_seen` if `test_unseen` has fewer than
two people.
"""

import faces.core.portable  # noqa: F401  first, since NumPy and others read its settings when they are imported

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from faces.core.csv_files import write_csv
from faces.core.files import replacing, write_metrics
from faces.core.params import Params, load_params
from faces.core.run import run
from faces.core.terminal import say, say_left_out
from faces.core.threads import fixed_threads, load_threads
from faces.evaluation.every_pair import EveryPair, every_pair
from faces.evaluation.groups import errors_by_attribute, group_metrics, groups_of_pairs
from faces.evaluation.metrics import MetricsParams
from faces.evaluation.plots import without_markup
from faces.evaluation.threshold import read_thresholds
from faces.images.sheet import Cell, CellGroup, draw_grid
from faces.tables.attributes import read_packed_attributes
from faces.tables.embeddings import UnitVectors, Vectors, read_embeddings
from faces.tables.packed_images import PackedImages, open_shards
from faces.tables.split_table import TEST_SEEN, TEST_UNSEEN, TRAIN, image_labels, part_images, read_split

FOLDER = Path("metrics/review")
PERPLEXITY = 20.0  # of t-SNE: about how many neighbours of a point count


class ReviewParams(Params):
    most_images: int = Field(ge=2, le=20_000)
    worst_pairs: int = Field(ge=1, le=100)
    tsne_subjects: int = Field(ge=2, le=100)
    group_by: str
    seed: int = Field(ge=0)


def choose_part(split: pd.DataFrame) -> str:
    """Return the first of `test_unseen` and `test_seen` that has two people, else `train`."""
    people = split.groupby("part")["label"].nunique()
    return next((part for part in (TEST_UNSEEN, TEST_SEEN) if people.get(part, 0) >= 2), TRAIN)


def tsne(unit: Vectors, labels: NDArray[np.int64], images: NDArray[np.int64], params: ReviewParams) -> pd.DataFrame:
    """Return t-SNE of the first `tsne_subjects` people, by label: columns x, y, subject, a row for each image.

    The column has their numbers from 0, in order of labels: Git keeps the table, and names may be private.
    (Van der Maaten, Hinton 2008, "Visualizing data using t-SNE".)

    Args:
        unit: embeddings of all images, of length 1, (N, D).
        labels: of the people on them, (N,).
        images: image numbers to choose from.
        params: how many people, and the seed.
    """
    from sklearn.manifold import TSNE  # takes a second to import

    first = np.unique(labels[images])[: params.tsne_subjects]
    chosen = images[np.isin(labels[images], first)]
    people = np.searchsorted(first, labels[chosen])
    if (unit[chosen] == unit[chosen[:1]]).all():  # as of a network that has learnt nothing: scikit-learn crashes
        return pd.DataFrame({"x": 0.0, "y": 0.0, "subject": people})
    perplexity = min(PERPLEXITY, max(1.0, (len(chosen) - 1) / 3))  # has to be below the number of points
    embedder = TSNE(perplexity=perplexity, init="pca", metric="cosine", random_state=params.seed)
    with fixed_threads(1):  # several threads would add up in any order
        x, y = embedder.fit_transform(unit[chosen]).T
    return pd.DataFrame({"x": x, "y": y, "subject": people})


def worst_pairs(every: EveryPair, same: int, count: int) -> list[int]:
    """Return the places in `every` of the genuine pairs of the lowest or the impostor pairs of the highest scores.

    At most one pair is taken of the same two people, or of the same person. `same` is 1 for genuine pairs, 0 for
    impostor pairs.
    """
    rows = np.flatnonzero(every.pairs.same == same)
    scores = every.pairs.scores[rows]
    chosen: dict[tuple[int, int], int] = {}
    for row in map(int, rows[np.argsort(scores if same else -scores, kind="stable")]):  # lazily: it ends early
        people = int(every.pairs.first[row]), int(every.pairs.second[row])
        chosen.setdefault((min(people), max(people)), row)
        if len(chosen) == count:
            break
    return list(chosen.values())


def draw_sheet(
    every: EveryPair, images: PackedImages, split: pd.DataFrame, threshold: float, count: int
) -> Image.Image:
    """Return a picture of the worst impostor pairs above the worst genuine pairs, with cosines and names.

    Two people of one name are named by their sources.
    """
    names, sources = split["subject"].to_numpy(dtype=str), split["source"].to_numpy(dtype=str)

    def cells(same: int) -> list[Cell]:
        found = []
        for row in worst_pairs(every, same, count):
            pair = np.array([every.a[row], every.b[row]])
            left, right = images[pair]
            named = sources[pair] if not same and names[pair[0]] == names[pair[1]] else names[pair]
            people = " / ".join(dict.fromkeys(str(name)[:16] for name in named))
            found.append(Cell(left, right, f"{every.pairs.scores[row]:.3f}  {people}"))
        return found

    impostors = f"impostor pairs of the highest cosines, one for two people; the threshold is {threshold:.3f}"
    genuine = "genuine pairs of the lowest cosines, one a person"
    return draw_grid([CellGroup(cells(0), impostors), CellGroup(cells(1), genuine)])


def read_image_attributes(split: pd.DataFrame) -> pd.DataFrame:
    """Return the attributes of all images of the split, text, a column for each attribute; "" where unknown."""
    tables = []
    for source, rows in split.groupby("source", sort=False):
        known = read_packed_attributes(str(source), sum(shard.images for shard in open_shards(str(source))))
        tables.append(known.iloc[rows["row"]].set_axis(rows.index))
    return pd.concat(tables).reindex(split.index).fillna("")


def main() -> None:
    """Write the picture, tables and metrics."""
    params, threshold = load_params("review", ReviewParams), read_thresholds().threshold
    split = read_split(names=True)
    part = choose_part(split)
    images, unit = part_images(split, part), UnitVectors(read_embeddings(len(split)))
    with fixed_threads(load_threads()):
        every = every_pair(images, unit, image_labels(split), params.most_images, params.seed)
        points = tsne(unit, image_labels(split), images, params)
    attributes = read_image_attributes(split)
    metrics: dict[str, float] = {"pairs": len(every.a), "attributes": attributes.shape[1]}
    if params.group_by:
        groups = groups_of_pairs(every, attributes, params.group_by)
        by_group = group_metrics(every.pairs, groups, threshold, load_params("metrics", MetricsParams))
        metrics |= by_group.values
        say_left_out(part, by_group.left_out)
    sheet = draw_sheet(every, PackedImages(split), split, threshold, params.worst_pairs)

    write_csv(FOLDER / "tsne.csv", points)
    write_csv(FOLDER / "attributes.csv", without_markup(errors_by_attribute(every, attributes, threshold)))
    with replacing(FOLDER / "worst_pairs.png") as temporary:
        sheet.save(temporary)
    write_metrics(Path("metrics/review.json"), metrics)
    by_attribute = f", errors by {attributes.shape[1]} attributes: {FOLDER}/attributes.csv" * bool(attributes.shape[1])
    say(f"pairs of {part} with the worst scores: {FOLDER}/worst_pairs.png{by_attribute}")


if __name__ == "__main__":
    run(main)
