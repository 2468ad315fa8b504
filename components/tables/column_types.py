"""Text cells → numbers: which type holds all cells of a column, and the cells in that type.

The types widen in one order, `empty → int64 → float64 → string`, whatever the order of blocks and
files, so one cell at the very end can still turn a column into text.

In a column of numbers blanks around the digits and a leading `+` don't matter, and cells that are
blank or `nan` are missing. Not numbers: `1_000`, `1,000`, `0x1F`, and whole numbers beyond 64 bits
(as float64 they would silently lose digits). Truth values, dates and times stay the text they are,
so that training and serving see the same raw input.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "ARROW_TYPES",
    "ColumnType",
    "convert_cells",
    "first_text_row",
    "is_beyond_64_bits",
    "is_number",
    "widen",
    "widest",
]

ColumnType = Literal["empty", "int64", "float64", "string"]
"""What a column holds; `empty` has no value at all."""

ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    "empty": pa.null(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
}

_ORDER: tuple[ColumnType, ...] = get_args(ColumnType)
_TWO_TO_63 = 2.0**63
_FEW_CELLS = 256
_NUMBER = r"^\s*([-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(nan|NaN|inf|Infinity))?\s*$"
_WHOLE_NUMBER = r"^\s*[-+]?\d+\s*$"
_LONG_NUMBER = r"^\s*[-+]?\d{19,}\s*$"


def widest(left: ColumnType, right: ColumnType) -> ColumnType:
    """The narrowest type that holds both."""
    return max(left, right, key=_ORDER.index)


def widen(known: ColumnType, cells: pa.Array, *, infer: bool) -> tuple[ColumnType, pa.Array]:
    """Widens a column's type so that it holds further cells.

    Args:
        known: the type of the cells seen so far.
        cells: further cells; strings, or what the format delivers.
        infer: whether text may turn out to be numbers.

    Returns:
        The type, and the cells in the narrowest type that holds them; once the column is known
        to be text, the cells as they are.
    """
    if cells.null_count == len(cells):
        return known, cells
    if not pa.types.is_string(cells.type):
        return widest(known, "int64" if pa.types.is_integer(cells.type) else "float64"), cells
    if known == "string" or not infer:
        return "string", cells
    numbers = _numbers(cells, whole=known != "float64")
    if numbers is None:
        return "string", cells
    if numbers.null_count == len(numbers):
        return known, numbers
    return widest(known, "int64" if pa.types.is_integer(numbers.type) else "float64"), numbers


def convert_cells(cells: pa.Array, kind: ColumnType) -> pa.Array:
    """Turns cells into the type that `widen` found for their column.

    Raises:
        pyarrow.ArrowInvalid: a cell does not fit, as when the file has changed in between.
    """
    target = ARROW_TYPES[kind]
    if cells.type == target:
        return cells
    if cells.null_count == len(cells):
        return pa.nulls(len(cells), target)
    if not pa.types.is_string(cells.type) or kind == "string":
        return pc.cast(cells, target)
    if kind == "empty":
        raise pa.ArrowInvalid("a value in a column that had none")
    try:
        numbers = pc.cast(cells, target)
    except pa.ArrowInvalid:
        numbers = pc.cast(_tidy(cells), target)
    return _without_nan(numbers) if kind == "float64" else numbers


def first_text_row(cells: pa.Array) -> int | None:
    """Finds the first cell that is no number, if most of the first thousand are numbers."""
    some = cells.slice(0, 1000).drop_null()
    numbers = pc.sum(pc.match_substring_regex(some, _NUMBER)).as_py() or 0
    long = some.filter(pc.match_substring_regex(some, _LONG_NUMBER)).to_pylist()
    numbers -= sum(map(is_beyond_64_bits, long))
    if len(some) == 0 or numbers * 2 < len(some):
        return None
    return _first_refused(cells)


def is_number(text: str) -> bool:
    """Whether a cell with this text could stand in a column of numbers."""
    return _numbers(pa.array([text], pa.string()), whole=True) is not None


def is_beyond_64_bits(text: str) -> bool:
    """Whether a cell is a whole number that no column can hold."""
    if re.match(_WHOLE_NUMBER, text, re.ASCII) is None:
        return False
    digits = text.strip().lstrip("+-").lstrip("0")
    return len(digits) > 19 or not -(2**63) <= int(text) < 2**63


def _first_refused(cells: pa.Array) -> int | None:
    """Finds the first cell that can't be read as a number, as a column's type is found: by trying.

    The pieces that are tried grow until one is refused, which is then halved.
    """
    start, size = 0, _FEW_CELLS
    while start < len(cells) and _numbers(cells.slice(start, size), whole=False) is not None:
        start, size = start + size, size * 2
    if start >= len(cells):
        return None
    while size > 1:
        size = (size + 1) // 2
        if _numbers(cells.slice(start, size), whole=False) is not None:
            start += size
    return start


def _numbers(cells: pa.Array, *, whole: bool) -> pa.Array | None:
    """Reads cells as int64 (if `whole` and if all are) or float64; None when one is no number."""
    numbers = _whole_numbers(cells) if whole else None
    if numbers is not None:
        return numbers
    fractions = _fractions(cells)
    has_nan = fractions is not None and fractions.null_count > cells.null_count
    if fractions is not None and not (whole and (has_nan or _may_contain(cells, b"+"))):
        return fractions
    tidied = _tidy(cells)
    numbers = _whole_numbers(tidied) if whole else None
    return _fractions(tidied) if numbers is None else numbers


def _whole_numbers(cells: pa.Array) -> pa.Array | None:
    try:
        numbers = pc.cast(cells, pa.int64())
    except pa.ArrowInvalid:
        return None
    # Arrow reads 0x1F as a number.
    if _may_contain(cells, b"x") or _may_contain(cells, b"X"):
        hexadecimal = pc.match_substring(cells, "x", ignore_case=True)
        if pc.any(hexadecimal).as_py():
            return None
    return numbers


def _fractions(cells: pa.Array) -> pa.Array | None:
    try:
        numbers = pc.cast(cells, pa.float64())
    except pa.ArrowInvalid:
        return None
    beyond = pc.greater_equal(pc.abs(numbers), _TWO_TO_63)
    if pc.any(beyond).as_py():
        large = cells.filter(beyond)
        whole = large.filter(pc.match_substring_regex(large, _WHOLE_NUMBER))
        if _whole_numbers(_tidy(whole)) is None:
            return None
    return _without_nan(numbers)


def _without_nan(numbers: pa.Array) -> pa.Array:
    nan = pc.is_nan(numbers)
    return (
        pc.if_else(nan, pa.scalar(None, pa.float64()), numbers) if pc.any(nan).as_py() else numbers
    )


def _tidy(cells: pa.Array) -> pa.Array:
    """Drops blanks and a leading plus; cells that are blank or nan become missing."""
    text = pc.utf8_trim_whitespace(cells)
    if _may_contain(text, b"+"):
        text = pc.replace_substring_regex(text, r"^\+([0-9.])", r"\1")
    no_value = pc.equal(text, "")
    if _may_contain(text, b"n") or _may_contain(text, b"N"):
        no_value = pc.or_(no_value, pc.match_substring_regex(text, "^[-+]?[nN][aA][nN]$"))
    if pc.any(no_value).as_py():
        return pc.if_else(no_value, pa.scalar(None, pa.string()), text)
    return text


def _may_contain(cells: pa.Array, character: bytes) -> bool:
    """Looks for a byte in the whole buffer, which is much faster than cell by cell."""
    text = cells.buffers()[2]
    return text is not None and character in text.to_pybytes()
