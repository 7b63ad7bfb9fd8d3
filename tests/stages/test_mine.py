import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from faces.embeddings import unit_length
from faces.files import write_npy
from faces.split_table import images_of, labels_of, read_split
from mine import MineParams, mine_part
from small_project import run_stage, write_params


def part() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 6)
    centres = random.normal(size=(10, 8))
    return unit_length((centres[labels] + 0.4 * random.normal(size=(60, 8))).astype(np.float32)), labels


def params(**changes: int | str) -> MineParams:
    values: dict[str, Any] = {"index": "lsh", "index_parameters": "", "hyperplanes": 8, "radius": 8, "neighbours": 7}
    values |= {"queries": 60, "recall_queries": 60}
    values["threads"] = 2
    return MineParams(seed=0, **values | changes)


@pytest.mark.parametrize(
    ("index", "index_parameters"), [("lsh", ""), ("Flat", ""), ("IVF2,Flat", "nprobe=2"), ("HNSW32", "efSearch=64")]
)
def test_with_all_in_reach_it_is_exact_search(index: str, index_parameters: str) -> None:
    unit, labels = part()
    table, figures, _ = mine_part(unit, labels, params(index=index, index_parameters=index_parameters), "mining")
    cosines = unit.astype(float) @ unit.T.astype(float)
    expected = set()
    for query in range(60):
        near = sorted((i for i in range(60) if i != query), key=lambda i: -cosines[query, i])[:7]
        expected |= {(min(query, i), max(query, i)) for i in near}
    assert set(zip(table["a"], table["b"], strict=True)) == expected
    assert len(table) == len(expected) == figures["comparisons"]
    assert figures["recall_at_7"] == 1.0
    np.testing.assert_allclose(table["cosine"], cosines[table["a"], table["b"]], atol=1e-6)
    assert table["same"].tolist() == [int(labels[a] == labels[b]) for a, b in zip(table["a"], table["b"], strict=True)]
    assert figures["positive_share"] == table["same"].mean()


@pytest.mark.parametrize("changes", [{"radius": 0}, {"index": "IVF8,Flat"}, {"index": "PQ4x4"}])
def test_a_narrow_reach_finds_less(changes: dict[str, int | str]) -> None:
    unit, labels = part()
    table, figures, _ = mine_part(unit, labels, params(**changes), "mining")
    assert 0 < figures["recall_at_7"] < 1
    exact = np.sum(unit[table["a"]].astype(float) * unit[table["b"]], axis=1)
    np.testing.assert_allclose(table["cosine"], exact, atol=1e-6)  # not what the index takes them for
    again, _, _ = mine_part(unit, labels, params(**changes), "mining")
    pd.testing.assert_frame_equal(again, table)


@pytest.mark.parametrize(
    ("index", "index_parameters", "said"),
    [
        ("Nonsense", "", "mine.index: 'Nonsense'"),
        ("HNSW32", "efsearch=64", "index_parameters: 'efsearch=64'"),
        ("PQ5", "", "mine.index: 'PQ5'"),  # 16 dimensions are not five parts
        ("IVF4096,Flat", "", "images do not suffice"),
    ],
)
def test_what_faiss_refuses_is_named(
    index: str, index_parameters: str, said: str, project: Path, fails_with: Callable[..., str]
) -> None:
    write_params(project, mine={"index": index, "index_parameters": index_parameters})
    assert f"error: params.yaml: mine.index: {index!r}" in (printed := fails_with("mine")) and said in printed


def test_queries_are_sampled_without_repetition() -> None:
    unit, labels = part()
    table, _, _ = mine_part(unit, labels, params(queries=5, neighbours=59), "mining")
    # Five queries and all others: 5 * 59 comparisons, of which the 10 among the five come twice.
    assert len(table) == 5 * 59 - 10


def test_each_table_stays_in_its_part(project: Path) -> None:
    before = {path: path.read_bytes() for path in Path("data").glob("comparisons_*.csv")}
    run_stage("mine")
    split = read_split()
    assert len(before) == 2
    for path, name in ((Path("data/comparisons_train.csv"), "train"), (Path("data/comparisons_test.csv"), "test_seen")):
        assert path.read_bytes() == before[path]
        table = pd.read_csv(path)
        assert list(table.columns) == ["a", "b", "cosine", "same"]
        assert set(table[["a", "b"]].to_numpy().ravel()) <= set(images_of(split, name).tolist())
        assert (table["a"] < table["b"]).all()
        labels = labels_of(split)
        np.testing.assert_array_equal(table["same"], labels[table["a"]] == labels[table["b"]])
    assert {"recall_at_10_train", "positive_share_test"} <= json.loads(Path("metrics/mine.json").read_text()).keys()


def test_comparisons_of_one_label_are_an_error(project: Path, fails_with: Callable[..., str]) -> None:
    write_params(project, mine={"queries": 1, "neighbours": 1})
    assert "are all of one label" in fails_with("mine")


@pytest.mark.parametrize("key, value", [("hyperplanes", 12), ("hyperplanes", 0), ("radius", -1), ("neighbours", 0)])
def test_parameters_out_of_range(project: Path, key: str, value: int, fails_with: Callable[..., str]) -> None:
    write_params(project, mine={key: value})
    assert f"params.yaml: mine.{key}: {value}: input should be" in fails_with("mine")


def test_embeddings_of_another_split_are_an_error(project: Path, fails_with: Callable[..., str]) -> None:
    write_npy(Path("data/embeddings.npy"), np.ones((3, 16), np.float32))
    assert "data/embeddings.npy: float32 (3, 16); expected float32 (36, D)" in fails_with("mine")


def test_more_buckets_than_can_be_searched_are_refused(project: Path, fails_with: Callable[..., str]) -> None:
    write_params(project, mine={"hyperplanes": 64, "radius": 4})
    # 1 + 64 + 64 * 63 / 2 + 64 * 63 * 62 / 6 + 64 * 63 * 62 * 61 / 24
    assert "679121 buckets a query; allowed: 100000" in fails_with("mine")
