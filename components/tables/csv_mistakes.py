"""What is wrong with a CSV file, told by file, line, column and cell.

Nothing here runs while all is well: when Arrow refuses a block, its rows are read again one by one.
"""

from __future__ import annotations

import csv
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence

from components.tables.csv_blocks import RowBlock
from components.tables.data_path import DataFile
from components.tables.reading_mistake import ReadingMistake
from serving.errors import UserError

__all__ = ["check_is_text", "check_names", "decode", "find", "line_of_row"]

_SHOWN_CHARACTERS = 100
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")
_DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}


def check_is_text(file: DataFile, head: bytes) -> None:
    """Refuses files that are no text in a one-byte encoding or UTF-8.

    Raises:
        UserError: UTF-16 or UTF-32, Parquet, or another binary format.
    """
    expected = "a CSV file in UTF-8"
    if not head.strip(b"\r\n\t \xef\xbb\xbf"):
        raise UserError(
            f"{file.name} is empty.",
            expected="a table with a header and at least one row",
            fix="remove the file, or write it again",
        )
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or _is_utf_16(head[:512]):
        raise UserError(
            f"{file.name} is encoded in UTF-16.",
            expected=expected,
            fix=f"convert it: iconv -f utf-16 -t utf-8 {shlex.quote(file.path)} > utf8.csv "
            "(in Excel: save as CSV UTF-8)",
        )
    if head.startswith(b"PAR1"):
        raise UserError(
            f"{file.name} is a Parquet file.", expected=expected, fix="set data.format: parquet"
        )
    if file.name.lower().endswith((".json", ".jsonl", ".ndjson")) and head.lstrip()[:1] in b"[{":
        raise UserError(
            f"{file.name} is JSON.",
            expected=expected,
            fix="write the table as CSV (pandas: read_json(…).to_csv(…, index=False))",
        )
    if b"\x00" in head[:4096]:
        raise UserError(
            f"{file.name} is no text: byte {head.index(0)} is zero.",
            expected=expected,
            fix="export the table as CSV",
        )


def _is_utf_16(head: bytes) -> bool:
    zeros = (head[::2].count(0), head[1::2].count(0))
    return len(head) >= 4 and max(zeros) > len(head) // 4 and min(zeros) == 0


def check_names(cells: Sequence[str], place: str, delimiter: str) -> None:
    """Refuses column names under which cells could not be told apart.

    Raises:
        UserError: no names, an empty one, one twice, numbers instead of names, or a single name
            that another delimiter would split.
    """
    other = next((each for each in _DELIMITERS if each != delimiter and each in cells[0]), None)
    if len(cells) == 1 and other is not None:
        written = repr(other).replace("'", '"')
        raise ReadingMistake(
            f"{place}: the header has a single column, {_shortened(cells[0])!r}, which holds "
            f"{_DELIMITERS[other]}.",
            expected=f"names separated by {_DELIMITERS.get(delimiter, repr(delimiter))}",
            fix=f"set data.delimiter: {written}",
            option_fix=f"add --delimiter {written}",
        )
    if all(_NUMBER.fullmatch(cell) or not cell for cell in cells):
        raise ReadingMistake(
            f"{place}: the first row holds numbers, not names: {_shortened(', '.join(cells))}.",
            expected="a header row that names the columns",
            fix="add a header row, or list the names in data.column_names",
            option_fix="add a header row, or list the names: --column-names a,b,c",
        )
    for position, name in enumerate(cells, 1):
        if not name.strip():
            raise UserError(
                f"{place}: column {position} of {len(cells)} has no name.",
                expected="a name for every column",
                fix="name it, or remove it (pandas: to_csv(…, index=False))",
            )
    name, count = Counter(cells).most_common(1)[0]
    if count > 1:
        positions = [str(at) for at, each in enumerate(cells, 1) if each == name]
        raise UserError(
            f"{place}: {count} columns are called {name!r} (columns {', '.join(positions)}).",
            expected="each column name once",
            fix="rename all but one of them",
        )


