"""The pieces in which a table is read: a part of a file, and a block of its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from components.tables.data_path import DataFile

__all__ = ["FilePart", "TableBlock"]


@dataclass(frozen=True)
class FilePart:
    """A run of rows in one file that can be read on its own.

    Attributes:
        file: where the rows are.
        columns: the file's column names, in its own order.
        start: where the part starts, in the format's own unit (CSV: bytes, Parquet: row groups).
        stop: where it ends; None is the end of the file.
        first_line: line (or row, where a format has no lines) that the part starts on, 1-based.
        rows: how many rows the part holds.
        size_bytes: about how much memory its cells take.
    """

    file: DataFile
    columns: tuple[str, ...]
    start: int
    stop: int | None
    first_line: int
    rows: int
    size_bytes: int


@dataclass(frozen=True)
class TableBlock:
    """Some rows of a file as Arrow columns.

    Attributes:
        batch: the columns. A text format delivers strings only, missing cells being null.
        start: where the block starts, in the format's own unit.
        stop: where it ends.
        first_line: line on which its first row starts, 1-based.
        line_of: gives the line of one of the block's rows (0-based).
    """

    batch: pa.RecordBatch
    start: int
    stop: int
    first_line: int
    line_of: Callable[[int], int] = field(repr=False, compare=False)
