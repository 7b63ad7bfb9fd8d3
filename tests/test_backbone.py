from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faces import backbone, mobilefacenet
from faces.stage import StageError

ARCHITECTURE: dict[str, Any] = {"width": 0.125, "embedding_size": 8, "l2": 0.0, "batch_norm_momentum": 0.9}
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 112, 112, 3), dtype=np.uint8)


def test_what_is_loaded_embeds_as_what_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    network = mobilefacenet.build(**ARCHITECTURE)
    backbone.save_backbone(network, ARCHITECTURE)
    first = {path: path.read_bytes() for path in (backbone.WEIGHTS_PATH, backbone.ARCHITECTURE_PATH)}
    np.testing.assert_array_equal(np.asarray(backbone.load_backbone()(IMAGES)), np.asarray(network(IMAGES)))
    backbone.save_backbone(backbone.load_backbone(), ARCHITECTURE)
    assert first == {path: path.read_bytes() for path in first}


def test_embedding_in_batches_of_any_size() -> None:
    network = mobilefacenet.build(**ARCHITECTURE)
    whole = np.asarray(network(IMAGES))
    for size in (1, 3, 7, 20):
        batches = [IMAGES[start : start + size] for start in range(0, 7, size)]
        # The kernels may sum in another order for another batch size.
        np.testing.assert_allclose(backbone.embed(network, batches, 7), whole, rtol=1e-4, atol=1e-6)


def test_missing_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StageError, match=r"models/backbone\.json is missing"):
        backbone.load_backbone()
    backbone.save_backbone(mobilefacenet.build(**ARCHITECTURE), ARCHITECTURE)
    backbone.WEIGHTS_PATH.unlink()
    with pytest.raises(StageError, match=r"models/backbone\.weights\.h5"):
        backbone.load_backbone()
