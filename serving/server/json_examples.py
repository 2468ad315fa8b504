"""Turns the `examples` of a REST classify or regress request into serialised tf.Examples."""

from typing import Any

from tensorflow.core.example import example_pb2, feature_pb2
from tensorflow.core.framework import types_pb2

from serving.server.json_tensors import decoded_b64, is_b64, is_lossless, lossy, type_name
from serving.server.json_text import show
from serving.server.status import invalid

__all__ = ["example_rows"]

_INT64_MAX = 2**63 - 1
_KIND_NAMES = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def example_rows(document: dict[str, Any]) -> list[bytes]:
    """Turns `examples` and the shared `context` of a request into one Example per row.

    Raises:
        ServingStatus: INVALID_ARGUMENT with TensorFlow Serving's text.
    """
    context = b""
    if "context" in document:
        context = _example(document["context"]).SerializeToString()
    if "examples" not in document:
        raise invalid(
            f"JSON Value: {show(document)} When method is classify, key 'examples' is expected and "
            "was not found"
        )
    rows = document["examples"]
    if not isinstance(rows, list):
        raise invalid(
            f"JSON Value: {show(document)} Expecting 'examples' value to be an list/array"
        )
    if not rows:
        raise invalid(f"JSON Value: {show(document)} 'examples' value is an empty array")
    # Protobuf merges concatenated messages, so the context's features join every row's.
    return [context + _example(row).SerializeToString() for row in rows]


def _example(value: Any) -> example_pb2.Example:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {type_name(value)}")
    example = example_pb2.Example()
    for key, content in value.items():
        # Feature names are protobuf strings, which must be UTF-8.
        name = key.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        feature = example.features.feature[name]
        for item in content if isinstance(content, list) else [content]:
            _add(item, name, feature)
    return example


def _add(value: Any, name: str, feature: feature_pb2.Feature) -> None:
    """Appends one JSON value to a feature; the first value decides the feature's kind."""
    if isinstance(value, bool):
        _list(feature, "int64_list", name).append(int(value))
    elif isinstance(value, str):
        _list(feature, "bytes_list", name).append(value.encode("utf-8", "surrogateescape"))
    elif isinstance(value, int) and value <= 2 * _INT64_MAX + 1 and value >= -_INT64_MAX - 1:
        ints = _list(feature, "int64_list", name)
        if value > _INT64_MAX:
            raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
        ints.append(value)
    elif isinstance(value, int | float):
        floats = _list(feature, "float_list", name)
        if not is_lossless(float(value), types_pb2.DT_FLOAT):
            raise lossy(value, "float")
        floats.append(float(value))
    elif is_b64(value):
        _list(feature, "bytes_list", name).append(decoded_b64(value))
    else:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")


def _list(feature: feature_pb2.Feature, kind: str, name: str) -> Any:
    set_kind = feature.WhichOneof("kind")
    if set_kind not in (None, kind):
        raise invalid(
            f"Unexpected element type in feature: {name} expecting type: {_KIND_NAMES[set_kind]}"
        )
    return getattr(feature, kind).value
