"""Turns Python values into TensorProto messages and back, without numpy."""

import struct
from collections.abc import Sequence
from typing import Any

from serving.client.protos import message
from serving.errors import UserError

__all__ = ["dtype_name", "dtype_number", "flatten", "from_proto", "nested", "to_proto"]

# Name, number, field of TensorProto, and struct letter of the packed form.
_TYPES: tuple[tuple[str, int, str, str], ...] = (
    ("float", 1, "float_val", "f"),
    ("double", 2, "double_val", "d"),
    ("int32", 3, "int_val", "i"),
    ("uint8", 4, "int_val", "B"),
    ("int16", 5, "int_val", "h"),
    ("int8", 6, "int_val", "b"),
    ("string", 7, "string_val", ""),
    ("int64", 9, "int64_val", "q"),
    ("bool", 10, "bool_val", "?"),
    ("bfloat16", 14, "half_val", "H"),
    ("uint16", 17, "int_val", "H"),
    ("half", 19, "half_val", "e"),
    ("uint32", 22, "uint32_val", "I"),
    ("uint64", 23, "uint64_val", "Q"),
)
_BY_NAME = {item[0]: item for item in _TYPES}
_BY_NUMBER = {item[1]: item for item in _TYPES}


def dtype_name(number: int) -> str:
    """Turns a DataType number into the name that TensorFlow prints."""
    return _BY_NUMBER[number][0] if number in _BY_NUMBER else f"type {number}"


def dtype_number(name: str) -> int:
    """Turns a type's name into its DataType number.

    Raises:
        UserError: for types that cannot be sent.
    """
    if name not in _BY_NAME:
        raise UserError(
            f"tensors of type {name} cannot be sent",
            expected=", ".join(_BY_NAME),
            fix="use a signature with other inputs",
        )
    return _BY_NAME[name][1]


def flatten(value: Any, name: str) -> tuple[list[Any], list[int]]:
    """Turns nested lists (or an array) into flat values and a shape.

    Raises:
        UserError: when the lists are ragged.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    shape: list[int] = []
    level = [value]
    while level and all(isinstance(item, list | tuple) for item in level):
        sizes = {len(item) for item in level}
        if len(sizes) > 1:
            raise UserError(
                f"{name} is ragged: lists of {sorted(sizes)} items at level {len(shape)}",
                expected="lists of one length at each level",
                fix="pad the shorter ones, or send the rows one by one",
            )
        shape.append(sizes.pop())
        level = [inner for item in level for inner in item]
    return level, shape


def to_proto(values: Sequence[Any], shape: Sequence[int], dtype: str) -> Any:
    """Turns flat values into a TensorProto, in the typed field of their type."""
    _, number, field, _ = _BY_NAME[dtype]
    proto = message("tensorflow.TensorProto")(dtype=number)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    if dtype == "string":
        values = [item.encode() if isinstance(item, str) else bytes(item) for item in values]
    elif dtype == "half":
        values = [struct.unpack("<H", struct.pack("<e", item))[0] for item in values]
    elif dtype == "bfloat16":
        values = [struct.unpack("<I", struct.pack("<f", item))[0] >> 16 for item in values]
    getattr(proto, field).extend(values)
    return proto


def from_proto(proto: Any) -> Any:
    """Turns a TensorProto into nested lists; a tensor without dimensions into its value."""
    name, _, field, letter = _BY_NUMBER.get(proto.dtype, ("", 0, "", ""))
    if not name:
        raise UserError(
            f"the answer has a tensor of {dtype_name(proto.dtype)}",
            expected=", ".join(_BY_NAME),
            fix="use a signature with other outputs",
        )
    shape = [dim.size for dim in proto.tensor_shape.dim]
    count = 1
    for size in shape:
        count *= size
    if proto.tensor_content and letter:
        values = list(struct.unpack(f"<{count}{letter}", proto.tensor_content))
    else:
        values = list(getattr(proto, field))
        if name == "half":
            values = [struct.unpack("<e", struct.pack("<H", item))[0] for item in values]
    if name == "bfloat16":
        values = [struct.unpack("<f", struct.pack("<I", item << 16))[0] for item in values]
    if len(values) < count:
        values += [values[-1] if values else 0] * (count - len(values))
    return nested(values, shape)


def nested(values: list[Any], shape: Sequence[int]) -> Any:
    """Turns flat values into nested lists of a shape."""
    if not shape:
        return values[0]
    for size in reversed(shape[1:]):
        values = (
            [values[at : at + size] for at in range(0, len(values), size)]
            if size
            else [[] for _ in range(shape[0])]
        )
    return values
