"""A map in the last layer of a backbone, against the map of its embeddings by NumPy."""

import numpy as np
import pytest

from faces.network import mobilefacenet
from faces.network.last_layer import map_embeddings


@pytest.mark.parametrize("head", ["linear", "notebook"])
def test_embeddings_are_those_of_before_mapped(head: str) -> None:
    random = np.random.default_rng(0)
    backbone = mobilefacenet.build(0.125, 12, head, "symmetric")  # type: ignore[arg-type]
    for layer in backbone.layers[-2:]:
        for weight in layer.weights:  # other than those with which batch norm starts
            low = 0.5 if "variance" in weight.name else -1
            weight.assign(random.uniform(low, 2, weight.shape))
    images = random.integers(0, 256, (6, 112, 112, 3)).astype(np.float32)
    before = np.asarray(backbone(images, training=False), dtype=np.float64)
    mean, matrix = random.normal(size=12), random.normal(size=(12, 12))
    map_embeddings(backbone, mean, matrix)
    after = np.asarray(backbone(images, training=False))
    np.testing.assert_allclose(after, (before - mean) @ matrix, rtol=1e-3, atol=1e-3 * np.abs(before).max())
