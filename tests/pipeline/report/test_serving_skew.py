"""Captured requests beside the training data of the very version that answered them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.captured_rows import CapturedRows
from components.proto_classes import message_class
from components.record_file import write_records
from pipeline import serving_skew
from serving.errors import UserError

VERSION = 1_777_000_000


def statistics(hours: np.ndarray[Any, Any], words: dict[str, int]) -> bytes:
    """Training statistics of a column of numbers and one of texts."""
    listed = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = listed.datasets.add(num_examples=len(hours))
    kind = statistics_pb2.FeatureNameStatistics
    number = dataset.features.add(type=kind.INT)
    number.path.step.append("hour")
    number.num_stats.common_stats.tot_num_values = len(hours)
    number.num_stats.common_stats.max_num_values = 1
    number.num_stats.median = float(np.median(hours))
    histogram = number.num_stats.histograms.add(type=1)
    edges = np.unique(np.quantile(hours, np.linspace(0, 1, 11)))
    upto = np.searchsorted(np.sort(hours), edges, side="right")
    for index in range(1, len(edges)):
        count = upto[index] - (upto[index - 1] if index > 1 else 0)
        histogram.buckets.add(
            low_value=edges[index - 1], high_value=edges[index], sample_count=count
        )
    text = dataset.features.add(type=kind.STRING)
    text.path.step.append("payment")
    text.string_stats.common_stats.tot_num_values = len(hours)
    text.string_stats.common_stats.max_num_values = 1
    text.string_stats.unique = len(words)
    for word, frequency in words.items():
        text.string_stats.rank_histogram.buckets.add(label=word, sample_count=frequency)
    return bytes(listed.SerializeToString())


def capture(folder: Path, hours: np.ndarray[Any, Any], cash: float) -> None:
    """A file as the server writes it."""
    example_class = message_class("tensorflow/core/example/example.proto", "tensorflow.Example")
    random = np.random.default_rng(3)
    records = []
    for hour in hours:
        example = example_class()
        features = example.features.feature
        features["hour"].int64_list.value.append(int(hour))
        word = b"Cash" if random.random() < cash else b"Card"
        features["payment"].bytes_list.value.append(word)
        features["kubetfx.version"].int64_list.value.append(VERSION)
        features["kubetfx.time_ms"].int64_list.value.append(1_777_000_000_000)
        records.append(example.SerializeToString())
    folder.mkdir(exist_ok=True)
    (folder / "capture-1-1.tfrecord").write_bytes(write_records(records))


@pytest.fixture
def pushed(fabricated: Any) -> Any:
    """A run that pushed the version, with its training statistics."""
    random = np.random.default_rng(1)
    hours = random.choice([8, 9, 17, 18, 23], 3000, p=[0.4, 0.1, 0.3, 0.1, 0.1])
    content = statistics(hours, {"Cash": 1800, "Card": 1200})
    fabricated.payload("statistics", "statistics", "Split-train/FeatureStats.pb", content)
    fabricated.step("statistics", {"statistics": ("ExampleStatistics", {})})
    properties = {"pushed": 1, "pushed_version": str(VERSION)}
    fabricated.step("pusher", {"pushed_model": ("PushedModel", properties)})
    return fabricated


def test_requests_like_the_training_data_are_no_skew(pushed: Any, tmp_path: Path) -> None:
    hours = np.random.default_rng(2).choice([8, 9, 17, 18, 23], 1500, p=[0.4, 0.1, 0.3, 0.1, 0.1])
    capture(tmp_path / "captured", hours, cash=0.6)
    skew = serving_skew.compare(tmp_path / "captured", pushed.output)
    assert skew.run.run_id == pushed.run_id
    assert {each.drift.column for each in skew.columns} == {"hour", "payment"}
    assert skew.skewed == ()


def test_other_hours_and_payments_are_found(pushed: Any, tmp_path: Path) -> None:
    hours = np.random.default_rng(2).choice([8, 9, 17, 18, 23], 1500, p=[0.1, 0.1, 0.3, 0.1, 0.4])
    capture(tmp_path / "captured", hours, cash=0.9)
    skew = serving_skew.compare(tmp_path / "captured", pushed.output)
    assert {each.drift.column for each in skew.skewed} == {"hour", "payment"}


def test_version_that_no_run_pushed_is_told(fabricated: Any, tmp_path: Path) -> None:
    fabricated.step("examples", {"examples": ("Examples", {})})
    capture(tmp_path / "captured", np.arange(50), cash=0.5)
    with pytest.raises(UserError, match=f"has pushed version {VERSION}"):
        serving_skew.compare(tmp_path / "captured", fabricated.output)


def test_few_rows_tell_nothing(pushed: Any, tmp_path: Path) -> None:
    capture(tmp_path / "captured", np.arange(5), cash=0.5)
    with pytest.raises(UserError, match="only 5 rows"):
        serving_skew.compare(tmp_path / "captured", pushed.output)


def test_infinite_and_missing_cells_are_counted() -> None:
    example_class = message_class("tensorflow/core/example/example.proto", "tensorflow.Example")
    rows = CapturedRows(1)
    for value in ([1.0], [float("inf")], []):
        example = example_class()
        example.features.feature["x"].float_list.value.extend(value)
        rows.add(example.features.feature)
    column = rows.statistics().columns["x"]
    assert (column.rows, column.missing, column.not_finite) == (3, 1, 1)
