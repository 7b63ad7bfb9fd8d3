"""100 neighbours of a query among 50,000 embeddings: by hashing, and exact."""

import numpy as np
from sklearn.neighbors import NearestNeighbors

from benchmarks import notebook
from benchmarks.timing import alternate, table
from faces.embeddings import unit_length
from faces.lsh import HyperplaneIndex, exact_neighbours

VECTORS, SIZE, NEIGHBOURS, PLANES, RADIUS = 50_000, 512, 100, 16, 3
QUERIES, NOTEBOOK_QUERIES, EXACT_QUERIES = 2000, 5, 1000


def main() -> None:
    """Print a table of each, after a look that both hashings have the same candidates."""
    import faiss

    random = np.random.default_rng(0)
    centres = random.standard_normal((VECTORS // 20, SIZE)).astype(np.float32)
    noise = random.standard_normal((VECTORS, SIZE)).astype(np.float32)
    unit = unit_length(centres.repeat(20, axis=0) + noise)
    normals = np.random.default_rng(0).standard_normal((SIZE, PLANES))
    ours = HyperplaneIndex(unit, PLANES, RADIUS, seed=0)
    theirs = notebook.HashTable(unit, normals)
    same = all(
        set(found.tolist()) == theirs.candidates(unit[query], RADIUS)
        for query, found in enumerate(ours.candidates(unit[:20]))
    )
    assert same, "the two ways do not find the same candidates"
    print("\nthe candidates of 20 queries are the same sets")
    rows = list(unit)
    hashing = {
        "ours": lambda: list(ours.search(np.arange(QUERIES), NEIGHBOURS)),
        "notebook: Python buckets": lambda: [
            theirs.search(rows, unit[query], RADIUS) for query in range(NOTEBOOK_QUERIES)
        ],
    }
    work = {"ours": float(QUERIES), "notebook: Python buckets": float(NOTEBOOK_QUERIES)}
    table("100 neighbours by LSH, 50,000 x 512", "queries/s", alternate(hashing, rounds=3), work, "ours")

    flat = faiss.IndexFlatIP(SIZE)
    flat.add(unit)
    brute = NearestNeighbors(n_neighbors=NEIGHBOURS, metric="cosine", algorithm="brute").fit(unit)
    queries = np.arange(EXACT_QUERIES)
    exact = {
        "ours": lambda: exact_neighbours(unit, queries, NEIGHBOURS),
        "FAISS's flat index": lambda: flat.search(unit[queries], NEIGHBOURS),
        "notebook: scikit-learn, brute force": lambda: brute.kneighbors(unit[queries]),
    }
    work = dict.fromkeys(exact, float(EXACT_QUERIES))
    table("100 exact neighbours, 50,000 x 512", "queries/s", alternate(exact, rounds=5), work, "ours")


if __name__ == "__main__":
    main()
