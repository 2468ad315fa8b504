"""Turns TensorProto messages into numpy arrays and back, with TensorFlow's own rules.

`tf.make_ndarray` and `tf.make_tensor_proto` would do, but the first trusts the shape in the
message (a few bytes can ask for terabytes) and the second packs numbers into `tensor_content`,
whereas TensorFlow Serving answers in the typed fields that clients read (`float_val`, …).
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2

from serving.server.status import Code, ServingStatus, invalid

__all__ = ["array_from_proto", "dtype_name", "fill_proto", "numpy_type"]

Array = npt.NDArray[Any]


class _Layout(NamedTuple):
    name: str
    """TensorFlow's name of the type, as error texts print it."""
    numpy: Any
    field: str
    """The repeated field of TensorProto that carries the values."""
    size: int
    """Bytes of one value; of its pointer for strings."""


def _layout(name: str, kind: Any, field: str) -> _Layout:
    return _Layout(name, kind, field, np.dtype(kind).itemsize)


def _bfloat16() -> Any:
    import ml_dtypes

    return ml_dtypes.bfloat16


_LAYOUTS: dict[int, _Layout] = {
    types_pb2.DT_FLOAT: _layout("float", np.float32, "float_val"),
    types_pb2.DT_DOUBLE: _layout("double", np.float64, "double_val"),
    types_pb2.DT_INT32: _layout("int32", np.int32, "int_val"),
    types_pb2.DT_UINT8: _layout("uint8", np.uint8, "int_val"),
    types_pb2.DT_INT16: _layout("int16", np.int16, "int_val"),
    types_pb2.DT_INT8: _layout("int8", np.int8, "int_val"),
    types_pb2.DT_UINT16: _layout("uint16", np.uint16, "int_val"),
    types_pb2.DT_STRING: _layout("string", np.object_, "string_val"),
    types_pb2.DT_INT64: _layout("int64", np.int64, "int64_val"),
    types_pb2.DT_BOOL: _layout("bool", np.bool_, "bool_val"),
    types_pb2.DT_HALF: _layout("half", np.float16, "half_val"),
    types_pb2.DT_BFLOAT16: _layout("bfloat16", _bfloat16(), "half_val"),
    types_pb2.DT_UINT32: _layout("uint32", np.uint32, "uint32_val"),
    types_pb2.DT_UINT64: _layout("uint64", np.uint64, "uint64_val"),
    types_pb2.DT_COMPLEX64: _layout("complex64", np.complex64, "scomplex_val"),
    types_pb2.DT_COMPLEX128: _layout("complex128", np.complex128, "dcomplex_val"),
}

_PLAIN_FIELDS = {"float_val", "double_val", "int64_val", "bool_val", "uint32_val", "uint64_val"}
"""Those whose values are the array's values as they are."""

# float_val and double_val are packed, so their bytes on the wire are the array's own bytes.
_PACKED_TAG = {types_pb2.DT_FLOAT: b"\x2a", types_pb2.DT_DOUBLE: b"\x32"}
_COPY_AS_BYTES_FROM = 32
"""Values from which one memory copy beats appending numbers one by one."""


def dtype_name(dtype: int) -> str:
    """Turns a DataType number into the name that TensorFlow prints, such as `float`."""
    layout = _LAYOUTS.get(dtype)
    if layout is not None:
        return layout.name
    try:
        return str(types_pb2.DataType.Name(dtype)).removeprefix("DT_").lower()
    except ValueError:
        return f"unknown dtype enum ({dtype})"


def numpy_type(dtype: int) -> Any:
    """Turns a DataType number into the numpy type of the arrays that carry it, or None."""
    layout = _LAYOUTS.get(dtype)
    return layout.numpy if layout else None


def array_from_proto(proto: tensor_pb2.TensorProto, alias: str, limit_bytes: int) -> Array:
    """Turns one tensor of a request into an array.

    Args:
        proto: the tensor as it came over the wire.
        alias: the name of the input, for the error text.
        limit_bytes: the most memory that the array may take, whatever its shape claims.

    Shape: that of the message; a scalar has no dimension.

    Raises:
        ServingStatus: INVALID_ARGUMENT when values and shape cannot belong together.
    """
    layout = _LAYOUTS.get(proto.dtype)
    shape = _shape(proto.tensor_shape.SerializeToString())
    if layout is None or shape is None:
        raise _unparsable(alias)
    count = math.prod(shape)
    if count * layout.size > limit_bytes:
        raise invalid(
            f"tensor parsing error: {alias}. Shape {list(shape)} asks for more than "
            f"{limit_bytes} bytes"
        )
    content = proto.tensor_content
    array = (
        _from_content(content, layout, count, alias)
        if content
        else _from_field(proto, layout, count, alias)
    )
    return array if len(shape) == 1 else array.reshape(shape)


