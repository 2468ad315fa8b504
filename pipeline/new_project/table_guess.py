"""How a new table is to be read: its format, its delimiter, its words for no value."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from components.tables import csv_mistakes, table_facts
from components.tables.csv_blocks import first_row_end
from components.tables.csv_table import CsvFormat
from components.tables.data_path import DataFile, find_data_files
from components.tables.parquet_table import ParquetFormat
from components.tables.reading_mistake import ReadingMistake
from components.tables.table_facts import TableFacts
from components.tables.table_format import TableFormat
from serving.errors import UserError

__all__ = ["GuessedTable", "read_table"]

_SUFFIXES = (".csv", ".tsv", ".parquet")
_DELIMITERS = (",", ";", "\t", "|")
_HEAD_BYTES = 1 << 16
_MISSING_WORDS = {"na", "n/a", "nan", "null", "none", "nil", "missing", "?", "-", "\\n"}


@dataclass(frozen=True)
class GuessedTable:
    """A table and how it was read.

    Attributes:
        facts: what it holds.
        files: where it is.
        table_format: how the files were read.
    """

    facts: TableFacts
    files: tuple[DataFile, ...]
    table_format: TableFormat


def read_table(
    data: str, delimiter: str | None = None, column_names: tuple[str, ...] | None = None
) -> GuessedTable:
    """Finds out how a table is written, and reads it.

    Args:
        data: a file, a folder or a pattern.
        delimiter: between two cells of a CSV; by default the one that fits the first rows.
        column_names: for a CSV without a header row.

    Raises:
        UserError: the data can't be found or read; the remedy names options, not YAML keys.
    """
    try:
        files = find_data_files(data, _SUFFIXES)
        if _is_parquet(data, files):
            parquet = ParquetFormat()
            return GuessedTable(table_facts.inspect_files(files, parquet), files, parquet)
        delimiter = _as_character(delimiter) if delimiter else _guess_delimiter(files[0])
        if column_names is not None:
            csv_mistakes.check_names(column_names, "--column-names", delimiter)
        return _read_csv(files, CsvFormat(delimiter, column_names=column_names))
    except ReadingMistake as mistake:
        raise mistake.for_options() from mistake


def _read_csv(files: tuple[DataFile, ...], table_format: CsvFormat) -> GuessedTable:
    """Reads the table, and again when numbers turn out to have a word such as NA among them."""
    while True:
        facts = table_facts.inspect_files(files, table_format)
        missing = table_format.missing_values
        found = {
            column.first_text.text
            for column in facts.columns
            if column.first_text and column.first_text.text.casefold() in _MISSING_WORDS
        } - set(missing)
        if not found:
            return GuessedTable(facts, files, table_format)
        table_format = CsvFormat(
            table_format.delimiter, (*missing, *sorted(found)), table_format.column_names
        )


def _is_parquet(data: str, files: Sequence[DataFile]) -> bool:
    """Tells Parquet from CSV by the first bytes; refuses a folder that holds both."""
    kinds = {_starts_as_parquet(file) for file in files}
    if len(kinds) > 1:
        raise UserError(
            f"{data} holds both CSV and Parquet files.",
            expected="files of one kind",
            fix=f"name those that belong together: '{data.rstrip('/')}/*.csv', or *.parquet",
        )
    return kinds.pop()


def _starts_as_parquet(file: DataFile) -> bool:
    with file.open() as stream:
        return stream.read(4) == b"PAR1"


def _as_character(delimiter: str) -> str:
    r"""Takes the names that a shell makes easier to type than the character: tab and \t."""
    return "\t" if delimiter.casefold() in ("tab", r"\t") else delimiter


def _guess_delimiter(file: DataFile) -> str:
    """The delimiter that cuts the first row into the most cells, and the second into as many."""
    with file.open() as stream:
        head = stream.read(_HEAD_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
    best, best_score = ",", (False, 1)
    for delimiter in _DELIMITERS:
        end = first_row_end(head, delimiter) or len(head)
        second = head[end:].lstrip(b"\r\n")
        counts = [_cells(head[:end], delimiter)]
        if second:
            counts.append(_cells(second[: first_row_end(second, delimiter) or None], delimiter))
        score = (len(set(counts)) == 1 and counts[0] > 1, counts[0])
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _cells(row: bytes, delimiter: str) -> int:
    text = row.decode("utf-8", "replace")
    try:
        return len(next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), []))
    except csv.Error:
        return 0
