"""Distances between distributions: known shifts are seen, equal ones are not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from components.gates.column_statistics import Bucket, ColumnStatistics
from components.gates.drift import jensen_shannon, measure


def numbers(values: np.ndarray, missing: int = 0) -> ColumnStatistics:
    """Facts as TFDV would make them: ten buckets of equal count."""
    edges = np.quantile(values, np.linspace(0, 1, 11))
    return ColumnStatistics(
        "x",
        "float",
        len(values) + missing,
        missing,
        min=float(values.min()),
        max=float(values.max()),
        mean=float(values.mean()),
        median=float(np.median(values)),
        quantiles=tuple(
            Bucket(float(low), float(high), len(values) / 10)
            for low, high in itertools.pairwise(edges)
        ),
    )


def texts(counts: dict[str, int], missing: int = 0) -> ColumnStatistics:
    rows = sum(counts.values()) + missing
    values = tuple((value, float(count)) for value, count in counts.items())
    return ColumnStatistics("x", "text", rows, missing, distinct=len(counts), values=values)


def test_divergence_is_0_for_equal_and_1_for_disjoint() -> None:
    one, other = np.array([0.5, 0.5, 0]), np.array([0, 0, 1.0])
    assert jensen_shannon(one, one) == 0
    assert jensen_shannon(one, other) == pytest.approx(1)


def test_shift_of_a_standard_deviation_is_seen_and_sampling_is_not() -> None:
    random = np.random.default_rng(5)
    base = numbers(random.normal(size=5000))
    same, shifted = numbers(random.normal(size=5000)), numbers(random.normal(1, size=5000))
    still, moved = measure(base, same), measure(base, shifted)
    assert still is not None
    assert moved is not None
    assert not still.exceeds(0.01)
    assert moved.exceeds(0.05)
    assert "the median went from" in moved.change


def test_few_rows_need_more_than_the_threshold() -> None:
    random = np.random.default_rng(1)
    pairs = [
        measure(numbers(random.normal(size=40)), numbers(random.normal(size=40))) for _ in range(50)
    ]
    assert any(each is not None and each.distance > 0.05 for each in pairs)
    assert sum(each is not None and each.exceeds(0.05) for each in pairs) <= 1


def test_value_that_moved_most_is_named() -> None:
    drift = measure(texts({"a": 500, "b": 500}), texts({"a": 200, "b": 500, "c": 300}))
    assert drift is not None
    assert drift.distance == pytest.approx(0.3)
    assert drift.change in (
        "'a' went from 50.0% to 20.0% of the rows",
        "'c' went from 0.0% to 30.0% of the rows",
    )


def test_rows_without_a_value_count_as_a_value() -> None:
    drift = measure(texts({"a": 1000}), texts({"a": 600}, missing=400))
    assert drift is not None
    assert drift.distance == pytest.approx(0.4)
    random = np.random.default_rng(2)
    values = random.normal(size=1000)
    gap = measure(numbers(values), numbers(values[:600], missing=400))
    assert gap is not None
    assert gap.exceeds(0.05)
    assert "without a value went from 0.0% to 40.0%" in gap.change


def test_nothing_is_measured_without_rows_or_values() -> None:
    assert measure(texts({}), texts({"a": 1})) is None
    empty = ColumnStatistics("x", "empty", 10, 10)
    assert measure(empty, empty) is None


def test_text_that_became_numbers_is_far_away() -> None:
    drift = measure(texts({"1": 10, "2": 990}), numbers(np.ones(1000)))
    assert drift is not None
    assert drift.exceeds(0.5)
