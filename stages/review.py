"""Show what a person looks at first: how embeddings lie, which pairs go most wrong, and on which images.

Reads   data/embeddings.npy, data/split.csv, data/packed, data/attributes, models/threshold.json
Writes  metrics/review/tsne.csv         x, y, subject: some people's embeddings in two dimensions
        metrics/review/worst_pairs.png  impostor pairs of the highest and genuine pairs of the lowest cosine; kept by
                                        DVC, not by Git, for it shows faces
        metrics/review/attributes.csv   errors of the pairs that have an image with each attribute
        metrics/review.json             what of this is a number
Run     python stages/review.py

All of people that training never saw, or of `test_seen` where there are not two of these.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import Field

from faces.core.csv_files import write_csv
from faces.core.errors import StageError
from faces.core.files import replacing, write_metrics
from faces.core.image_size import SIDE
from faces.core.params import Params, load_params
from faces.core.run import run
from faces.core.terminal import say
from faces.core.threads import fixed_threads, load_threads
from faces.evaluation.every_pair import EveryPair, every_pair
from faces.evaluation.metrics import categories, group_figures
from faces.evaluation.threshold import read_thresholds
from faces.tables.attributes import read_known
from faces.tables.embeddings import UnitVectors, Vectors, read_embeddings
from faces.tables.packed_images import PackedImages, shards_of
from faces.tables.split_table import TEST_SEEN, TEST_UNSEEN, TRAIN, images_of, labels_of, read_split

FOLDER = Path("metrics/review")
FEWEST_PAIRS = 30  # behind a rate
FEW_VALUES = 6  # numbers that take more different values are cut into thirds
MOST_VALUES = 50  # of an attribute, in the plot
GAP, CAPTION, TITLE, PER_ROW = 12, 18, 32, 4  # of the sheet, in pixels and pairs


class ReviewParams(Params):
    most_images: int = Field(ge=2, le=20_000)
    worst_pairs: int = Field(ge=1, le=100)
    tsne_subjects: int = Field(ge=2, le=100)
    tsne_perplexity: float = Field(gt=1, le=1000)
    group_by: str
    seed: int = Field(ge=0)


def part_of(split: pd.DataFrame) -> str:
    """Return what to look at: the part of people that training never saw, or the next one that has two people."""
    people = split.groupby("part")["label"].nunique()
    return next((part for part in (TEST_UNSEEN, TEST_SEEN) if people.get(part, 0) >= 2), TRAIN)


def tsne(unit: Vectors, subjects: NDArray[np.str_], images: NDArray[np.int64], params: ReviewParams) -> pd.DataFrame:
    """Return some `images`, of the first subjects by name, as columns x, y and subject (van der Maaten, Hinton 2008).

    `unit` (N, D) and `subjects` (N,) are of all images.
    """
    from sklearn.manifold import TSNE  # takes a second to import

    first = sorted(set(subjects[images]))[: params.tsne_subjects]
    chosen = images[np.isin(subjects[images], first)]
    perplexity = min(params.tsne_perplexity, max(1.0, (len(chosen) - 1) / 3))  # below the number of points
    embedder = TSNE(perplexity=perplexity, init="pca", metric="cosine", random_state=params.seed)
    with fixed_threads(1):  # several would add up in any order
        x, y = embedder.fit_transform(unit[chosen]).T
    return pd.DataFrame({"x": x, "y": y, "subject": subjects[chosen]})


def worst(every: EveryPair, same: int, count: int) -> list[int]:
    """Return the pairs that go most wrong, at most one of any two people, or of any one: positions in `every`."""
    rows = np.flatnonzero(every.pairs.same == same)
    scores = every.pairs.scores[rows]
    chosen: dict[tuple[int, int], int] = {}
    for row in map(int, rows[np.argsort(scores if same else -scores, kind="stable")]):  # no list of all, it ends early
        people = int(every.pairs.first[row]), int(every.pairs.second[row])
        chosen.setdefault((min(people), max(people)), row)
        if len(chosen) == count:
            break
    return list(chosen.values())


def draw_sheet(
    every: EveryPair, images: PackedImages, names: NDArray[np.str_], threshold: float, count: int
) -> Image.Image:
    """Return a picture of the worst false matches, above, and false non-matches, with cosines and `names` (N,)."""
    above = draw_pairs(every, worst(every, 0, count), images, names)
    below = draw_pairs(every, worst(every, 1, count), images, names)
    sheet = Image.new("RGB", (above.width, above.height + below.height + 2 * TITLE), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text(
        (GAP, 8),
        f"impostor pairs of the highest cosines, one for two people; the threshold is {threshold:.3f}",
        fill="black",
    )
    sheet.paste(above, (0, TITLE))
    draw.text((GAP, TITLE + above.height + 8), "genuine pairs of the lowest cosines, one a person", fill="black")
    sheet.paste(below, (0, 2 * TITLE + above.height))
    return sheet


def draw_pairs(every: EveryPair, rows: list[int], images: PackedImages, names: NDArray[np.str_]) -> Image.Image:
    """Return pairs side by side, some in a row, each with its cosine and who is on it."""
    width, height = 2 * SIDE + GAP, SIDE + CAPTION + GAP
    picture = Image.new("RGB", (PER_ROW * width + GAP, max(1, -(-len(rows) // PER_ROW)) * height), "white")
    draw = ImageDraw.Draw(picture)
    for place, row in enumerate(rows):
        left, top = GAP + place % PER_ROW * width, place // PER_ROW * height
        pair = np.array([every.a[row], every.b[row]])
        picture.paste(Image.fromarray(np.hstack(list(images[pair]))), (left, top))
        who = " / ".join(dict.fromkeys(str(name)[:16] for name in names[pair]))
        draw.text((left, top + SIDE + 2), f"{every.pairs.scores[row]:.3f}  {who}", fill="black")
    return picture


def known_of_images(split: pd.DataFrame) -> pd.DataFrame:
    """Return the attributes of all images of the split, text by column, "" where unknown."""
    tables = []
    for source, rows in split.groupby("source", sort=False):
        known = read_known(str(source), sum(shard.images for shard in shards_of(str(source))))
        tables.append(known.iloc[rows["row"]].set_axis(rows.index))
    return pd.concat(tables).reindex(split.index).fillna("")


def in_thirds(values: pd.Series) -> tuple[pd.Series, list[str]]:
    """Return values as names of groups, and these in order: as they are, or, if they are many numbers, thirds of them.

    No groups where thirds would be one and the same number.
    """
    known = sorted(set(values) - {""})
    numbers = pd.to_numeric(values.replace("", np.nan), errors="coerce")
    if len(known) <= FEW_VALUES or not np.isfinite(numbers[values != ""]).all():
        return values, known
    edges = numbers.quantile([0, 1 / 3, 2 / 3, 1]).to_numpy()
    if len(np.unique(edges)) < len(edges):
        return values.where(values == "", ""), []
    names = [f"{low} to {high}" for low, high in pairwise(in_few_digits(edges))]
    third = np.searchsorted(edges[1:-1], numbers)  # of a number on an edge, the lower one
    return pd.Series(np.where(values == "", "", np.array(names)[third]), index=values.index), names


def in_few_digits(numbers: NDArray[np.float64]) -> list[str]:
    """Return different numbers in three significant digits, or as many more as make their texts differ."""
    for digits in range(3, 18):  # 17 tell any two apart
        texts = [f"{number:.{digits}g}" for number in numbers]
        if len(set(texts)) == len(texts):
            break
    return texts


def frequent(attribute: str, values: pd.Series, groups: list[str]) -> list[str]:
    """Return those `groups` that occur among the values, the most frequent ones if there are many, in their order."""
    counts = values.value_counts().reindex(groups, fill_value=0)
    counts = counts[counts > 0].sort_values(ascending=False, kind="stable")
    if len(counts) > MOST_VALUES:
        say(f"{attribute}: has {len(counts)} values; the {MOST_VALUES} of most images are shown")
    kept = set(counts.index[:MOST_VALUES])
    return [group for group in groups if group in kept]


def errors_by_attribute(every: EveryPair, known: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return FNMR and FMR at the threshold of the pairs that have an image with each value of each attribute.

    Columns attribute, value, kind (FNMR or FMR), rate and pairs; nothing from fewer than 30 pairs of the kind, nor of
    values but the 50 that most images have.
    """
    seen = np.union1d(every.a, every.b)
    accepted, genuine = every.pairs.scores >= threshold, every.pairs.same == 1
    rows = []
    for attribute in known:
        values, groups = in_thirds(known[attribute])
        for value in frequent(str(attribute), values.iloc[seen], groups):
            has = (values == value).to_numpy()
            either = has[every.a] | has[every.b]
            for kind, of_kind, wrong in (("FNMR", genuine, ~accepted), ("FMR", ~genuine, accepted)):
                chosen = either & of_kind
                if chosen.sum() >= FEWEST_PAIRS:
                    rows.append((attribute, f"{attribute}: {value}", kind, float(wrong[chosen].mean()), chosen.sum()))
    return pd.DataFrame(rows, columns=["attribute", "value", "kind", "rate", "pairs"])


