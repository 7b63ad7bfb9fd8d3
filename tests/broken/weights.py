"""Broken networks: the similarity model, the architecture file and weights."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from broken.files import BrokenFile, cut_file, edit_file, not_even_files, put_content, shorten_file
from broken.images import RANDOM
from broken.tables import array_bytes


def _similarity(change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]], path: Path) -> None:
    with np.load(path) as arrays:
        changed = change(dict(arrays))
    with open(path, "wb") as file:
        np.savez(file, **changed)


def _with_infinity(array: np.ndarray) -> np.ndarray:
    array.flat[0] = np.inf
    return array


def _change_weight(
    weight: str, change: Callable[[np.ndarray], np.ndarray], arrays: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    return arrays | {weight: change(arrays[weight])}


def _lose_weight(weight: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: arrays[name] for name in arrays if name != weight}


def _wrong_similarity() -> Iterator[BrokenFile]:
    path = "models/similarity.npz"
    weights = ("hidden_kernel", "hidden_bias", "output_kernel", "output_bias")
    makes: dict[str, Callable[[Path], None]] = {
        "empty": partial(put_content, b""),
        "random bytes": partial(put_content, RANDOM),
        "a zip of nothing": partial(put_content, b"PK\x05\x06" + bytes(18)),
        "an array": partial(put_content, array_bytes(np.zeros(3))),
        "a pickle": partial(put_content, b"\x80\x04}\x94."),
        "a weight more": partial(_similarity, lambda arrays: arrays | {"more": np.zeros(1)}),
        "no weights": partial(_similarity, lambda _: {}),
        "unknown features": partial(_similarity, lambda arrays: arrays | {"features": np.array("zzz")}),
        "other embeddings": partial(
            _similarity, lambda arrays: arrays | {"hidden_kernel": arrays["hidden_kernel"][:-2]}
        ),
        "garbled": partial(edit_file, lambda content: content[:400] + RANDOM[:40] + content[440:]),
    }
    makes |= {f"cut at {percent}%": partial(cut_file, percent / 100) for percent in (1, 5, 10, 25, 50, 75, 90, 99)}
    makes |= {f"{by} bytes short": partial(shorten_file, by) for by in (1, 10, 22)}
    for weight in weights:
        changes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "of NaN": lambda array: np.full_like(array, np.nan),
            "with an infinity": _with_infinity,
            "as float64": lambda array: array.astype(np.float64),
            "as text": lambda array: array.astype(str),
            "of no axis": lambda array: array.ravel()[0],
            "of an axis more": lambda array: array[None],
            "empty": lambda array: array[:0],
            "twice as long": lambda array: np.concatenate([array, array]),
        }  # fmt: skip
        for name, change in changes.items():
            makes[f"{weight} {name}"] = partial(_similarity, partial(_change_weight, weight, change))
        makes[f"without {weight}"] = partial(_similarity, partial(_lose_weight, weight))
    makes["without features"] = partial(_similarity, partial(_lose_weight, "features"))
    for name, make in makes.items():
        yield BrokenFile(f"{path}: {name}", path, make, "evaluate", (path,))
    yield from not_even_files(path, "evaluate")


def _wrong_architecture() -> Iterator[BrokenFile]:
    path = "models/backbone.json"
    contents: dict[str, str | bytes] = {
        "empty": "",
        "random bytes": RANDOM,
        "not JSON": "width: 1",
        "cut short": '{"width": 0.1',
        "a list": "[0.125, 16]",
        "a number": "3",
        "null": "null",
        "nothing in it": "{}",
        "without embedding_size": '{"width": 0.125}',
        "without width": '{"embedding_size": 16}',
        "unknown key": '{"width": 0.125, "embedding_size": 16, "zzz": 1}',
        "key of the network's": '{"width": 0.125, "embedding_size": 16, "l2": 1}',
        "nested endlessly": "[" * 100_000,
        "5000 digits": '{"width": 0.125, "embedding_size": ' + "9" * 5000 + "}",
    }
    for key, other in (("width", '"embedding_size": 16'), ("embedding_size", '"width": 0.125')):
        values = (
            "null",
            '"x"',
            '"1"',
            "[]",
            "{}",
            "true",
            "NaN",
            "Infinity",
            "-Infinity",
            "-1",
            "0",
            "1e300",
            "1" + "0" * 30,
        )
        contents |= {f"{key} {value}": f'{{"{key}": {value}, {other}}}' for value in values}
    contents["embedding_size 16.5"] = '{"width": 0.125, "embedding_size": 16.5}'
    for name, content in contents.items():
        make = partial(put_content, content.encode() if isinstance(content, str) else content)
        yield BrokenFile(f"{path}: {name}", path, make, "embed", (path,))
    yield from not_even_files(path, "embed")


def _hdf5(change: Callable[[h5py.File], object], path: Path) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def _first_array(file: h5py.File, number: int = 0) -> h5py.Dataset:
    arrays: list[h5py.Dataset] = []
    file.visititems(lambda _, item: arrays.append(item) if isinstance(item, h5py.Dataset) else None)
    return arrays[number]


def _replace_array(change: Callable[[np.ndarray], Any], file: h5py.File) -> None:
    array = _first_array(file)
    name, values = array.name, array[()]
    del file[name]
    file[name] = change(values)


def _remove_array(number: int, file: h5py.File) -> None:
    del file[_first_array(file, number).name]


def _link_array(file: h5py.File) -> None:
    name = _first_array(file).name
    del file[name]
    file[name] = h5py.ExternalLink("elsewhere.h5", "/x")


def _damaged_weights(path: str, stage: str) -> Iterator[BrokenFile]:
    makes: dict[str, Callable[[Path], None]] = {
        "empty": partial(put_content, b""),
        "random bytes": partial(put_content, RANDOM),
        "a text": partial(put_content, b"version https://git-lfs.github.com/spec/v1\n"),
        "an array": partial(put_content, array_bytes(np.zeros(3))),
        "wrong magic": partial(edit_file, lambda content: b"\x89HDX" + content[4:]),
        "garbled": partial(edit_file, lambda content: content[:600] + RANDOM + content[600 + len(RANDOM) :]),
    }
    makes |= {f"cut at {percent}%": partial(cut_file, percent / 100) for percent in (1, 5, 25, 50, 75, 95)}
    makes |= {f"{by} bytes short": partial(shorten_file, by) for by in (1, 100)}
    changes: dict[str, Callable[[h5py.File], object]] = {
        "no groups": lambda file: file.clear(),
        "a group less": lambda file: file.__delitem__(next(iter(file))),
        "the first weight lost": partial(_remove_array, 0),
        "another weight lost": partial(_remove_array, 5),
        "a weight more": lambda file: file.create_dataset("more", data=np.zeros(3)),
        "a weight of NaN": partial(_replace_array, lambda values: np.full_like(values, np.nan)),
        "a weight with an infinity": partial(_replace_array, lambda values: values + np.float32(np.inf)),
        "a weight of text": partial(_replace_array, lambda _: "text"),
        "a weight of another shape": partial(_replace_array, lambda values: values[..., None]),
        "a weight of no values": partial(_replace_array, lambda values: values[:0]),
        "a link to another file": _link_array,
    }
    makes |= {name: partial(_hdf5, change) for name, change in changes.items()}
    for name, make in makes.items():
        yield BrokenFile(f"{path}: {name}", path, make, stage, (path,))
    yield from not_even_files(path, stage)


def _other_architecture(path: Path) -> None:
    from faces.network import mobilefacenet, weights

    weights.save_weights(mobilefacenet.build(0.25, 16), path)


WEIGHTS, INITIAL = "models/backbone.weights.h5", "models/start.weights.h5"

SIMILARITY = list(_wrong_similarity())
NETWORKS = [
    *_wrong_architecture(),
    *_damaged_weights(WEIGHTS, "embed"),
    BrokenFile(f"{WEIGHTS}: of another width", WEIGHTS, _other_architecture, "embed", (WEIGHTS,)),
    *_damaged_weights(INITIAL, "train"),
    BrokenFile(f"{INITIAL}: of another width", INITIAL, _other_architecture, "train", (INITIAL,)),
]
