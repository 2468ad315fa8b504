"""A table as it is found: rows, and for every column its type, gaps and range of values.

One pass over all files, block by block, in bounded memory. The facts serve the checks before a run,
the first guess of a configuration, and the messages about both.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from components.column_types import ColumnType, convert_cells, first_text_row, widen
from components.csv_table import CsvFormat
from components.data_path import DataFile, find_data_files
from components.expression import Expression
from components.nearest_name import did_you_mean
from components.table_block import TableBlock
from components.table_format import TableFormat
from serving.errors import UserError

__all__ = [
    "Cell",
    "ColumnFacts",
    "FileFacts",
    "TableFacts",
    "inspect",
    "inspect_expression",
    "inspect_files",
]

MAX_DISTINCT = 100_000
"""Up to here distinct values are counted exactly."""

_EXAMPLES = 5
_TRUTH_VALUES = frozenset({"true", "false", "t", "f", "yes", "no", "y", "n"})

_progress = logging.getLogger("kubetfx.progress")


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
        is_iso8601: whether all values are text such as 2013-01-31 or 2013-01-31T10:00:00Z.
        first_text: the first cell that keeps a column mostly of numbers from being numeric.
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
    is_iso8601: bool
    first_text: Cell | None

    @property
    def is_numeric(self) -> bool:
        """Whether the values are numbers."""
        return self.type in ("int64", "float64")

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


@dataclass(frozen=True)
class FileFacts:
    """One file of the table."""

    name: str
    rows: int
    size_bytes: int


@dataclass(frozen=True)
class TableFacts:
    """What a table holds.

    Attributes:
        files: in the order they are read.
        columns: in the order of the first file's header.
    """

    files: tuple[FileFacts, ...]
    columns: tuple[ColumnFacts, ...]

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(each.rows for each in self.files)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns."""
        return tuple(each.name for each in self.columns)

    @property
    def types(self) -> dict[str, ColumnType]:
        """Type of each column by its name."""
        return {each.name: each.type for each in self.columns}

    def column(self, name: str, place: str = "") -> ColumnFacts:
        """Looks a column up.

        Args:
            name: the column.
            place: who asks, for the message: "label", "feature 3".

        Raises:
            UserError: there is no such column, with the nearest names.
        """
        for each in self.columns:
            if each.name == name:
                return each
        where = f"{place}: " if place else ""
        raise UserError(
            f"{where}there is no column {name!r} in {self.files[0].name}.",
            expected=f"one of {', '.join(self.names)}",
            fix=did_you_mean(name, self.names) or "check the spelling, or add the column",
        )


def inspect(
    path: str,
    table_format: TableFormat | None = None,
    types: Mapping[str, ColumnType] | None = None,
) -> TableFacts:
    """Reads a whole table and tells what it holds.

    Args:
        path: a file, a folder, a glob, `package://PKG/path` or a URL.
        table_format: how to read it; by default CSV with commas.
        types: columns whose type is given rather than inferred; only `string` widens.

    Raises:
        UserError: the data can't be found or read, or have no rows.
    """
    table_format = table_format or CsvFormat()
    files = find_data_files(path, table_format.suffixes)
    return inspect_files(files, table_format, types)


def inspect_files(
    files: Sequence[DataFile],
    table_format: TableFormat,
    types: Mapping[str, ColumnType] | None = None,
) -> TableFacts:
    """Like `inspect`, for files that have been found already."""
    columns = table_format.read_columns(files[0])
    notes = {name: _ColumnNotes(name, (types or {}).get(name)) for name in columns}
    found: list[FileFacts] = []
    total = 0
    for file in files:
        check_same_columns(files[0], columns, file, table_format.read_columns(file))
        rows = 0
        for block in table_format.read(file):
            for name in columns:
                notes[name].add(block, file, infer=table_format.infers_types)
            rows += block.batch.num_rows
            total += block.batch.num_rows
            _progress.info("inspect", extra={"done": total, "total": None, "unit": "rows"})
        found.append(FileFacts(file.name, rows, file.size_bytes))
    if not total:
        raise no_rows(files)
    return TableFacts(tuple(found), tuple(notes[name].facts(total) for name in columns))


