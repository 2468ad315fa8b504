"""A table that fits the terminal, and says which columns it left out to do so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = ["Column", "show"]

_GAP = 2


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    style: str = ""
    justify: Literal["left", "right"] = "left"
    shortest: int | None = None
    """To so many characters its cells may be cut; None if they must stay whole."""


def show(
    console: Console,
    title: str,
    columns: Sequence[Column],
    rows: Sequence[Sequence[str | Text]],
    order: Sequence[str] = (),
) -> None:
    """Prints a table; on a terminal that is too narrow without its least important columns.

    Args:
        console: where to; a log has no width to keep to.
        title: a line above it.
        columns: from left to right.
        rows: one cell per column.
        order: columns from the most to the least important; by default from left to right.
    """
    from rich.table import Table
    from rich.text import Text

    whole = [
        max([len(column.name), *(len(row[at]) for row in rows)])
        for at, column in enumerate(columns)
    ]
    names = [*order, *(column.name for column in columns if column.name not in order)]
    widths = _widths(columns, whole, names, console.width if console.is_terminal else None)
    table = Table(box=None, pad_edge=False, padding=(0, 0, 0, _GAP), header_style="bold")
    table.width = sum(widths.values()) + _GAP * (len(widths) - 1)
    for at, width in widths.items():
        column = columns[at]
        table.add_column(
            Text(column.name),
            style=column.style,
            justify=column.justify,
            no_wrap=True,
            overflow="ellipsis",
            width=width,
        )
    for row in rows:
        cells = [row[at] for at in widths]
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))
    console.print(Text(title, style="bold"))
    console.print(table, crop=False)
    left_out = [column.name for at, column in enumerate(columns) if at not in widths]
    if left_out:
        told = f"not shown, the terminal is too narrow: {', '.join(left_out)}; --json has all"
        console.print(Text(told, style="yellow"))


def _widths(
    columns: Sequence[Column], whole: Sequence[int], names: Sequence[str], room: int | None
) -> dict[int, int]:
    """The widths of the columns that have room, by place; the first name's has it in any case."""
    if room is None:
        return dict(enumerate(whole))
    given: dict[int, int] = {}
    left = room + _GAP  # there is none after the last
    for name in names:
        at = next(at for at, column in enumerate(columns) if column.name == name)
        least = min(whole[at], columns[at].shortest or whole[at])
        if given and least + _GAP > left:
            break
        given[at] = least
        left -= least + _GAP
    for at, least in given.items():
        more = min(whole[at] - least, max(left, 0))
        given[at] += more
        left -= more
    return dict(sorted(given.items()))
