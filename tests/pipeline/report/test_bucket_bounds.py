"""Bounds of buckets, read off a graph that TensorFlow Transform made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from pipeline.report.bucket_bounds import bucket_bounds
from trainer.preprocessing import transform_columns
from trainer.problem import Problem

PROBLEM = Problem.model_validate(
    {
        "features": [
            {"name": "x", "kind": "bucketized", "buckets": 4},
            {"name": "y", "kind": "bucketized", "boundaries": [1.5, 2.5]},
            {"name": "z", "kind": "numeric"},
        ],
        "label": {"column": "label"},
        "task": "binary",
    }
)


def test_bounds_of_quantiles_and_given_ones_are_found_by_column(tmp_path: Path) -> None:
    spec = {
        name: tf.io.VarLenFeature(tf.int64 if name == "label" else tf.float32)
        for name in ("x", "y", "z", "label")
    }
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    numbers = np.arange(1000)
    rows = [
        {"x": [float(n)], "y": [n % 4.0], "z": [float(n)], "label": [int(n) % 2]} for n in numbers
    ]
    with tft_beam.Context(temp_dir=str(tmp_path / "work")):
        transform_fn = (rows, metadata) | tft_beam.AnalyzeDataset(
            lambda inputs: transform_columns(PROBLEM, inputs)
        )
        _ = transform_fn | tft_beam.WriteTransformFn(str(tmp_path / "out"))
    folder = tft.TFTransformOutput(str(tmp_path / "out")).transform_savedmodel_dir
    found = bucket_bounds(Path(folder, "saved_model.pb").read_bytes())
    assert found.keys() == {"x_bucketized", "y_bucketized"}
    assert found["x_bucketized"] == pytest.approx([250, 500, 750], abs=10)
    assert found["y_bucketized"] == [1.5, 2.5]
