"""The skew graph on this machine: captured requests beside the data of the very version."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from rich.console import Console
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from components.proto_classes import message_class
from components.record_file import write_records
from pipeline import cli
from pipeline.config import read_project
from pipeline.history import explanation, run_history
from pipeline.report import page
from pipeline.skew import skew_run
from serving.errors import UserError
from serving.ledger_document import Ledger, Version

# TFX asks protobuf for what it has deprecated, from a frame that looks like ours.
pytestmark = pytest.mark.filterwarnings("ignore:label.. is deprecated")

VERSION = 1_777_000_000
CONFIG = """
name: taxi
data: {path: nowhere.csv}
label: {column: tip}
task: binary
features:
  - {name: hour, kind: integer, max_value: 23}
  - {name: payment, kind: categorical}
"""
SCHEMA = """
feature { name: "hour" type: INT }
feature { name: "payment" type: BYTES }
"""


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


def capture(folder: Path, hours: np.ndarray[Any, Any], cash: float) -> Path:
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
    return folder


@pytest.fixture
def pushed(fabricated: Any, tmp_path: Path) -> Any:
    """A run that pushed the version, with its training statistics, and the ledger that says so."""
    random = np.random.default_rng(1)
    hours = random.choice([8, 9, 17, 18, 23], 3000, p=[0.4, 0.1, 0.3, 0.1, 0.1])
    content = statistics(hours, {"Cash": 1800, "Card": 1200})
    fabricated.payload("statistics", "statistics", "Split-train/FeatureStats.pb", content)
    fabricated.step(
        "statistics", {"statistics": ("ExampleStatistics", {"split_names": '["train"]'})}
    )
    schema = text_format.MessageToString(text_format.Parse(SCHEMA, schema_pb2.Schema()))
    fabricated.payload("schema", "schema", "schema.pbtxt", schema)
    fabricated.step("schema", {"schema": ("Schema", {})})
    properties = {"pushed": 1, "pushed_version": str(VERSION)}
    fabricated.step("pusher", {"pushed_model": ("PushedModel", properties)})
    entry = Version(
        version=VERSION,
        state="available",
        key="1",
        created=datetime.datetime.now(datetime.UTC),
        run_id=fabricated.run_id,
    )
    ledger = fabricated.output / "serving" / "taxi" / "ledger.json"
    ledger.parent.mkdir(parents=True)
    ledger.write_text(Ledger(versions=(entry,)).model_dump_json())
    (tmp_path / "pipeline.yaml").write_text(CONFIG)
    return fabricated


def look(pushed: Any, captured: Path, *overrides: str) -> skew_run.SkewResult:
    project = read_project(captured.parent, overrides)
    return skew_run.run(project, pushed.output, skew_run.Look(captured), Console(quiet=True))


HOURS = [8, 9, 17, 18, 23]


def test_requests_like_the_training_data_are_no_skew_and_others_stop(
    pushed: Any, tmp_path: Path
) -> None:
    random = np.random.default_rng(2)
    like = capture(tmp_path / "like", random.choice(HOURS, 1500, p=[0.4, 0.1, 0.3, 0.1, 0.1]), 0.6)
    result = look(pushed, like)
    assert result.stop is None
    assert result.version == VERSION
    assert pushed.run_id in result.verdict.compared_with
    assert {row["column"] for row in result.verdict.drift} == {"hour", "payment"}
    assert run_history.find_run(pushed.output, result.run.run_id).outcome == "no_skew"

    other = capture(
        tmp_path / "other", random.choice(HOURS, 1500, p=[0.1, 0.1, 0.3, 0.1, 0.4]), 0.9
    )
    result = look(pushed, other)
    assert result.stop is not None
    assert result.stop.exit_code == 3
    assert "'hour' is 0." in result.stop.what
    assert "'payment' is 0." in result.stop.what
    run = run_history.find_run(pushed.output, result.run.run_id)
    assert (run.outcome, run.pipeline) == ("stopped", "taxi_skew")
    assert "'hour'" in explanation.explain(run).reasons[0]
    written = Path(result.run.places["report"]).read_text()
    assert '"series":["train","serving"]' in written

    # The report of the run that made the version shows what was sent to it, too.
    made = page.render(run_history.find_run(pushed.output, pushed.run_id))
    assert '"series":["train","serving"]' in made

    allowed = look(pushed, other, "gates.skew={numeric: 0.9, categorical: 0.9}")
    assert allowed.stop is None


def test_command_ends_with_the_gates_exit_code_and_one_document(
    pushed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    captured = capture(tmp_path / "captured", np.full(200, 23), 0.6)
    words = [str(tmp_path), "--captured", str(captured), "--output", str(pushed.output)]
    with pytest.raises(SystemExit) as end:
        cli.main(["skew", *words, "--json"])
    assert end.value.code == 3
    told = json.loads(capsys.readouterr().out)
    assert (told["version"], told["skewed"]) == (VERSION, True)
    assert told["findings"][0]["column"] == "hour"
    with pytest.raises(SystemExit) as end:
        cli.main(["skew", *words])
    assert end.value.code == 3
    shown = capsys.readouterr()
    assert "200 rows answered by version" in shown.out
    assert "error: serving: 'hour' is" in shown.err


def test_version_that_the_ledger_does_not_know_is_told(pushed: Any, tmp_path: Path) -> None:
    (pushed.output / "serving" / "taxi" / "ledger.json").write_text(Ledger().model_dump_json())
    captured = capture(tmp_path / "captured", np.arange(50), cash=0.5)
    with pytest.raises(UserError, match=f"does not say which run made version {VERSION}"):
        look(pushed, captured)


def test_few_rows_tell_nothing(pushed: Any, tmp_path: Path) -> None:
    captured = capture(tmp_path / "captured", np.arange(5), cash=0.5)
    with pytest.raises(UserError, match="only 5 rows"):
        look(pushed, captured)
