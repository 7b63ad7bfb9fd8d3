"""Weight files: there and back, and what Keras 2.15 wrote into tests/data/keras2 (see make_keras2_weights.py)."""

import gzip
import pickle
import shutil
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from faces.core.errors import StageError
from faces.network import mobilefacenet, weights
from faces.network.runtime import keras
from faces.network.weights import load_initial_weights, load_weights, save_weights

DATA = Path(__file__).parents[1] / "data" / "keras2"
EXPECTED = np.load(DATA / "expected.npz")
SEED = 7
STEM_BIAS_IN_KERAS2 = "conv2d_33/conv2d_33/bias:0"


def _build(width: float = 0.25, embedding_size: int = 512) -> keras.Model:
    return mobilefacenet.build(width, embedding_size)


@pytest.fixture(scope="module")
def backbone() -> keras.Model:
    return _build()


@pytest.fixture(scope="module")
def scratch() -> keras.Model:
    """A model for tests to write into, built once since building takes most of their time."""
    return _build()


@pytest.fixture(scope="module")
def wider() -> keras.Model:
    return _build(width=0.5)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keras2")
    for file in DATA.glob("*.gz"):
        (folder / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    return folder


def _fingerprint(model: keras.Model) -> list[float]:
    return [float(np.abs(weight).sum()) for weight in model.get_weights()]


def _pixels() -> np.ndarray:
    return np.random.default_rng(SEED).integers(0, 256, (4, 112, 112, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "name", ["backbone.h5", "backbone_weights.h5", "backbone.weights.h5", "training.h5", "siamese.h5"]
)
def test_files_of_the_notebook_give_the_embeddings_of_keras2(
    backbone: keras.Model, scratch: keras.Model, unpacked: Path, name: str
) -> None:
    """Embeddings are about 0.3 in size; 1e-5 is float32 rounding over 50 layers."""
    scratch.set_weights(backbone.get_weights())
    load_initial_weights(scratch, unpacked / name)
    np.testing.assert_allclose(scratch.predict(_pixels(), verbose=0), EXPECTED["embeddings"], atol=1e-5)


def test_training_does_what_keras2_did(unpacked: Path) -> None:
    """Regularization, outputs in training mode, and the moving statistics after one step, all from Keras 2.15."""
    model = _build()
    load_initial_weights(model, unpacked / "backbone.h5")
    assert float(sum(model.losses)) == pytest.approx(EXPECTED["regularization"], rel=1e-5)
    outputs = model(_pixels(), training=True)
    # Statistics of few values amplify rounding: the last layers see 4 values a channel.
    np.testing.assert_allclose(outputs, EXPECTED["embeddings_in_training"], atol=5e-4)
    for statistic in ("moving_mean", "moving_variance"):
        moved = np.concatenate([weight.numpy() for weight in model.weights if weight.name == statistic])
        np.testing.assert_allclose(moved, EXPECTED[f"{statistic}_after"], rtol=1e-4, atol=1e-5)


def test_there_and_back(backbone: keras.Model, scratch: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / "models" / "backbone.weights.h5"
    save_weights(backbone, path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    for load in (load_weights, load_initial_weights):
        scratch.set_weights([weight + 1 for weight in backbone.get_weights()])
        load(scratch, path)
        for old, new in zip(backbone.get_weights(), scratch.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)


def test_same_weights_same_bytes(backbone: keras.Model, tmp_path: Path) -> None:
    """A second model in the same process, and later than the two seconds that some formats round a date to."""
    first, second = tmp_path / "first.weights.h5", tmp_path / "second.weights.h5"
    save_weights(backbone, first)
    other = _build()
    other.set_weights(backbone.get_weights())
    time.sleep(2.1)
    save_weights(other, second)
    assert first.read_bytes() == second.read_bytes()


def test_a_file_under_another_name_is_recognised_by_its_structure(
    backbone: keras.Model, scratch: keras.Model, tmp_path: Path
) -> None:
    save_weights(backbone, tmp_path / "a.weights.h5")
    path = (tmp_path / "a.weights.h5").rename(tmp_path / "warm start")
    scratch.set_weights([weight + 1 for weight in backbone.get_weights()])
    load_initial_weights(scratch, path)
    assert _fingerprint(scratch) == _fingerprint(backbone)


def test_a_compiled_model_brings_its_optimizer_and_one_without_passes_it_over(tmp_path: Path) -> None:
    def small() -> keras.Model:
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])

    model, path = small(), tmp_path / "small.weights.h5"
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    model.fit(np.ones((2, 3)), np.ones((2, 2)), verbose=0)
    save_weights(model, path)
    plain = small()
    load_weights(plain, path)
    np.testing.assert_array_equal(plain.get_weights()[0], model.get_weights()[0])
    again = small()
    again.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    again.optimizer.build(again.trainable_variables)
    load_weights(again, path)
    for old, new in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_failed_save_leaves_the_old_file(
    backbone: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "backbone.weights.h5"
    path.write_text("old")

    def fail(_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(backbone, "save_weights", fail)
    with pytest.raises(StageError, match="cannot be written: disk full"):
        save_weights(backbone, path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_the_name_has_to_say_the_format(backbone: keras.Model, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model\.h5 must end in \.weights\.h5"):
        save_weights(backbone, tmp_path / "model.h5")


def _fails(model: keras.Model, path: Path, *parts: str) -> None:
    """Loading raises StageError that names the file and holds all parts, and leaves the model as it was."""
    before = _fingerprint(model)
    with pytest.raises(StageError) as caught:
        load_initial_weights(model, path)
    for part in (str(path), *parts):
        assert part in str(caught.value)
    assert _fingerprint(model) == before


@pytest.mark.parametrize("name", ["backbone.h5", "training.h5"])
def test_another_width_of_keras2_names_both_shapes(wider: keras.Model, unpacked: Path, name: str) -> None:
    _fails(wider, unpacked / name, "stem/kernel", "(3, 3, 3, 16)", "(3, 3, 3, 32)", "width")


def test_another_width_of_our_own_names_both_shapes(backbone: keras.Model, wider: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / "backbone.weights.h5"
    save_weights(backbone, path)
    _fails(wider, path, "(stem_norm)", "(16,)", "(32,)", "width")


@pytest.mark.parametrize("own", [True, False])
def test_a_difference_in_the_last_layer_changes_nothing_either(
    own: bool, backbone: keras.Model, unpacked: Path, tmp_path: Path
) -> None:
    path = tmp_path / "backbone.weights.h5" if own else unpacked / "backbone.h5"
    if own:
        save_weights(backbone, path)
    _fails(_build(embedding_size=128), path, "embeddings", "(32, 512)", "(32, 128)")


def test_another_architecture(backbone: keras.Model, unpacked: Path, tmp_path: Path) -> None:
    images = keras.Input((112, 112, 3))
    stem = keras.layers.Conv2D(16, 3, strides=2, name="stem")(images)
    _fails(keras.Model(images, stem), unpacked / "backbone.h5", "101 layers with weights, the model 1")
    dense = keras.layers.Dense(4, name="dense")(keras.layers.BatchNormalization(name="norm")(stem))
    _fails(keras.Model(images, dense), unpacked / "backbone.h5", "layer dense", "pointwise_kernel in the file")
    path = tmp_path / "backbone.weights.h5"
    save_weights(backbone, path)
    _fails(keras.Model(images, stem), path, "is not in the model")
    save_weights(keras.Model(images, stem), path)
    _fails(backbone, path, "is missing")


def test_not_a_number_is_refused(backbone: keras.Model, unpacked: Path, tmp_path: Path) -> None:
    """As a training run that diverged leaves behind."""
    path = Path(shutil.copy(unpacked / "backbone_weights.h5", tmp_path))
    with h5py.File(path, "a") as file:
        file[STEM_BIAS_IN_KERAS2][0] = np.nan
    _fails(backbone, path, "stem/bias", "NaN")


def test_a_reference_to_another_file_is_not_followed(backbone: keras.Model, unpacked: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(unpacked / "backbone_weights.h5", tmp_path))
    with h5py.File(path, "a") as file:
        del file[STEM_BIAS_IN_KERAS2]
        file[STEM_BIAS_IN_KERAS2] = h5py.ExternalLink(str(unpacked / "backbone_weights.h5"), STEM_BIAS_IN_KERAS2)
    _fails(backbone, path, "stem/bias", "reference to another")


STEM_BIAS_IN_OUR_OWN = "layers/conv2d/vars/1"


def _rechunk(path: Path, name: str, chunk: int) -> None:
    """Store an array of 16 numbers anew, in a chunk with room for more."""
    with h5py.File(path, "a") as file:
        values = file[name][()]
        assert values.shape == (16,)
        del file[name]
        file.create_dataset(name, data=values, chunks=(chunk,), maxshape=(None,), compression="gzip")


@pytest.mark.parametrize("own", [True, False])
def test_a_chunk_is_not_unpacked_if_it_is_far_larger_than_its_array(
    own: bool, backbone: keras.Model, scratch: keras.Model, unpacked: Path, tmp_path: Path
) -> None:
    """Zeros pack a thousandfold, so that a small file could fill the memory."""
    path = tmp_path / "backbone.weights.h5"
    if own:
        save_weights(backbone, path)
    else:
        shutil.copy(unpacked / "backbone_weights.h5", path)
    name = STEM_BIAS_IN_OUR_OWN if own else STEM_BIAS_IN_KERAS2
    _rechunk(path, name, 1_000_000)
    _fails(backbone, path, name if own else "stem/bias", "(16,)", "chunks of shape (1000000,)")
    _rechunk(path, name, 1024)  # a little room to grow is no harm
    load_initial_weights(scratch, path)


def test_what_is_loaded_is_what_was_checked(
    backbone: keras.Model, scratch: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is replaced after it was checked, as by another process, changes nothing."""
    path, other = tmp_path / "backbone.weights.h5", tmp_path / "other.weights.h5"
    save_weights(backbone, path)
    scratch.set_weights([weight + 1 for weight in backbone.get_weights()])
    save_weights(scratch, other)
    check = weights._check_keras3

    def check_then_replace(*arguments: Any) -> None:
        check(*arguments)
        other.replace(path)

    monkeypatch.setattr(weights, "_check_keras3", check_then_replace)
    load_weights(scratch, path)
    assert _fingerprint(scratch) == _fingerprint(backbone)


def test_a_long_list_of_names_may_be_split(scratch: keras.Model, unpacked: Path, tmp_path: Path) -> None:
    """Keras 2 splits `weight_names` in numbered parts when they pass 64 KB; here the same is done by hand."""
    path = Path(shutil.copy(unpacked / "training.h5", tmp_path))
    with h5py.File(path, "a") as file:
        attributes = file["model_weights/model_1"].attrs
        names = attributes["weight_names"]
        del attributes["weight_names"]
        attributes["weight_names0"], attributes["weight_names1"] = names[:100], names[100:]
    load_initial_weights(scratch, unpacked / "backbone.h5")
    whole = _fingerprint(scratch)
    scratch.set_weights([weight + 1 for weight in scratch.get_weights()])
    load_initial_weights(scratch, path)
    assert _fingerprint(scratch) == whole


def test_files_that_are_no_weights(backbone: keras.Model, unpacked: Path, tmp_path: Path) -> None:
    _fails(backbone, tmp_path / "absent.h5", "is missing")
    _fails(backbone, tmp_path, "not an HDF5 file")
    content = (unpacked / "backbone.h5").read_bytes()
    for name, data, reason in [
        ("empty.h5", b"", "not an HDF5 file"),
        ("text.h5", b"weights", "not an HDF5 file"),
        ("pickle.h5", pickle.dumps(np.zeros(3)), "not an HDF5 file"),
        ("packed.h5", gzip.compress(content), "not an HDF5 file"),
        ("cut.h5", content[: len(content) // 2], "damaged"),
    ]:
        (tmp_path / name).write_bytes(data)
        _fails(backbone, tmp_path / name, reason)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["group/numbers"] = np.arange(3)
    _fails(backbone, tmp_path / "other.h5", "(stem_norm)", "is missing")
    h5py.File(tmp_path / "nothing.h5", "w").close()
    _fails(backbone, tmp_path / "nothing.h5", "holds no weights")


def test_a_missing_file_of_the_pipeline_says_how_to_get_it(backbone: keras.Model, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="dvc pull"):
        load_weights(backbone, tmp_path / "backbone.weights.h5")
