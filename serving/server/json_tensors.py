"""Turns one JSON value into one tensor, by TensorFlow Serving's rules.

Two ways: a quick one for lists that are plainly right, which never builds an error, and an exact
one that walks the values in TensorFlow Serving's order to name the first that is wrong.
"""

import base64
import binascii
from itertools import chain
from typing import Any

import numpy as np
from tensorflow.core.framework import types_pb2

from serving.server.json_text import show
from serving.server.saved_model import TensorSpec
from serving.server.status import Code, ServingStatus, invalid
from serving.server.tensors import Array, dtype_name, numpy_type

__all__ = [
    "array_of",
    "decoded_b64",
    "fill",
    "is_b64",
    "is_lossless",
    "lossy",
    "quick_array",
    "shape_of",
    "tensor",
    "type_name",
]

CHUNK = 1024
"""Values or rows that the exact way checks at once before it looks at each."""

_FLOATS = (types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE)
_INT32S = (types_pb2.DT_INT32, types_pb2.DT_INT16, types_pb2.DT_INT8, types_pb2.DT_UINT8)
_INT_RANGES = {
    **dict.fromkeys(_INT32S, (-(2**31), 2**31 - 1)),
    types_pb2.DT_INT64: (-(2**63), 2**63 - 1),
    types_pb2.DT_UINT32: (0, 2**32 - 1),
    types_pb2.DT_UINT64: (0, 2**64 - 1),
}
_WHOLE_LIMIT = {types_pb2.DT_FLOAT: 2**24 - 1, types_pb2.DT_DOUBLE: 2**53 - 1}
"""Whole numbers beyond these would lose digits in a float or double and are refused."""
_NUMBERS = {int, float}
_STRING, _BOOL = types_pb2.DT_STRING, types_pb2.DT_BOOL
_FLOAT_MAX = float(np.finfo(np.float32).max)
_UINT64_MAX = 2**64 - 1


def tensor(value: Any, spec: TensorSpec) -> Array:
    """Turns one JSON value into the tensor of an input.

    Raises:
        ServingStatus: INVALID_ARGUMENT naming the first value that is wrong.
    """
    if isinstance(value, list):
        array = quick_array(value, spec.dtype)
        if array is not None:
            return array
    shape = shape_of(value)
    values: list[Any] = []
    fill(value, 0, shape, spec.dtype, values)
    return array_of(values, shape, spec)


def is_b64(value: Any) -> bool:
    """Tells whether a JSON value is `{"b64": "…"}`, the spelling of binary data."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def quick_array(values: list[Any], dtype: int) -> Array | None:
    """Turns nested lists into an array if every list and value is right, else gives None."""
    shape = [len(values)]
    level = values
    kinds = set(map(type, level))
    while kinds == {list}:
        sizes = set(map(len, level))
        if len(sizes) != 1 or len(shape) >= 32:
            return None
        shape.append(sizes.pop())
        level = list(chain.from_iterable(level))
        kinds = set(map(type, level))
    try:
        flat = _quick_flat(level, kinds, dtype)
        return None if flat is None else flat.reshape(shape)
    except (OverflowError, ValueError, TypeError, ServingStatus):
        return None


def _quick_flat(values: list[Any], kinds: set[type], dtype: int) -> Array | None:
    if dtype in _FLOATS and kinds <= _NUMBERS:
        return _quick_floats(values, kinds, dtype)
    if dtype in _INT_RANGES and kinds <= {int}:
        low, high = _INT_RANGES[dtype]
        if values and not (low <= min(values) and max(values) <= high):
            return None
        wide = np.array(values, np.uint64 if high > 2**63 else np.int64)
        return wide.astype(numpy_type(dtype), copy=False)
    if dtype == _STRING and kinds <= {str}:
        strings = np.empty(len(values), np.object_)
        strings[:] = [value.encode("utf-8", "surrogateescape") for value in values]
        return strings
    if dtype == _STRING and kinds <= {str, dict}:
        strings = np.empty(len(values), np.object_)
        strings[:] = [
            decoded_b64(value)
            if isinstance(value, dict)
            else value.encode("utf-8", "surrogateescape")
            for value in values
        ]
        return strings
    if dtype == _BOOL and kinds <= {bool}:
        return np.array(values, np.bool_)
    return None


def _quick_floats(values: list[Any], kinds: set[type], dtype: int) -> Array | None:
    wanted = numpy_type(dtype)
    bound = _WHOLE_LIMIT[dtype] if int in kinds else _FLOAT_MAX
    if not values or (-bound <= min(values) and max(values) <= bound):
        return np.array(values, wanted)
    array = np.array(values, np.float64)
    largest = float(np.max(np.abs(array), where=np.isfinite(array), initial=0.0))
    if int in kinds and largest > _WHOLE_LIMIT[dtype]:
        return None
    if dtype == types_pb2.DT_FLOAT and largest > _FLOAT_MAX:
        return None
    return array.astype(wanted, copy=False)


def decoded_b64(value: Any) -> bytes:
    """Reads `{"b64": …}` as strictly as TensorFlow Serving; raises what it would say."""
    if not is_b64(value):
        raise invalid(f"JSON Value: {show(value)} not formatted correctly for base64 data")
    text = value["b64"]
    try:
        # Padding may be left out, white space may stand anywhere.
        compact = "".join(text.split()).rstrip("=")
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("Unable to base64 decode") from error


def array_of(values: list[Any], shape: list[int], spec: TensorSpec) -> Array:
    """Puts checked values into an array of a shape."""
    wanted = numpy_type(spec.dtype)
    array = np.empty(len(values), np.object_ if wanted is np.object_ else wanted)
    try:
        array[:] = values
        return array.reshape(shape)
    except ValueError as error:
        raise invalid(f"tensor parsing error: {spec.alias}") from error


def shape_of(value: Any) -> list[int]:
    """Reads the shape that a value claims: the sizes of its first lists."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return shape


