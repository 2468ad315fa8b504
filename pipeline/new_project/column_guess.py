"""What a column of a new table may mean: a kind of feature, or a reason to leave it out."""

from __future__ import annotations

import re
from dataclasses import dataclass

from components.tables.column_facts import ColumnFacts
from components.tables.column_types import is_beyond_64_bits
from components.tables.moment_format import moment_format
from pipeline.new_project.yaml_text import scalar

__all__ = ["MAX_CODES", "ColumnGuess", "are_codes", "are_large_codes", "guess", "number"]

MAX_CODES = 100
"""Whole numbers with at most this many values are read as codes rather than amounts."""

# A column of text with more values than this is hashed rather than listed.
_MAX_LISTED = 10_000
# Numbers that reach this many times their mean have a tail worth a logarithm.
_LONG_TAIL = 20
# Text with fewer rows than this for each of its values tells rows apart rather than groups.
_MIN_ROWS_PER_VALUE = 3
# Text of so many words is a sentence; sentences that differ are no categories.
_SENTENCE_WORDS = 4
# Few enough ways to write a number, a date or a sentence that each may be taken for a category.
_FEW = 20

_ID_NAME = re.compile(r"(?:(?:^|[\s_.-])(?i:id|uid|uuid|guid)|[a-z](?:Id|ID|UUID))$")
_WRITTEN = {
    "percentages": re.compile(r"^[-+]?\d+([.,]\d+)?\s*%$"),
    "amounts of money": re.compile(
        r"^[-+]?([$€£¥]\s?[-+]?[\d.,' ]*\d|[\d.,' ]*\d\s?([$€£¥]|EUR|USD|GBP|CHF))$"
    ),
    "numbers with thousands separators": re.compile(r"^[-+]?\d{1,3}(([,'\u00a0 ]\d{3})+(\.\d+)?)$"),
    "numbers with a decimal comma": re.compile(r"^[-+]?\d+(\.\d{3})*,\d+$"),
    "dates": re.compile(r"^(\d{1,2}[./-]\d{1,2}[./-](\d{4}|\d{2})|\d{4}[/.]\d{1,2}[/.]\d{1,2})\b"),
}
_CODE = re.compile(r"^0\d+$")
_DOTTED = re.compile(r"^[-+]?[1-9]\d{0,2}\.\d{3}$")
_PLAIN_NUMBER = re.compile(r"^[-+]?\d+(\.\d+)?$")


@dataclass(frozen=True)
class ColumnGuess:
    """What is made of a column.

    Attributes:
        feature: its feature as a YAML mapping without braces; empty if it is left out.
        remark: what the guess rests on, or the reason to leave it out.
        caution: what a person should know although it is used.
    """

    feature: str
    remark: str
    caution: str = ""


def guess(column: ColumnFacts) -> ColumnGuess:
    """Turns what is known about a column into a feature, or into a reason to leave it out."""
    reason = _reason_to_leave_out(column)
    if reason:
        return ColumnGuess("", reason)
    return ColumnGuess(_feature(column), _remark(column), _caution(column))


def are_codes(column: ColumnFacts) -> bool:
    """Whether digits with leading zeros, as in a zip code, must stay the text they are."""
    return column.type == "int64" and any(map(_CODE.match, column.examples))


def are_large_codes(column: ColumnFacts) -> bool:
    """Whether whole numbers that name something are too large for a model to be asked with."""
    return column.is_beyond_float and not are_codes(column) and _are_few_whole(column)


def number(value: object) -> str:
    """Writes a number for a person: `12,000`, `0.00645`."""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.6g}"
    # As a float a whole number of 64 bits would be rounded.
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}"


def _reason_to_leave_out(column: ColumnFacts) -> str:
    if column.type == "empty":
        return "empty in every row"
    if column.is_constant:
        gaps = " or empty" if column.missing else ""
        return f"{column.examples[0]!r}{gaps} in every row"
    cell = column.first_text
    if cell is not None and is_beyond_64_bits(cell.text):
        return f"numbers, but {cell.text} in line {cell.line} does not fit into 64 bits: mend it"
    if cell is not None and _PLAIN_NUMBER.match(cell.text):
        return f"numbers, but text ({cell.text!r}) in {cell.file}: write one type in all files"
    if cell is not None:
        return (
            f"numbers, but {cell.text!r} in line {cell.line}: mend such cells, or add them to "
            "data.missing_values and the column to the features"
        )
    if column.type == "string" or are_codes(column):
        return "" if column.is_iso8601 or column.is_boolean else _reason_against_text(column)
    return _reason_against_numbers(column)


