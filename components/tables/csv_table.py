"""CSV files → blocks of string columns.

Cells stay text here; `column_types` makes numbers of them once the whole table has been seen. What
is wrong with a file is worked out in `csv_mistakes`, slowly and exactly, only when Arrow refuses.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, ClassVar

import pyarrow as pa
import pyarrow.csv as pa_csv

from components.tables import csv_mistakes
from components.tables.csv_blocks import RowBlock, cut_rows, first_row_end
from components.tables.data_path import DataFile
from components.tables.reading_mistake import ReadingMistake
from components.tables.table_block import FilePart, TableBlock

__all__ = ["CsvFormat"]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_HEADER_BYTES = 1 << 20


@dataclass(frozen=True)
class CsvFormat:
    r"""How CSV files are to be read.

    Attributes:
        delimiter: the character between cells.
        missing_values: cells, exactly as written, that hold no value. Quotes don't matter.
        column_names: names for files without a header row; by default the first row names them.
    """

    delimiter: str = ","
    missing_values: tuple[str, ...] = ("",)
    column_names: tuple[str, ...] | None = None

    infers_types: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if len(self.delimiter) != 1 or not self.delimiter.isascii() or self.delimiter in '"\r\n':
            raise ReadingMistake(
                f"The delimiter is {self.delimiter!r}.",
                expected="one ASCII character other than a quote or a line break",
                fix=r'write data.delimiter: "," or ";" or "\t"',
                option_fix="write --delimiter ',' or ';' or tab",
            )
        if self.column_names is not None:
            csv_mistakes.check_names(self.column_names, "data.column_names", self.delimiter)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the files that count in a folder."""
        return (".csv", ".tsv") if self.delimiter == "\t" else (".csv",)

    def read_columns(self, file: DataFile) -> tuple[str, ...]:
        """Reads the column names of a file.

        Raises:
            UserError: no header, one that names a column twice or not at all, or one that another
                delimiter would split.
        """
        with file.open() as stream:
            return self._read_header(file, stream)[0]

    def read(self, file: DataFile, part: FilePart | None = None) -> Iterator[TableBlock]:
        """Reads a file, or a part of it, block by block.

        Raises:
            UserError: a header as in `read_columns`, a row with more or fewer cells than columns,
                a quote that is never closed, or text that is not UTF-8.
        """
        with file.open() as stream:
            if part is None or not file.is_seekable:
                columns, start, first_line, ahead = self._read_header(file, stream)
                stop = None
            else:
                columns, start, first_line, ahead = part.columns, part.start, part.first_line, b""
                stop = part.stop
                stream.seek(start)
            for block in cut_rows(
                _Ahead(ahead, stream),
                file.name,
                self.delimiter,
                start=start,
                stop=stop,
                first_line=first_line,
            ):
                yield self._parse(file, columns, block)

    def _read_header(
        self, file: DataFile, stream: BinaryIO
    ) -> tuple[tuple[str, ...], int, int, bytes]:
        """Returns names, the offset and line of the first row, and the bytes read beyond it."""
        head = stream.read(_HEADER_BYTES)
        csv_mistakes.check_is_text(file, head)
        skipped = len(_BYTE_ORDER_MARK) if head.startswith(_BYTE_ORDER_MARK) else 0
        if self.column_names is not None:
            return self.column_names, skipped, 1, head[skipped:]
        body = head[skipped:]
        blank = len(body) - len(body.lstrip(b"\r\n"))
        line = 1 + body[:blank].count(b"\n")
        end = first_row_end(body[blank:], self.delimiter) or len(body) - blank
        row = body[blank : blank + end]
        text = csv_mistakes.decode(file, RowBlock(row, skipped + blank, line), self.delimiter)
        cells = next(csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter), [])
        csv_mistakes.check_names(cells, f"{file.name} line {line}", self.delimiter)
        offset = skipped + blank + end
        first_line = line + max(row.count(b"\n"), 1)
        return tuple(cells), offset, first_line, head[offset:]

    def _parse(self, file: DataFile, columns: tuple[str, ...], block: RowBlock) -> TableBlock:
        convert = pa_csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()),
            null_values=list(self.missing_values),
            strings_can_be_null=True,
        )
        read = pa_csv.ReadOptions(
            column_names=list(columns),
            # One parsing task for the block: a row may hold line breaks.
            block_size=len(block.data) + 1,
            # Arrow's pool now and then aborts a process that ends right after a read
            # (apache/arrow issue 34314), and one block is parsed no faster by several threads.
            use_threads=False,
        )
        parse = pa_csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True)
        if not block.data.strip(b"\r\n"):
            schema = pa.schema([(name, pa.string()) for name in columns])
            table = schema.empty_table()
        else:
            try:
                table = pa_csv.read_csv(pa.BufferReader(block.data), read, parse, convert)
            except pa.ArrowInvalid as error:
                mistake = csv_mistakes.find(file, columns, block, self.delimiter, str(error))
                raise mistake from error
        return TableBlock(
            _one_batch(table),
            block.start,
            block.stop,
            block.first_line,
            partial(csv_mistakes.line_of_row, block, self.delimiter),
        )


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    arrays = [column.combine_chunks() for column in table.columns]
    arrays = [
        pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
        for array in arrays
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=table.schema)


class _Ahead:
    """A stream of which the beginning has been read already."""

    def __init__(self, ahead: bytes, stream: BinaryIO) -> None:
        self._ahead = ahead
        self._stream = stream

    def read(self, size: int) -> bytes:
        if not self._ahead:
            return self._stream.read(size)
        taken, self._ahead = self._ahead[:size], self._ahead[size:]
        return taken
