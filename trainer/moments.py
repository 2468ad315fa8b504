"""Timestamps inside the graph: text or numbers to seconds, seconds to calendar parts.

Everything is proleptic Gregorian and UTC; TensorFlow has no date operations, so the civil
calendar is computed from day counts.

Source: Howard Hinnant, "chrono-compatible low-level date algorithms",
https://howardhinnant.github.io/date_algorithms.html (days_from_civil, civil_from_days).
"""

from dataclasses import dataclass

import tensorflow as tf

from trainer.cells import to_numbers
from trainer.errors import DataError
from trainer.problem import Timestamp

__all__ = ["CalendarParts", "calendar_parts", "to_epoch_seconds"]

_DATE = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_TIME = r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d([.,]\d+)?)?"
_OFFSET = r"[Zz]|[+-]([01]\d|2[0-3])(:?[0-5]\d)?"
_MOMENT = rf"{_DATE}([Tt ]{_TIME}({_OFFSET})?)?"

# Year 5138. What is beyond is no timestamp but, most likely, milliseconds taken for seconds.
_LATEST_S = 1e11
_DAY_S = 86_400


@dataclass(frozen=True)
class CalendarParts:
    """Parts of moments, int64 each, of the moments' shape; meaningless where they are missing.

    Attributes:
        year: e.g. 2013.
        quarter: 1 … 4.
        month: 1 … 12.
        day: 1 … 31.
        weekday: 1 (Monday) … 7 (Sunday).
        hour: 1 (midnight to one) … 24.
        minute: 1 … 60.
    """

    year: tf.Tensor
    quarter: tf.Tensor
    month: tf.Tensor
    day: tf.Tensor
    weekday: tf.Tensor
    hour: tf.Tensor
    minute: tf.Tensor


def to_epoch_seconds(
    cells: tf.Tensor, written: Timestamp, name: str = "timestamp"
) -> tuple[tf.Tensor, tf.Tensor]:
    """Turns cells into int64 seconds since 1970-01-01 UTC and tells which are valid.

    Args:
        cells: raw dense cells.
        written: how the cells are written, and the shift to local time.
        name: name scope of the operations.

    Raises:
        DataError: If the column is numeric but the format is text.
    """
    with tf.name_scope(name):
        if written.format == "iso8601":
            if cells.dtype != tf.string:
                raise DataError(
                    f"column {written.name!r} has the format iso8601 but holds {cells.dtype.name}",
                    expected="text",
                    fix="use format: epoch_s or epoch_ms",
                )
            seconds, valid = _read_iso8601(tf.strings.strip(cells))
        else:
            numbers = to_numbers(cells) / (1000.0 if written.format == "epoch_ms" else 1.0)
            valid = tf.abs(numbers) <= _LATEST_S
            seconds = tf.cast(tf.floor(tf.where(valid, numbers, 0.0)), tf.int64)
        return seconds + round(written.utc_offset_h * 3600), valid


def calendar_parts(seconds: tf.Tensor) -> CalendarParts:
    """Cuts int64 seconds since 1970-01-01 into calendar parts, each an id from 1."""
    days = seconds // _DAY_S
    second_of_day = seconds % _DAY_S
    year, month, day = _civil_from_days(days)
    return CalendarParts(
        year=year,
        quarter=(month - 1) // 3 + 1,
        month=month,
        day=day,
        # 1970-01-01 was a Thursday.
        weekday=(days + 3) % 7 + 1,
        hour=second_of_day // 3600 + 1,
        minute=second_of_day // 60 % 60 + 1,
    )


def _read_iso8601(text: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the seconds since 1970-01-01 UTC, and where `text` is a real date."""
    matches = tf.strings.regex_full_match(text, _MOMENT)
    text = tf.where(matches, text, "1970-01-01")
    is_date = tf.equal(tf.strings.length(text), 10)
    text = tf.where(is_date, text + "T00:00", text)
    year, month, day = (_digits(text, at, size) for at, size in ((0, 4), (5, 2), (8, 2)))
    hour, minute = _digits(text, 11, 2), _digits(text, 14, 2)

    rest = tf.strings.substr(text, 16, 64)
    has_seconds = tf.strings.regex_full_match(rest, ":.*")
    second = _digits(tf.where(has_seconds, rest, ":00"), 1, 2)
    offset = tf.strings.regex_replace(rest, r"^:\d\d([.,]\d+)?", "")
    offset = tf.strings.regex_replace(offset, r"^[Zz]?$", "+00")
    offset = tf.strings.regex_replace(offset, r"^(...)$", r"\1:00")
    offset = tf.strings.regex_replace(offset, r":", "")
    offset_s = _digits(offset, 1, 2) * 3600 + _digits(offset, 3, 2) * 60
    offset_s = tf.where(tf.equal(tf.strings.substr(offset, 0, 1), "-"), -offset_s, offset_s)

    days = _days_from_civil(year, month, day)
    is_real_date = tf.equal(_civil_from_days(days)[2], day)
    seconds = days * _DAY_S + hour * 3600 + minute * 60 + second - offset_s
    return seconds, matches & is_real_date


def _digits(text: tf.Tensor, at: int, size: int) -> tf.Tensor:
    return tf.strings.to_number(tf.strings.substr(text, at, size), tf.int64)


def _days_from_civil(year: tf.Tensor, month: tf.Tensor, day: tf.Tensor) -> tf.Tensor:
    """Counts days since 1970-01-01; years start in March, so that leap days come last."""
    year = tf.where(month <= 2, year - 1, year)
    era = year // 400
    year_of_era = year - era * 400
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return era * 146_097 + day_of_era - 719_468


def _civil_from_days(days: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns year, month and day of a count of days since 1970-01-01."""
    days = days + 719_468
    era = days // 146_097
    day_of_era = days - era * 146_097
    year_of_era = (
        day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted_month + 2) // 5 + 1
    month = tf.where(shifted_month < 10, shifted_month + 3, shifted_month - 9)
    year = year_of_era + era * 400
    return tf.where(month <= 2, year + 1, year), month, day
