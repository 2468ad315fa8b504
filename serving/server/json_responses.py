"""Turns what a graph gave into the JSON texts of TensorFlow Serving's REST answers.

The layout is RapidJSON's pretty writer with TensorFlow Serving's switches, down to the line
break before the bracket that ends `predictions`: clients have been seen to compare texts.
"""

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tensorflow.core.framework import types_pb2

from serving.server.json_text import decimals, encode, quote
from serving.server.saved_model import TensorSpec
from serving.server.status import invalid
from serving.server.tensors import Array, dtype_name

__all__ = ["classify_json", "error_json", "predict_json", "regress_json"]

ERROR_LIMIT = 16_384
"""Characters of an error text; TensorFlow Serving has no limit here."""

_FLOATS = (types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE)
_BOOL, _STRING = types_pb2.DT_BOOL, types_pb2.DT_STRING
_INTEGERS = (
    types_pb2.DT_INT32,
    types_pb2.DT_INT16,
    types_pb2.DT_INT8,
    types_pb2.DT_UINT8,
    types_pb2.DT_INT64,
    types_pb2.DT_UINT32,
    types_pb2.DT_UINT64,
)


def error_json(message: str) -> bytes:
    """Turns an error text into the body of an answer, cut when very long."""
    if len(message) > ERROR_LIMIT:
        message = message[:ERROR_LIMIT] + "...TRUNCATED"
    return encode('{\n    "error": ' + quote(message) + "\n}")


def predict_json(outputs: Mapping[TensorSpec, Array], *, rows: bool) -> bytes:
    """Turns named outputs into `predictions` (row format) or `outputs` (columns).

    Args:
        outputs: arrays by output, sorted by alias.
        rows: whether the request was in row format.

    Raises:
        ServingStatus: INVALID_ARGUMENT when the outputs have no common first dimension or a type
            that JSON cannot carry.
    """
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    return encode(_predictions(outputs) if rows else _columns(outputs))


def classify_json(rows: Iterable[Sequence[tuple[bytes | str, Any]]]) -> bytes:
    """Turns (label, score) pairs per row into `results`."""
    texts = [
        "["
        + ", ".join(
            f"[{quote(label)}, {decimals(np.array([score], np.float32))[0]}]"
            for label, score in row
        )
        + "]"
        for row in rows
    ]
    if not texts:
        raise invalid("Cannot convert empty ClassificationResults to JSON")
    return encode('{\n    "results": [' + ", ".join(texts) + "\n    ]\n}")


def regress_json(values: Array) -> bytes:
    """Turns one number per row into `results`."""
    if not values.size:
        raise invalid("Cannot convert empty RegressionResults to JSON")
    return encode('{\n    "results": [' + ", ".join(decimals(values)) + "]\n}")


def _predictions(outputs: Mapping[TensorSpec, Array]) -> str:
    size: int | None = None
    for spec, array in outputs.items():
        if array.ndim == 0:
            raise invalid(f"Tensor name: {spec.alias} has no shape information ")
        if size is not None and array.shape[0] != size:
            raise invalid(
                f"Tensor name: {spec.alias} has inconsistent batch size: {array.shape[0]} "
                f"expecting: {size}"
            )
        size = array.shape[0]
    columns = [_nested(spec, array, _one_line) for spec, array in outputs.items()]
    if not size:
        for spec, array in outputs.items():
            _scalars(spec, array)  # refuses types that JSON cannot carry
        return '{\n    "predictions": []\n}'
    if len(columns) == 1:
        return '{\n    "predictions": [' + ", ".join(columns[0]) + "\n    ]\n}"
    names = [f"            {quote(spec.alias)}: " for spec in outputs]
    objects = (
        "        {\n"
        + ",\n".join(name + value for name, value in zip(names, row, strict=True))
        + "\n        }"
        for row in zip(*columns, strict=True)
    )
    return '{\n    "predictions": [\n' + ",\n".join(objects) + "\n    ]\n}"


def _columns(outputs: Mapping[TensorSpec, Array]) -> str:
    if len(outputs) == 1:
        (spec, array), *_ = outputs.items()
        return '{\n    "outputs": ' + _whole(spec, array, 1) + "\n}"
    members = (
        f"        {quote(spec.alias)}: {_whole(spec, array, 2)}" for spec, array in outputs.items()
    )
    return '{\n    "outputs": {\n' + ",\n".join(members) + "\n    }\n}"


def _one_line(items: list[str], _level: int) -> str:
    return "[" + ", ".join(items) + "]"


def _lines(items: list[str], level: int) -> str:
    if not items:
        return "[]"
    inner = "\n" + "    " * (level + 1)
    return "[" + inner + ("," + inner).join(items) + "\n" + "    " * level + "]"


def _nested(spec: TensorSpec, array: Array, bracket: Any, level: int = 0) -> list[str]:
    """Gives one text per element of the first dimension."""
    items = _scalars(spec, array)
    for depth in range(array.ndim - 1, 0, -1):
        width = array.shape[depth]
        count = math.prod(array.shape[:depth])
        items = [
            bracket(items[row * width : (row + 1) * width], level + depth) for row in range(count)
        ]
    return items


def _whole(spec: TensorSpec, array: Array, level: int) -> str:
    if array.ndim == 0:
        return _scalars(spec, array)[0]
    return _lines(_nested(spec, array, _lines, level), level)


def _scalars(spec: TensorSpec, array: Array) -> list[str]:
    if spec.dtype in _FLOATS:
        return decimals(array)
    values = array.ravel().tolist()
    if spec.dtype in _INTEGERS:
        return [str(value) for value in values]
    if spec.dtype == _BOOL:
        return ["true" if value else "false" for value in values]
    if spec.dtype == _STRING:
        if spec.alias.endswith("_bytes"):
            return [_b64(value) for value in values]
        return [quote(value) for value in values]
    raise invalid(f"Failed to write JSON value for tensor type: {dtype_name(spec.dtype)}")


def _b64(value: bytes) -> str:
    # RapidJSON's layout inside a single-line list still breaks objects into lines; nobody reads
    # these by eye and JSON does not care, so they stay on one.
    return '{"b64": "' + base64.b64encode(value).decode() + '"}'
