"""The scores that an experiment keeps, so that it can be compared with others on the same pairs of images.

`evaluate` writes data/scores.npz for the test parts, and `score` writes data/tests/<name>.scores.npz for a test set.
`identify` writes data/identified.npz: which probes it named rightly, and the scores behind DIR.
Images and people are known by hashes of their names, so that experiments with other splits find the pairs that they
have in common. At most `MAX_PAIRS` pairs of a set are kept: 25 MB. Of a set of FRCSyn all are, in the order of its
comparison file, since a submission has them all.
"""

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from faces.core.errors import StageError
from faces.core.npy_files import write_npz
from faces.tables.external_sets import TESTS

PARTS_PATH = Path("data/scores.npz")
IDENTIFIED_PATH = Path("data/identified.npz")
DECISIONS = "decisions:"  # begins the names of their arrays; no test set has a colon in its name
MAX_IMAGES = 2000  # of a part, of which every pair is kept
MAX_PAIRS = 2_000_000  # about as many as those are

Names = NDArray[np.uint64]


def test_set_path(name: str) -> Path:
    """Return where the scores of a test set are kept."""
    return TESTS / f"{name}.scores.npz"


class KeptPairs(NamedTuple):
    """m pairs of n images with their scores.

    Attributes:
        images: hash of the name of each image, uint64 (n,).
        people: hash of the name of the person on each image, uint64 (n,); empty if the set does not name them.
        a: place of the first image of each pair, (m,).
        b: place of the second image, (m,).
        same: 1 for a genuine pair, 0 for an impostor pair, (m,); empty if the set has no labels.
        scores: cosines, (m,).
    """

    images: Names
    people: Names
    a: NDArray[np.int32]
    b: NDArray[np.int32]
    same: NDArray[np.int8]
    scores: NDArray[np.floating]


class KeptSet(NamedTuple):
    """The pairs of a part or test set: all that are kept, and those on which accuracy is measured."""

    every: KeptPairs
    drawn: KeptPairs


# (part, figure), such as ("test_seen", "knn_accuracy"), -> pairs whose score is 1 if the pair was accepted, else 0. The
# figure is the share of right decisions. A probe that is looked for in a gallery is a genuine pair with itself, and
# accepted if it was named rightly. Of `dir_at_far_<rate>`, the score is that of `open_set_scores` in
# faces/evaluation/identification.py, and a probe of a stranger is an impostor pair with itself.
Decisions = dict[tuple[str, str], KeptPairs]


class KeptScores(NamedTuple):
    """SHA-256 of the embeddings, the threshold, the pairs by name of the part or test set, and decisions."""

    embeddings: str
    threshold: float
    sets: dict[str, KeptSet]
    decisions: Decisions


def hash_embeddings(embeddings: NDArray[np.float32]) -> str:
    """Return the SHA-256 of embeddings (N, D), in hexadecimal digits; they may be mapped from disk."""
    digest = hashlib.sha256(str(embeddings.shape).encode())
    for start in range(0, len(embeddings), 65_536):
        digest.update(np.ascontiguousarray(embeddings[start : start + 65_536]).data)
    return digest.hexdigest()


def hash_names(*columns: Iterable[object]) -> Names:
    """Return a hash of each row of some columns of text, uint64 (N,)."""
    rows = ("\0".join(map(str, row)).encode("utf-8") for row in zip(*columns, strict=True))
    return np.array([int.from_bytes(hashlib.blake2b(row, digest_size=8).digest()) for row in rows], dtype=np.uint64)


class NamedImages(NamedTuple):
    """Hashes of the names of all images, (N,), and of the people on them: (N,), or (0,) if these are not known."""

    images: Names
    people: Names

    def keep(
        self,
        a: NDArray[np.integer],
        b: NDArray[np.integer],
        same: NDArray[Any],
        scores: NDArray[np.floating],
        all_pairs: bool = False,
    ) -> KeptPairs:
        """Return the pairs of images a[i] and b[i] with their scores: the first `MAX_PAIRS`, or all."""
        most = None if all_pairs else MAX_PAIRS
        a, b = a[:most], b[:most]
        used = np.zeros(len(self.images), dtype=bool)
        used[a] = used[b] = True
        place = np.cumsum(used, dtype=np.int32) - np.int32(1)
        people = self.people[used] if len(self.people) else self.people
        return KeptPairs(self.images[used], people, place[a], place[b], same[:most].astype(np.int8), scores[:most])

    def keep_probes(self, images: NDArray[np.integer], right: NDArray[np.bool_]) -> KeptPairs:
        """Return images of enrolled people as probes, and whether each was named rightly, both (n,)."""
        return self.keep(images, images, np.ones(len(images)), right.astype(np.float32))


