"""One column as it is found: type, gaps, range and the cells that don't fit, block by block."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from components.tables.column_types import ColumnType, first_text_row, widen
from components.tables.data_path import DataFile
from components.tables.table_block import TableBlock

__all__ = ["LARGEST_EXACT", "MAX_DISTINCT", "Cell", "ColumnFacts", "ColumnNotes", "is_moment"]

MAX_DISTINCT = 100_000
"""Up to here distinct values are counted exactly."""

MOSTLY = 0.95
"""Of a column's values this share makes it one of moments; the others then count as missing."""

LARGEST_EXACT = 2**53 - 1
"""Whole numbers up to here are exact as float64, and the neighbours of none."""

_EXAMPLES = 20
_TRUTH_VALUES = frozenset({"true", "false", "t", "f", "yes", "no", "y", "n"})
# What `trainer.moments` reads, but for days that a month doesn't have.
_DATE = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_TIME = r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d([.,]\d+)?)?"
_OFFSET = r"[Zz]|[+-]([01]\d|2[0-3])(:?[0-5]\d)?"
_MOMENT = rf"^\s*{_DATE}([Tt ]{_TIME}({_OFFSET})?)?\s*$"


@dataclass(frozen=True)
class Cell:
    """One cell and where it stands."""

    text: str
    file: str
    line: int


@dataclass(frozen=True)
class ColumnFacts:
    """What a column holds.

    Attributes:
        name: as in the header.
        type: the narrowest type that holds every cell; `empty` when there is no value at all.
        rows: rows of the table.
        missing: rows without a value.
        distinct: different values as written, `MAX_DISTINCT` at most.
        distinct_is_exact: whether there are no more than that.
        min: smallest number, or first text in code point order; None without any value.
        max: largest number, or last text.
        mean: of the numbers; None for text.
        examples: the first few different values, as written.
        moments: values that are text such as 2013-01-31 or 2013-01-31T10:00:00Z.
        first_text: the first cell that keeps a column mostly of numbers from being numeric.
        first_no_moment: the first cell in a column mostly of moments that is none.
    """

    name: str
    type: ColumnType
    rows: int
    missing: int
    distinct: int
    distinct_is_exact: bool
    min: float | int | str | None
    max: float | int | str | None
    mean: float | None
    examples: tuple[str, ...]
    moments: int
    first_text: Cell | None
    first_no_moment: Cell | None

    @property
    def is_iso8601(self) -> bool:
        """Whether all values, or all but a few, are moments as ISO 8601 has them."""
        return self.type == "string" and self.moments >= MOSTLY * max(1, self.present)

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing

    @property
    def is_numeric(self) -> bool:
        """Whether the values are numbers."""
        return self.type in ("int64", "float64")

    @property
    def is_beyond_float(self) -> bool:
        """Whether there are whole numbers that float64 can't tell from their neighbours."""
        if self.type != "int64" or not isinstance(self.min, int) or not isinstance(self.max, int):
            return False
        return max(-self.min, self.max) > LARGEST_EXACT

    @property
    def is_constant(self) -> bool:
        """Whether no two values differ."""
        return self.distinct_is_exact and (
            self.distinct <= 1 or (self.is_numeric and self.min == self.max)
        )

    @property
    def is_boolean(self) -> bool:
        """Whether the values are 0 and 1, or words for true and false."""
        if self.type == "int64":
            return self.min == 0 and self.max == 1
        words = {each.strip().casefold() for each in self.examples}
        return self.type == "string" and self.distinct <= 4 and words <= _TRUTH_VALUES

    @property
    def missing_fraction(self) -> float:
        """Share of rows without a value."""
        return self.missing / self.rows if self.rows else 0.0


def is_moment(text: str) -> bool:
    """Whether a cell is text such as 2013-01-31 or 2013-01-31T10:00:00Z."""
    return re.match(_MOMENT, text, re.ASCII) is not None


