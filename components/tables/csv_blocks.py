"""A CSV byte stream, cut into blocks that end where a row ends.

The cuts are what makes everything else simple: each block is parsed on its own, memory stays
bounded, every block knows the line it starts on (for error messages) and its place in the file (so
that parts of a big file can be read by different workers).

A line break ends a row unless it stands in quotes. A quote opens only at the start of a cell, as in
Arrow's parser, which reads the blocks afterwards; anywhere else it is an ordinary character.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from serving.errors import UserError

__all__ = ["BLOCK_BYTES", "ByteSource", "RowBlock", "cut_rows", "first_row_end"]

BLOCK_BYTES = 4 << 20
"""How much is read at a time. Unit: bytes."""

MAX_ROW_BYTES = 64 << 20
"""A row beyond this length is taken for a quote that nobody closed. Unit: bytes."""

_QUOTE = 0x22
_NEWLINE = 0x0A
_RETURN = 0x0D


class ByteSource(Protocol):
    """Bytes that can be read on."""

    def read(self, size: int, /) -> bytes:
        """Reads up to `size` bytes; none at the end."""


@dataclass(frozen=True)
class RowBlock:
    """Whole rows out of a file.

    Attributes:
        data: the rows' bytes; the last one may lack its line break at the end of the file.
        start: offset of the first byte in the unpacked file. Unit: bytes.
        first_line: line on which the first row starts, 1 being the header's.
    """

    data: bytes
    start: int
    first_line: int

    @property
    def stop(self) -> int:
        """Offset behind the last byte."""
        return self.start + len(self.data)


def cut_rows(
    stream: ByteSource,
    name: str,
    delimiter: str,
    *,
    start: int = 0,
    stop: int | None = None,
    first_line: int = 1,
    block_bytes: int | None = None,
) -> Iterator[RowBlock]:
    """Cuts a stream into blocks of whole rows.

    Args:
        stream: the unpacked bytes, standing at `start`, which is the start of a row.
        name: the file, for error messages.
        delimiter: one ASCII character between cells.
        start: offset of the stream's position in the file.
        stop: offset of a row end at which to stop, by default the end of the stream.
        first_line: line number at `start`.
        block_bytes: about how big the blocks are; `BLOCK_BYTES` by default.

    Raises:
        UserError: a quote is never closed.
    """
    block_bytes = block_bytes or BLOCK_BYTES
    rest = b""
    newline = b""
    while True:
        wanted = block_bytes if stop is None else min(block_bytes, stop - start - len(rest))
        chunk = stream.read(wanted) if wanted else b""
        data = rest + chunk
        newline = newline or _newline_of(data)
        quotes = _QuotedText(data, delimiter, newline)
        end = len(data) if not chunk else quotes.last_row_end()
        if (not chunk and quotes.is_open) or len(data) - end > MAX_ROW_BYTES:
            opened = int(quotes.borders[-1]) if quotes.is_open else end
            raise _unclosed(name, first_line + data.count(newline, 0, opened))
        if end:
            block = RowBlock(data[:end], start, first_line)
            yield block
            start = block.stop
            first_line += data.count(newline, 0, end)
        if not chunk:
            return
        rest = data[end:]


def first_row_end(data: bytes, delimiter: str) -> int:
    """Returns the offset behind the first row's line break (0: there is none in `data`)."""
    newline = _newline_of(data)
    return _QuotedText(data, delimiter, newline).first_row_end()


def _newline_of(data: bytes) -> bytes:
    r"""Old Macintosh files end their lines with \r alone."""
    return b"\r" if b"\r" in data and b"\n" not in data else b"\n"


class _QuotedText:
    """Tells which bytes stand in quotes; the data start at the start of a row."""

    def __init__(self, data: bytes, delimiter: str, newline: bytes) -> None:
        self.data = data
        self.newline = newline
        self.cell_ends = {ord(delimiter), _NEWLINE, _RETURN}
        # Opening and closing quotes in turn; the last one may open and not close.
        self.borders = self._borders()

    @property
    def is_open(self) -> bool:
        return len(self.borders) % 2 == 1

    def last_row_end(self) -> int:
        end = len(self.data)
        while True:
            position = self.data.rfind(self.newline, 0, end)
            if position < 0:
                return 0
            before = int(np.searchsorted(self.borders, position))
            if before % 2 == 0:
                return position + 1
            end = int(self.borders[before - 1])

    def first_row_end(self) -> int:
        position = self.data.find(self.newline)
        while position >= 0:
            before = int(np.searchsorted(self.borders, position))
            if before % 2 == 0:
                return position + 1
            if before == len(self.borders):
                return 0
            position = self.data.find(self.newline, int(self.borders[before]))
        return 0

    def _borders(self) -> npt.NDArray[np.int64]:
        quotes: npt.NDArray[np.int64]
        if self.data.find(b'"') < 0:
            return np.empty(0, np.int64)
        octets = np.frombuffer(self.data, np.uint8)
        quotes = np.flatnonzero(octets == _QUOTE)
        # Taking quotes by turns for opening and closing is right (an escaped "" closes and opens
        # again) as long as each opening one starts a cell or follows its closing twin at once.
        opening = quotes[::2]
        before = octets[np.maximum(opening - 1, 0)]
        starts_cell = (opening == 0) | self._ends_cell(before)
        twin = np.concatenate(([-2], quotes[1::2]))[: len(opening)]
        if bool(np.all(starts_cell | (twin == opening - 1))):
            return quotes
        return self._borders_one_by_one(quotes)

    def _ends_cell(self, octets: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        found: npt.NDArray[np.bool_] = np.isin(octets, list(self.cell_ends))
        return found

    def _borders_one_by_one(self, quotes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Follows every quote; needed when some stand in the middle of a cell, as in 5" pipe."""
        borders: list[int] = []
        data, is_open, skip = self.data, False, -1
        for position in quotes.tolist():
            if position == skip:
                continue
            if is_open:
                if data[position + 1 : position + 2] == b'"':
                    skip = position + 1
                else:
                    is_open = False
                    borders.append(position)
            elif position == 0 or data[position - 1] in self.cell_ends:
                is_open = True
                borders.append(position)
        return np.array(borders, np.int64)


def _unclosed(name: str, line: int) -> UserError:
    return UserError(
        f"{name} line {line}: a quote opens here and is never closed.",
        expected='quotes in pairs; a quote inside quoted text is doubled: "5"" pipe"',
        fix=f"close or double the quote (sed -n {line}p shows the line of an unpacked file)",
    )