@lru_cache(maxsize=1024)
def _shape(serialised: bytes) -> tuple[int, ...] | None:
    """Reads a TensorShapeProto; None if no array can have that shape.

    By its bytes, for requests repeat the same few shapes and reading a message field by field
    takes longer than all else that is done to a small tensor.
    """
    claimed = tensor_shape_pb2.TensorShapeProto.FromString(serialised)
    shape = tuple(dim.size for dim in claimed.dim)
    return None if claimed.unknown_rank or (shape and min(shape) < 0) else shape


def _unparsable(alias: str) -> ServingStatus:
    return invalid(f"tensor parsing error: {alias}")


def _from_content(content: bytes, layout: _Layout, count: int, alias: str) -> Array:
    if layout.numpy is np.object_:
        return _strings(content, count, alias)
    if len(content) != count * layout.size:
        raise _unparsable(alias)
    return np.frombuffer(content, layout.numpy)


def _strings(content: bytes, count: int, alias: str) -> Array:
    """Reads TensorFlow's packed strings: all lengths as varints, then all bytes."""
    lengths: list[int] = []
    at = shift = length = 0
    while len(lengths) < count:
        if at >= len(content) or shift > 63:
            raise _unparsable(alias)
        byte = content[at]
        at += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            lengths.append(length)
            shift = length = 0
    if at + sum(lengths) != len(content):
        raise _unparsable(alias)
    values = np.empty(count, np.object_)
    for index, length in enumerate(lengths):
        values[index] = content[at : at + length]
        at += length
    return values


def _from_field(proto: tensor_pb2.TensorProto, layout: _Layout, count: int, alias: str) -> Array:
    values: Any = getattr(proto, layout.field)
    if len(values) == count and layout.field in _PLAIN_FIELDS:
        # By way of a list: numpy asks a repeated field for its values one by one.
        return np.array(values[:], layout.numpy)
    if layout.field.endswith("complex_val"):
        parts = np.array(values, np.float64)
        values = (parts[0::2] + 1j * parts[1::2]) if len(parts) % 2 == 0 else ()
    given = len(values)
    if layout.numpy is np.object_:
        array = np.empty(given, np.object_)
        array[:] = values[:]
    elif layout.field == "half_val":
        array = np.array(values, np.uint32).astype(np.uint16).view(layout.numpy)
    elif layout.field == "int_val":
        # The field is int32 for all the narrow types; TensorFlow narrows by casting.
        array = np.array(values, np.int32).astype(layout.numpy)
    else:
        array = np.array(values, layout.numpy)
    if given == count:
        return array
    if given > count:
        return array[:count]
    # Fewer values than elements: the last one repeats; none at all means zeros.
    filler: Any = array[-1] if given else (b"" if layout.numpy is np.object_ else 0)
    full = np.full(count, filler, layout.numpy)
    full[:given] = array
    return full


def fill_proto(proto: tensor_pb2.TensorProto, array: Array, dtype: int) -> None:
    """Writes an array into a message, in the typed field of its type.

    Args:
        proto: an empty message, filled in place.
        array: what the graph gave.
        dtype: the DataType number of the output.
    """
    layout = _LAYOUTS.get(dtype)
    if layout is None:
        raise ServingStatus(Code.UNIMPLEMENTED, f"tensor type {dtype_name(dtype)} not supported")
    proto.dtype = dtype
    shape = proto.tensor_shape
    for size in array.shape:
        shape.dim.add().size = size
    tag = _PACKED_TAG.get(dtype)
    if tag and array.size >= _COPY_AS_BYTES_FROM:
        raw = np.ascontiguousarray(array, layout.numpy).tobytes()
        proto.MergeFromString(tag + _varint(len(raw)) + raw)
        return
    flat = array.ravel()
    if layout.field == "half_val":
        flat = flat.view(np.uint16)
    elif layout.field.endswith("complex_val"):
        flat = flat.view(flat.real.dtype)
    getattr(proto, layout.field).extend(flat.tolist())


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
