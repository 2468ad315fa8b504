"""The bounds of buckets, read off the transform graph itself, without TensorFlow.

Preprocessing puts a number into a bucket by an operation `UpperBound` over constants that the
analysis found. From each output of the graph the way goes back to that operation, and from there
to the constant; what is computed in another way has no bounds to tell.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

from components.proto_classes import message_class

__all__ = ["bucket_bounds"]

_SEARCHES = ("UpperBound", "LowerBound")
_PASSING = ("Identity", "Cast", "Reshape", "ExpandDims", "Tile", "BroadcastTo", "EnsureShape")
_FUNCTION = "transform_fn"
_FORMATS = {1: "f", 2: "d"}
"""Numbers by TensorFlow's type: float32 and float64."""


def bucket_bounds(saved_model: bytes) -> dict[str, list[float]]:
    """Finds the bounds between buckets by transformed column; none for other columns.

    Args:
        saved_model: the content of the transform graph's `saved_model.pb`.
    """
    kind = message_class("tensorflow/core/protobuf/saved_model.proto", "tensorflow.SavedModel")
    graph = kind.FromString(saved_model).meta_graphs[0]
    found: dict[str, list[float]] = {}
    for name, saved in graph.object_graph_def.concrete_functions.items():
        [function] = [
            each for each in graph.graph_def.library.function if each.signature.name == name
        ]
        keys = sorted(saved.output_signature.dict_value.fields)
        outputs = [function.ret[one.name] for one in function.signature.output_arg]
        if not keys or len(keys) != len(outputs):
            continue
        nodes = {node.name: node for node in function.node_def}
        constants = _captured(graph, function, saved)
        for key, output in zip(keys, outputs, strict=True):
            for search in _searches(_node(output), nodes):
                bounds = _constant(_node(search.input[0]), nodes, constants)
                if bounds:
                    found[key] = bounds
    return found


def _captured(graph: Any, function: Any, saved: Any) -> dict[str, Any]:
    """The constants that a function was given, by the name of its argument."""
    arguments = [one.name for one in function.signature.input_arg]
    by_name = {node.name: node for node in graph.graph_def.node}
    captured = arguments[len(arguments) - len(saved.bound_inputs) :]
    found = {}
    for argument, number in zip(captured, saved.bound_inputs, strict=True):
        node = graph.object_graph_def.nodes[number]
        if node.WhichOneof("kind") == "constant":
            found[argument] = by_name[node.constant.operation]
    return found


def _searches(start: str, nodes: Mapping[str, Any]) -> Iterator[Any]:
    """The searches that an output is computed from."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        node = nodes.get(todo.pop())
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        if node.op in _SEARCHES:
            yield node
        else:
            todo += [_node(each) for each in node.input]


def _constant(name: str, nodes: Mapping[str, Any], constants: Mapping[str, Any]) -> list[float]:
    """Follows what only passes a tensor on, back to a constant of fractions."""
    node = nodes.get(name)
    while node is not None and node.op in _PASSING:
        name = _node(node.input[0])
        node = nodes.get(name)
    found = constants.get(name) if node is None else node
    if found is None or found.op != "Const":
        return []
    tensor = found.attr["value"].tensor
    letter = _FORMATS.get(tensor.dtype)
    if letter is None:
        return []
    if tensor.tensor_content:
        count = len(tensor.tensor_content) // struct.calcsize(letter)
        return list(struct.unpack(f"<{count}{letter}", tensor.tensor_content))
    return list(tensor.float_val or tensor.double_val)


def _node(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]