def groups_of_pairs(every: EveryPair, known: pd.DataFrame, attribute: str) -> pd.Categorical:
    """Return the group of each pair whose images are both in it, none of others; StageError if none is so called."""
    if attribute not in known:
        raise StageError(
            f"params.yaml: review.group_by: {attribute!r} is no attribute of the images; "
            f"known: {', '.join(map(str, known)) or 'none'}"
        )
    groups = categories(in_thirds(known[attribute])[0])
    codes = np.where(groups.codes[every.a] == groups.codes[every.b], groups.codes[every.a], groups.codes.dtype.type(-1))
    return pd.Categorical.from_codes(codes, dtype=groups.dtype)


def main() -> None:
    """Write the pictures, tables and numbers."""
    params, threshold = load_params("review", ReviewParams), read_thresholds().threshold
    split = read_split(names=True)
    subjects = split["subject"].to_numpy(dtype=str)
    part = part_of(split)
    images, unit = images_of(split, part), UnitVectors(read_embeddings(len(split)))
    with fixed_threads(load_threads()):
        every = every_pair(images, unit, labels_of(split), params.most_images, params.seed)
        points = tsne(unit, subjects, images, params)
    known = known_of_images(split)
    metrics: dict[str, float] = {"pairs": len(every.a), "attributes": known.shape[1]}
    if params.group_by:
        of_groups, left_out = group_figures(every.pairs, groups_of_pairs(every, known, params.group_by), threshold)
        metrics |= of_groups
        for sentence in left_out:
            say(f"{part}: {sentence}")
    sheet = draw_sheet(every, PackedImages(split), subjects, threshold, params.worst_pairs)

    write_csv(FOLDER / "tsne.csv", points)
    write_csv(FOLDER / "attributes.csv", errors_by_attribute(every, known, threshold))
    with replacing(FOLDER / "worst_pairs.png") as temporary:
        sheet.save(temporary)
    write_metrics(Path("metrics/review.json"), metrics)
    say(f"{part}: {FOLDER}/worst_pairs.png, {known.shape[1]} attributes")


if __name__ == "__main__":
    run(main)