def find(
    file: DataFile, columns: Sequence[str], block: RowBlock, delimiter: str, reason: str
) -> UserError:
    """Finds out why Arrow refused a block of rows; falls back to Arrow's own `reason`."""
    try:
        decode(file, block, delimiter, columns)
    except UserError as mistake:
        return mistake
    try:
        for first_line, last_line, cells in _rows(block, delimiter):
            if len(cells) != len(columns):
                return _ragged(file, columns, first_line, last_line, cells, delimiter)
    except csv.Error as error:
        reason = f"{reason}; {error}"
    return UserError(
        f"{file.name} from line {block.first_line} on: {_shortened(reason, 300)}",
        expected=f"rows of {len(columns)} cells",
        fix="look at the lines from there on; quote cells with delimiters or line breaks",
    )


def decode(file: DataFile, block: RowBlock, delimiter: str, columns: Sequence[str] = ()) -> str:
    """Turns a block's bytes into text.

    Raises:
        UserError: the first byte that is not UTF-8, with its line and column, and what the cell
            says when it is read in the encoding it is probably in.
    """
    try:
        return block.data.decode()
    except UnicodeDecodeError as error:
        at = error.start
        cause = error
    line = block.first_line + block.data.count(b"\n", 0, at)
    encoding = _guess_encoding(block.data)
    place, shown = "", block.data[max(0, at - 20) : at + 20].decode(encoding, "replace")
    try:
        for first_line, last_line, cells in _rows(block, delimiter):
            spoilt = [n for n, cell in enumerate(cells) if _has_stray_bytes(cell)]
            if first_line <= line <= last_line and spoilt:
                if spoilt[0] < len(columns):
                    place = f", column {columns[spoilt[0]]!r}"
                shown = cells[spoilt[0]].encode(errors="surrogateescape").decode(encoding)
                break
    except (csv.Error, UnicodeDecodeError):
        pass  # The bytes around the place are shown instead of the cell.
    raise UserError(
        f"{file.name} line {line}{place}: byte 0x{block.data[at]:02x} at offset "
        f"{block.start + at} is not UTF-8; read as {encoding} the cell is {_shortened(shown)!r}.",
        expected="a CSV file in UTF-8",
        fix=f"convert it: iconv -f {encoding} -t utf-8 {shlex.quote(file.path)} > utf8.csv",
    ) from cause


def line_of_row(block: RowBlock, delimiter: str, row: int) -> int:
    """Turns the number of a row within its block (from 0) into its line in the file."""
    plain = b"\n\n" not in block.data and b"\n\r\n" not in block.data and b'"' not in block.data
    if plain and not block.data.startswith((b"\n", b"\r\n")):
        return block.first_line + row
    try:
        for number, (first_line, _, _) in enumerate(_rows(block, delimiter)):
            if number == row:
                return first_line
    except csv.Error:
        pass  # A near line is better than none.
    return block.first_line + row


def _rows(block: RowBlock, delimiter: str) -> Iterator[tuple[int, int, list[str]]]:
    """Yields first line, last line and cells of each row that is not blank."""
    text = block.data.decode(errors="surrogateescape")
    newline = "\n" if "\n" in text else "\r"
    reader = csv.reader((line + "\n" for line in text.split(newline)), delimiter=delimiter)
    before = 0
    for cells in reader:
        if cells:
            yield block.first_line + before, block.first_line + reader.line_num - 1, cells
        before = reader.line_num


def _ragged(
    file: DataFile,
    columns: Sequence[str],
    first_line: int,
    last_line: int,
    cells: list[str],
    delimiter: str,
) -> UserError:
    named = _DELIMITERS.get(delimiter, repr(delimiter))
    shown = _shortened(delimiter.join(cells))
    if last_line > first_line:
        fix = f"a quote in line {first_line} goes on to line {last_line}: double or close it"
    elif len(cells) > len(columns):
        fix = f"put cells that hold {named} into quotes"
    else:
        fix = f"complete the row (it ends after column {columns[len(cells) - 1]!r}), or remove it"
    return UserError(
        f"{file.name} line {first_line}: {len(cells)} cells instead of {len(columns)}: {shown}",
        expected=f"{len(columns)} cells separated by {named}, as in the header",
        fix=fix,
    )


def _guess_encoding(data: bytes) -> str:
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"


def _has_stray_bytes(cell: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in cell)


def _shortened(text: str, length: int = _SHOWN_CHARACTERS) -> str:
    flat = text.replace("\n", "↵").replace("\r", "")
    return flat if len(flat) <= length else flat[: length - 1] + "…"