def _reason_against_numbers(column: ColumnFacts) -> str:
    low, high = column.min, column.max
    is_named_id = _ID_NAME.search(column.name) is not None
    if is_named_id and column.distinct > MAX_CODES:
        return f"named as an id, with {_count(column)} values"
    if isinstance(low, int) and isinstance(high, int) and column.distinct_is_exact:
        counts_up = column.distinct == column.present and high - low < 2 * column.present
        if counts_up and column.present > 50:
            return "every row has a number of its own, counting up, as an id does"
    return ""


def _reason_against_text(column: ColumnFacts) -> str:
    if column.distinct_is_exact and column.distinct <= _FEW:
        return ""
    written = _written_as(column)
    if written == "dates":
        return (
            f"dates such as {column.examples[0]!r}: written as 2024-01-31 they make a feature "
            "of kind: timestamp"
        )
    if written:
        return (
            f"{written} such as {_first_written(column, written)!r}: written as 1234.5 they make "
            "a feature of kind: numeric"
        )
    per_value = column.present / column.distinct if column.distinct_is_exact else 1.0
    if per_value < _MIN_ROWS_PER_VALUE and column.present > 50:
        return (
            f"{_count(column)} values in {column.present:,} rows, "
            "as an id, a name or a free text has"
        )
    words = sum(len(text.split()) for text in column.examples) / len(column.examples)
    if words >= _SENTENCE_WORDS and column.distinct > MAX_CODES:
        return f"free text: {_count(column)} values of {words:.0f} words on average"
    return ""


def _written_as(column: ColumnFacts) -> str:
    """Names the way in which numbers or dates are written so that they are read as text."""
    for name, pattern in _WRITTEN.items():
        fitting = sum(pattern.match(text.strip()) is not None for text in column.examples)
        plain = sum(_PLAIN_NUMBER.match(text.strip()) is not None for text in column.examples)
        if fitting and fitting + plain >= 0.9 * len(column.examples):
            return name
    return ""


def _first_written(column: ColumnFacts, name: str) -> str:
    pattern = _WRITTEN[name]
    return next(text for text in column.examples if pattern.match(text.strip()))


def _feature(column: ColumnFacts) -> str:
    """Words one feature by the shape of its values."""
    name = f"name: {scalar(column.name)}"
    if column.is_boolean:
        return f"{name}, kind: boolean"
    if column.is_iso8601:
        return f"{name}, kind: timestamp, format: iso8601"
    if column.type == "string" or are_codes(column):
        listed = column.distinct_is_exact and column.distinct <= _MAX_LISTED
        return f"{name}, kind: categorical" + ("" if listed else ", hash_buckets: 1000")
    written = moment_format(column)
    if written and column.distinct > MAX_CODES:
        return f"{name}, kind: timestamp, format: {written}"
    if _are_few_whole(column):
        return f"{name}, kind: {'categorical' if are_large_codes(column) else 'integer'}"
    low, high = float(column.min or 0), float(column.max or 0)
    if low >= 0 and high > _LONG_TAIL * abs(column.mean or 0):
        return f"{name}, kind: log_numeric"
    return f"{name}, kind: numeric"


def _are_few_whole(column: ColumnFacts) -> bool:
    """Whether whole numbers are so few that they are taken for codes."""
    most = MAX_CODES if _ID_NAME.search(column.name) else min(MAX_CODES, column.rows / 20)
    return column.type == "int64" and column.distinct <= most


def _remark(column: ColumnFacts) -> str:
    """Tells the values that the guess rests on."""
    text = f"{_count(column)} values"
    if column.is_numeric and not are_codes(column):
        text += f", {number(column.min)} to {number(column.max)}"
    else:
        text += ", such as " + ", ".join(_shortened(value) for value in column.examples[:2])
    if column.missing:
        text += f", {column.missing_fraction:.1%} missing"
    return text


def _caution(column: ColumnFacts) -> str:
    odd = column.present - column.moments
    cell = column.first_no_moment
    if column.is_iso8601 and odd and cell is not None:
        others = f", like {odd - 1:,} other{'s' if odd > 2 else ''}" if odd > 1 else ""
        return f"no date: {cell.text!r} in line {cell.line}{others}; it counts as missing"
    if column.type == "float64" and all(map(_DOTTED.match, column.examples)):
        return (
            f"read as fractions such as {column.examples[0]}; if the dot stands between "
            "thousands, write the numbers without it"
        )
    return ""


def _count(column: ColumnFacts) -> str:
    return ("" if column.distinct_is_exact else "more than ") + f"{column.distinct:,}"


def _shortened(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= 24 else plain[:23] + "…"
