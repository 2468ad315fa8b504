"""TFDV's statistics of a split → plain facts per column, without TensorFlow.

The examples hold a missing cell as an empty list, which TFDV counts as present with no values.
What a person calls missing is worked out here: rows without a value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from tensorflow_metadata.proto.v0 import statistics_pb2

__all__ = ["Bucket", "ColumnStatistics", "SplitStatistics", "read_statistics"]

STATISTICS_FILE = "FeatureStats.pb"

Kind = Literal["int", "float", "text", "empty"]


@dataclass(frozen=True)
class Bucket:
    """Part of a distribution of numbers. Units: `count` in rows, often fractional."""

    low: float
    high: float
    count: float


@dataclass(frozen=True)
class ColumnStatistics:
    """What one column of one split holds.

    Attributes:
        name: the column.
        kind: `empty` when no row has a value.
        rows: rows of the split.
        missing: rows without a value.
        distinct: different values of text; None for numbers.
        min: smallest number; None for text. Infinite if the column holds an infinity.
        max: largest number.
        finite_min: smallest number that is not infinite; None if there is none.
        finite_max: largest such number.
        mean: of the numbers.
        std_dev: standard deviation of the numbers.
        median: of the numbers.
        zeros: rows that hold 0.
        buckets: the distribution of numbers in parts of equal width.
        quantiles: the same in parts of equal count.
        values: text values and their counts, the most frequent first; at most TFDV's 1,000.
        texts: how many texts the rows hold, listed or not, without invalid ones; 0 if not known.
        invalid_text: values that are no UTF-8.
        not_finite: values that are NaN or infinite.
        max_values: most values in one row; more than 1 in a list column.
    """

    name: str
    kind: Kind
    rows: int
    missing: int
    distinct: int | None = None
    min: float | None = None
    max: float | None = None
    finite_min: float | None = None
    finite_max: float | None = None
    mean: float | None = None
    std_dev: float | None = None
    median: float | None = None
    zeros: int = 0
    buckets: tuple[Bucket, ...] = field(default=(), repr=False)
    quantiles: tuple[Bucket, ...] = field(default=(), repr=False)
    values: tuple[tuple[str, float], ...] = field(default=(), repr=False)
    texts: float = 0.0
    invalid_text: int = 0
    not_finite: float = 0
    max_values: int = 1

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing

    @property
    def missing_fraction(self) -> float:
        """Share of rows without a value."""
        return self.missing / self.rows if self.rows else 0.0

    @property
    def is_numeric(self) -> bool:
        """Whether the values are numbers."""
        return self.kind in ("int", "float")

    @property
    def is_infinite(self) -> bool:
        """Whether there is an infinity among the numbers."""
        return any(end is not None and math.isinf(end) for end in (self.min, self.max))

    @property
    def valid_texts(self) -> float:
        """How many texts the rows hold, whether TFDV lists them or not."""
        return max(self.texts, sum(count for _, count in self.values))

    @property
    def unlisted_values(self) -> int:
        """How many different texts there are that TFDV does not list."""
        return max((self.distinct or 0) - len(self.values), 0)

    @property
    def unlisted_texts(self) -> float:
        """In how many places the rows hold a text that TFDV does not list."""
        if not self.unlisted_values:
            return 0.0
        return self.valid_texts - sum(count for _, count in self.values)

    @property
    def is_constant(self) -> bool:
        """Whether there are values and no two differ."""
        if not self.present:
            return False
        if self.is_numeric:
            return self.min == self.max
        return self.distinct == 1


@dataclass(frozen=True)
class SplitStatistics:
    """The columns of one split, by name, and its number of rows."""

    rows: int
    columns: dict[str, ColumnStatistics]


def read_statistics(payload: bytes) -> SplitStatistics:
    """Turns the content of a `FeatureStats.pb` into facts per column."""
    parsed = statistics_pb2.DatasetFeatureStatisticsList.FromString(payload)
    if not parsed.datasets:
        return SplitStatistics(0, {})
    dataset = parsed.datasets[0]
    columns = (_column(feature, dataset.num_examples) for feature in dataset.features)
    return SplitStatistics(dataset.num_examples, {each.name: each for each in columns})


def _column(feature: Any, rows: int) -> ColumnStatistics:
    name = ".".join(feature.path.step) or feature.name
    which = feature.WhichOneof("stats")
    stats = getattr(feature, which) if which else None
    common = stats.common_stats if stats is not None else None
    present = _rows_with_values(common, rows) if common is not None else 0
    facts: dict[str, Any] = {
        "name": name,
        "rows": rows,
        "missing": max(rows - present, 0),
        "max_values": int(common.max_num_values) if common is not None else 0,
    }
    if not present or stats is None:
        return ColumnStatistics(kind="empty", **facts)
    if which == "num_stats":
        is_int = feature.type == statistics_pb2.FeatureNameStatistics.INT
        return ColumnStatistics(kind="int" if is_int else "float", **facts, **_numbers(stats))
    if which == "string_stats":
        return ColumnStatistics(kind="text", **facts, **_texts(stats))
    return ColumnStatistics(kind="text", **facts)


def _rows_with_values(common: Any, rows: int) -> int:
    """Rows with at least one value: present to TFDV, and not an empty list."""
    if common.max_num_values <= 1:
        return int(min(common.tot_num_values, rows))
    return int(common.num_non_missing) if common.min_num_values else _by_lengths(common)


def _by_lengths(common: Any) -> int:
    """Rows of a list column that are not empty, estimated from the quantiles of their lengths."""
    empty = sum(
        bucket.sample_count
        for bucket in common.num_values_histogram.buckets
        if bucket.high_value == 0
    )
    return int(common.num_non_missing - round(empty))


def _numbers(stats: Any) -> dict[str, Any]:
    by_type = {histogram.type: histogram for histogram in stats.histograms}
    standard = by_type.get(statistics_pb2.Histogram.STANDARD)
    quantiles = by_type.get(statistics_pb2.Histogram.QUANTILES)
    nan = standard.num_nan if standard is not None else 0
    infinite = sum(
        bucket.sample_count
        for bucket in (standard.buckets if standard is not None else ())
        if math.isinf(bucket.low_value) or math.isinf(bucket.high_value)
    )
    if not infinite and (math.isinf(stats.min) or math.isinf(stats.max)):
        infinite = 1
    # An infinity hides how far the other numbers go; the buckets of equal width are between these.
    ends = [
        end
        for bucket in (standard.buckets if standard is not None else ())
        for end in (bucket.low_value, bucket.high_value)
    ]
    ends = [end for end in (*ends, stats.min, stats.max) if math.isfinite(end)]
    return {
        "min": stats.min,
        "max": stats.max,
        "finite_min": min(ends, default=None),
        "finite_max": max(ends, default=None),
        "mean": stats.mean,
        "std_dev": stats.std_dev,
        "median": stats.median,
        "zeros": int(stats.num_zeros),
        "buckets": tuple(_buckets(standard)),
        "quantiles": tuple(_buckets(quantiles)),
        "not_finite": nan + infinite,
    }


def _buckets(histogram: Any) -> Iterator[Bucket]:
    for bucket in histogram.buckets if histogram is not None else ():
        yield Bucket(bucket.low_value, bucket.high_value, bucket.sample_count)


def _texts(stats: Any) -> dict[str, Any]:
    ranked = stats.rank_histogram.buckets
    values: Iterable[tuple[str, float]]
    if ranked:
        values = ((bucket.label, bucket.sample_count) for bucket in ranked)
    else:
        values = ((top.value, top.frequency) for top in stats.top_values)
    return {
        "distinct": int(stats.unique),
        "values": tuple(values),
        "texts": max(stats.common_stats.tot_num_values - stats.invalid_utf8_count, 0),
        "invalid_text": int(stats.invalid_utf8_count),
    }
