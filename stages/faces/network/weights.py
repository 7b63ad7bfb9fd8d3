"""Weights of a network, in and out of files: this pipeline's own, and those that the notebook's Keras 2 wrote.

Files are checked as a whole against the model before the first weight is assigned. Only names and arrays are read from
them: no pickle, no stored layer, no configuration, so nothing in them is executed.
"""

import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from faces.core.errors import StageError
from faces.core.files import replacing
from faces.network.runtime import keras

HDF5_OVERHEAD = 500_000  # bytes, and more than enough
SUFFIX = ".weights.h5"  # Keras chooses its own format by this ending
SMALL_CHUNK = 65536  # numbers, half a megabyte: what a chunk may hold beyond its array, as of one that could grow


def save_weights(model: keras.Model, path: Path) -> None:
    """Write all weights of a built model to `path`, as Keras 3 does, atomically.

    Of a compiled model the state of its optimizer goes along. The same weights give the same bytes if every layer has
    a name of its own: names that Keras makes up hold a count of what the process built before. ValueError if the name
    of `path` does not end in `.weights.h5`.
    """
    if not path.name.endswith(SUFFIX):
        raise ValueError(f"{path} must end in {SUFFIX}")
    with replacing(path) as temporary:
        written = temporary.with_name(f"{temporary.name}{SUFFIX}")  # Keras refuses other endings
        try:
            _write(model, written)
            os.replace(written, temporary)
        finally:
            written.unlink(missing_ok=True)


def _write(model: keras.Model, path: Path) -> None:
    # HDF5 may crash when the disk fills up while it writes, so the room is tried first.
    room = sum(4 * math.prod(variable.shape) for variable in model.variables) + HDF5_OVERHEAD
    try:
        path.write_bytes(bytes(room))
        path.unlink()
        model.save_weights(path)
    except (OSError, RuntimeError) as error:  # HDF5's own have no errno, a full disk's no name
        raise StageError(f"{path} cannot be written: {' '.join(str(error).split())}") from None


def load_weights(model: keras.Model, path: Path) -> None:
    """Fill a built model with the weights of a file that `save_weights` wrote.

    The state of an optimizer in the file is passed over if the model has none.

    StageError if the file is missing, damaged, of another model, or holds a value that is not finite; it names `path`
    and the first weight that differs, with both shapes. The model is then as it was.
    """
    _load_own(model, path, hint="; `dvc repro` makes it, `dvc pull` fetches it")


def load_initial_weights(backbone: keras.Model, path: Path) -> None:
    """Fill a backbone with trained weights of the same architecture and width, from any of these files:

    - one of this pipeline, or one that Keras 2.15 or 3 wrote by `save_weights("x.weights.h5")`;
    - one that the notebook's Keras 2 wrote by `save("x.h5")` or `save_weights("x.h5")`;
    - such a file of a model which contains the backbone as one layer: the notebook's checkpoints `cp-0001.h5` and its
      similarity model.

    Which of them it is shows in its structure; the name does not matter. In the last two kinds layers are matched
    by their order, weights by their names within a layer.

    StageError if the file is missing, damaged, none of these, holds a value that is not finite, or does not fit; it
    names `path` and the first weight that differs, with both shapes. The backbone is then as it was.
    """
    with _reading(path) as file:
        root = file["model_weights"] if "model_weights" in file else file
        layer_names = _names(root, "layer_names")
        values = _matched(backbone, _keras2_layers(root, layer_names, path), path) if layer_names else None
    if values is None:
        _load_own(backbone, path)
        return
    for variable, value in values:
        variable.assign(value)