class ColumnNotes:
    """Facts of one column while it is being read."""

    def __init__(self, name: str, given: ColumnType | None) -> None:
        self.name = name
        self.type: ColumnType = given or "empty"
        self.missing = 0
        self.not_a_number = 0
        self.sum = 0.0
        self.range: tuple[float | int, float | int] | None = None
        self.text_range: tuple[str, str] | None = None
        self.distinct = pa.array([], pa.string())
        self.distinct_is_exact = True
        self.moments = 0
        self.first_text: Cell | None = None
        self.first_no_moment: Cell | None = None

    def add(self, block: TableBlock, file: DataFile, *, infer: bool) -> None:
        """Takes the column's cells of one block; `infer` lets text turn out to be numbers."""
        cells = block.batch.column(self.name)
        before = self.type
        self.missing += cells.null_count
        if cells.null_count == len(cells):
            return
        self.type, typed = widen(self.type, cells, infer=infer)
        self._add_distinct(cells)
        if self.type == "string":
            # Parquet delivers numbers, whatever they are to be read as.
            cells = pc.cast(cells, pa.string())
            self._add_text(cells, block, file, was=before)
        elif not pa.types.is_string(typed.type):
            self._add_numbers(cells, typed)

    def facts(self, rows: int) -> ColumnFacts:
        """Sums up what all blocks together hold; `rows` are the table's."""
        numeric = self.type in ("int64", "float64")
        missing = self.missing + (self.not_a_number if numeric else 0)
        low, high = (self.range if numeric else self.text_range) or (None, None)
        return ColumnFacts(
            name=self.name,
            type=self.type,
            rows=rows,
            missing=missing,
            distinct=len(self.distinct),
            distinct_is_exact=self.distinct_is_exact,
            min=low,
            max=high,
            mean=self.sum / (rows - missing) if numeric and rows > missing else None,
            examples=tuple(self.distinct.slice(0, _EXAMPLES).to_pylist()),
            moments=self.moments,
            first_text=self.first_text,
            first_no_moment=self.first_no_moment,
        )

    def _add_distinct(self, cells: pa.Array) -> None:
        if not self.distinct_is_exact:
            return
        new = pc.cast(pc.unique(cells).drop_null(), pa.string())
        merged = pc.unique(pa.concat_arrays([self.distinct, new])) if len(self.distinct) else new
        self.distinct_is_exact = len(merged) <= MAX_DISTINCT
        self.distinct = merged.slice(0, MAX_DISTINCT)

    def _add_numbers(self, cells: pa.Array, numbers: pa.Array) -> None:
        self.not_a_number += numbers.null_count - cells.null_count
        low, high = pc.min_max(numbers).as_py().values()
        if low is None:
            return
        self.sum += pc.sum(pc.cast(numbers, pa.float64(), safe=False)).as_py()
        if self.range is not None:
            low, high = min(low, self.range[0]), max(high, self.range[1])
        self.range = (low, high)

    def _add_text(self, cells: pa.Array, block: TableBlock, file: DataFile, *, was: str) -> None:
        if was != "string":
            self._note_first_text(cells, block, file)
        self._add_moments(cells, block, file)
        if was != "string":
            # The blocks so far were read as numbers; their text is among the distinct values.
            cells = pa.concat_arrays([self.distinct, cells])
        low, high = pc.min_max(cells).as_py().values()
        if self.text_range is not None:
            low, high = min(low, self.text_range[0]), max(high, self.text_range[1])
        self.text_range = (low, high)

    def _add_moments(self, cells: pa.Array, block: TableBlock, file: DataFile) -> None:
        some = cells.drop_null().slice(0, 100)
        if not self.moments and not pc.any(pc.match_substring_regex(some, _MOMENT)).as_py():
            return
        are_moments = pc.match_substring_regex(cells, _MOMENT)
        self.moments += are_moments.true_count
        row = pc.index(are_moments, False).as_py()
        if row >= 0 and self.first_no_moment is None:
            self.first_no_moment = Cell(cells[row].as_py(), file.name, block.line_of(row))

    def _note_first_text(self, cells: pa.Array, block: TableBlock, file: DataFile) -> None:
        row = first_text_row(cells)
        if row is None and self.range is not None:
            # Numbers so far, and text by the file's own word, whatever it says.
            row = pc.index(pc.is_valid(cells), True).as_py()
        if row is not None:
            self.first_text = Cell(cells[row].as_py(), file.name, block.line_of(row))
