"""Turns rows, as people have them, into what a signature takes.

Rows may be dicts, a pandas DataFrame, tf.Examples or serialised Examples. Dicts and frames become
tf.Examples for a signature that takes these, with each value in the type that the model's
`columns` signature gives its column; a missing value is simply left out.

In that signature a double stands for a whole number that may be missing (an int64 in Examples), NaN
and the empty text for a missing value: that is how our trainer exports it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from serving.client.answers import SignatureInfo, TensorDescription
from serving.client.protos import message
from serving.client.tensors import flatten
from serving.errors import UserError

__all__ = ["COLUMNS_SIGNATURE", "Rows", "as_rows", "column_tensors", "examples"]

COLUMNS_SIGNATURE = "columns"
"""The signature of our models with one input per raw column."""

Rows = Any
"""A dict, a sequence of dicts, of tf.Examples or of bytes, or a pandas DataFrame."""

_FLOATS = ("float", "double", "half", "bfloat16")
_TRUTH = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
_INTS = ("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64")


def as_rows(rows: Rows) -> list[Any]:
    """Turns whatever was given into a list of dicts or a list of serialised Examples.

    Raises:
        UserError: when there are no rows or they are of no known kind.
    """
    if isinstance(rows, Mapping):
        rows = [rows]
    elif hasattr(rows, "to_dict") and hasattr(rows, "columns"):
        rows = [
            {name: value for name, value in row.items() if not _is_gap(value)}
            for row in rows.to_dict("records")
        ]
    elif isinstance(rows, bytes | bytearray) or hasattr(rows, "SerializeToString"):
        rows = [rows]
    taken = [row.SerializeToString() if hasattr(row, "SerializeToString") else row for row in rows]
    if not taken:
        raise UserError("there are no rows", expected="at least one row", fix="pass some")
    kinds = {"dict" if isinstance(row, Mapping) else type(row).__name__ for row in taken}
    if kinds not in ({"dict"}, {"bytes"}):
        raise UserError(
            f"rows are of {', '.join(sorted(kinds))}",
            expected="dicts, a pandas DataFrame, tf.Examples or serialised Examples, of one kind",
            fix="convert them to dicts of plain values",
        )
    return taken


def _is_gap(value: Any) -> bool:
    """Tells pandas' signs of a missing value."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def examples(
    rows: Sequence[Any], columns: SignatureInfo | None, *, ignore_unknown: bool = False
) -> list[bytes]:
    """Turns rows into serialised tf.Examples.

    Args:
        rows: dicts, or Examples already.
        columns: the signature that tells the columns' types; without it Python's types decide.
        ignore_unknown: leave out columns that the model does not know, instead of refusing.

    Raises:
        UserError: naming the row, the column and the value that does not fit.
    """
    if isinstance(rows[0], bytes):
        return list(rows)
    known = columns.inputs if columns else None
    if known is not None:
        _check_names(rows, known, ignore_unknown=ignore_unknown)
    return [_example(number, row, known) for number, row in enumerate(rows)]


def _check_names(
    rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, Any], *, ignore_unknown: bool
) -> None:
    for number, row in enumerate(rows):
        unknown = [name for name in row if name not in kinds]
        if unknown and (not ignore_unknown or len(unknown) == len(row)):
            raise UserError(
                f"row {number} has a column {unknown[0]!r} that the model does not know",
                expected=", ".join(kinds),
                fix=f"did you mean {_nearest(unknown[0], kinds)!r}? otherwise leave it out",
            )


def _nearest(name: str, known: Iterable[str]) -> str:
    import difflib

    names = list(known)
    return next(iter(difflib.get_close_matches(name, names, 1, 0)), names[0])


