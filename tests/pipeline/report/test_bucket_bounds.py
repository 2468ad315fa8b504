"""Bounds of buckets, read off a graph that TensorFlow Transform made."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from pipeline.history import run_history
from pipeline.report import transform_section
from pipeline.report.bucket_bounds import bucket_bounds
from trainer.preprocessing import transform_columns
from trainer.problem import Problem

PROBLEM = Problem.model_validate(
    {
        "features": [
            {"name": "цена, 1", "kind": "bucketized", "buckets": 4},
            {"name": "y", "kind": "bucketized", "boundaries": [1.5, 2.5]},
            {"name": "z", "kind": "numeric"},
        ],
        "label": {"column": "label"},
        "task": "binary",
    }
)


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The graph that TensorFlow Transform makes of the problem."""
    folder = tmp_path_factory.mktemp("transform")
    spec = {
        name: tf.io.VarLenFeature(tf.int64 if name == "label" else tf.float32)
        for name in ("цена, 1", "y", "z", "label")
    }
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    numbers = np.arange(1000)
    rows = [
        {"цена, 1": [float(n)], "y": [n % 4.0], "z": [float(n)], "label": [int(n) % 2]}
        for n in numbers
    ]
    with tft_beam.Context(temp_dir=str(folder / "work")):
        transform_fn = (rows, metadata) | tft_beam.AnalyzeDataset(
            lambda inputs: transform_columns(PROBLEM, inputs)
        )
        _ = transform_fn | tft_beam.WriteTransformFn(str(folder / "out"))
    made = tft.TFTransformOutput(str(folder / "out")).transform_savedmodel_dir
    return Path(made, "saved_model.pb").read_bytes()


def test_bounds_of_quantiles_and_given_ones_are_found_by_column(saved_model: bytes) -> None:
    found = bucket_bounds(saved_model)
    assert found.keys() == {"1_bucketized", "y_bucketized"}
    assert found["1_bucketized"] == pytest.approx([250, 500, 750], abs=10)
    assert found["y_bucketized"] == [1.5, 2.5]


@pytest.mark.parametrize("masked", ["цена, 1", "y"])
def test_buckets_stand_under_the_names_of_the_data(
    fabricated: Any, saved_model: bytes, masked: str
) -> None:
    place = "transform_fn/saved_model.pb"
    fabricated.payload("transform", "transform_graph", place, saved_model)
    told = {"custom_config": json.dumps({"problem": PROBLEM.model_dump_json()})}
    fabricated.step("transform", {"transform_graph": ("TransformGraph", {})}, told=told)
    config = {"gates": {"data": {"masked_columns": [masked]}}}
    (fabricated.folder / "summary.json").write_text(json.dumps({"record": {"config": config}}))
    section = transform_section.transform(run_history.find_run(fabricated.output))
    assert section is not None
    rows = re.findall(r"<tr><td>(.*?)</td><td class=.n.>(.*?)</td><td>(.*?)</td>", section.html)
    titles = {"цена, 1": "цена, 1 (1_bucketized)", "y": "y (y_bucketized)"}
    assert [row[0] for row in rows] == list(titles.values())
    assert [row[0] for row in rows if row[2] == "masked"] == [titles[masked]]
