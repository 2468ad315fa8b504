"""A table as it is found: rows, and for every column its type, gaps and range of values.

One pass over all files, block by block, in bounded memory. The facts serve the checks before a run,
the first guess of a configuration, and the messages about both.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from components.tables.column_facts import MAX_DISTINCT, Cell, ColumnFacts, ColumnNotes
from components.tables.column_types import ARROW_TYPES, ColumnType, convert_cells
from components.tables.csv_table import CsvFormat
from components.tables.data_path import DataFile, find_data_files
from components.tables.expression import Expression, TextOperand
from components.tables.nearest_name import no_such_column
from components.tables.table_format import TableFormat
from components.tables.text_cells import find_text
from serving.errors import UserError

__all__ = [
    "MAX_DISTINCT",
    "Cell",
    "ColumnFacts",
    "FileFacts",
    "TableFacts",
    "count_values",
    "inspect",
    "inspect_expression",
    "inspect_files",
]

_progress = logging.getLogger("kubetfx.progress")


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
        raise no_such_column(name, self.names, place, self.files[0].name)


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
    only: Collection[str] | None = None,
) -> TableFacts:
    """Like `inspect`, for files that have been found already; if asked, for some columns `only`."""
    columns = table_format.read_columns(files[0])
    looked_at = [name for name in columns if only is None or name in only]
    notes = {name: ColumnNotes(name, (types or {}).get(name)) for name in looked_at}
    found: list[FileFacts] = []
    total = 0
    for file in files:
        check_same_columns(files[0], columns, file, table_format.read_columns(file))
        rows = 0
        for block in table_format.read(file):
            for name in looked_at:
                notes[name].add(block, file, infer=table_format.infers_types)
            rows += block.batch.num_rows
            total += block.batch.num_rows
            _progress.info("inspect", extra={"done": total, "total": None, "unit": "rows"})
        found.append(FileFacts(file.name, rows, file.size_bytes))
    if not total:
        raise no_rows(files)
    return TableFacts(tuple(found), tuple(notes[name].facts(total) for name in looked_at))


def count_values(files: Sequence[DataFile], table_format: TableFormat, name: str) -> dict[str, int]:
    """Counts in how many rows a column has each of its values, as written."""
    counts: Counter[str] = Counter()
    for file in files:
        for block in table_format.read(file):
            cells = block.batch.column(name).drop_null()
            found = pc.value_counts(pc.cast(cells, pa.string())).to_pylist()
            counts.update({each["values"]: each["counts"] for each in found})
    return dict(counts)


def inspect_expression(
    files: Sequence[DataFile],
    table_format: TableFormat,
    facts: TableFacts,
    expression: Expression,
    masked: Collection[str] = (),
) -> ColumnFacts:
    """Computes an expression for all rows and tells what comes out, as if it were a column.

    Args:
        files: the files that `facts` are about.
        table_format: how to read them.
        facts: what they hold.
        expression: what to compute; its text names the column.
        masked: columns whose cells must not be quoted.

    Raises:
        UserError: the expression does not fit the columns; with the cell that is at fault.
    """
    types = {name: facts.column(name, expression.place).type for name in expression.columns}
    try:
        expression.result_type({name: ARROW_TYPES[kind] for name, kind in types.items()})
    except TextOperand as error:
        if not error.column:
            raise
        column = facts.column(error.column)
        found = find_text(column, files, table_format, is_masked=column.name in masked)
        raise error.with_found(found.held, found.remedy) from error
    notes = ColumnNotes(expression.text, None)
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
