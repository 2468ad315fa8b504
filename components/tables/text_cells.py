"""Text where numbers are wanted: which cell of a column it is, where it stands, and what to do.

Nothing here runs while all is well. Where the facts about a column don't say where a cell stands,
the files are read again, up to that cell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from components.tables.column_facts import LARGEST_EXACT, Cell, ColumnFacts
from components.tables.column_types import convert_cells, is_beyond_64_bits, is_number
from components.tables.data_path import DataFile
from components.tables.table_format import TableFormat

__all__ = ["TextFound", "find_cell", "find_text", "find_too_large"]

_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")
_TYPED = "write the column as numbers in all files"
_POINT = "write fractions with a point, as in 12.5"
_SHOWN = 3


@dataclass(frozen=True)
class TextFound:
    """The text that keeps a column from being one of numbers.

    Attributes:
        held: what the column holds, and where: `'n/a' in trips.csv line 7002`.
        remedy: what to do about it.
    """

    held: str
    remedy: str


def find_text(
    column: ColumnFacts,
    files: Sequence[DataFile],
    table_format: TableFormat,
    *,
    is_masked: bool = False,
) -> TextFound:
    """Tells what text a column holds.

    Args:
        column: a column of text.
        files: what it was found in.
        table_format: how they are read.
        is_masked: whether its cells must not be quoted.
    """
    cell = column.first_text
    if cell is not None:
        return _one_cell(column, cell, table_format, is_masked=is_masked)
    cell = find_cell(files, table_format, column.name)
    examples = column.examples[:_SHOWN]
    such = "" if is_masked else f" such as {', '.join(map(repr, examples))}"
    place = f", first in {cell.file} line {cell.line}" if cell else ""
    too_large = ", beyond 64 bits" if all(map(is_beyond_64_bits, examples)) else ""
    if all(map(is_number, examples)):
        remedy = "let data.types and the schema say that these are numbers"
        if not table_format.infers_types:
            remedy = _TYPED
    elif any(map(_DECIMAL_COMMA.fullmatch, examples)):
        remedy = _POINT
    else:
        remedy = "mend the cells"
    return TextFound(f"text{such}{too_large}{place}", remedy)


def find_cell(
    files: Sequence[DataFile], table_format: TableFormat, name: str, text: str | None = None
) -> Cell | None:
    """Finds the first cell of a column that has a value, or the value `text`."""
    for file in files:
        for block in table_format.read(file):
            cells = block.batch.column(name)
            if text is None:
                row = pc.index(pc.is_valid(cells), True).as_py()
            else:
                row = pc.index(pc.cast(cells, pa.string()), text).as_py()
            if row >= 0:
                return Cell(str(cells[row].as_py()), file.name, block.line_of(row))
    return None


def find_too_large(files: Sequence[DataFile], table_format: TableFormat, name: str) -> Cell | None:
    """Finds the first cell of a column of whole numbers that float64 would round."""
    for file in files:
        for block in table_format.read(file):
            cells = block.batch.column(name)
            numbers = convert_cells(cells, "int64")
            too_large = pc.or_(pc.greater(numbers, LARGEST_EXACT), pc.less(numbers, -LARGEST_EXACT))
            row = pc.index(too_large, True).as_py()
            if row >= 0:
                return Cell(str(cells[row].as_py()).strip(), file.name, block.line_of(row))
    return None


def _one_cell(
    column: ColumnFacts, cell: Cell, table_format: TableFormat, *, is_masked: bool
) -> TextFound:
    """Words what a single cell among numbers says."""
    place = f"in {cell.file} line {cell.line}"
    if is_beyond_64_bits(cell.text):
        shown = "a number" if is_masked else cell.text
        return TextFound(f"{shown} {place}, which does not fit into 64 bits", "mend the cell")
    held = f"{'text' if is_masked else repr(cell.text)} {place}"
    if not table_format.infers_types:
        return TextFound(held, _TYPED)
    if cell.text.strip() == column.name.strip():
        return TextFound(held, "remove the line, which repeats the header")
    if _DECIMAL_COMMA.fullmatch(cell.text):
        return TextFound(held, _POINT)
    remedy = "mend the cell"
    missing = getattr(table_format, "missing_values", None)
    if missing is not None and not is_masked:
        words = json.dumps([*missing, cell.text], ensure_ascii=False)
        remedy += f", or add it to what is missing (data.missing_values: {words})"
    return TextFound(held, remedy)