def name_split_images(split: pd.DataFrame) -> NamedImages:
    """Return the names of a split's images; a label is one person, called by the first of their images."""
    own = hash_names(split["source"], split["subject"])
    _, first, label = np.unique(split["label"].to_numpy(), return_index=True, return_inverse=True)
    return NamedImages(hash_names(split["source"], split["subject"], split["path"]), own[first][label])


def write_kept(path: Path, kept: KeptScores) -> None:
    """Write the file; the same scores give the same bytes.

    Of every pair of n images, in the order of `np.triu_indices`, only images, people and scores are written.
    """
    arrays: dict[str, NDArray[Any]] = {"embeddings": np.array(kept.embeddings), "threshold": np.array(kept.threshold)}
    for name, pairs_of_set in kept.sets.items():
        for kind, pairs in pairs_of_set._asdict().items():
            if kind == "drawn" and pairs is pairs_of_set.every:
                continue
            columns = pairs._asdict()
            if _is_every_pair(pairs):
                columns = {key: columns[key] for key in ("images", "people", "scores")}
            arrays |= {f"{name}/{kind}/{key}": column for key, column in columns.items()}
    write_npz(path, **arrays, **_decision_arrays(kept.decisions))


def write_decisions(path: Path, decisions: Decisions) -> None:
    """Write decisions alone; the same ones give the same bytes."""
    write_npz(path, **_decision_arrays(decisions))


def _decision_arrays(decisions: Decisions) -> dict[str, NDArray[Any]]:
    return {
        f"{DECISIONS}{part}/{figure}/{key}": column
        for (part, figure), pairs in decisions.items()
        for key, column in pairs._asdict().items()
    }


def _is_every_pair(pairs: KeptPairs) -> bool:
    count = len(pairs.images)
    if not len(pairs.people) or count * (count - 1) // 2 != len(pairs.a):
        return False
    a, b = np.triu_indices(count, k=1)
    by_people = pairs.people[a] == pairs.people[b]
    return bool(np.array_equal(a, pairs.a) and np.array_equal(b, pairs.b) and np.array_equal(by_people, pairs.same))


def read_kept(content: bytes, where: str) -> KeptScores:
    """Return the content of a file; StageError, beginning with `where`, if it is damaged or something else."""
    try:
        arrays = _read_arrays(content)
        decisions = _take_decisions(arrays)
        embeddings, threshold = str(arrays.pop("embeddings")), float(arrays.pop("threshold"))
        sets = {}
        for name in dict.fromkeys(key.split("/")[0] for key in arrays):
            every = _read_pairs(arrays, f"{name}/every/")
            drawn = _read_pairs(arrays, f"{name}/drawn/") if f"{name}/drawn/scores" in arrays else every
            sets[name] = KeptSet(every, drawn)
    except Exception as error:  # a damaged zip raises many kinds
        raise StageError(f"{where} holds no scores: {error}") from None
    return KeptScores(embeddings, threshold, sets, decisions)


def read_decisions(content: bytes, where: str) -> Decisions:
    """Return the content of a file of decisions alone; StageError, beginning with `where`, if it is damaged."""
    try:
        return _take_decisions(_read_arrays(content))
    except Exception as error:  # a damaged zip raises many kinds
        raise StageError(f"{where} holds no decisions: {error}") from None


def _read_arrays(content: bytes) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _take_decisions(arrays: dict[str, NDArray[Any]]) -> Decisions:
    """Take the arrays of decisions out of those of a file."""
    taken = {name: arrays.pop(name) for name in list(arrays) if name.startswith(DECISIONS)}
    prefixes = dict.fromkeys(name.rpartition("/")[0] for name in taken)
    found: Decisions = {}
    for prefix in prefixes:
        part, figure = prefix.removeprefix(DECISIONS).split("/")
        found[part, figure] = _read_pairs(taken, f"{prefix}/")
    return found


def _read_pairs(arrays: dict[str, NDArray[Any]], prefix: str) -> KeptPairs:
    columns = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
    if "a" not in columns:
        people = columns["people"]
        columns["a"], columns["b"] = (places.astype(np.int32) for places in np.triu_indices(len(people), k=1))
        columns["same"] = (people[columns["a"]] == people[columns["b"]]).astype(np.int8)
    pairs = KeptPairs(**columns)
    sizes = {len(pairs.a), len(pairs.b), len(pairs.scores)}
    if len(sizes) > 1 or len(pairs.same) not in (0, len(pairs.a)) or len(pairs.people) not in (0, len(pairs.images)):
        raise ValueError(f"{prefix}: columns of different lengths")
    if max(pairs.a.max(), pairs.b.max()) >= len(pairs.images) or not np.isfinite(pairs.scores).all():
        raise ValueError(f"{prefix}: a pair of an image that is not there, or a score that is no number")
    return pairs
