import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from faces.core.sampling import sample_at_most
from faces.search import lsh, mining, neighbours
from faces.search.mining import Mining
from faces.tables import embeddings
from faces.tables.embeddings import UnitVectors, read_embeddings, unit_length
from faces.tables.split_table import image_labels, part_images, read_split
from mine import MineParams
from small_project import ROOT, run_stage, write_params


def part() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 6)
    centres = random.normal(size=(10, 8))
    return unit_length((centres[labels] + 0.4 * random.normal(size=(60, 8))).astype(np.float32)), labels


def params(**changes: int | str) -> MineParams:
    values: dict[str, Any] = {"index": "lsh", "index_parameters": "", "hyperplanes": 8, "radius": 8, "neighbours": 7}
    values |= {"queries": 60, "recall_queries": 60, "training_images": 1000, "held_images": 0}
    return MineParams(seed=0, **values | changes)


def mined(unit: Any, labels: np.ndarray, of: MineParams) -> tuple[pd.DataFrame, dict[str, float]]:
    mined_part = Mining(unit, labels, of)
    table = pd.concat(mined_part.pieces("mining"), ignore_index=True)
    assert set(mined_part.speed()) == {"queries_per_second", "queries_per_second_once_built", "seconds_to_build"}
    return table, mined_part.metrics()


@pytest.mark.parametrize(
    ("index", "index_parameters"), [("lsh", ""), ("Flat", ""), ("IVF2,Flat", "nprobe=2"), ("HNSW32", "efSearch=64")]
)
def test_with_all_in_reach_it_is_exact_search(index: str, index_parameters: str) -> None:
    unit, labels = part()
    table, metrics = mined(unit, labels, params(index=index, index_parameters=index_parameters))
    cosines = unit.astype(float) @ unit.T.astype(float)
    expected = set()
    for query in range(60):
        near = sorted((i for i in range(60) if i != query), key=lambda i: -cosines[query, i])[:7]
        expected |= {(min(query, i), max(query, i)) for i in near}
    assert set(zip(table["a"], table["b"], strict=True)) == expected
    assert len(table) == len(expected) == metrics["comparisons"]
    assert metrics["recall_at_7"] == 1.0
    np.testing.assert_allclose(table["cosine"], cosines[table["a"], table["b"]], atol=1e-6)
    assert table["same"].tolist() == [int(labels[a] == labels[b]) for a, b in zip(table["a"], table["b"], strict=True)]
    assert metrics["positive_share"] == table["same"].mean()


@pytest.mark.parametrize("changes", [{"radius": 0}, {"index": "IVF8,Flat"}, {"index": "PQ4x4"}])
def test_a_narrow_reach_finds_less(changes: dict[str, int | str]) -> None:
    unit, labels = part()
    table, metrics = mined(unit, labels, params(**changes))
    assert 0 < metrics["recall_at_7"] < 1
    exact = np.sum(unit[table["a"]].astype(float) * unit[table["b"]], axis=1)
    np.testing.assert_allclose(table["cosine"], exact, atol=1e-6)  # not what the index takes them for
    again, _ = mined(unit, labels, params(**changes))
    pd.testing.assert_frame_equal(again, table)


@pytest.mark.parametrize(
    ("index", "index_parameters", "said"),
    [
        ("Nonsense", "", "FAISS says could not parse index string Nonsense"),
        ("HNSW32", "efsearch=64", "index_parameters: 'efsearch=64': FAISS says could not set parameter efsearch"),
        ("PQ5", "", "mine.index: 'PQ5'"),  # 16 dimensions are not five parts
        ("IVF4096,Flat", "", "images of a part do not suffice"),
    ],
)
def test_what_faiss_refuses_is_named(
    index: str, index_parameters: str, said: str, project: Path, fails_with: Callable[..., str]
) -> None:
    write_params(project, mine={"index": index, "index_parameters": index_parameters})
    assert f"error: params.yaml: mine.index: {index!r}" in (printed := fails_with("mine")) and said in printed


