"""A column of texts in several sets of rows → the values worth a bar, and their share in each set.

TFDV lists up to 1,000 values of a column. The share of one that it does not list is not known,
unless it lists all there are; then it is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.gates.column_statistics import ColumnStatistics
from pipeline.report import fragments

__all__ = ["shown_value", "value_shares"]

_FROM_FIRST = 8
_FROM_OTHERS = 4
_LETTERS = 60


@dataclass(frozen=True)
class _Shares:
    """The shares of one set of rows: those that are known, and the most that another can be."""

    known: Mapping[str, float]
    unlisted: int
    at_most: float

    @classmethod
    def of(cls, column: ColumnStatistics) -> _Shares:
        is_list = column.max_values > 1
        whole = column.valid_texts + column.invalid_text if is_list else column.rows
        whole = whole or 1.0
        least = min((count for _, count in column.values), default=column.unlisted_texts)
        return cls(
            known={value: count / whole for value, count in column.values},
            unlisted=column.unlisted_values,
            at_most=min(least, column.unlisted_texts) / whole,
        )

    def share(self, value: str) -> float | None:
        """The share of a value; None if it is not known."""
        return self.known.get(value, None if self.unlisted else 0.0)


def value_shares(
    columns: Sequence[ColumnStatistics],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Chooses values and tells their shares.

    The values are the most frequent of the first set, in its order. Those that matter more in
    another set join them, or a new value would not be seen.

    Args:
        columns: the same column in each set of rows.

    Returns:
        What to know of the column: `values`, and what the shares are `of`; and of each set:
        `shares` of these values, None where not known, and then `at_most` what they can be.
    """
    if not any(column.values for column in columns):
        return {}, [{} for _ in columns]
    sets = [_Shares.of(column) for column in columns]
    values = _chosen(sets)
    is_list = any(column.max_values > 1 for column in columns)
    made = []
    for each in sets:
        shares = [each.share(value) for value in values]
        facts: dict[str, Any] = {
            "shares": [None if share is None else round(share, 6) for share in shares]
        }
        if None in shares:
            facts |= {"unlisted": each.unlisted, "at_most": round(each.at_most, 6)}
        made.append(facts)
    told = {"values": [shown_value(value) for value in values]}
    return {**told, "of": "values" if is_list else "rows"}, made


def shown_value(value: str) -> str:
    """A value as a person sees it: spaces at its ends made plain, long text cut."""
    text = fragments.plain(value)
    return text if len(text) <= _LETTERS else text[: _LETTERS - 1] + "…"


def _chosen(sets: Sequence[_Shares]) -> list[str]:
    first, *others = sets
    chosen = list(first.known)[:_FROM_FIRST]
    least = first.known[chosen[-1]] if len(chosen) == _FROM_FIRST else 0.0
    greatest: dict[str, float] = {}
    leading = {next(iter(each.known)) for each in others if each.known}
    for each in others:
        for value, share in each.known.items():
            if value not in chosen and (share > least or value in leading):
                greatest[value] = max(greatest.get(value, 0.0), share)
    more = sorted(greatest, key=lambda value: (value not in leading, -greatest[value]))
    chosen += more[:_FROM_OTHERS]
    return sorted(chosen, key=lambda value: (-first.known.get(value, 0.0), -greatest.get(value, 0)))
