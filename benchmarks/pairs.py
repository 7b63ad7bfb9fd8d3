"""Pairs to score, of 10,000 subjects with 50 images each."""

from statistics import median

import numpy as np

import pairs as stage
from benchmarks import notebook
from benchmarks.timing import alternate, table
from faces.core.params import load_params

SUBJECTS, IMAGES, NOTEBOOK_SUBJECTS = 10_000, 50, 3


def main() -> None:
    """Print the table, and the seconds of the whole."""
    params = load_params("pairs", stage.PairsParams).model_copy(update={"anchors": 1, "positives": 3, "negatives": 3})
    labels = np.arange(SUBJECTS).repeat(IMAGES)

    def scans() -> None:
        for subject in range(NOTEBOOK_SUBJECTS):
            notebook.pairs_of(labels, subject, 3, 3)

    ways = {"ours": lambda: stage.draw_pairs(labels, params), "notebook: a scan a subject": scans}
    seconds = alternate(ways, rounds=3)
    work = {"ours": float(SUBJECTS), "notebook: a scan a subject": float(NOTEBOOK_SUBJECTS)}
    table("pairs of 10,000 subjects x 50 images", "subjects/s", seconds, work, "ours")
    print(f"\nall of them: {median(seconds['ours']):.2f} s")


if __name__ == "__main__":
    main()
