import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faces.core.errors import StageError
from faces.inference.embedding import embedding_metrics
from faces.network.backbone import load_backbone
from faces.tables.split_table import read_split
from small_project import run_stage, write_params


def test_describe_by_hand() -> None:
    metrics = embedding_metrics(np.array([[3, 4], [0, 1]], dtype=np.float32))
    assert metrics == {
        "images": 2,
        "embedding_size": 2,
        "norm_mean": 3.0,
        "norm_std": 2.0,
        "norm_min": 1.0,
        "norm_max": 5.0,
    }


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_useless_embedding_is_an_error(bad: float) -> None:
    with pytest.raises(StageError, match="embedding of image 1 is zero or not finite: training diverged"):
        embedding_metrics(np.array([[3, 4], [bad, bad]], dtype=np.float32))


def test_row_i_is_the_embedding_of_image_i(project: Path) -> None:
    write_params(project, embed={"workers": 1, "flip": False})
    run_stage("embed")
    embeddings = np.load("data/embeddings.npy")
    paths = read_split(names=True)["path"]
    assert embeddings.shape == (len(paths), 16)
    backbone = load_backbone()
    for number in (0, 4, 5, 35):
        pixels = np.asarray(Image.open(Path("images") / paths[number]))[np.newaxis]
        np.testing.assert_allclose(np.asarray(backbone(pixels))[0], embeddings[number], rtol=1e-3, atol=1e-4)
    metrics = json.loads(Path("metrics/embed.json").read_text())
    assert metrics["norm_mean"] == pytest.approx(np.linalg.norm(embeddings, axis=1).mean(), rel=1e-5)


def test_the_same_bytes_again(project: Path) -> None:
    before = Path("data/embeddings.npy").read_bytes()
    run_stage("embed")
    assert Path("data/embeddings.npy").read_bytes() == before


@pytest.mark.parametrize(
    "path, content",
    [
        ("models/backbone.weights.h5", b"\x89HDF\r\n\x1a\n but no more"),
        ("models/backbone.json", b"{}}"),
        ("models/backbone.json", b'{"depth": 3}'),
        ("models/backbone.json", b'{"width": 1.0}'),
        ("data/packed/drawn/00000.npy", b""),
    ],
)
def test_damaged_inputs_are_named(project: Path, path: str, content: bytes, fails_with: Callable[..., str]) -> None:
    Path(path).write_bytes(content)
    assert path.split(".")[0] in fails_with("embed")
