import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tf2onnx.optimizer
from ai_edge_litert.interpreter import Interpreter
from sklearn.metrics import accuracy_score, roc_auc_score

import export
from faces.core.errors import StageError
from faces.core.params import load_params
from faces.inference import formats
from faces.inference.comparison import draw_compared_pairs, measure
from faces.network import backbone, mobilefacenet
from faces.tables.packed_images import PackedImages
from faces.tables.split_table import read_split
from small_project import run_stage, small_params, write_params

RANDOM = np.random.default_rng(0)
FILES = {name: known.path for name, known in formats.FORMATS.items()}
LITERT = {name: path for name, path in FILES.items() if path.suffix == ".tflite"}


def by_litert(path: Path, images: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    found = []
    for image in images:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None].astype(np.float32))
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0].copy())
    return np.stack(found)


def by_onnx(path: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["embeddings"], {"images": images.astype(np.float32)})[0]


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sum(a * b, axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_every_format_gives_what_the_network_gives(project: Path) -> None:
    images = RANDOM.integers(0, 256, (3, 112, 112, 3)).astype(np.uint8)
    expected = np.asarray(backbone.load_backbone()(images.astype(np.float32)))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(by_onnx(FILES["onnx"], images), expected, rtol=0, atol=1e-4 * scale)
    np.testing.assert_allclose(by_litert(LITERT["float32"], images), expected, rtol=0, atol=1e-4 * scale)
    # 16 bits have 3 digits, of which sums of 50 layers keep two.
    np.testing.assert_allclose(by_litert(LITERT["float16"], images), expected, rtol=0, atol=1e-2 * scale)
    assert cosines(by_litert(LITERT["int8"], images), expected).min() > 0.5


def test_figures_are_those_of_the_files(project: Path) -> None:
    metrics = json.loads(Path("metrics/export.json").read_text())
    assert metrics.keys() == FILES.keys()
    params = load_params("export", export.ExportParams)
    images = PackedImages(read_split())
    compared = draw_compared_pairs(images, len(read_split()), params.compared_pairs, params.seed)
    assert compared.same.tolist().count(1) == compared.same.tolist().count(0) == 4
    threshold = json.loads(Path("models/threshold.json").read_text())["threshold"]
    mirrored = compared.images[:, :, ::-1]
    for name, path in LITERT.items():
        assert metrics[name]["size_bytes"] == path.stat().st_size
        embeddings = (by_litert(path, compared.images) + by_litert(path, mirrored)) / 2  # params: embed.flip
        scores = cosines(embeddings[compared.a], embeddings[compared.b])
        assert metrics[name]["auc"] == pytest.approx(roc_auc_score(compared.same, scores))
        assert metrics[name]["accuracy"] == accuracy_score(compared.same, scores >= threshold)
        network = backbone.load_backbone()
        exact = (np.asarray(network(compared.images)) + np.asarray(network(mirrored))) / 2
        assert metrics[name]["lowest_cosine"] == pytest.approx(cosines(embeddings, exact).min(), abs=1e-5)
    assert metrics["keras"]["largest_difference"] == 0
    assert metrics["float16"]["size_bytes"] < metrics["float32"]["size_bytes"]
    speeds = json.loads(Path("metrics/speed/export.json").read_text())
    assert {"keras", "float32_1_threads", "onnx_2_threads"} <= speeds.keys() and min(speeds.values()) > 0


def test_a_program_without_this_project_reads_all_it_needs(project: Path) -> None:
    known = json.loads(Path("models/export/model.json").read_text())
    assert known["flip"] is True and known["resize_filter"] == small_params()["decoding"]["resize_filter"]
    assert known["thresholds"] == json.loads(Path("models/threshold.json").read_text())
    script = (
        "import sys, numpy, keras\n"
        "network = keras.models.load_model('models/export/backbone.keras')\n"
        "numpy.save('found.npy', network.predict(numpy.load('images.npy'), verbose=0))\n"
        "assert 'faces' not in sys.modules\n"
    )
    images = RANDOM.integers(0, 256, (2, 112, 112, 3)).astype(np.float32)
    np.save("images.npy", images)
    subprocess.run([sys.executable, "-I", "-c", script], check=True, capture_output=True)
    expected = np.asarray(backbone.load_backbone()(images))
    np.testing.assert_allclose(np.load("found.npy"), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    operators = {node.domain for node in onnx.load(FILES["onnx"]).graph.node}
    assert operators <= {"", "ai.onnx"}  # none of anybody's own


def test_the_same_bytes_again(project: Path) -> None:
    before = {path: path.read_bytes() for path in [*FILES.values(), Path("metrics/export.json")]}
    run_stage("export")
    assert [str(path) for path, content in before.items() if path.read_bytes() != content] == []  # these differ
    with zipfile.ZipFile(FILES["keras"]) as archive:
        assert {member.date_time[0] for member in archive.infolist()} == {1980}
        assert b"date_saved" not in archive.read("metadata.json")


def test_nothing_is_left_for_tf2onnx_to_simplify_by_the_order_of_a_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """What computes a shape, it simplified in most runs, not in all."""
    found: set[str] = set()

    def look(graph: Any, *_: Any, **__: Any) -> Any:
        found.update(node.type for node in graph.get_nodes())
        return graph

    monkeypatch.setattr(tf2onnx.optimizer, "optimize_graph", look)
    formats.as_onnx(mobilefacenet.build(0.125, 8))
    assert {"Conv", "Reshape"} <= found and not {"Shape", "Slice", "Gather"} & found


@pytest.mark.parametrize("key", ["lowest_cosine", "lowest_cosine_int8"])
def test_a_format_too_far_from_the_network_ends_the_stage(
    key: str, project: Path, fails_with: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {name: path.read_bytes() for name, path in FILES.items()}
    files["float16"] = files["int8"]
    monkeypatch.setattr(export, "make_files", lambda *_: files)
    write_params(project, export={"lowest_cosine": 0.5} | {key: 0.99999})
    said = fails_with("export")
    name = "int8" if key.endswith("int8") else "float16"
    assert f"error: {FILES[name]}: an embedding has a cosine of 0." in said
    assert f"params.yaml: export.{key} asks for 0.99999 at least" in said
    write_params(project, export={"lowest_cosine": 0.99999, "lowest_cosine_int8": 0.99999})
    said = fails_with("export")
    assert all(f"error: {FILES[name]}: an embedding has" in said for name in ("float16", "int8"))


def test_without_a_limit_any_format_is_taken(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name: path.read_bytes() for name, path in FILES.items()}
    files["float16"] = files["int8"]
    monkeypatch.setattr(export, "make_files", lambda *_: files)
    write_params(project, export={"lowest_cosine": 0.0})
    run_stage("export")
    assert FILES["float16"].read_bytes() == files["int8"]


def test_an_embedding_of_zeros_is_refused_whatever_the_limit_with_what_to_change(project: Path) -> None:
    """As of int8, where a network that was not trained gives so little that it rounds to nothing."""
    compared = draw_compared_pairs(PackedImages(read_split()), len(read_split()), 8, seed=0)
    embeddings = np.ones((len(compared.images), 4), np.float32)
    embeddings[1] = 0
    with pytest.raises(StageError, match="no limit admits, .*: train the network for longer") as caught:
        measure("int8", 1, embeddings, np.ones_like(embeddings), compared)
    assert str(FILES["int8"]) in str(caught.value) and "train.epochs" in str(caught.value)


def test_one_kind_of_pair_is_not_enough(project: Path, fails_with: Callable[..., str]) -> None:
    table = Path("data/pairs.csv").read_text().splitlines()
    Path("data/pairs.csv").write_text("\n".join(line for line in table if line[-2:] != ",0") + "\n")
    assert "data/pairs.csv: `test_unseen` or `test_seen` needs genuine and impostor pairs" in fails_with("export")


def test_the_notebooks_head_is_exported_too() -> None:
    network = mobilefacenet.build(0.125, 8, head="notebook", pixel_range="unit")
    images = RANDOM.integers(0, 256, (2, 112, 112, 3)).astype(np.float32)
    found = formats.onnx_session(formats.as_onnx(network), threads=1).run(None, {"images": images})[0]
    expected = np.asarray(network(images))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_figures_of_two_processors_are_the_same_when_rounded() -> None:
    """Those of one ONNX model on a processor with AVX-512, and as they may be on another."""
    first = {"size_bytes": 110080, "largest_difference": 0.000854, "lowest_cosine": 0.99999996667, "auc": 0.75}
    other = {"size_bytes": 110080, "largest_difference": 0.000611, "lowest_cosine": 0.99999998103, "auc": 0.75}
    assert export.rounded(first) == export.rounded(other) == {"size_bytes": 110080, "lowest_cosine": 1.0, "auc": 0.75}
