"""Split the images of all sources into `train`, `validation`, `test_seen` and `test_unseen`.

Reads   data/packed/<source>/*.csv of the sources in params.yaml, a shard at a time, and data/duplicates.csv
Writes  data/split.csv, metrics/split.json
Run     python stages/split.py

Every choice depends on a hash of the seed and the names, not on a position in a list. So a new subject or image moves
others to another part only as far as the shares require.
"""

from pathlib import Path

from faces.core.csv_files import write_csv
from faces.core.errors import StageError
from faces.core.files import write_metrics
from faces.core.params import load_params
from faces.core.run import run
from faces.core.terminal import say, warn
from faces.tables.packed_tables import DuplicatesParams, read_duplicates, read_packed_tables
from faces.tables.sources import load_sources
from faces.tables.split_table import PARTS, SPLIT_PATH, TEST_SEEN, TEST_UNSEEN
from faces.tables.splitting import SplitParams, Splitting


def check_copies(params: SplitParams) -> bool:
    """Return whether `duplicates` searches copies; StageError if it does not and copies are to be dropped."""
    searched = load_params("duplicates", DuplicatesParams).neighbours > 0
    if params.drop_copies and not searched:
        raise StageError("params.yaml: split.drop_copies: true: duplicates.neighbours: 0 searches no copies")
    return searched


def main() -> None:
    """Write the split and its sizes."""
    params, sources = load_params("split", SplitParams), list(load_sources())
    searched = check_copies(params)
    splitting = Splitting(lambda: read_packed_tables(sources), params)
    write_csv(SPLIT_PATH, splitting.paired_pieces(read_duplicates(splitting.images)))
    copies, sizes = splitting.copies, dict(splitting.sizes)
    if searched:
        sizes |= {f"copies_{part}": copies[part] for part in (TEST_SEEN, TEST_UNSEEN)}
    if copies and not params.drop_copies:
        warn(f"{copies.total()} test images are copies of training images, or nearly; `split.drop_copies` drops them")
    if sizes["subjects_with_one_image"]:
        warn(f"{sizes['subjects_with_one_image']} training subjects have one image: they are trained on, never tested")
    if params.unseen_subjects and sizes[f"subjects_{TEST_UNSEEN}"] < 2:
        warn(f"{TEST_UNSEEN} has {sizes[f'subjects_{TEST_UNSEEN}']} subject(s): no impostor pairs, hence no metrics")
    write_metrics(Path("metrics/split.json"), sizes)
    say(
        ", ".join(f"{part}: {sizes[f'images_{part}']} images of {sizes[f'subjects_{part}']} subjects" for part in PARTS)
    )


if __name__ == "__main__":
    run(main)
