"""Statistics of several sets of rows → one entry per column, as the report's charts read it.

The entries are JSON inside the page; the browser draws a column when it comes into view. Long texts
are cut, rare values left out, so that a page of 500 columns stays small.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from components.column_statistics import Bucket, ColumnStatistics, SplitStatistics

__all__ = ["FACTS", "entries"]

FACTS: tuple[tuple[str, str], ...] = (
    ("rows", "rows"),
    ("missing", "missing"),
    ("zero", "zeros"),
    ("distinct", "distinct"),
    ("min", "min"),
    ("1st decile", "p10"),
    ("median", "median"),
    ("mean", "mean"),
    ("9th decile", "p90"),
    ("max", "max"),
    ("deviation", "std_dev"),
    ("most frequent", "top"),
)
"""The lines of a column's table: what a person reads, and the entry's key."""

_TOP_VALUES = 12
_LETTERS = 60


def entries(
    sets: Mapping[str, SplitStatistics],
    flags: Mapping[str, Sequence[str]],
    drift: Mapping[str, Mapping[str, Any]],
    masked: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Lists the columns, those with something to say first.

    Args:
        sets: statistics by what they are called: train, eval, the span before.
        flags: few words for each finding, by column.
        drift: the distance from the span before, by column.
        masked: columns whose values are not shown.
    """
    names = list(dict.fromkeys(name for facts in sets.values() for name in facts.columns))
    made = []
    for name in names:
        found = {label: facts.columns.get(name) for label, facts in sets.items()}
        made.append(
            {
                "name": name,
                "kind": next((each.kind for each in found.values() if each), "empty"),
                "flags": list(flags.get(name, ())),
                "rank": len(flags.get(name, ())),
                "drift": dict(drift[name]) if name in drift else None,
                "masked": name in masked,
                "series": [
                    _series(label, column, is_masked=name in masked)
                    for label, column in found.items()
                    if column is not None
                ],
            }
        )
    return sorted(made, key=lambda entry: -int(entry["rank"]))


def _series(label: str, column: ColumnStatistics, *, is_masked: bool) -> dict[str, Any]:
    series: dict[str, Any] = {
        "name": label,
        "rows": column.rows,
        "missing": round(column.missing_fraction, 6),
        "distinct": column.distinct,
        "zeros": round(column.zeros / column.rows, 6) if column.is_numeric else None,
    }
    if is_masked:
        return series
    for name in ("min", "median", "mean", "max", "std_dev"):
        series[name] = _finite(getattr(column, name))
    if column.quantiles:
        series["p10"] = _finite(column.quantiles[0].high)
        series["p90"] = _finite(column.quantiles[-1].low)
    if column.is_numeric:
        series["buckets"] = _shares(column.buckets, column.rows)
    else:
        rows = sum(count for _, count in column.values) or 1.0
        series["values"] = [
            [_cut(value), round(count / rows * (1 - column.missing_fraction), 6)]
            for value, count in column.values[:_TOP_VALUES]
        ]
        series["top"] = _cut(column.values[0][0]) if column.values else None
    return series


def _shares(buckets: Sequence[Bucket], rows: int) -> list[list[float]]:
    """The buckets that can be drawn, with their share of the rows."""
    return [
        [bucket.low, bucket.high, round(bucket.count / rows, 6)]
        for bucket in buckets
        if math.isfinite(bucket.low) and math.isfinite(bucket.high)
    ]


def _finite(value: float | None) -> float | str | None:
    """JSON has no infinities; they are written as text."""
    if value is None or math.isfinite(value):
        return value
    return "∞" if value > 0 else "−∞" if value < 0 else "NaN"


def _cut(text: str) -> str:
    return text if len(text) <= _LETTERS else text[: _LETTERS - 1] + "…"
