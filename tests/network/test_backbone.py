from pathlib import Path

import numpy as np
import pytest

from faces.core.errors import StageError
from faces.network import backbone, mobilefacenet
from faces.network.architecture import Architecture

ARCHITECTURE = Architecture(width=0.125, embedding_size=8, head="linear", pixel_range="symmetric")
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 112, 112, 3), dtype=np.uint8)


def test_what_is_loaded_embeds_as_what_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    network = mobilefacenet.build(**ARCHITECTURE.model_dump())
    backbone.save_backbone(network, ARCHITECTURE)
    first = {path: path.read_bytes() for path in (backbone.WEIGHTS_PATH, backbone.ARCHITECTURE_PATH)}
    np.testing.assert_array_equal(np.asarray(backbone.load_backbone()(IMAGES)), np.asarray(network(IMAGES)))
    backbone.save_backbone(backbone.load_backbone(), ARCHITECTURE)
    assert first == {path: path.read_bytes() for path in first}


def test_missing_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StageError, match=r"models/backbone\.json is missing"):
        backbone.load_backbone()
    backbone.save_backbone(mobilefacenet.build(**ARCHITECTURE.model_dump()), ARCHITECTURE)
    backbone.WEIGHTS_PATH.unlink()
    with pytest.raises(StageError, match=r"models/backbone\.weights\.h5"):
        backbone.load_backbone()
