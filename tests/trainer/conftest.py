"""Real transform graphs over small data, as TFX's Transform component would make them."""

import csv
import importlib.util
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import pytest

from trainer.problem import Problem

Row = dict[str, Any]
"""Raw cells by column: str, int, float, a list of these, or None for a missing one."""


@dataclass(frozen=True)
class Prepared:
    """Everything a Trainer gets from the components before it."""

    problem: Problem
    directory: Path

    @property
    def transform_graph(self) -> str:
        return str(self.directory / "transform_graph")

    def serialize(self, rows: Sequence[Row]) -> list[bytes]:
        """Turns raw rows into tf.Examples."""
        return [to_example(row) for row in rows]

    def fn_args(self, name: str = "run", **changes: Any) -> Any:
        """Makes what TFX hands to run_fn."""
        config = {"problem": changes.pop("problem", self.problem).model_dump_json()}
        arguments = {
            "train_files": [str(self.directory / "Split-train" / "*")],
            "eval_files": [str(self.directory / "Split-eval" / "*")],
            "transform_graph_path": self.transform_graph,
            "serving_model_dir": str(self.directory / name / "Format-Serving"),
            "model_run_dir": str(self.directory / name / "run"),
            "train_steps": None,
            "eval_steps": None,
            "custom_config": config | changes.pop("custom_config", {}),
        }
        return SimpleNamespace(**(arguments | changes))


def to_example(row: Row) -> bytes:
    import tensorflow as tf

    example = tf.train.Example()
    for name, cell in row.items():
        values = cell if isinstance(cell, list) else [] if cell is None else [cell]
        feature = example.features.feature[name]
        for value in values:
            match value:
                case str():
                    feature.bytes_list.value.append(value.encode())
                case float():
                    feature.float_list.value.append(value)
                case _:
                    feature.int64_list.value.append(value)
    return bytes(example.SerializeToString())


def infer_schema(rows: Sequence[Row], *, ragged: bool) -> Any:
    """Does what TFDV does: a column without gaps is required, any other is optional."""
    from tensorflow_metadata.proto.v0 import schema_pb2

    types = {str: schema_pb2.BYTES, float: schema_pb2.FLOAT, int: schema_pb2.INT}
    schema = schema_pb2.Schema(represent_variable_length_as_ragged=ragged)
    for name in dict.fromkeys(name for row in rows for name in row):
        cells = [row.get(name) for row in rows]
        flat = [v for cell in cells for v in (cell if isinstance(cell, list) else [cell])]
        kinds = {type(value) for value in flat if value is not None}
        kind = float if kinds == {int, float} else next(iter(kinds), str)
        feature = schema.feature.add(name=name, type=types[kind])
        if all(cell is not None and not isinstance(cell, list) for cell in cells):
            feature.presence.min_fraction = 1.0
            feature.shape.dim.add(size=1)
        else:
            feature.value_count.min = 0
    return schema


def analyse(problem: Problem, examples: Path, schema: Any, directory: Path) -> None:
    import apache_beam as beam
    import tensorflow_transform.beam as tft_beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from tfx_bsl.public import tfxio

    from trainer.preprocessing import preprocessing_fn

    config = {"problem": problem.model_dump_json()}
    source = tfxio.TFExampleRecord(str(examples), schema=schema, telemetry_descriptors=["test"])
    with (
        beam.Pipeline(runner=FnApiRunner()) as pipeline,
        tft_beam.Context(temp_dir=str(directory / "tmp")),
    ):
        rows = pipeline | source.BeamSource()
        graph = (rows, source.TensorAdapterConfig()) | tft_beam.AnalyzeDataset(
            lambda inputs: preprocessing_fn(inputs, config)
        )
        graph | tft_beam.WriteTransformFn(str(directory / "transform_graph"))


class Prepare(Protocol):
    def __call__(
        self,
        problem: Problem,
        train: Sequence[Row],
        evaluation: Sequence[Row],
        *,
        ragged: bool = False,
    ) -> Prepared: ...


@pytest.fixture(scope="session")
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Prepare:
    """Writes training and evaluation rows, and runs the analysis over the former."""

    def run(
        problem: Problem,
        train: Sequence[Row],
        evaluation: Sequence[Row],
        *,
        ragged: bool = False,
    ) -> Prepared:
        import tensorflow as tf

        directory = tmp_path_factory.mktemp("prepared")
        for split, rows in (("train", train), ("eval", evaluation)):
            path = directory / f"Split-{split}" / "data.gz"
            path.parent.mkdir()
            with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
                for row in rows:
                    writer.write(to_example(row))
        schema = infer_schema([*train, *evaluation], ragged=ragged)
        analyse(problem, directory / "Split-train" / "*", schema, directory)
        return Prepared(problem, directory)

    return run


def taxi_rows(count: int) -> list[Row]:
    """Reads Chicago taxi trips, typed as TFX's CsvExampleGen types them."""
    package = importlib.util.find_spec("tfx")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).parent / "examples/chicago_taxi_pipeline/data/simple/data.csv"
    text = {"payment_type", "company"}
    real = {"fare", "tips", "trip_miles"}
    with path.open() as file:
        raw = list(csv.DictReader(file))
    random.Random(0).shuffle(raw)
    rows: list[Row] = []
    for cells in raw[:count]:
        row: Row = {}
        for name, cell in cells.items():
            is_real = name in real or name.endswith(("itude",))
            parse: Callable[[str], Any] = str if name in text else float if is_real else _to_int
            row[name] = parse(cell) if cell else None
        row["big_tip"] = int(row["tips"] > 0.2 * row["fare"])
        rows.append(row)
    return rows


def _to_int(cell: str) -> int:
    return int(float(cell))


TAXI = {
    "features": [
        {"kind": "numeric", "name": "trip_miles"},
        {"kind": "numeric", "name": "fare"},
        {"kind": "log_numeric", "name": "trip_seconds", "indicator": True},
        {"kind": "bucketized", "name": "pickup_latitude"},
        {"kind": "bucketized", "name": "dropoff_longitude"},
        {"kind": "integer", "name": "trip_start_hour", "max_value": 23},
        {"kind": "timestamp", "name": "trip_start_timestamp", "parts": ["weekday", "year"]},
        {"kind": "integer", "name": "pickup_census_tract"},
        {"kind": "integer", "name": "dropoff_community_area"},
        {"kind": "categorical", "name": "payment_type"},
        {"kind": "categorical", "name": "company"},
    ],
    "label": {"expression": "tips > 0.2 * fare", "name": "big_tip"},
    "task": "binary",
    "model": {"hidden_units": [32, 16]},
    "training": {"batch_size": 40, "steps": 200, "early_stopping": {"metric": "auc"}},
}


@pytest.fixture(scope="session")
def taxi(prepare: Prepare) -> Prepared:
    rows = taxi_rows(2400)
    return prepare(Problem.model_validate(TAXI), rows[:2000], rows[2000:])
