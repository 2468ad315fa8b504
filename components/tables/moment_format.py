"""The way in which a column's moments are written, as `format:` of a timestamp names it."""

from __future__ import annotations

from typing import Literal

from components.tables.column_facts import ColumnFacts

__all__ = ["MomentFormat", "moment_format"]

MomentFormat = Literal["iso8601", "epoch_s", "epoch_ms"]

# 1990 to 2100 since 1970: numbers in between are moments, if they are moments at all.
_EPOCHS: dict[MomentFormat, tuple[int, int]] = {
    "epoch_s": (631_152_000, 4_102_444_800),
    "epoch_ms": (631_152_000_000, 4_102_444_800_000),
}


def moment_format(column: ColumnFacts) -> MomentFormat | None:
    """Turns what a column holds into the one format it could have; None if it looks like none.

    Numbers are taken for moments when all of them lie between 1990 and 2100: the ranges of seconds
    and milliseconds are far apart.
    """
    if column.is_iso8601:
        return "iso8601"
    if not column.is_numeric or column.min is None or column.max is None:
        return None
    low, high = float(column.min), float(column.max)
    for written, (first, last) in _EPOCHS.items():
        if first <= low and high <= last:
            return written
    return None
