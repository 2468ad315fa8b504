"""Distances between distributions: known shifts are seen, equal ones are not."""

from __future__ import annotations

import dataclasses
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


def as_tfdv_keeps(values: np.ndarray) -> ColumnStatistics:
    """Facts as TFDV makes them: deciles that are values, and how many values each holds; buckets of
    equal width."""
    ordered = np.sort(values)
    ends = ordered[np.ceil(np.arange(11) / 10 * len(values)).astype(int).clip(1) - 1]
    upto = np.searchsorted(ordered, ends, side="right")
    upto[0] = 0
    # What lies at a border that is there several times is spread evenly over its buckets.
    counts = np.array([np.diff(upto)[ends[1:] == end].mean() for end in ends[1:]])
    widths, edges = np.histogram(values, 10)
    return dataclasses.replace(
        numbers(values),
        quantiles=tuple(map(Bucket, ends[:-1].tolist(), ends[1:].tolist(), counts.tolist())),
        buckets=tuple(map(Bucket, edges[:-1].tolist(), edges[1:].tolist(), widths.tolist())),
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


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.3])
@pytest.mark.parametrize("places", [15, 60, 120, 236, 500])
def test_numbers_that_lump_together_do_not_drift_by_sampling(places: int, exponent: float) -> None:
    # Pickup coordinates, say: a few hundred places, some of them with a tenth of the rows.
    random = np.random.default_rng(places)
    where = random.normal(size=places)
    shares = random.permutation(1 / np.arange(1, places + 1) ** exponent)
    shares /= shares.sum()
    moved = shares * np.exp(where)
    for _ in range(30):
        before = as_tfdv_keeps(random.choice(where, 1448, p=shares))
        still = measure(before, as_tfdv_keeps(random.choice(where, 1772, p=shares)))
        assert still is not None
        assert still.distance < 0.02
        drift = measure(before, as_tfdv_keeps(random.choice(where, 1772, p=moved / moved.sum())))
        assert drift is not None
        assert drift.exceeds(0.03)


def test_value_that_moved_most_is_named() -> None:
    drift = measure(texts({"a": 500, "b": 500}), texts({"a": 200, "b": 500, "c": 300}))
    assert drift is not None
    assert drift.distance == pytest.approx(0.3)
    assert drift.change in (
        "'a' went from 50.0% to 20.0% of the rows",
        "'c' went from 0.0% to 30.0% of the rows",
    )


def of_many(listed: dict[str, int], rest: int) -> ColumnStatistics:
    """Facts as TFDV makes them of more texts than it lists: `rest` rows hold one of their own."""
    facts = texts(listed)
    rows = sum(listed.values()) + rest
    return dataclasses.replace(facts, rows=rows, distinct=len(listed) + rest, texts=rows)


def test_text_of_more_values_than_are_listed_is_compared_by_those_that_are() -> None:
    rare = [{f"{letter}{index}": 1 for index in range(999)} for letter in "vw"]
    before, after = of_many({"A": 5000, **rare[0]}, 2), of_many({"B": 5000, **rare[1]}, 2)
    drift = measure(before, after)
    assert drift is not None
    assert drift.distance == pytest.approx(5000 / 6001, abs=0.001)
    assert drift.exceeds(0.5)
    assert drift.change in (
        "'A' went from 83.3% to at most 0.0% of the rows",
        "'B' went from at most 0.0% to 83.3% of the rows",
    )


def test_text_that_is_not_listed_is_taken_for_unchanged_as_far_as_it_can_be() -> None:
    # "b" may be in all of the 120 rows whose text is not listed.
    drift = measure(texts({"a": 900, "b": 100}), of_many({"a": 900}, 120))
    assert drift is not None
    assert drift.distance == pytest.approx(900 / 1000 - 900 / 1020)
    none = measure(of_many({"a": 5}, 995), of_many({"b": 5}, 995))
    assert none is not None
    assert none.distance == 0


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
