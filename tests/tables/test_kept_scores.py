from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from faces.core.errors import StageError
from faces.tables.kept_scores import (
    KeptPairs,
    KeptScores,
    KeptSet,
    NamedImages,
    hash_embeddings,
    hash_names,
    name_split_images,
    read_decisions,
    read_kept,
    write_decisions,
    write_kept,
)


def some_scores() -> KeptScores:
    names = NamedImages(hash_names(list("abcd")), hash_names(list("xxyy")))
    a, b = np.triu_indices(4, k=1)
    every = names.keep(a, b, np.array([1, 0, 0, 0, 0, 1]), np.linspace(-1, 1, 6, dtype=np.float32))
    drawn = names.keep(np.array([3, 0]), np.array([1, 1]), np.array([0, 1]), np.array([0.25, 0.5]))
    decisions = {("test_seen", "knn_accuracy"): names.keep_probes(np.array([3, 1]), np.array([True, False]))}
    return KeptScores("hash", 0.3, {"test_seen": KeptSet(every, drawn), "lfw": KeptSet(drawn, drawn)}, decisions)


def equal(one: KeptPairs, other: KeptPairs) -> bool:
    columns: list[tuple[np.ndarray, np.ndarray]] = [(getattr(one, name), getattr(other, name)) for name in one._fields]
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in columns)


def test_what_is_written_is_read_back_and_the_same_scores_are_the_same_bytes(tmp_path: Path) -> None:
    kept, path = some_scores(), tmp_path / "scores.npz"
    write_kept(path, kept)
    first = path.read_bytes()
    read = read_kept(first, "scores")
    assert (read.embeddings, read.threshold, list(read.sets)) == ("hash", 0.3, ["test_seen", "lfw"])
    for name, pairs in kept.sets.items():
        assert equal(pairs.every, read.sets[name].every) and equal(pairs.drawn, read.sets[name].drawn)
    assert list(read.decisions) == list(kept.decisions)
    assert equal(read.decisions["test_seen", "knn_accuracy"], kept.decisions["test_seen", "knn_accuracy"])
    write_kept(path, kept)
    assert path.read_bytes() == first


def test_decisions_alone_are_read_back_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    path, decisions = tmp_path / "identified.npz", some_scores().decisions
    write_decisions(path, decisions)
    probes = read_decisions(path.read_bytes(), "")["test_seen", "knn_accuracy"]
    names, people = hash_names(list("abcd")), hash_names(list("xxyy"))
    assert probes.images[probes.a].tolist() == [names[3], names[1]] and probes.scores.tolist() == [1, 0]
    assert probes.people[probes.b].tolist() == [people[3], people[1]] and probes.same.tolist() == [1, 1]
    with pytest.raises(StageError, match="main: identified.npz holds no decisions: "):
        read_decisions(path.read_bytes()[:-30], "main: identified.npz")


def test_every_pair_takes_the_bytes_of_its_score(tmp_path: Path) -> None:
    names = NamedImages(np.arange(200).astype(np.uint64), np.repeat(np.arange(50), 4).astype(np.uint64))
    a, b = np.triu_indices(200, k=1)
    pairs = names.keep(a, b, (a // 4 == b // 4).astype(np.int8), np.zeros(len(a), np.float32))
    write_kept(tmp_path / "all.npz", KeptScores("", 0.0, {"x": KeptSet(pairs, pairs)}, {}))
    assert (tmp_path / "all.npz").stat().st_size < 4 * len(a) + 5000


def test_only_the_images_of_pairs_are_kept_and_no_more_than_so_many_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faces.tables.kept_scores.MAX_PAIRS", 2)
    names = NamedImages(np.array([7, 8, 9], np.uint64), np.zeros(0, np.uint64))
    kept = names.keep(np.array([2, 1, 0]), np.array([1, 2, 1]), np.ones(3), np.array([0.1, 0.2, 0.3]))
    assert (kept.images.tolist(), kept.a.tolist(), kept.b.tolist()) == ([8, 9], [1, 0], [0, 1])
    assert kept.scores.tolist() == [0.1, 0.2] and len(kept.people) == 0


def test_one_person_in_two_sources_has_one_name() -> None:
    split = pd.DataFrame(
        {"source": list("rrs"), "subject": list("pqp"), "path": ["p/1", "q/1", "p/1"], "label": [0, 1, 0]}
    )
    images, people = name_split_images(split)
    assert len(set(images.tolist())) == 3 and people[0] == people[2] != people[1]


def test_other_embeddings_have_another_hash() -> None:
    embeddings = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert hash_embeddings(embeddings) == hash_embeddings(embeddings.copy())
    assert hash_embeddings(embeddings) != hash_embeddings(embeddings.reshape(3, 2))


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut short"])
def test_a_damaged_file_is_named(content: bytes) -> None:
    with pytest.raises(StageError, match="main: data/scores.npz holds no scores"):
        read_kept(content, "main: data/scores.npz")


@pytest.mark.parametrize(
    "key, value", [("a", np.array([9, 0])), ("scores", np.array([np.nan, 0])), ("b", np.array([1]))]
)
def test_pairs_that_cannot_be_are_named(tmp_path: Path, key: str, value: np.ndarray) -> None:
    path = tmp_path / "scores.npz"
    write_kept(path, some_scores())
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | {f"lfw/every/{key}": value})
    with pytest.raises(StageError, match="holds no scores: lfw/every/"):
        read_kept(path.read_bytes(), "x")


def test_a_pickle_is_not_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "pickle.npz", embeddings=np.array([object()]))
    with pytest.raises(StageError, match="holds no scores"):
        read_kept((tmp_path / "pickle.npz").read_bytes(), "x")
