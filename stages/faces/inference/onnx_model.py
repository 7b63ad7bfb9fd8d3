"""ONNX: the network as a file for ONNX Runtime, the same bytes from the same weights. onnx_session.py runs it.

formats.py lists it among the formats of export. Most of this module puts tf2onnx's graph in an order that repeats.
"""

import math
import tempfile
import warnings
from pathlib import Path
from typing import Any

from faces.core.quiet import quiet_stderr
from faces.network.runtime import keras


def as_onnx(network: Any) -> bytes:
    """Return a Keras model as an ONNX model for any number of images.

    Keras exports by tf2onnx, which numbers nodes and tensors and orders them by hashes of their names. Both differ from
    run to run, so nodes and tensors get another order and other names here.
    """
    import onnx

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), quiet_stderr():
        warnings.simplefilter("ignore")  # Keras uses names that NumPy has deprecated
        images = keras.InputSpec(shape=network.input_shape, dtype="float32", name="images")
        plain = _flattening_to_a_known_shape(network)
        plain.export(path := Path(folder, "network.onnx"), format="onnx", verbose=False, input_signature=[images])
        model = onnx.load(path)
    _canonicalise(model.graph)
    for part in (model, model.graph, *model.graph.node):
        part.ClearField("doc_string")
    model.ClearField("metadata_props")
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


class _Flatten(keras.layers.Layer):
    """Flatten images (n, ...) to (n, m), where m is known and n is left to the reshape."""

    def call(self, x: Any) -> Any:
        """Return the flattened images."""
        return keras.ops.reshape(x, (-1, math.prod(x.shape[1:])))


def _flattening_to_a_known_shape(network: Any) -> Any:
    """Return a network with `_Flatten` in place of Keras's own, which asks its input for the number of images.

    tf2onnx simplifies that computation in most runs and leaves it in a few, for whatever reason.
    """

    def clone(layer: Any) -> Any:
        if isinstance(layer, keras.layers.Flatten):
            return _Flatten(name=layer.name)
        return type(layer).from_config(layer.get_config())

    plain = keras.models.clone_model(network, clone_function=clone)
    plain.set_weights(network.get_weights())
    return plain


def _canonicalise(graph: Any) -> None:
    """Sort the nodes and constants of an ONNX graph depth first from its output, and name them by their position."""
    ordered, used = _depth_first(graph)
    _rename(graph, ordered, used)
    nodes, initializers = [_copy(node) for node in ordered], [_copy(constant) for constant in used]
    for field, parts in ((graph.node, nodes), (graph.initializer, initializers)):
        del field[:]
        field.extend(parts)
    del graph.value_info[:]
    graph.name = "mobilefacenet"


def _depth_first(graph: Any) -> tuple[list[Any], list[Any]]:
    """Return the nodes and the constants of a graph, both in the order in which its output needs them."""
    makers = {output: node for node in graph.node for output in node.output}
    constants = {constant.name: constant for constant in graph.initializer}
    ordered: list[Any] = []
    used: list[Any] = []
    waiting = [(value.name, False) for value in reversed(graph.output)]
    done: set[str] = set()
    while waiting:  # depth first, without recursion: the network is deeper than Python's recursion limit
        name, inputs_done = waiting.pop()
        if name in done or not name:
            continue
        if name in constants:
            used.append(constants[name])
            done.add(name)
        elif name in makers and not inputs_done:
            waiting += [(name, True), *((source, False) for source in reversed(makers[name].input))]
        elif name in makers:
            ordered.append(makers[name])
            done |= set(makers[name].output)
        else:
            done.add(name)  # the input of the graph
    return ordered, used


def _rename(graph: Any, ordered: list[Any], used: list[Any]) -> None:
    """Name nodes, tensors and constants by their position in the lists, and the batch dimension "batch"."""
    names = {graph.input[0].name: "images", graph.output[0].name: "embeddings"}
    names |= {constant.name: f"constant_{number}" for number, constant in enumerate(used)}
    for number, node in enumerate(ordered):
        node.name = f"{node.op_type}_{number}"
        for output in node.output:
            names.setdefault(output, f"tensor_{number}" if len(node.output) == 1 else f"tensor_{number}_{len(names)}")
    for node in ordered:
        for field in (node.input, node.output):
            field[:] = [names.get(name, name) for name in field]
    for constant in used:
        constant.name = names[constant.name]
    for value in (*graph.input, *graph.output):
        value.name = names[value.name]
        value.type.tensor_type.shape.dim[0].dim_param = "batch"


def _copy(message: Any) -> Any:
    copied = type(message)()
    copied.CopyFrom(message)
    return copied
