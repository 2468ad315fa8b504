"""Parquet files → blocks of columns that hold whole numbers, fractions or text.

The types are the files' own: text stays text, zeros stay zeros. Truth values become 0 and 1, dates
and times become ISO 8601 text, NaN is missing. Lists and structs have no place in a table of cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from components.tables.data_path import DataFile
from components.tables.reading_mistake import ReadingMistake
from components.tables.table_block import FilePart, TableBlock
from serving.errors import UserError

__all__ = ["ParquetFormat"]

_BLOCK_ROWS = 32_768


@dataclass(frozen=True)
class ParquetFormat:
    """How Parquet files are to be read: they say it themselves."""

    infers_types: ClassVar[bool] = False

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the files that count in a folder."""
        return (".parquet",)

    def read_columns(self, file: DataFile) -> tuple[str, ...]:
        """Reads the column names of a file.

        Raises:
            UserError: it is no Parquet file, or a column is a list, a struct or the like.
        """
        with _opened(file) as parquet:
            _check_types(file, parquet.schema_arrow)
            return tuple(parquet.schema_arrow.names)

    def read(self, file: DataFile, part: FilePart | None = None) -> Iterator[TableBlock]:
        """Reads a file, or a part of it (counted in rows), block by block.

        Raises:
            UserError: as `read_columns`, or the file is damaged, or bytes that are not UTF-8.
        """
        start = part.start if part else 0
        with _opened(file) as parquet:
            _check_types(file, parquet.schema_arrow)
            stop = parquet.metadata.num_rows if part is None or part.stop is None else part.stop
            row = 0
            for group in range(parquet.num_row_groups):
                end = row + parquet.metadata.row_group(group).num_rows
                if end > start and row < stop:
                    yield from _read_group(file, parquet, group, row, start, stop)
                row = end


def _read_group(
    file: DataFile, parquet: Any, group: int, row: int, start: int, stop: int
) -> Iterator[TableBlock]:
    """Reads the rows from `start` to `stop` out of a row group that begins at `row`."""
    # With threads Arrow can abort or hang at the process's end (apache/arrow issues 34314, 50482).
    for batch in parquet.iter_batches(_BLOCK_ROWS, row_groups=[group], use_threads=False):
        first, last = max(start - row, 0), min(stop - row, batch.num_rows)
        if first < last:
            cells = _as_cells(file, batch.slice(first, last - first), row + first)
            yield TableBlock(cells, row + first, row + last, row + first + 1, _line(row + first))
        row += batch.num_rows


def _line(first_row: int) -> Callable[[int], int]:
    return lambda row: first_row + row + 1


def _as_cells(file: DataFile, batch: pa.RecordBatch, row: int) -> pa.RecordBatch:
    arrays = []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        try:
            arrays.append(_plain(column))
        except pa.ArrowInvalid as error:
            raise UserError(
                f"{file.name} from row {row + 1} on, column {field.name!r}: {error}.",
                expected="whole numbers of at most 64 bits, and text in UTF-8",
                fix="convert the column where the file is written, or leave it out",
            ) from error
    return pa.RecordBatch.from_arrays(arrays, batch.schema.names)


def _plain(column: pa.Array) -> pa.Array:
    """Turns a column into int64, float64, string or null."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.dictionary_decode())
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_duration(kind):
        return pc.cast(column, pa.int64())
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = pc.cast(column, pa.float64())
        return pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)
    if pa.types.is_timestamp(kind):
        text = pc.cast(column, pa.string())
        return pc.replace_substring(text, pattern=" ", replacement="T", max_replacements=1)
    return column if pa.types.is_null(kind) else pc.cast(column, pa.string())


def _check_types(file: DataFile, schema: pa.Schema) -> None:
    for field in schema:
        if pa.types.is_nested(field.type):
            raise UserError(
                f"{file.name}: the column {field.name!r} holds {field.type}.",
                expected="one number, text, truth value or moment in each cell",
                fix="flatten the column where the file is written, or write it to another file",
            )
    names = schema.names
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise UserError(
            f"{file.name}: several columns are called {double!r}.",
            expected="each column name once",
            fix="rename all but one of them",
        )


@contextmanager
def _opened(file: DataFile) -> Iterator[Any]:
    import pyarrow.parquet as pq

    if not file.is_seekable:
        raise UserError(
            f"{file.name} is packed as {file.compression}.",
            expected="a Parquet file as it is (it is compressed inside)",
            fix="unpack it",
        )
    try:
        with file.open_seekable() as stored, pq.ParquetFile(stored) as parquet:
            yield parquet
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, error) from error


def _damaged(file: DataFile, error: Exception) -> UserError:
    return ReadingMistake(
        f"{file.name} can't be read as Parquet: {error}.",
        expected="a whole Parquet file",
        fix="write or fetch it again; set data.format if it is of another kind",
        option_fix="write or fetch it again",
    )
