"""Save and load the weights of a network: this pipeline's files (Keras 3), and the notebook's (Keras 2).

A whole file is checked against the model before the first weight is assigned. Only names and arrays are read: no
pickle, no stored layer, no configuration, so nothing in a file is executed.
"""

import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from faces.core.errors import StageError
from faces.core.files import replacing
from faces.network.runtime import keras
from faces.network.weight_files import Layer, datasets, keras2_layers, open_hdf5

HDF5_OVERHEAD = 500_000  # bytes, and more than enough
SUFFIX = ".weights.h5"  # Keras chooses its own format by this ending
SMALL_CHUNK = 65536  # numbers, half a megabyte: a chunk this small may be larger than its array


def save_weights(model: keras.Model, path: Path) -> None:
    """Write all weights of a built model to `path` in Keras 3's format, atomically.

    The file of a compiled model also holds the state of its optimizer. The same weights give the same bytes if every
    layer was given a name: the names that Keras makes up count the layers that the process has built before. ValueError
    if the name of `path` does not end in `.weights.h5`.
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
    # HDF5 may crash when the disk fills up while it writes, so a file of that size is written first.
    size = sum(4 * math.prod(variable.shape) for variable in model.variables) + HDF5_OVERHEAD
    try:
        path.write_bytes(bytes(size))
        path.unlink()
        model.save_weights(path)
    except (OSError, RuntimeError) as error:  # errors of HDF5 have no errno, that of a full disk has no file name
        raise StageError(f"{path} cannot be written: {' '.join(str(error).split())}") from None


def load_weights(model: keras.Model, path: Path) -> None:
    """Fill a built model with the weights of a file that `save_weights` wrote.

    An optimizer's state in the file is ignored if the model has no optimizer.

    StageError if the file is missing, damaged, of another model, or holds a value that is not finite; it names `path`
    and the first weight that differs, with both shapes. The model is then unchanged.
    """
    _load_keras3(model, path, hint="; `dvc repro` makes it, `dvc pull` fetches it")


def load_initial_weights(backbone: keras.Model, path: Path) -> None:
    """Fill a backbone with trained weights of the same architecture and width, from one of these files:

    - one of this pipeline, or one that Keras 2.15 or 3 wrote by `save_weights("x.weights.h5")`;
    - one that the notebook's Keras 2 wrote by `save("x.h5")` or `save_weights("x.h5")`;
    - a file of that second kind of a model that contains the backbone as one layer: the notebook's checkpoints
      `cp-0001.h5` and its similarity model.

    The structure of the file tells its kind; its name does not matter. Files of the last two kinds match by the order
    of layers, and by the names of weights within a layer.

    StageError if the file is missing, damaged, none of these, holds a value that is not finite, or does not fit; it
    names `path` and the first weight that differs, with both shapes. The backbone is then unchanged.
    """
    with open_hdf5(path) as file:
        layers = keras2_layers(file, path)
        values = None if layers is None else _match_layers(backbone, layers, path)
    if values is None:
        _load_keras3(backbone, path)
        return
    for variable, value in values:
        variable.assign(value)


def _read_weight(stored: Any, shape: tuple[int, ...], weight: str, path: Path) -> NDArray[np.floating]:
    """Return the values of a weight, after a check that they fit into memory.

    The check looks at their shape and at their HDF5 chunks, each of which is unpacked as a whole.
    """
    if not isinstance(stored, h5py.Dataset) or stored.dtype.kind not in "fiu":
        raise StageError(f"{path}: weight {weight} is not an array of numbers")
    if stored.external or stored.is_virtual:
        raise _link_error(weight, path)
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


def _link_error(weight: str, path: Path) -> StageError:
    return StageError(f"{path}: weight {weight} is not in this file but a reference to another")


def _load_keras3(model: keras.Model, path: Path, hint: str = "") -> None:
    with tempfile.TemporaryDirectory() as folder:
        expected_file, copy = Path(folder, f"expected{SUFFIX}"), Path(folder, f"copy{SUFFIX}")
        _write(model, expected_file)  # a file of this model to compare with
        # A copy, since Keras chooses the format by the name of a file, and `path` need not end in SUFFIX; and so that
        # the bytes that were checked are loaded, even if another process replaces `path` meanwhile.
        with open_hdf5(path, hint, copy) as file, h5py.File(expected_file, "r") as expected:
            _check_keras3(datasets(file), datasets(expected), path)
        model.load_weights(copy)


def _check_keras3(stored: Mapping[str, h5py.Dataset], expected: Mapping[str, h5py.Dataset], path: Path) -> None:
    if not stored:
        raise StageError(f"{path} holds no weights")
    for name, dataset in expected.items():
        weight = f"{name} ({dataset.parent.attrs.get('name', 'no name')})"
        if name not in stored:
            raise StageError(f"{path}: weight {weight} of shape {dataset.shape} is missing; another architecture")
        _read_weight(stored[name], dataset.shape, weight, path)
    for name in sorted(stored.keys() - expected.keys()):
        if name.startswith("optimizer/"):
            continue
        raise StageError(f"{path}: weight {name} of shape {stored[name].shape} is not in the model")


def _match_layers(
    backbone: keras.Model, stored_layers: Sequence[Layer], path: Path
) -> list[tuple[keras.Variable, NDArray[np.floating]]]:
    """Return each variable of the backbone with its values from the file, checked."""
    layers = [layer for layer in backbone.layers if layer.weights]
    matched = []
    for layer, stored in zip(layers, stored_layers, strict=False):  # an error of shape is clearer than one of count
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
                raise _link_error(weight, path)
            values = _read_weight(array, tuple(variable.shape), weight, path)
            matched.append((variable, values))
    if len(layers) != len(stored_layers):
        raise StageError(
            f"{path} has {len(stored_layers)} layers with weights, the model {len(layers)}: another architecture"
        )
    return matched