def inspect_expression(
    files: Sequence[DataFile], table_format: TableFormat, facts: TableFacts, expression: Expression
) -> ColumnFacts:
    """Computes an expression for all rows and tells what comes out, as if it were a column.

    Args:
        files: the files that `facts` are about.
        table_format: how to read them.
        facts: what they hold.
        expression: what to compute; its text names the column.

    Raises:
        UserError: the expression does not fit the columns.
    """
    types = {name: facts.column(name, expression.place).type for name in expression.columns}
    notes = _ColumnNotes(expression.text, None)
    for file in files:
        for block in table_format.read(file):
            arrays = [convert_cells(block.batch.column(name), types[name]) for name in types]
            typed = pa.RecordBatch.from_arrays(arrays, list(types))
            values = expression.evaluate(typed)
            computed = pa.RecordBatch.from_arrays([values], [expression.text])
            notes.add(replace(block, batch=computed), file, infer=False)
    return notes.facts(facts.rows)


def check_same_columns(
    first: DataFile, columns: Iterable[str], file: DataFile, others: Iterable[str]
) -> None:
    """Refuses a file whose columns are not those of the first one (their order may differ).

    Raises:
        UserError: names that only one of the two files has.
    """
    here, there = set(columns), set(others)
    if here == there:
        return
    lacking = ", ".join(map(repr, sorted(here - there)))
    extra = ", ".join(map(repr, sorted(there - here)))
    parts = [f"lacks {lacking}"] * bool(lacking) + [f"has {extra} besides"] * bool(extra)
    raise UserError(
        f"{file.name}: the header differs from that of {first.name}: it {' and '.join(parts)}.",
        expected="the same columns in all files (in any order)",
        fix="correct the header, or narrow data.path to the files that belong together",
    )


def no_rows(files: Sequence[DataFile]) -> UserError:
    """The error about a table that has a header and nothing else."""
    names = ", ".join(each.name for each in files[:3]) + (", …" if len(files) > 3 else "")
    return UserError(
        f"{names}: a header, but no row.",
        expected="at least one row below the header",
        fix="check the export that wrote the data",
    )


class _ColumnNotes:
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
        self.is_iso8601 = True
        self.first_text: Cell | None = None

    def add(self, block: TableBlock, file: DataFile, *, infer: bool) -> None:
        cells = block.batch.column(self.name)
        before = self.type
        self.missing += cells.null_count
        if cells.null_count == len(cells):
            return
        self.type, typed = widen(self.type, cells, infer=infer)
        self._add_distinct(cells)
        if self.type == "string":
            self._add_text(cells, block, file, was=before)
        elif not pa.types.is_string(typed.type):
            self._add_numbers(cells, typed)

    def facts(self, rows: int) -> ColumnFacts:
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
            is_iso8601=self.type == "string" and self.is_iso8601,
            first_text=self.first_text,
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
            # The blocks so far were read as numbers; their text is among the distinct values.
            cells = pa.concat_arrays([self.distinct, cells])
        low, high = pc.min_max(cells).as_py().values()
        if self.text_range is not None:
            low, high = min(low, self.text_range[0]), max(high, self.text_range[1])
        self.text_range = (low, high)
        self.is_iso8601 = self.is_iso8601 and _is_iso8601(cells)

    def _note_first_text(self, cells: pa.Array, block: TableBlock, file: DataFile) -> None:
        row = first_text_row(cells)
        if row is not None:
            self.first_text = Cell(cells[row].as_py(), file.name, block.line_of(row))


def _is_iso8601(cells: pa.Array) -> bool:
    values = pc.unique(cells).drop_null()
    if not pc.match_substring_regex(values.slice(0, 1), r"^\d{4}-\d\d-\d\d")[0].as_py():
        return False
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            pc.cast(values, kind)
        except pa.ArrowInvalid:
            continue
        return True
    return False