@contextmanager
def _reading(path: Path, hint: str = "", copy: Path | None = None) -> Iterator[h5py.File]:
    """Open `path` for reading, or a copy of it that is made at `copy` first.

    Whatever goes wrong with the file, then or later, is a StageError that names `path`.
    """
    if not path.exists():
        raise StageError(f"{path} is missing{hint}")
    try:
        if not path.is_file() or not h5py.is_hdf5(path):
            raise StageError(f"{path} is not an HDF5 file (.h5), the format of Keras weights")
        if copy:
            shutil.copyfile(path, copy)
        with h5py.File(copy or path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise StageError(f"{path} is damaged or not readable: {' '.join(str(error).split())}") from None


def _checked(stored: Any, shape: tuple[int, ...], weight: str, path: Path) -> NDArray[np.floating]:
    """Return a weight's values; what they take in memory is checked before they are read.

    That is their shape, and the chunk that HDF5 stores them in: it unpacks a chunk as a whole.
    """
    if not isinstance(stored, h5py.Dataset) or stored.dtype.kind not in "fiu":
        raise StageError(f"{path}: weight {weight} is not an array of numbers")
    if stored.external or stored.is_virtual:
        raise _elsewhere(weight, path)
    if stored.shape != shape:
        raise StageError(
            f"{path}: weight {weight} has shape {stored.shape} in the file and {shape} in the model: "
            "another width or another architecture"
        )
    if stored.chunks and math.prod(stored.chunks) > max(stored.size, SMALL_CHUNK):
        raise StageError(
            f"{path}: weight {weight} of shape {shape} is stored in chunks of shape {stored.chunks}, which take "
            "far more memory to read than it holds"
        )
    values = stored[()]
    if not np.isfinite(values).all():
        raise StageError(f"{path}: weight {weight} holds NaN or infinity")
    return values


def _elsewhere(weight: str, path: Path) -> StageError:
    return StageError(f"{path}: weight {weight} is not in this file but a reference to another")


def _load_own(model: keras.Model, path: Path, hint: str = "") -> None:
    with tempfile.TemporaryDirectory() as folder:
        expected_file, copy = Path(folder, f"expected{SUFFIX}"), Path(folder, f"copy{SUFFIX}")
        _write(model, expected_file)  # what a file of this model looks like
        # A copy, since Keras goes by the name of a file, which need not end in SUFFIX; and what is checked is loaded,
        # whatever becomes of `path` meanwhile.
        with _reading(path, hint, copy) as file, h5py.File(expected_file, "r") as expected:
            _check_own(_datasets(file), _datasets(expected), path)
        model.load_weights(copy)


def _datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Return the arrays in a file by their paths, in alphabetic order, without links, which may leave the file."""
    found = {}

    def visit(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item

    file.visititems(visit)
    return found


def _check_own(stored: Mapping[str, h5py.Dataset], expected: Mapping[str, h5py.Dataset], path: Path) -> None:
    if not stored:
        raise StageError(f"{path} holds no weights")
    for name, dataset in expected.items():
        weight = f"{name} ({dataset.parent.attrs.get('name', 'no name')})"
        if name not in stored:
            raise StageError(f"{path}: weight {weight} of shape {dataset.shape} is missing; another architecture")
        _checked(stored[name], dataset.shape, weight, path)
    for name in sorted(stored.keys() - expected.keys()):
        if name.startswith("optimizer/"):
            continue
        raise StageError(f"{path}: weight {name} of shape {stored[name].shape} is not in the model")


def _names(group: h5py.Group, attribute: str) -> list[str] | None:
    """Return a list of names that Keras 2 stored beside a group, None if there is none.

    HDF5 limits an attribute to 64 KB; Keras 2 splits a longer list into `<attribute>0`, `<attribute>1`, …
    """
    parts = [group.attrs[attribute]] if attribute in group.attrs else []
    while f"{attribute}{len(parts)}" in group.attrs:
        parts.append(group.attrs[f"{attribute}{len(parts)}"])
    names = [name.decode() if isinstance(name, bytes) else str(name) for part in parts for name in part]
    return names if parts else None


Layer = dict[str, Any]  # the weights of one layer, by their names within it: kernel, bias, gamma, …


def _keras2_layers(root: h5py.Group, layer_names: Sequence[str], path: Path) -> list[Layer]:
    """Return the layers that have weights, in order: those of the largest nested model if there is one.

    A nested model is stored as one layer, all its trainable weights first and then the others, each under
    `<layer>/<weight>:0`. Every layer of a backbone has a trainable weight, so the first appearance of each layer's
    name gives the order of layers.
    """
    layers_by_group = []
    for layer_name in layer_names:
        layers: dict[str, Layer] = {}
        group = root[layer_name]
        for weight_name in _names(group, "weight_names") or []:
            layer, _, weight = weight_name.rpartition("/")
            layers.setdefault(layer, {})[weight.removesuffix(":0")] = group[weight_name]
        layers_by_group.append(list(layers.values()))
    largest = max(layers_by_group, key=len)
    if not largest:
        raise StageError(f"{path} holds no weights")
    return largest if len(largest) > 1 else [layer for layers in layers_by_group for layer in layers]


def _matched(
    backbone: keras.Model, stored_layers: Sequence[Layer], path: Path
) -> list[tuple[keras.Variable, NDArray[np.floating]]]:
    """Return each variable of the backbone with its values from the file, checked."""
    layers = [layer for layer in backbone.layers if layer.weights]
    matched = []
    for layer, stored in zip(layers, stored_layers, strict=False):  # a wrong shape says more than a wrong count
        if "depthwise_kernel" in stored and "pointwise_kernel" not in stored:
            stored = {"kernel" if name == "depthwise_kernel" else name: array for name, array in stored.items()}
        names = [variable.name for variable in layer.weights]
        if sorted(names) != sorted(stored):
            raise StageError(
                f"{path}: layer {layer.name} has weights {', '.join(sorted(stored))} in the file and "
                f"{', '.join(sorted(names))} in the model: another architecture"
            )
        for variable in layer.weights:
            weight, array = f"{layer.name}/{variable.name}", stored[variable.name]
            if Path(array.file.filename) != path:  # through a link
                raise _elsewhere(weight, path)
            values = _checked(array, tuple(variable.shape), weight, path)
            matched.append((variable, values))
    if len(layers) != len(stored_layers):
        raise StageError(
            f"{path} has {len(stored_layers)} layers with weights, the model {len(layers)}: another architecture"
        )
    return matched
