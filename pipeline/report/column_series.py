"""Statistics of several sets of rows → one entry per column, as the report's charts read it.

The entries are JSON inside the page; the browser draws a column when it comes into view. Long texts
are cut, rare values left out, so that a page of 500 columns stays small.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from components.gates.column_statistics import Bucket, ColumnStatistics, SplitStatistics
from pipeline.report.value_shares import shown_value, value_shares

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

_STRETCHED = 0.9
"""Share of the values in one of ten buckets from which on the buckets say nothing."""


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
    made = [
        {
            **_column(
                {
                    label: facts.columns[name]
                    for label, facts in sets.items()
                    if name in facts.columns
                },
                is_masked=name in masked,
            ),
            "name": name,
            "flags": list(flags.get(name, ())),
            "rank": len(flags.get(name, ())),
            "drift": dict(drift[name]) if name in drift else None,
            "masked": name in masked,
        }
        for name in names
    ]
    return sorted(made, key=lambda entry: -int(entry["rank"]))


def _column(found: Mapping[str, ColumnStatistics], *, is_masked: bool) -> dict[str, Any]:
    """What the sets of rows that have a column say of it."""
    by_deciles = any(_is_stretched(each) for each in found.values())
    series = [
        _series(label, each, is_masked=is_masked, by_deciles=by_deciles)
        for label, each in found.items()
    ]
    told: dict[str, Any] = {}
    if not is_masked:
        of_text = [label for label, each in found.items() if not each.is_numeric]
        told, shares = value_shares([found[label] for label in of_text])
        by_label = dict(zip(of_text, shares, strict=True))
        series = [{**each, **by_label.get(each["name"], {})} for each in series]
    return {**told, "kind": next(iter(found.values())).kind, "series": series}


def _series(
    label: str, column: ColumnStatistics, *, is_masked: bool, by_deciles: bool
) -> dict[str, Any]:
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
        series |= _picture(column, by_deciles=by_deciles)
    elif column.values:
        series["top"] = shown_value(column.values[0][0])
    return series


def _is_stretched(column: ColumnStatistics) -> bool:
    """Whether a few far values leave nearly all others in one bucket of equal width."""
    if len(column.quantiles) < 4 or not column.present:
        return False
    low, high = column.quantiles[0].low, column.quantiles[-1].low
    fullest = max((bucket.count for bucket in column.buckets), default=0.0)
    return fullest >= _STRETCHED * column.present and math.isfinite(low) and low < high < math.inf


def _picture(column: ColumnStatistics, *, by_deciles: bool) -> dict[str, Any]:
    """The bars of a column of numbers: `[low, high, share, height]` each; height is density.

    By deciles the last one, which may be very long, is left out and only counted.
    """
    if by_deciles and column.quantiles:
        low, high = column.quantiles[0].low, column.quantiles[-1].low
        parts = _merged([each for each in column.quantiles[:-1] if _is_finite(each)], high - low)
        beyond = round(column.quantiles[-1].count / column.rows, 4)
    else:
        parts = [each for each in column.buckets if _is_finite(each) and each.count]
        beyond = 0.0
    return {"buckets": [_bar(each, column.rows) for each in parts], "beyond": beyond}


def _merged(quantiles: Sequence[Bucket], span: float) -> list[Bucket]:
    """Joins deciles that are too narrow to be drawn, such as one value that fills several."""
    narrowest = max(span, 0.0) / 50
    merged: list[Bucket] = []
    for bucket in quantiles:
        if merged and merged[-1].high - merged[-1].low < narrowest:
            last = merged.pop()
            merged.append(Bucket(last.low, bucket.high, last.count + bucket.count))
        else:
            merged.append(bucket)
    if merged:
        last = merged[-1]
        merged[-1] = Bucket(last.low, max(last.high, last.low + narrowest), last.count)
    return merged


def _bar(bucket: Bucket, rows: int) -> list[float]:
    share = bucket.count / rows
    width = bucket.high - bucket.low
    height = share / width if width > 0 and math.isfinite(width) else share
    return [bucket.low, bucket.high, round(share, 6), float(f"{height:.4g}")]


def _is_finite(bucket: Bucket) -> bool:
    return math.isfinite(bucket.low) and math.isfinite(bucket.high)


def _finite(value: float | None) -> float | str | None:
    """JSON has no infinities; they are written as text."""
    if value is None or math.isfinite(value):
        return value
    return "∞" if value > 0 else "−∞" if value < 0 else "NaN"