def test_queries_are_sampled_without_repetition() -> None:
    unit, labels = part()
    table, _ = mined(unit, labels, params(queries=5, neighbours=59))
    # Five queries and all others: 5 * 59 comparisons, of which the 10 among the five come twice.
    assert len(table) == 5 * 59 - 10


def test_few_images_for_an_index_are_warned_of_in_one_line(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """FAISS wants 39 vectors a cell; `train` of the small project has 16 images (4 of each of 4 people)."""
    write_params(project, mine={"index": "IVF2,Flat"})
    run_stage("mine")
    printed = capfd.readouterr().err
    said = "warning: params.yaml: mine.index: 'IVF2,Flat': it learns its cells or codes from 16 images of a part, and"
    assert f"{said} FAISS advises 78 at least, else recall may be low: name one of fewer cells or codes" in printed
    assert "WARNING clustering" not in printed
    write_params(project, mine={"index": "IVF2,Flat", "training_images": 10})
    run_stage("mine")
    assert "10 images of a part, and FAISS advises 78 at least, else recall may be low: raise mine.training_images" in (
        capfd.readouterr().err
    )


INDICES = ["lsh", "Flat", "HNSW8", "IVF4,Flat", "IVF4,PQ4x4"]


@pytest.mark.parametrize("index", INDICES)
def test_from_disk_and_in_small_pieces_it_is_the_same_table(
    index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit, labels = part()
    settings = params(index=index, radius=2)
    table, metrics = mined(unit, labels, settings)
    np.save(tmp_path / "embeddings.npy", np.concatenate([np.full((5, 8), 3.0), 2 * unit]).astype(np.float32))
    on_disk = UnitVectors(read_embeddings(65, tmp_path / "embeddings.npy"), np.arange(5, 65))
    for module, name, size in ((mining, "CHUNK", 7), (neighbours, "MAX_NUMBERS", 300), (lsh, "MAX_CANDIDATES", 90)):
        monkeypatch.setattr(module, name, size)
    if index in ("lsh", "Flat"):  # others learn by blocks
        monkeypatch.setattr(embeddings, "BLOCK_ROWS", 11)
    in_pieces, in_all = mined(on_disk, labels, settings)
    pd.testing.assert_frame_equal(in_pieces, table, check_exact=False, atol=1e-6)  # 2 x / 2 is not x to the last bit
    assert in_all == metrics


def test_what_is_learned_is_learned_from_a_sample_that_repeats() -> None:
    unit, labels = part()
    settings = params(index="IVF4,Flat", training_images=30)
    table, _ = mined(unit, labels, settings)
    again, _ = mined(unit, labels, settings)
    pd.testing.assert_frame_equal(again, table)
    assert sample_at_most(np.arange(60), 60, 0).tolist() == list(range(60))
    some = sample_at_most(np.arange(60), 30, 0)
    assert len(set(some.tolist())) == 30 and (np.diff(some) > 0).all()


PEAK = """
import sys, json
import numpy as np
from pathlib import Path
from faces.tables.embeddings import UnitVectors, read_embeddings
from faces.search.mining import Mining
from mine import MineParams
path, params = Path(sys.argv[1]), MineParams(**json.loads(sys.argv[2]))
images = int(sys.argv[3])
def own():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))
mining = Mining(UnitVectors(read_embeddings(images, path)), np.arange(images) // 20, params)
peak = own()
for piece in mining.pieces("mining"):
    peak = max(peak, own())
mining.recall()
print(max(peak, own()))
"""


slow_to_build = pytest.mark.slow  # FAISS learns or links 200,000 vectors, for half a minute to a minute


@pytest.mark.parametrize(
    ("index", "most"),
    [
        ("lsh", 0.2),
        ("Flat", 0.2),
        pytest.param("IVF64,PQ16", 0.2, marks=slow_to_build),
        pytest.param("HNSW8", 1.4, marks=slow_to_build),
    ],
)
def test_only_the_index_is_in_memory(index: str, most: float, tmp_path: Path) -> None:
    """What 160,000 embeddings of 256 numbers take beyond what 40,000 take, as a share of those between, 123 MB."""
    random, peaks = np.random.default_rng(0), []
    for images in (40_000, 160_000):
        vectors = random.standard_normal((images // 20, 256), np.float32).repeat(20, axis=0)
        np.save(tmp_path / "some.npy", vectors + random.standard_normal((images, 256), np.float32))
        of = params(index=index, hyperplanes=16, radius=1, queries=200, recall_queries=20, training_images=4000)
        script = [sys.executable, "-c", PEAK, str(tmp_path / "some.npy"), of.model_dump_json(), str(images)]
        # Without a fixed threshold, malloc keeps 48 MB of freed blocks or not, as the order of imports decides.
        fixed = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
        environment = os.environ | {"PYTHONPATH": str(ROOT / "stages")} | fixed
        done = subprocess.run(script, env=environment, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) * 1024)
    assert (peaks[1] - peaks[0]) / (120_000 * 256 * 4) < most


def test_each_table_stays_in_its_part(project: Path) -> None:
    before = {path: path.read_bytes() for path in Path("data").glob("comparisons_*.csv")}
    run_stage("mine")
    split = read_split()
    assert len(before) == 2
    for path, name in ((Path("data/comparisons_train.csv"), "train"), (Path("data/comparisons_test.csv"), "test_seen")):
        assert path.read_bytes() == before[path]
        table = pd.read_csv(path)
        assert list(table.columns) == ["a", "b", "cosine", "same"]
        assert set(table[["a", "b"]].to_numpy().ravel()) <= set(part_images(split, name).tolist())
        assert (table["a"] < table["b"]).all()
        labels = image_labels(split)
        np.testing.assert_array_equal(table["same"], labels[table["a"]] == labels[table["b"]])
    assert {"recall_at_10_train", "positive_share_test"} <= json.loads(Path("metrics/mine.json").read_text()).keys()


def test_held_or_not_the_files_are_the_same(project: Path) -> None:
    before = [Path(path).read_bytes() for path in ("data/comparisons_train.csv", "metrics/mine.json")]
    write_params(project, mine={"held_images": 3})
    run_stage("mine")
    assert [Path(path).read_bytes() for path in ("data/comparisons_train.csv", "metrics/mine.json")] == before


def test_comparisons_of_one_label_are_an_error(project: Path, fails_with: Callable[..., str]) -> None:
    write_params(project, mine={"queries": 1, "neighbours": 1})
    assert "are all of one label" in fails_with("mine")


@pytest.mark.parametrize("key, value", [("hyperplanes", 12), ("hyperplanes", 0), ("radius", -1), ("neighbours", 0)])
def test_parameters_out_of_range(project: Path, key: str, value: int, fails_with: Callable[..., str]) -> None:
    write_params(project, mine={key: value})
    assert f"params.yaml: mine.{key}: {value}: input should be" in fails_with("mine")


def test_embeddings_of_another_split_are_an_error(project: Path, fails_with: Callable[..., str]) -> None:
    np.save(Path("data/embeddings.npy"), np.ones((3, 16), np.float32))
    assert "data/embeddings.npy: float32 (3, 16); expected float32 (36, D)" in fails_with("mine")


def test_more_buckets_than_can_be_searched_are_refused(project: Path, fails_with: Callable[..., str]) -> None:
    write_params(project, mine={"hyperplanes": 64, "radius": 4})
    # 1 + 64 + 64 * 63 / 2 + 64 * 63 * 62 / 6 + 64 * 63 * 62 * 61 / 24
    assert "679121 buckets a query; allowed: 100000" in fails_with("mine")