def _example(
    number: int, row: Mapping[str, Any], known: Mapping[str, TensorDescription] | None
) -> bytes:
    example = message("tensorflow.Example")()
    features = example.features.feature
    for name, value in row.items():
        if known is not None and name not in known:
            continue
        values = value if isinstance(value, list | tuple) else [value]
        values = [item for item in (_plain(item) for item in values) if item is not None]
        if not values:
            continue
        if known is not None and len(values) > 1 and known[name].shape == (-1,):
            raise UserError(
                f"row {number}, column {name!r}: {len(values)} values",
                expected="one value: the model has one a row in this column",
                fix="send the values as rows of their own, or leave out all but one",
            )
        kind = known[name].dtype if known is not None else _kind_of(values, number, name)
        converted = [_convert(item, kind, number, name) for item in values]
        if kind == "double" and all(item.is_integer() for item in converted):
            features[name].int64_list.value.extend(map(int, converted))
        elif kind in _FLOATS:
            features[name].float_list.value.extend(converted)
        elif kind == "string":
            features[name].bytes_list.value.extend(converted)
        else:
            features[name].int64_list.value.extend(converted)
    data: bytes = example.SerializeToString()
    return data


def _plain(value: Any) -> Any:
    """Turns numpy's scalars into Python's; pandas' gaps into None."""
    if hasattr(value, "item") and not isinstance(value, bytes | str):
        value = value.item()
    return None if type(value).__name__ in ("NAType", "NaTType") else value


def _kind_of(values: Sequence[Any], number: int, name: str) -> str:
    if all(isinstance(item, int) for item in values):
        return "int64"
    if all(isinstance(item, int | float) for item in values):
        return "float"
    if all(isinstance(item, str | bytes) for item in values):
        return "string"
    raise UserError(
        f"row {number}, column {name!r}: {values!r}",
        expected="numbers, or texts, but not both",
        fix="convert the value before sending it",
    )


def _convert(value: Any, kind: str, number: int, name: str) -> Any:
    """Gives a value the type of its column where nothing is lost by it."""
    try:
        if kind == "string":
            return value if isinstance(value, bytes) else str(value).encode()
        if kind in _FLOATS:
            return float(value)
        if kind == "bool":
            return _TRUTH[str(value).lower()]
        if kind in _INTS:
            return _whole(value)
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    raise UserError(
        f"row {number}, column {name!r}: {value!r} does not fit its type",
        expected=f"a value of type {kind}",
        fix="correct the value, or leave it out if it is missing",
    )


def _gap(description: TensorDescription) -> Any:
    """Says what stands for a missing value of an input; None when nothing does."""
    gap: Any = float("nan") if description.dtype in _FLOATS else None
    if description.dtype == "string":
        gap = ""
    for size in reversed((description.shape or ())[1:]):
        gap = None if gap is None or size < 0 else [gap] * size
    return gap


def _whole(value: Any) -> int:
    """Reads a whole number; `12.0` and `"12"` are such, `12.5` is not."""
    try:
        number = int(value)
    except ValueError:
        value = float(value)
        number = int(value)
    if isinstance(value, float) and value != number:
        raise ValueError(f"{value} is not whole")
    return number


def column_tensors(
    rows: Sequence[Any],
    signature: SignatureInfo,
    *,
    fill_gaps: bool = False,
    ignore_unknown: bool = False,
) -> dict[str, tuple[list[Any], list[int], str]]:
    """Turns dicts into one tensor per input: flat values, shape and type by name.

    Args:
        rows: dicts.
        signature: tells the inputs and their types.
        fill_gaps: put NaN or the empty text where a row has no value, instead of refusing it.
        ignore_unknown: leave out columns that the signature does not know.

    Raises:
        UserError: when a row lacks an input, has one too many, or a value does not fit.
    """
    if isinstance(rows[0], bytes):
        raise UserError(
            "the signature takes columns, but the rows are tf.Examples",
            expected="dicts or a pandas DataFrame",
            fix="use a signature that takes examples, such as serving_default",
        )
    kinds = {name: spec.dtype for name, spec in signature.inputs.items()}
    _check_names(rows, kinds, ignore_unknown=ignore_unknown)
    tensors = {}
    for name, kind in kinds.items():
        column = []
        for number, row in enumerate(rows):
            value = row.get(name)
            if hasattr(value, "tolist"):
                value = value.tolist()
            if value is None and fill_gaps:
                value = _gap(signature.inputs[name])
            if value is None:
                raise UserError(
                    f"row {number} has no value for {name!r}",
                    expected="a value for every input of the signature",
                    fix="fill it in, or use a signature where values may be missing",
                )
            column.append(value)
        values, shape = flatten(column, name)
        converted = [_convert(value, kind, at, name) for at, value in enumerate(values)]
        tensors[name] = (converted, shape, kind)
    return tensors
