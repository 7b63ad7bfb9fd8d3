"""What a file of weights holds, read without TensorFlow: its layers, their arrays, and which network they are of.

Only names and arrays are read: no pickle, no stored layer, no configuration, so nothing in a file is executed.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from faces.core.errors import StageError
from faces.network.architecture import CHANNELS_MULTIPLE, Architecture, channels

Layer = dict[str, Any]  # the weights of one layer, by their names within it: kernel, bias, gamma, …
GLOBAL = (7, 7)  # the one kernel of this size weighs the whole feature map


@contextmanager
def open_hdf5(path: Path, hint: str = "", copy: Path | None = None) -> Iterator[h5py.File]:
    """Open `path` for reading or, with `copy`, a copy of it made there.

    Any error of the file, also while the caller reads it, becomes a StageError that names `path`.
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


def datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Return the arrays in a file by their paths, in alphabetical order, without links, which may leave the file."""
    found = {}

    def visit(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item

    file.visititems(visit)
    return found


def _read_names(group: h5py.Group, attribute: str) -> list[str] | None:
    """Return the list of names that Keras 2 stored as an attribute of a group, or None.

    HDF5 limits an attribute to 64 KB; Keras 2 splits a longer list into `<attribute>0`, `<attribute>1`, …
    """
    parts = [group.attrs[attribute]] if attribute in group.attrs else []
    while f"{attribute}{len(parts)}" in group.attrs:
        parts.append(group.attrs[f"{attribute}{len(parts)}"])
    names = [name.decode() if isinstance(name, bytes) else str(name) for part in parts for name in part]
    return names if parts else None


def keras2_layers(file: h5py.File, path: Path) -> list[Layer] | None:
    """Return the layers with weights, in order; those of the largest nested model if there is a nested one.

    None if Keras 2 did not write the file, as a model or as weights by layer; StageError if it holds no weights.

    A nested model is stored as one layer: first all its trainable weights, then the others, each under
    `<layer>/<weight>:0`. Every layer of a backbone has a trainable weight, so names of layers first appear in the order
    of layers.
    """
    root = file["model_weights"] if "model_weights" in file else file
    layer_names = _read_names(root, "layer_names")
    if not layer_names:
        return None
    layers_by_group = []
    for layer_name in layer_names:
        layers: dict[str, Layer] = {}
        group = root[layer_name]
        for weight_name in _read_names(group, "weight_names") or []:
            layer, _, weight = weight_name.rpartition("/")
            layers.setdefault(layer, {})[weight.removesuffix(":0")] = group[weight_name]
        layers_by_group.append(list(layers.values()))
    largest = max(layers_by_group, key=len)
    if not largest:
        raise StageError(f"{path} holds no weights")
    return largest if len(largest) > 1 else [layer for layers in layers_by_group for layer in layers]


def _keras3_layers(file: h5py.File) -> list[Layer]:
    """Return the layers with weights, in alphabetical order, of a file that Keras 3 or `save_weights` of 2.15 wrote."""
    layers: dict[str, Layer] = {}
    for name, array in datasets(file).items():
        layer, _, weight = name.rpartition("/")
        if not layer.startswith("optimizer/"):
            layers.setdefault(layer, {})[weight] = array
    return list(layers.values())


def differences(path: Path, wanted: Architecture) -> dict[str, tuple[float | str, float | str]]:
    """Return what of an architecture is otherwise in a file of weights: key -> the value wanted, and the file's.

    Shapes do not tell the range of pixels, nor widths that make the same numbers of channels. StageError if the file is
    missing, damaged, or of another network than MobileFaceNet.
    """
    with open_hdf5(path) as file:
        layers = keras2_layers(file, path)
        layers = _keras3_layers(file) if layers is None else layers
        shapes = [[_shape(array) for array in layer.values()] for layer in layers]
    if not shapes:
        raise StageError(f"{path} holds no weights")
    kernels = [shape for layer in shapes for shape in layer if len(shape) == 4]
    dense = [layer for layer in shapes if any(len(shape) == 2 for shape in layer)]
    widest = [shape[2] for shape in kernels if shape[:2] == GLOBAL]
    stem = [shape[3] for shape in kernels if shape[2] == 3]
    middle = [shape[2] for shape in kernels if widest and shape[:2] == (1, 1) and shape[3] == widest[0]]
    if not (len(widest) == len(stem) == len(dense) == 1 and middle):
        raise StageError(f"{path} holds the weights of another network than this pipeline's MobileFaceNet")
    found: dict[str, tuple[float | str, float | str]] = {}
    counts = (stem[0], min(middle), widest[0])
    if counts != _counts(wanted.width):
        found["width"] = (wanted.width, _width(counts))
    head = "notebook" if len(dense[0]) > 1 else "linear"  # whose last linear map has a bias, or none
    if head != wanted.head:
        found["head"] = (wanted.head, head)
    (size,) = (shape[1] for shape in dense[0] if len(shape) == 2)
    if size != wanted.embedding_size:
        found["embedding_size"] = (wanted.embedding_size, size)
    return found


def _shape(stored: Any) -> tuple[int, ...]:
    return stored.shape if isinstance(stored, h5py.Dataset) else ()


def _counts(width: float) -> tuple[int, ...]:
    """Return the channels of the stem, of the later stages and of the widest layer at a width."""
    return tuple(channels(at_full_width, width) for at_full_width in (64, 128, 512))


def _width(counts: tuple[int, ...]) -> float:
    """Return a width that makes these numbers of channels; if none does, that of the widest layer.

    The widest layer grows in the middle between two 64ths, the others grow at a 64th.
    """
    steps = counts[-1] // CHANNELS_MULTIPLE
    return next((width for width in (steps / 64, (steps - 0.25) / 64) if _counts(width) == counts), steps / 64)
