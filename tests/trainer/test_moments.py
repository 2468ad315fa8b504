"""Dates and times computed by TensorFlow, compared with Python's datetime."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.errors import DataError
from trainer.features import Timestamp
from trainer.moments import calendar_parts, to_epoch_seconds

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ISO = Timestamp(name="when", format="iso8601")


def seconds_of(texts: list[str], written: Timestamp = ISO) -> list[int | None]:
    seconds, valid = to_epoch_seconds(tf.constant(texts), written)
    return [
        int(value) if is_valid else None
        for value, is_valid in zip(seconds.numpy(), valid.numpy(), strict=True)
    ]


offsets = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(
    lambda minutes: timezone(timedelta(minutes=minutes))
)
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=offsets)


@settings(max_examples=30, deadline=None)
@given(st.lists(moments, min_size=1, max_size=50), st.sampled_from(["T", " "]))
def test_iso8601_reads_as_datetime_does(times: list[datetime], separator: str) -> None:
    found = seconds_of([time.isoformat(separator) for time in times])
    in_year_5138 = 10**11
    for time, seconds in zip(times, found, strict=True):
        expected = (time.replace(microsecond=0) - EPOCH) // timedelta(seconds=1)
        assert seconds == expected or abs(expected) > in_year_5138


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-(10**11), 10**11), min_size=1, max_size=50))
def test_parts_are_those_of_the_civil_calendar(seconds: list[int]) -> None:
    parts = calendar_parts(tf.constant(seconds, tf.int64))
    for at, second in enumerate(seconds):
        if not -62_135_596_800 <= second < 253_402_300_800:
            continue  # datetime ends there.
        time = EPOCH + timedelta(seconds=second)
        assert (parts.year[at], parts.month[at], parts.day[at]) == (time.year, time.month, time.day)
        assert parts.weekday[at] == time.isoweekday()
        assert (parts.hour[at], parts.minute[at]) == (time.hour + 1, time.minute + 1)
        assert parts.quarter[at] == (time.month + 2) // 3


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2013-02-29", "2013-13-01", "2013-1-1", "2013-01-01T25:00", "1372636800"],
)
def test_what_is_no_date_is_missing(text: str) -> None:
    assert seconds_of([text]) == [None]


def test_short_forms_are_read() -> None:
    forms = ["2020-02-29", " 2020-02-29T00:00 ", "2020-02-29 00:00:00,5Z", "2020-02-29T02+02"]
    assert seconds_of(forms) == [1582934400] * 3 + [None]
    assert seconds_of(["2020-02-29T02:00+02", "2020-02-29T02:00+0200"]) == [1582934400] * 2


def test_milliseconds_and_local_time() -> None:
    written = Timestamp(name="when", format="epoch_ms", utc_offset_h=-5.5)
    seconds, valid = to_epoch_seconds(tf.constant([1582934400999, 0], tf.int64), written)
    assert seconds.numpy().tolist() == [1582934400 - 19800, -19800]
    assert valid.numpy().all()


def test_milliseconds_taken_for_seconds_are_missing() -> None:
    seconds = tf.constant([1582934400999.0, float("nan"), float("inf")])
    assert not to_epoch_seconds(seconds, Timestamp(name="when"))[1].numpy().any()


def test_numbers_are_no_iso8601() -> None:
    with pytest.raises(DataError, match="'when' has the format iso8601 but holds int64"):
        to_epoch_seconds(tf.constant([1], tf.int64), ISO)