def fill(value: Any, level: int, shape: list[int], dtype: int, out: list[Any]) -> None:
    """Appends the values of nested lists, checking each list's size and each value's type.

    Raises:
        ServingStatus: INVALID_ARGUMENT or UNIMPLEMENTED for the first that is wrong.
    """
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {show(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
        out.append(_scalar(value, dtype))
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: "
            f"{shape[level]}"
        )
    if len(shape) > 64:
        raise invalid(f"tensor parsing error: {len(shape)} dimensions")
    for start in range(0, len(value), CHUNK):
        chunk = value[start : start + CHUNK]
        quick = quick_array(chunk, dtype) if len(value) > CHUNK else None
        if quick is not None and list(quick.shape[1:]) == shape[level + 1 :]:
            out.extend(quick.ravel().tolist())
            continue
        for item in chunk:
            fill(item, level + 1, shape, dtype, out)


def _scalar(value: Any, dtype: int) -> Any:
    """Checks one JSON value against a type, in TensorFlow Serving's order and words."""
    if isinstance(value, dict):
        if dtype == types_pb2.DT_STRING:
            return decoded_b64(value)
        raise _type_error(value, dtype)
    if dtype in _FLOATS:
        if not is_number(value):
            raise _type_error(value, dtype)
        if not is_lossless(value, dtype):
            raise lossy(value, dtype_name(dtype))
        return float(value)
    if dtype in _INT_RANGES:
        low, high = _INT_RANGES[dtype]
        if type(value) is not int or not low <= value <= high:
            raise _type_error(value, dtype)
        return np.array(value).astype(numpy_type(dtype))
    if dtype == types_pb2.DT_STRING:
        if not isinstance(value, str):
            raise _type_error(value, dtype)
        return value.encode("utf-8", "surrogateescape")
    if dtype == types_pb2.DT_BOOL:
        if not isinstance(value, bool):
            raise _type_error(value, dtype)
        return value
    raise ServingStatus(
        Code.UNIMPLEMENTED,
        f"Conversion of JSON Value: {show(value)} to type: {dtype_name(dtype)}",
    )


def is_number(value: Any) -> bool:
    """Tells numbers from everything else; booleans are none in JSON."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_lossless(value: float, dtype: int) -> bool:
    """Tells whether a JSON number survives as a float or double, as TensorFlow Serving sees it."""
    if isinstance(value, int) and -(2**63) <= value <= _UINT64_MAX:
        return abs(value) <= _WHOLE_LIMIT[dtype]
    value = float(value)
    if dtype == types_pb2.DT_DOUBLE or value != value or value in (float("inf"), -float("inf")):
        return True
    return abs(value) <= _FLOAT_MAX


def lossy(value: Any, target: str) -> ServingStatus:
    """Says that a number would change on its way into a type."""
    return invalid(
        f"Cannot convert JSON value: {show(value)} to {target} without loss of precision."
    )


def type_name(value: Any) -> str:
    """Names the kind of a JSON value as RapidJSON does."""
    if isinstance(value, bool) or value is None:
        return {None: "Null", True: "True", False: "False"}[value]
    for kind, name in ((dict, "Object"), (list, "Array"), (str, "String")):
        if isinstance(value, kind):
            return name
    return "Number"


def _type_error(value: Any, dtype: int) -> ServingStatus:
    return invalid(
        f"JSON Value: {show(value)} Type: {type_name(value)} is not of expected type: "
        f"{dtype_name(dtype)}"
    )
