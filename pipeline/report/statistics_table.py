"""Statistics of a data set as tables: one row per column, numbers and texts apart."""

from __future__ import annotations

from collections.abc import Collection

from components.gates.column_statistics import (
    STATISTICS_FILE,
    ColumnStatistics,
    SplitStatistics,
    read_statistics,
)
from pipeline.launching import payload
from pipeline.report import fragments

__all__ = ["parts"]

_TOP_VALUES = 4
_MASKED = "–"


def parts(uri: str, masked: Collection[str] = ()) -> list[str]:
    """Makes the tables of every split below a statistics artifact.

    Args:
        uri: the artifact.
        masked: columns whose values are not shown.

    Raises:
        OSError: the statistics can't be read.
    """
    made: list[str] = []
    for split in payload.splits(uri):
        facts = read_statistics(payload.read_bytes(uri, f"Split-{split}/{STATISTICS_FILE}"))
        made.append(fragments.heading(f"{split}: {facts.rows:,} rows"))
        made += _tables(facts, masked)
    return made


def _tables(facts: SplitStatistics, masked: Collection[str]) -> list[str]:
    columns = sorted(facts.columns.values(), key=lambda column: column.name)
    numbers = [column for column in columns if column.is_numeric]
    texts = [column for column in columns if not column.is_numeric]
    made = []
    if numbers:
        header = ("column", "missing", "zero", "min", "median", "mean", "max", "deviation")
        rows = [_numbers(column, is_masked=column.name in masked) for column in numbers]
        made.append(fragments.table(header, rows, marked=_mostly_missing(numbers)))
    if texts:
        header_texts = ("column", "missing", "distinct", "most frequent")
        rows = [_texts(column, is_masked=column.name in masked) for column in texts]
        made.append(fragments.table(header_texts, rows, marked=_mostly_missing(texts)))
    return made


def _numbers(column: ColumnStatistics, *, is_masked: bool) -> tuple[object, ...]:
    zeros = column.zeros / column.rows if column.rows else 0.0
    values = (column.min, column.median, column.mean, column.max, column.std_dev)
    shown = [_MASKED] * len(values) if is_masked else list(values)
    return (column.name, f"{column.missing_fraction:.1%}", f"{zeros:.1%}", *shown)


def _texts(column: ColumnStatistics, *, is_masked: bool) -> tuple[object, ...]:
    top = ", ".join(
        f"{value} ({count / (column.rows or 1):.0%})"
        for value, count in column.values[:_TOP_VALUES]
    )
    return (
        column.name,
        f"{column.missing_fraction:.1%}",
        column.distinct,
        _MASKED if is_masked else top,
    )


def _mostly_missing(columns: list[ColumnStatistics]) -> list[tuple[int, int]]:
    """The cells to mark: more than half of the rows have no value."""
    return [(row, 1) for row, column in enumerate(columns) if column.missing_fraction > 0.5]
