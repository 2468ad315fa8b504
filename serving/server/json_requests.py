"""Turns parsed REST requests into arrays and examples, by TensorFlow Serving's rules.

Rows that are plainly right are taken as a whole. When something is not, they are walked in
TensorFlow Serving's order to name the first fault; `json_tensors` has both ways for one tensor.
"""

import math
from collections.abc import Mapping
from typing import Any

from serving.server.json_tensors import (
    CHUNK,
    array_of,
    fill,
    is_b64,
    quick_array,
    shape_of,
    tensor,
)
from serving.server.json_text import show
from serving.server.saved_model import TensorSpec
from serving.server.status import ServingStatus, invalid
from serving.server.tensors import Array

__all__ = ["column_inputs", "predict_body", "request_object", "row_inputs"]


def request_object(document: Any) -> dict[str, Any]:
    """Takes the top-level value of a request, which must be an object with a proper signature."""
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {show(document)} Is not object")
    if not isinstance(document.get("signature_name", ""), str):
        raise invalid(
            f"JSON Value: {show(document)} not formatted correctly. 'signature_name' key must be "
            "a string value."
        )
    return document


def predict_body(
    document: dict[str, Any], specs: Mapping[str, TensorSpec]
) -> tuple[dict[str, Array], bool]:
    """Turns the `instances` or `inputs` of a predict request into one array per input.

    Args:
        document: the parsed request.
        specs: the signature's inputs by alias.

    Returns:
        The arrays, and whether the request was in row format (`instances`).

    Raises:
        ServingStatus: INVALID_ARGUMENT with TensorFlow Serving's text.
    """
    if not specs:
        signature = document.get("signature_name") or "DEFAULT"
        raise invalid(f"Failed to get input map for signature: {signature}")
    if "instances" in document:
        rows = document["instances"]
        if "inputs" in document:
            raise invalid(
                f"JSON Value: {show(document)} Not formatted correctly expecting only one of "
                "'inputs' or 'instances' keys to exist "
            )
        if not isinstance(rows, list):
            raise invalid(f"JSON Value: {show(document)} Excepting 'instances' to be an list/array")
        if not rows:
            raise invalid(f"JSON Value: {show(document)} No values in 'instances' array")
        return row_inputs(rows, specs), True
    if "inputs" in document:
        return column_inputs(document["inputs"], specs), False
    raise invalid("Missing 'inputs' or 'instances' key")


def row_inputs(rows: list[Any], specs: Mapping[str, TensorSpec]) -> dict[str, Array]:
    """Turns `instances` (one value or object per row) into one array per input.

    Shape: [rows, …] each.
    """
    if not isinstance(rows[0], dict) and len(specs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    objects = isinstance(rows[0], dict) and not is_b64(rows[0])
    quick = _quick_rows(rows, specs, objects=objects)
    return _exact_rows(rows, specs) if quick is None else quick


def column_inputs(value: Any, specs: Mapping[str, TensorSpec]) -> dict[str, Array]:
    """Turns `inputs` (one tensor, or an object of tensors) into one array per input."""
    if not isinstance(value, dict) or is_b64(value):
        if len(specs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        (alias, spec), *_ = specs.items()
        return {alias: tensor(value, spec)}
    arrays = {}
    for alias, spec in specs.items():
        if alias not in value:
            raise invalid(f"Missing named input: {alias} in 'inputs' object.")
        arrays[alias] = tensor(value[alias], spec)
    return arrays


def _quick_rows(
    rows: list[Any], specs: Mapping[str, TensorSpec], *, objects: bool
) -> dict[str, Array] | None:
    if objects:
        return _quick_object_rows(rows, specs)
    (alias, spec), *_ = specs.items()
    array = quick_array(rows, spec.dtype)
    return None if array is None else {alias: array}


def _quick_object_rows(rows: list[Any], specs: Mapping[str, TensorSpec]) -> dict[str, Array] | None:
    if set(map(type, rows)) != {dict} or set(map(len, rows)) != {len(specs)}:
        return None
    arrays = {}
    for alias, spec in specs.items():
        try:
            column = [row[alias] for row in rows]
        except KeyError:
            return None
        array = quick_array(column, spec.dtype)
        if array is None:
            return None
        arrays[alias] = array
    return arrays


def _exact_rows(rows: list[Any], specs: Mapping[str, TensorSpec]) -> dict[str, Array]:
    """Finds the fault that the quick way met, or proves that there is none.

    Goes through the rows in chunks, so that only the one with the fault is walked value by value.
    """
    objects = isinstance(rows[0], dict) and not is_b64(rows[0])
    first: dict[str, tuple[int, list[int]]] = {}
    """Number of values and shape of each input, as the first row had them."""
    flat: dict[str, list[Any]] = {alias: [] for alias in specs}
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        quick = _quick_rows(chunk, specs, objects=objects)
        if quick is None or any(
            list(array.shape[1:]) != first.get(alias, (0, list(array.shape[1:])))[1]
            for alias, array in quick.items()
        ):
            _walk_rows(chunk, start, specs, first, flat, objects=objects)
            continue
        for alias, array in quick.items():
            first.setdefault(alias, (math.prod(array.shape[1:]), list(array.shape[1:])))
            flat[alias].extend(array.ravel().tolist())
    return {
        alias: array_of(values, [len(rows), *first[alias][1]], specs[alias])
        for alias, values in flat.items()
    }


def _walk_rows(
    rows: list[Any],
    start: int,
    specs: Mapping[str, TensorSpec],
    first: dict[str, tuple[int, list[int]]],
    flat: dict[str, list[Any]],
    *,
    objects: bool,
) -> None:
    for number, row in enumerate(rows, start):
        is_object = isinstance(row, dict) and not is_b64(row)
        if objects and not is_object:
            raise invalid(f"Expecting object but got list at item {number} of input list")
        if not objects and is_object:
            raise invalid(f"Expecting value/list but got object at item {number} of input list")
        items = row.items() if objects else [(next(iter(specs)), row)]
        for alias, value in items:
            try:
                _exact_item(value, alias, specs, first, flat)
            except ServingStatus as status:
                key = f" key: {alias}" if objects else ""
                raise invalid(
                    f"Failed to process element: {number}{key} of 'instances' list. Error: {status}"
                ) from status
        if objects and set(row) != set(specs):
            raise invalid(
                f"Failed to process element: {number} of 'instances' list. JSON object: "
                f"{show(row)} keys must be equal to: {','.join(sorted(specs))}"
            )


def _exact_item(
    value: Any,
    alias: str,
    specs: Mapping[str, TensorSpec],
    first: dict[str, tuple[int, list[int]]],
    flat: dict[str, list[Any]],
) -> None:
    if alias not in specs:
        raise invalid(f"JSON object: does not have named input: {alias}")
    shape = shape_of(value)
    values: list[Any] = []
    fill(value, 0, shape, specs[alias].dtype, values)
    count, known_shape = first.setdefault(alias, (len(values), shape))
    if count != len(values):
        raise invalid(f"Expecting tensor size: {count} but got: {len(values)}")
    if known_shape != shape:
        raise invalid(f"Expecting shape {_brackets(known_shape)} but got: {_brackets(shape)}")
    flat[alias].extend(values)


def _brackets(shape: list[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
