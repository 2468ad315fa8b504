"""TFX's Transform without the work that nobody reads.

With neither statistics nor transformed examples wanted, TFX's executor still traces
`preprocessing_fn` ten times (to project columns, to plan its analyzer cache, to count stages).
What remains to do is one analysis of the train split, and the graph it leads to.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import tensorflow_transform.beam as tft_beam
from tensorflow_transform import TFTransformOutput
from tensorflow_transform.tf_metadata import dataset_metadata
from tfx.components.transform import component
from tfx.components.transform import executor as tfx_executor
from tfx.components.util import tfxio_utils, udf_utils
from tfx.dsl.components.base import executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils

__all__ = ["Executor", "Transform"]

_BATCH_ROWS = 4096
"""Rows analyzed at a time; per-batch costs dominate below a few thousand."""


class Executor(tfx_executor.Executor):
    """Analyzes the train split and writes the transform graph; materializes as TFX does."""

    def Do(  # noqa: N802  (TFX's name)
        self,
        input_dict: dict[str, list[Any]],
        output_dict: dict[str, list[Any]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the transform graph of a `preprocessing_fn`.

        Raises:
            Exception: whatever the user's `preprocessing_fn` raises.
        """
        if output_dict.get("transformed_examples"):
            super().Do(input_dict, output_dict, exec_properties)
            return
        schema = io_utils.SchemaReader().read(
            io_utils.get_only_uri_in_dir(artifact_utils.get_single_uri(input_dict["schema"]))
        )
        examples = input_dict["examples"]
        patterns = [
            io_utils.all_files_pattern(uri)
            for uri in artifact_utils.get_split_uris(examples, "train")
        ]
        make_reader = tfxio_utils.get_tfxio_factory_from_artifact(
            examples, ["kubetfx", "transform"], schema
        )
        reader = make_reader(patterns)
        columns = _columns_read(exec_properties)
        if columns:
            reader = reader.Project(columns)
        output = artifact_utils.get_single_uri(output_dict["transform_graph"])
        # The scratch folder is the workers' too, so it lies where the artifacts are.
        scratch = f"{output}/.temp"
        with (
            self._make_beam_pipeline() as pipeline,
            tft_beam.Context(
                temp_dir=scratch, desired_batch_size=_BATCH_ROWS, use_deep_copy_optimization=True
            ),
        ):
            rows = pipeline | "Read" >> reader.BeamSource(_BATCH_ROWS)
            graph = (rows, reader.TensorAdapterConfig()) | "Analyze" >> tft_beam.AnalyzeDataset(
                _preprocessing_fn(exec_properties), pipeline=pipeline
            )
            _ = graph | "WriteGraph" >> tft_beam.WriteTransformFn(output)
            _ = dataset_metadata.DatasetMetadata(schema) | "WriteMetadata" >> (
                tft_beam.WriteMetadata(f"{output}/{TFTransformOutput.RAW_METADATA_DIR}", pipeline)
            )
        fileio.rmtree(scratch)


class Transform(component.Transform):
    """Computes the transform graph, and transformed examples only when they are wanted."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)


def _preprocessing_fn(exec_properties: dict[str, Any]) -> Callable[..., Any]:
    """The function by its dotted path, told the custom configuration if it asks for it."""
    function: Callable[..., Any] = udf_utils.get_fn(exec_properties, "preprocessing_fn")
    asked = function.__code__.co_varnames[: function.__code__.co_argcount]
    if "custom_config" not in asked:
        return function
    config = json.loads(exec_properties.get("custom_config") or "null") or {}
    return partial(function, custom_config=config)


def _columns_read(exec_properties: dict[str, Any]) -> list[str]:
    """The columns that the feature table reads; none named means all of them."""
    config = json.loads(exec_properties.get("custom_config") or "null") or {}
    return list(config.get("columns", []))
