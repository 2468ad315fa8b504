"""Real evaluation rows become the requests that a server replays before it takes traffic.

The file `assets.extra/tf_serving_warmup_requests` holds PredictionLog records, at most 1000. A
request that fails keeps the server from loading the version, so only signatures get requests
whose inputs are understood: one string tensor of serialized examples, or one tensor per raw
column.

Source: https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

import logging
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from components.proto_classes import message_class
from components.record_file import read_records, write_records
from components.signatures import InputSpec, SignatureSpec
from serving.stores import open_tree

__all__ = ["MAX_REQUESTS", "WARMUP_FILE", "Row", "read_rows", "rows_needed", "warmup_requests"]

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
MAX_REQUESTS = 1000
"""More makes TensorFlow Serving refuse the model. Unit: requests."""

# Mostly single rows, as most callers send, and now and then a batch, so that both are warm.
_BATCH_ROWS = (1, 1, 1, 1, 1, 1, 8, 64)
_MAX_ROWS = 1000
# Called by the evaluation only, with the label, which no caller sends.
_NOT_SERVED = frozenset({"transform_features"})

_CLASSIFY = "tensorflow/serving/classify"
_REGRESS = "tensorflow/serving/regress"

# Numbers of tensorflow.DataType, and what stands for a missing cell of that type.
_DT_STRING = 7
_MISSING_INTEGER = -(2**63)
_FIELDS: dict[int, tuple[str, Any]] = {
    1: ("float_val", float("nan")),
    2: ("double_val", float("nan")),
    3: ("int_val", -(2**31)),
    9: ("int64_val", _MISSING_INTEGER),
    _DT_STRING: ("string_val", b""),
    10: ("bool_val", False),
}


@dataclass(frozen=True)
class Row:
    """One raw row: as it is served, and parsed."""

    serialized: bytes
    features: dict[str, list[Any]]
    """Values by column; an empty list where the cell is empty."""


def read_rows(urls: Sequence[str], count: int, exclude: Set[str] = frozenset()) -> list[Row]:
    """Reads the first rows of a split of tf.Examples.

    Args:
        urls: folders of TFRecord files.
        count: at most so many. Unit: rows.
        exclude: columns that no caller sends, as the label.

    Raises:
        ValueError: a file is no TFRecord file of tf.Examples.
    """
    example_class = message_class("tensorflow/core/example/example.proto", "tensorflow.Example")
    return [_row(example_class, record, exclude) for record in islice(_records(urls), count)]


def rows_needed(requests: int) -> int:
    """How many different rows a file of so many requests can use. Unit: rows."""
    return min(sum(islice(cycle(_BATCH_ROWS), requests)), _MAX_ROWS)


def warmup_requests(
    signatures: Sequence[SignatureSpec], rows: Sequence[Row], requests: int, model_name: str
) -> tuple[bytes, int]:
    """Writes requests for every signature whose inputs the rows can fill.

    Args:
        signatures: the model's entry points.
        rows: raw rows; used again from the start when they run out.
        requests: how many for all signatures together, at most MAX_REQUESTS.
        model_name: the model as servers know it.

    Returns:
        The content of the warmup file and how many requests it holds; empty without any.
    """
    columns = {name for row in rows for name in row.features}
    served = [one for one in signatures if _is_fillable(one, columns)]
    if not rows or not served or requests < 1:
        return b"", 0
    share, rest = divmod(min(requests, MAX_REQUESTS), len(served))
    logs: list[bytes] = []
    for position, signature in enumerate(served):
        supply = cycle(rows)
        for size in islice(cycle(_BATCH_ROWS), share + (position < rest)):
            batch = list(islice(supply, min(size, len(rows))))
            logs.append(_request(signature, batch, columns, model_name).SerializeToString())
    return write_records(logs), len(logs)


def _records(urls: Sequence[str]) -> Iterator[bytes]:
    for url in urls:
        tree = open_tree(url)
        for path in tree.sizes():
            if not path.rsplit("/", 1)[-1].startswith((".", "_")):
                yield from read_records(tree.chunks(path), f"{tree.url}/{path}")


def _row(example_class: Any, record: bytes, exclude: Set[str]) -> Row:
    example = example_class()
    example.ParseFromString(record)
    found = example.features.feature
    for name in exclude & set(found):
        del found[name]
    features = {}
    for name, feature in found.items():
        kind = feature.WhichOneof("kind")
        features[name] = list(getattr(feature, kind).value) if kind else []
    serialized = example.SerializeToString(deterministic=True) if exclude else record
    return Row(serialized, features)


def _is_fillable(signature: SignatureSpec, columns: Set[str]) -> bool:
    if signature.name in _NOT_SERVED:
        return False
    if _takes_examples(signature, columns):
        return True
    known = all(spec.dtype in _FIELDS for spec in signature.inputs)
    if known and any(spec.name in columns for spec in signature.inputs):
        return all(len(spec.shape or ()) <= 2 for spec in signature.inputs)
    logging.getLogger(__name__).warning(
        "no warmup requests for the signature %r: its inputs (%s) are neither serialized "
        "examples nor columns of the data",
        signature.name,
        ", ".join(spec.name for spec in signature.inputs),
    )
    return False


def _takes_examples(signature: SignatureSpec, columns: Set[str]) -> bool:
    if signature.method in (_CLASSIFY, _REGRESS):
        return True
    if len(signature.inputs) != 1:
        return False
    (spec,) = signature.inputs
    return spec.dtype == _DT_STRING and len(spec.shape or (-1,)) == 1 and spec.name not in columns


def _request(
    signature: SignatureSpec, rows: Sequence[Row], columns: Set[str], model_name: str
) -> Any:
    log = message_class(
        "tensorflow_serving/apis/prediction_log.proto", "tensorflow.serving.PredictionLog"
    )()
    if signature.method in (_CLASSIFY, _REGRESS):
        kind = log.classify_log if signature.method == _CLASSIFY else log.regress_log
        kind.request.model_spec.name = model_name
        kind.request.model_spec.signature_name = signature.name
        examples = kind.request.input.example_list.examples
        for row in rows:
            examples.add().ParseFromString(row.serialized)
        return log
    request = log.predict_log.request
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature.name
    if _takes_examples(signature, columns):
        (spec,) = signature.inputs
        _fill(request.inputs[spec.name], spec, [[row.serialized] for row in rows])
    else:
        for spec in signature.inputs:
            cells = [row.features.get(spec.name, []) for row in rows]
            _fill(request.inputs[spec.name], spec, cells)
    return log


def _fill(tensor: Any, spec: InputSpec, cells: Sequence[list[Any]]) -> None:
    """Writes one cell per row.

    Shape:
        [N], or [N, W] where the signature asks for lists: shorter ones end in missing values.
    """
    tensor.dtype = spec.dtype
    tensor.tensor_shape.dim.add().size = len(cells)
    width = 1
    if spec.shape is not None and len(spec.shape) == 2:
        width = spec.shape[1] if spec.shape[1] > 0 else max(1, *map(len, cells))
        tensor.tensor_shape.dim.add().size = width
    field, missing = _FIELDS[spec.dtype]
    values = getattr(tensor, field)
    for cell in cells:
        values.extend(_value(value, missing) for value in cell[:width])
        values.extend([missing] * (width - len(cell)))


def _value(value: Any, missing: Any) -> Any:
    """A value as the type of what stands for a missing one."""
    if isinstance(missing, bytes):
        return value if isinstance(value, bytes) else str(value).encode()
    if isinstance(value, bytes) or value != value:
        return missing
    return type(missing)(value)
