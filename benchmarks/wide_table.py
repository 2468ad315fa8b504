"""What preprocessing takes with many columns: ours beside one TFT analyzer per column.

    python -m benchmarks.wide_table [--columns 120] [--rows 20000]

A third of the columns are numbers, whole numbers and text each, a tenth of the cells missing. Both
functions go through TensorFlow Transform on the same engine, one after the other in one process,
TensorFlow and Beam being imported before the clock starts. The graphs that come of it are then
loaded and asked for 64 rows at a time, as a server would.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from rich.console import Console
from rich.table import Table
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.public import tfxio

from pipeline.launching.beam_engine import in_process_pipeline
from trainer.preprocessing import preprocessing_fn
from trainer.problem import Problem

_KINDS = {"numeric": schema_pb2.FLOAT, "integer": schema_pb2.INT, "categorical": schema_pb2.BYTES}
_BATCH_ROWS = 4096
_ASKED_ROWS = 64
_CALLS = 200

Preprocessing = Callable[[dict[str, Any]], dict[str, Any]]


def main() -> None:
    """Prints the times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--columns", type=int, default=120)
    parser.add_argument("--rows", type=int, default=20_000)
    arguments = parser.parse_args()
    features = [
        {"kind": kind, "name": f"{kind}{number}"}
        for kind in _KINDS
        for number in range(arguments.columns // 3)
    ]
    problem = Problem.model_validate(
        {"features": features, "label": {"column": "y"}, "task": "binary"}
    )
    sides: dict[str, Preprocessing] = {
        "an analyzer per column": partial(_column_by_column, problem=problem),
        "ours": partial(preprocessing_fn, custom_config={"problem": problem.model_dump_json()}),
    }
    table = Table(title=f"{len(features)} columns, {arguments.rows:,} rows")
    for name in ("", "analysis, s", "nodes", "load, s", f"{_ASKED_ROWS} rows, ms"):
        table.add_column(name, justify="left" if not name else "right")
    with tempfile.TemporaryDirectory() as folder:
        examples, schema = Path(folder, "examples.gz"), _schema(features)
        _write(examples, features, arguments.rows)
        figures = {
            name: _measure(side, examples, schema, Path(folder, str(number)))
            for number, (name, side) in enumerate(sides.items())
        }
    for name, row in figures.items():
        table.add_row(
            name, *(f"{value:,.3g}" if value < 1000 else f"{value:,.0f}" for value in row)
        )
    theirs, ours = figures.values()
    table.add_row("ratio", *(f"{a / b:.1f}" for a, b in zip(theirs, ours, strict=True)))
    Console(width=100).print(table)


def _column_by_column(inputs: dict[str, Any], problem: Problem) -> dict[str, Any]:
    """The same columns as TFX's taxi example makes them."""
    outputs: dict[str, Any] = {}
    for feature in problem.features:
        sparse = inputs[feature.name]
        shape = [sparse.dense_shape[0], 1]
        cells = tf.sparse.to_dense(tf.SparseTensor(sparse.indices, sparse.values, shape))
        column = tf.reshape(cells, [-1, 1])
        if feature.kind == "numeric":
            outputs[feature.name] = tft.scale_to_z_score(column)
        else:
            outputs[feature.name] = tft.compute_and_apply_vocabulary(
                column, top_k=10_000, num_oov_buckets=1, vocab_filename=feature.name
            )
    outputs["y"] = tf.cast(inputs["y"], tf.float32)
    return outputs


def _measure(
    side: Preprocessing, examples: Path, schema: schema_pb2.Schema, folder: Path
) -> tuple[float, ...]:
    """Analyses, loads and asks; returns seconds, nodes, seconds and milliseconds."""
    source = tfxio.TFExampleRecord(
        str(examples), schema=schema, telemetry_descriptors=["kubetfx", "benchmark"]
    )
    begun = time.perf_counter()
    with (
        in_process_pipeline([]) as pipeline,
        tft_beam.Context(temp_dir=str(folder / "scratch"), desired_batch_size=_BATCH_ROWS),
    ):
        rows = pipeline | source.BeamSource(_BATCH_ROWS)
        graph = (rows, source.TensorAdapterConfig()) | tft_beam.AnalyzeDataset(side)
        _ = graph | tft_beam.WriteTransformFn(str(folder / "graph"))
    analysis_s = time.perf_counter() - begun
    begun = time.perf_counter()
    loaded = tf.saved_model.load(str(folder / "graph" / "transform_fn"))
    load_s = time.perf_counter() - begun
    # TFT exports a traced function; with an input signature there is exactly one trace.
    function = getattr(loaded.transform_fn, "concrete_functions", [loaded.transform_fn])[0]
    (specs,), _ = function.structured_input_signature
    raw = _parse(examples, specs)
    function(raw)
    begun = time.perf_counter()
    for _ in range(_CALLS):
        function(raw)
    call_ms = (time.perf_counter() - begun) / _CALLS * 1000
    return analysis_s, float(len(function.graph.get_operations())), load_s, call_ms


def _parse(examples: Path, specs: dict[str, tf.TypeSpec]) -> dict[str, Any]:
    records = tf.data.TFRecordDataset(str(examples), "GZIP").batch(_ASKED_ROWS)
    parsers = {
        name: tf.io.VarLenFeature(spec.dtype)
        if isinstance(spec, tf.SparseTensorSpec)
        else tf.io.FixedLenFeature(spec.shape[1:], spec.dtype)
        for name, spec in specs.items()
    }
    parsed: dict[str, Any] = tf.io.parse_example(next(iter(records)), parsers)
    return parsed


def _schema(features: list[dict[str, str]]) -> schema_pb2.Schema:
    schema = schema_pb2.Schema()
    for feature in features:
        column = schema.feature.add(name=feature["name"], type=_KINDS[feature["kind"]])
        column.value_count.min, column.value_count.max = 0, 1
    label = schema.feature.add(name="y", type=schema_pb2.INT)
    label.presence.min_fraction = 1.0
    label.shape.dim.add(size=1)
    return schema


def _write(file: Path, features: list[dict[str, str]], rows: int) -> None:
    random = np.random.default_rng(1)
    present = random.random((rows, len(features))) < 0.9
    numbers = random.normal(size=(rows, len(features)))
    with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
        for row in range(rows):
            example = tf.train.Example()
            columns = example.features.feature
            columns["y"].int64_list.value.append(row % 2)
            for number, feature in enumerate(features):
                if not present[row, number]:
                    continue
                value, column = numbers[row, number], columns[feature["name"]]
                match feature["kind"]:
                    case "numeric":
                        column.float_list.value.append(value)
                    case "integer":
                        column.int64_list.value.append(int(value * 10))
                    case _:
                        column.bytes_list.value.append(b"value %d" % int(value * 10))
            writer.write(example.SerializeToString())


if __name__ == "__main__":
    main()
