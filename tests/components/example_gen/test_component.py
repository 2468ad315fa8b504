"""The component as TFX's own Launcher runs it, against an SQLite metadata store."""

from __future__ import annotations

import gzip
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.example_gen.component import TabularExampleGen
from components.record_file import read_records
from components.tables import csv_blocks
from components.tables.csv_table import CsvFormat
from components.tables.data_path import resolve_path
from components.tables.parquet_table import ParquetFormat
from components.tables.row_splits import FileSplits, RowSplits, TimeSplits
from serving.errors import UserError

TAXI = "package://tfx/examples/chicago_taxi_pipeline/data/simple"


@dataclass(frozen=True)
class Outcome:
    """What the metadata store knows after a launch."""

    state: str
    uri: str
    properties: dict[str, Any]


Rows = dict[str, list[dict[str, Any]]]
Run = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Launches the component and returns what the metadata store then knows."""
    from ml_metadata.proto import metadata_store_pb2 as mlmd
    from tfx.dsl.compiler import compiler
    from tfx.orchestration import metadata, pipeline
    from tfx.orchestration.local import runner_utils
    from tfx.orchestration.portable import launcher, runtime_parameter_utils

    connection = metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.db"))
    count = iter(range(100))

    def launched(*args: Any, **settings: Any) -> Outcome:
        component = TabularExampleGen(*args, **settings).with_id("examples")
        ir = compiler.Compiler().compile(
            pipeline.Pipeline(
                "p", str(tmp_path / "root"), components=[component], enable_cache=True
            )
        )
        runtime_parameter_utils.substitute_runtime_parameter(
            ir, {"pipeline-run-id": f"run{next(count)}"}
        )
        deployment = runner_utils.extract_local_deployment_config(ir)
        store = metadata.Metadata(connection)
        info = launcher.Launcher(
            pipeline_node=ir.nodes[0].pipeline_node,
            mlmd_connection=store,
            pipeline_info=ir.pipeline_info,
            pipeline_runtime_spec=ir.runtime_spec,
            executor_spec=runner_utils.extract_executor_spec(deployment, "examples"),
            custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, "examples"),
        ).launch()
        with store as handle:
            (execution,) = handle.store.get_executions_by_id([info.execution_id])
            (event,) = handle.store.get_events_by_execution_ids([info.execution_id])
            (artifact,) = handle.store.get_artifacts_by_id([event.artifact_id])
        values = [*artifact.properties.items(), *artifact.custom_properties.items()]
        return Outcome(
            mlmd.Execution.State.Name(execution.last_known_state),
            artifact.uri,
            {name: getattr(value, value.WhichOneof("value")) for name, value in values},
        )

    return launched


def read(outcome: Outcome) -> Rows:
    """All rows by split, each a dict of its first values."""
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    rows: Rows = {}
    for folder in sorted(Path(outcome.uri).iterdir()):
        records = [
            record
            for shard in sorted(folder.iterdir())
            for record in read_records([shard.read_bytes()], shard.name)
        ]
        decoded = ExamplesToRecordBatchDecoder().DecodeBatch(records).to_pylist()
        rows[folder.name.removeprefix("Split-")] = [
            {name: values[0] if values else None for name, values in row.items()} for row in decoded
        ]
    return rows


def write(folder: Path, rows: int = 300, name: str = "t.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{n},{n % 5},{'' if n % 10 == 0 else n / 4},w{n % 3}\n" for n in range(rows)]
    (folder / name).write_text("id,part,amount,word\n" + "".join(lines))
    return folder


def test_taxi_trips_become_labelled_splits(run: Run) -> None:
    outcome = run(TAXI, label="big_tip", label_expression="tips > 0.2 * fare")
    assert outcome.state == "COMPLETE"
    properties = outcome.properties
    assert properties["rows_train"] + properties["rows_eval"] == 15_002
    assert properties["rows_dropped_missing_label"] == 0
    assert properties["split_names"] == '["train", "eval"]'
    assert properties["payload_format"] == "FORMAT_TF_EXAMPLE"
    assert properties["span"] == 0
    rows = read(outcome)
    assert abs(len(rows["train"]) / 15_002 - 2 / 3) < 0.02
    tipped = [row["big_tip"] for split in rows.values() for row in split]
    assert sum(tipped) / len(tipped) == pytest.approx(0.225, abs=0.005)
    for row in rows["eval"]:
        assert row["big_tip"] == int(row["tips"] > 0.2 * row["fare"] + 1e-6)
        assert isinstance(row["trip_start_timestamp"], int)
    names = [path.name for path in (Path(outcome.uri) / "Split-train").iterdir()]
    assert names == ["data_tfrecord-00000-of-00001"]


def test_unchanged_data_are_cached_and_changed_data_are_not(run: Run, tmp_path: Path) -> None:
    data = write(tmp_path / "data")
    assert run(str(data)).state == "COMPLETE"
    os.utime(data / "t.csv", (1, 1))
    assert run(str(data)).state == "CACHED"
    stat = (data / "t.csv").stat()
    (data / "t.csv").write_text((data / "t.csv").read_text().replace("w1", "w9", 1))
    os.utime(data / "t.csv", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert run(str(data)).state == "COMPLETE"
    assert run(str(data), exclude=["word"]).state == "COMPLETE"


def test_the_same_data_give_the_same_splits_however_they_are_stored(
    run: Run, tmp_path: Path
) -> None:
    data = write(tmp_path / "plain")
    lines = (data / "t.csv").read_text().splitlines(keepends=True)
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "a.csv.gz").write_bytes(gzip.compress("".join([lines[0], *lines[200:]]).encode()))
    (parts / "b.csv").write_text("".join(lines[:200]).replace("\n", "\r\n"))

    def as_sets(outcome: Outcome) -> dict[str, set[int]]:
        return {split: {row["id"] for row in rows} for split, rows in read(outcome).items()}

    assert as_sets(run(str(data))) == as_sets(run(str(parts)))


def test_many_parts_become_many_shards_with_all_rows_once(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 10_000)
    data = write(tmp_path / "data", rows=5000)
    write(data, rows=10, name="u.csv")
    outcome = run(str(data), part_bytes=20_000)
    shards = sorted((Path(outcome.uri) / "Split-eval").iterdir())
    assert len(shards) > 2
    assert shards[0].name == f"data_tfrecord-00000-of-{len(shards):05d}"
    rows = read(outcome)
    ids = sorted(row["id"] for split in rows.values() for row in split)
    assert ids == sorted([*range(5000), *range(10)])


def test_gzip_is_told_by_the_suffix(run: Run, tmp_path: Path) -> None:
    outcome = run(str(write(tmp_path / "data")), compress=True)
    (shard,) = (Path(outcome.uri) / "Split-train").iterdir()
    assert shard.name.endswith(".gz")
    assert shard.read_bytes().startswith(b"\x1f\x8b")
    assert sum(map(len, read(outcome).values())) == 300


def test_rows_without_label_are_left_out_and_counted(run: Run, tmp_path: Path) -> None:
    data = write(tmp_path / "data")
    outcome = run(str(data), label="amount", columns=["word", "id"])
    properties = outcome.properties
    assert properties["rows_train"] + properties["rows_eval"] == 270
    assert properties["rows_dropped_missing_label"] == 30
    rows = read(outcome)
    assert {*rows["train"][0]} == {"id", "amount", "word"}
    assert all(row["amount"] is not None for row in rows["train"])


def test_time_and_file_splits(run: Run, tmp_path: Path) -> None:
    data = write(tmp_path / "data")
    by_time = read(run(str(data), splits=TimeSplits("id", {"eval": 200, "test": 290})))
    assert {split: len(rows) for split, rows in by_time.items()} == {
        "train": 200,
        "eval": 90,
        "test": 10,
    }
    write(tmp_path / "data" / "train", rows=20)
    write(tmp_path / "data" / "eval", rows=30)
    plan = FileSplits({"train": "train/*.csv", "eval": "eval/*.csv"})
    by_file = read(run(str(data), splits=plan))
    assert {split: len(rows) for split, rows in by_file.items()} == {"train": 20, "eval": 30}


def test_the_latest_span_is_read_and_named_as_tfx_names_it(run: Run, tmp_path: Path) -> None:
    for span in (1, 2):
        write(tmp_path / f"data/span-{span}/v1", rows=100 * span)
    path = f"{tmp_path}/data/span-{{SPAN}}/v{{VERSION}}/*.csv"
    latest = run(path).properties
    assert (latest["span"], latest["version"]) == (2, 1)
    assert latest["rows_train"] + latest["rows_eval"] == 200
    first = run(path, span=1).properties
    assert (first["span"], first["rows_train"] + first["rows_eval"]) == (1, 100)
    assert run(path).state == "CACHED"
    write(tmp_path / "data/span-3/v1", rows=50)
    assert run(path).properties["span"] == 3


def test_a_column_without_values_does_not_break(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "a,none,größe in cm\n" + "1,,5\n2,,6.5\n3,,\n4,,5\n5,,5\n6,,5\n"
    )
    splits = read(run(str(tmp_path / "t.csv")))
    rows = [row for split in splits.values() for row in split]
    assert {row["none"] for row in rows} == {None}
    assert {row["größe in cm"] for row in rows} == {5.0, 6.5, None}


def test_parquet_is_ingested_with_its_zeros(run: Run, tmp_path: Path) -> None:
    table = pa.table({"a": [0, 1, None] * 100, "b": [0.0, 0.5, None] * 100, "n": range(300)})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=70)
    splits = read(run(str(tmp_path), table_format=ParquetFormat(), part_bytes=1000))
    rows = sorted((row for each in splits.values() for row in each), key=lambda row: row["n"])
    assert rows == table.to_pylist()


@pytest.mark.parametrize(
    ("content", "settings", "what"),
    [
        ("a,b\n1,2\n3\n", {}, r"t\.csv line 3: 1 cells instead of 2"),
        ("a,b\n1,2\n3,4\n", {"label": "c"}, "label: there is no column 'c'"),
        ("a,b\n1,2\n1,4\n", {"label": "a"}, "label: 'a' is 1 in all 2 rows"),
        ("a,b\n,2\n,4\n", {"label": "a"}, "label: none of the 2 rows has a value"),
        (
            "a,b\n1,2\n",
            {"label": "b", "label_expression": "a > 1"},
            "label: the name 'b' is that of a column",
        ),
        (
            "a,b\n1,x\n",
            {"label": "l", "label_expression": "b > 1"},
            "label: a string is compared with a number",
        ),
        ("a,b\n1,2\n", {"exclude": ["c"]}, "data.exclude: there is no column 'c'"),
        ("a,b\n1,2\n", {"columns": ["A"]}, "data.columns: there is no column 'A'"),
        ("card,b\n1,2\n", {"masked": ["cart"]}, "masked_columns: there is no column 'cart'"),
        ("a,b\n1,2\n1,3\n", {"label": "b", "exclude": ["b"]}, "also in data.exclude"),
        ("a,b\n1,2\n", {}, "the split 'eval' has no rows|the split 'train' has no rows"),
        ("a,b\n", {}, "a header, but no row"),
    ],
)
def test_a_mistake_stops_the_step_before_a_split_appears(
    run: Run, tmp_path: Path, content: str, settings: dict[str, Any], what: str
) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(UserError, match=what) as caught:
        run(str(tmp_path / "t.csv"), **settings)
    assert caught.value.expected
    assert caught.value.fix
    assert not list((tmp_path / "root").glob("**/Split-*"))


def test_a_mistake_found_while_encoding_is_named_by_its_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("day,a\n2024-01-31,1\n31.1.2024,2\n")
    plan = TimeSplits("day", {"eval": "2024-02-01"})
    with pytest.raises(UserError, match=r"t\.csv line 3, column 'day': '31\.1\.2024' is no ISO"):
        run(str(tmp_path / "t.csv"), splits=plan)


def test_size_and_time_may_stand_for_the_content(run: Run, tmp_path: Path) -> None:
    data = write(tmp_path / "data")
    assert run(str(data), fingerprint="stat").state == "COMPLETE"
    assert run(str(data), fingerprint="stat").state == "CACHED"
    os.utime(data / "t.csv", (1, 1))
    assert run(str(data), fingerprint="stat").state == "COMPLETE"


def test_missing_data_stop_the_driver(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file or folder"):
        run(str(tmp_path / "nowhere.csv"))


def test_what_a_killed_attempt_left_is_removed(tmp_path: Path) -> None:
    from components.example_gen.shard_files import UnfinishedFolder

    for name in ("Split-train", ".unfinished"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data_tfrecord-00000-of-00009").touch()
    folder = UnfinishedFolder(str(tmp_path))
    folder.start()
    assert [path.name for path in tmp_path.iterdir()] == [".unfinished"]
    assert not list(Path(folder.path).iterdir())


def test_a_task_without_report_is_no_success(tmp_path: Path) -> None:
    from components.example_gen.shard_files import TaskReport, UnfinishedFolder

    folder = UnfinishedFolder(str(tmp_path))
    folder.start()
    folder.report_plan(2, {})
    folder.report_task(0, TaskReport())
    with pytest.raises(RuntimeError, match="1 of 2 tasks"):
        folder.read_reports()


def test_progress_is_told_in_rows(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "kubetfx.progress"):
        run(str(write(tmp_path / "data")))
    told = [vars(record) for record in caplog.records if record.name == "kubetfx.progress"]
    assert [(each["done"], each["total"], each["unit"]) for each in told][-1] == (300, 300, "rows")


def test_every_example_is_the_one_that_csv_example_gen_writes(run: Run, tmp_path: Path) -> None:
    """Byte for byte (maps sorted), for rows with every kind of column and gap."""
    import apache_beam as beam
    from tensorflow.train import Example
    from tfx.components.example_gen.csv_example_gen import executor
    from tfx.proto import example_gen_pb2
    from tfx.utils import proto_utils

    data = tmp_path / "data"
    data.mkdir()
    source = Path(resolve_path(TAXI)) / "data.csv"
    with source.open() as file, (data / "t.csv").open("w") as copy:
        copy.writelines(line for _, line in zip(range(1500), file, strict=False))
    ours: list[bytes] = []
    for folder in Path(run(str(data), splits=RowSplits({"all": 1})).uri).iterdir():
        for shard in folder.iterdir():
            ours += read_records([shard.read_bytes()], shard.name)
    properties = {
        "input_base": str(data),
        "input_config": proto_utils.proto_to_json(
            example_gen_pb2.Input(splits=[{"name": "all", "pattern": "*"}])
        ),
        "output_config": proto_utils.proto_to_json(example_gen_pb2.Output()),
    }
    theirs: list[bytes] = []
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        rows = executor.Executor().GenerateExamplesByBeam(pipeline, properties)["all"]
        written = (
            rows
            | beam.Map(lambda row: row.SerializeToString())
            | beam.io.WriteToTFRecord(str(tmp_path / "theirs"))
        )
        del written
    for shard in tmp_path.glob("theirs*"):
        theirs += read_records([shard.read_bytes()], shard.name)

    def ordered(records: list[bytes]) -> list[bytes]:
        parsed = (Example.FromString(record) for record in records)
        return sorted(each.SerializeToString(deterministic=True) for each in parsed)

    assert len(ours) == 1499
    assert ordered(ours) == ordered(theirs)


def test_tfx_reads_the_shards_as_statistics_and_trainer_do(run: Run, tmp_path: Path) -> None:
    import apache_beam as beam
    from tfx.components.util import tfxio_utils
    from tfx.types import standard_artifacts
    from tfx_bsl.tfxio import dataset_options

    for compress in (False, True):
        outcome = run(str(write(tmp_path / "data")), compress=compress)
        artifact = standard_artifacts.Examples()
        artifact.uri = outcome.uri
        artifact.splits = ["train", "eval"]
        artifact.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
        source = tfxio_utils.get_split_tfxio([artifact], "train", ["test"])
        counted = tmp_path / f"count{compress}"
        with beam.Pipeline(runner="FnApiRunner") as pipeline:
            batches = pipeline | source.BeamSource()
            rows = batches | beam.Map(lambda batch: batch.num_rows) | beam.CombineGlobally(sum)
            _ = rows | beam.Map(str) | beam.io.WriteToText(str(counted), shard_name_template="")
        expected = outcome.properties["rows_train"]
        assert int(counted.read_text()) == expected
        options = dataset_options.RecordBatchesOptions(batch_size=64, num_epochs=1)
        assert sum(batch.num_rows for batch in source.RecordBatches(options)) == expected
        shutil.rmtree(tmp_path / "data")


def test_a_runtime_parameter_may_name_the_data() -> None:
    from tfx.orchestration.data_types import RuntimeParameter

    component = TabularExampleGen(
        RuntimeParameter("data", str), table_format=CsvFormat(), span=RuntimeParameter("span", int)
    )
    assert component.exec_properties["path"].name == "data"


def test_an_expression_needs_a_name() -> None:
    with pytest.raises(ValueError, match="needs label"):
        TabularExampleGen("x", label_expression="a > 1")
    with pytest.raises(UserError, match="operator %"):
        TabularExampleGen("x", label="l", label_expression="a % 1")
    with pytest.raises(ValueError, match="'content' or 'stat'"):
        TabularExampleGen("x", fingerprint="time")


def test_column_of_fractions_stays_one_where_a_span_holds_whole_numbers_only(
    run: Run, tmp_path: Path
) -> None:
    for span, amounts in ((1, ("0.5", "2")), (2, ("1", "2")), (3, ("1", "x"))):
        folder = tmp_path / f"span-{span}"
        folder.mkdir()
        lines = "".join(f"{n},{amounts[n % 2]}\n" for n in range(60))
        (folder / "t.csv").write_text("id,amount\n" + lines)
    path = str(tmp_path / "span-{SPAN}" / "t.csv")
    kinds = []
    for span in (1, 2, 3):
        rows = read(run(path, span=span))
        kinds.append({type(row["amount"]) for split in rows.values() for row in split})
    assert kinds == [{float}, {float}, {bytes}]


def test_schema_says_which_columns_are_fractions_or_text(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("amount,code\n" + "".join(f"{n},{n}\n" for n in range(60)))
    known = {"amount": "float64", "code": "string", "gone": "float64"}
    rows = read(run(str(tmp_path / "t.csv"), known_types=known))
    row = rows["train"][0]
    assert isinstance(row["amount"], float)
    assert isinstance(row["code"], bytes)
