"""LiteRT against Keras, and embedding in chunks against embedding at once."""

from pathlib import Path

import numpy as np
import pytest

from faces.inference import embedder, embedding
from faces.inference.embedder import Embedder
from faces.inference.embedding import embed_in_chunks
from faces.inference.litert import convert
from faces.network import mobilefacenet
from faces.network.runtime import tf

pytestmark = pytest.mark.usefixtures("whole_network")
NOISE = np.random.default_rng(0).integers(0, 256, (7, 112, 112, 3))
IMAGES = (NOISE * np.linspace(0, 1, 7)[:, None, None, None]).astype(np.uint8)  # from black to noise


MODES = {"fast": False, "portable": True}


@pytest.fixture(params=MODES.values(), ids=[*MODES])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to run a model."""
    monkeypatch.setattr(embedder, "portable", lambda: request.param)


@pytest.fixture(scope="module")
def content() -> bytes:
    """Return a converted network."""
    return convert(mobilefacenet.build(0.125, 16))


@pytest.mark.parametrize("width", [0.125, 1.0])
def test_parity_with_keras(width: float, monkeypatch: pytest.MonkeyPatch) -> None:
    network = mobilefacenet.build(width, 16, batch_norm_momentum=0.0)
    random = np.random.default_rng(1)
    for variable in network.variables:  # as after training, where folding them into kernels could go wrong
        if variable.name in ("beta", "bias"):
            variable.assign(random.normal(0, 0.1, variable.shape))
        elif variable.name == "gamma":
            variable.assign(random.uniform(0.5, 2, variable.shape))
    call = tf.function(network)  # op by op it would keep 200 MB
    call(IMAGES.astype(np.float32), training=True)  # statistics under which images differ
    by_keras, converted = np.asarray(call(IMAGES, training=False)), convert(network)
    for mode, is_portable in MODES.items():
        monkeypatch.setattr(embedder, "portable", lambda answer=is_portable: answer)
        by_litert = Embedder(converted)(IMAGES)
        assert by_litert.shape == (7, 16) and by_litert.dtype == np.float32
        # Batch norms are folded into kernels and sums are split otherwise: of float32's 7 digits 3 are left after 50
        # layers whose factors go up to 2.
        np.testing.assert_allclose(by_litert, by_keras, rtol=0, atol=5e-4 * np.abs(by_keras).max(), err_msg=mode)
        assert np.abs(by_keras[0] - by_keras[-1]).max() > 100 * np.abs(by_keras - by_litert).max(), mode


@pytest.mark.usefixtures("mode")
def test_neither_workers_nor_neighbours_change_a_byte(content: bytes) -> None:
    one = Embedder(content, 1)
    alone = np.concatenate([one(image[None]) for image in IMAGES])
    for workers in (1, 2, 3, 9):
        np.testing.assert_array_equal(Embedder(content, workers)(IMAGES), alone)
    np.testing.assert_array_equal(Embedder(content, 2)(IMAGES[::-1]), alone[::-1])


@pytest.mark.usefixtures("mode")
def test_flipped_it_is_the_mean_of_an_image_and_its_mirror_image(content: bytes) -> None:
    plain = Embedder(content, 2)
    mean = (plain(IMAGES) + plain(np.ascontiguousarray(IMAGES[:, :, ::-1]))) / 2
    np.testing.assert_array_equal(Embedder(content, 2, flip=True)(IMAGES), mean)
    assert np.abs(mean - plain(IMAGES)).max() > 0


def mean_colours(images: np.ndarray) -> np.ndarray:
    return images.mean(axis=(1, 2), dtype=np.float32)


def test_an_interrupted_embedding_goes_on_from_the_last_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "CHUNK_IMAGES", 2)
    loaded: list[int] = []

    def load(start: int, stop: int) -> np.ndarray:
        loaded.append(start)
        if loaded.count(4) == 1 and start == 4:
            raise KeyboardInterrupt
        return IMAGES[start:stop]

    with pytest.raises(KeyboardInterrupt):
        embed_in_chunks(mean_colours, load, 7, "embedding", tmp_path)
    loaded[:] = [4]
    resumed = embed_in_chunks(mean_colours, load, 7, "embedding", tmp_path)
    assert loaded[1:] == [4, 6]
    np.testing.assert_array_equal(np.load(resumed), mean_colours(IMAGES))
    whole = embed_in_chunks(mean_colours, lambda start, stop: IMAGES[start:stop], 7, "embedding", tmp_path / "again")
    assert whole.read_bytes() == resumed.read_bytes()
