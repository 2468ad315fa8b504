"""The graph that TensorFlow Transform made, loaded once and applied to rows from any source.

Training reads serialized examples, a served model gets examples or one tensor per column; all
take the same way through the graph. What columns there are, and their types, is read off the
graph itself.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from trainer import vocabulary_file
from trainer.cells import RawColumn, dense_cells, empty_cell, present_cells
from trainer.features import Categorical, Integer
from trainer.problem import Problem, TransformedFeature

__all__ = ["TransformGraph"]


class TransformGraph:
    """A transform graph and what it knows of the data.

    Args:
        directory: the transform graph's directory (TFX: the TransformGraph artifact's uri).
        problem: what the graph was made for.

    Raises:
        ValueError: If the graph is in the format of TensorFlow 1.
    """

    def __init__(self, directory: str, problem: Problem) -> None:
        self.problem = problem
        self._output = tft.TFTransformOutput(directory)
        self.resources = tf.saved_model.load(self._output.transform_savedmodel_dir)
        """What owns the graph's tables and their vocabulary files; exports must track it."""
        if not hasattr(self.resources, "transform_fn"):
            raise ValueError(
                f"the transform graph at {directory} is in the format of TensorFlow 1; "
                "expected one made by TensorFlow 2; fix: set force_tf_compat_v1=False"
            )
        function = self.resources.transform_fn
        # TFT exports a traced function; with an input signature there is exactly one trace.
        self._function = getattr(function, "concrete_functions", [function])[0]
        (specs,), _ = self._function.structured_input_signature
        self.raw_specs: dict[str, tf.TypeSpec] = dict(specs)
        """Type of each raw column that the graph reads, label included."""

    @cached_property
    def id_counts(self) -> dict[str, int]:
        """Ids of each categorical transformed feature, by key."""
        return {
            row.key: row.id_count(self._vocabulary_size(row))
            for row in self.problem.transformed_features
            if row.form == "ids"
        }

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of a multiclass problem's classes, in the order of their indices."""
        words = self._output.vocabulary_by_name(self.problem.transformed_label)
        return tuple(word.decode(errors="replace") for word in words)

    @cached_property
    def cell_specs(self) -> dict[str, tf.TensorSpec]:
        """Type of each raw column that a prediction needs, as one tensor of cells.

        Whole numbers that may be missing are float64, which has a NaN.

        Shape:
            [N]; [N, W] for columns that hold up to W values.
        """
        specs = {}
        for name in self.problem.raw_columns:
            raw, width = self.raw_specs[name], self._width(name)
            may_lack_integers = raw.dtype.is_integer and not isinstance(raw, tf.TensorSpec)
            dtype = tf.float64 if may_lack_integers else raw.dtype
            specs[name] = tf.TensorSpec([None] if width == 1 else [None, width], dtype)
        return specs

    def parse(self, examples: tf.Tensor, columns: Iterable[str]) -> dict[str, RawColumn]:
        """Turns serialized examples into raw columns.

        The label and the row weight may be absent from the examples; other columns may be so
        where the schema says that they are optional.

        Shape:
            [N] strings to raw columns of N rows each.
        """
        parsers = {name: self._parser(name) for name in columns}
        parsed: dict[str, RawColumn] = tf.io.parse_example(examples, parsers)
        return parsed

    def wrap(self, cells: Mapping[str, tf.Tensor]) -> dict[str, RawColumn]:
        """Turns cells into raw columns.

        Shape:
            by `cell_specs` to raw columns of N rows each.
        """
        return {name: _wrap(values, self.raw_specs[name]) for name, values in cells.items()}

    def unwrap(self, raw: Mapping[str, RawColumn]) -> dict[str, tf.Tensor]:
        """Turns raw columns into cells, as `wrap` takes them.

        Shape:
            raw columns of N rows each to `cell_specs`.
        """
        cells = {}
        for name, column in raw.items():
            spec = self.cell_specs[name]
            values = dense_cells(column, self._width(name))
            if values.dtype != spec.dtype:
                missing = tf.logical_not(present_cells(values))
                values = tf.where(missing, float("nan"), tf.cast(values, spec.dtype))
            cells[name] = tf.squeeze(values, axis=1) if len(spec.shape) == 1 else values
        return cells

    def apply(self, raw: Mapping[str, RawColumn]) -> dict[str, tf.Tensor]:
        """Turns raw columns into transformed ones; columns left out count as missing.

        Shape:
            N rows each to [N, width] each.
        """
        rows = _row_count(next(iter(raw.values())))
        absent = {
            name: _missing(spec, rows) for name, spec in self.raw_specs.items() if name not in raw
        }
        given = {name: column for name, column in raw.items() if name in self.raw_specs}
        transformed: dict[str, tf.Tensor] = self._function({**given, **absent})
        return transformed

    def model_inputs(self, transformed: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Joins transformed features to what the model reads: all numbers, all ids.

        Shape:
            [N, width] each to `dense` float32 [N, D] and `ids` int32 [N, S], in the order of
            `Problem.transformed_features`; a group without features is left out.
        """
        joined = {}
        for form, dtype in (("dense", tf.float32), ("ids", tf.int32)):
            parts = [
                tf.reshape(transformed[row.key], [-1, row.width])
                for row in self.problem.transformed_features
                if row.form == form
            ]
            if parts:
                joined[form] = tf.cast(tf.concat(parts, axis=1), dtype)
        return joined

    def transformed_parsers(self) -> dict[str, Any]:
        """Returns how `tf.io.parse_example` reads examples that are transformed already."""
        specs: dict[str, Any] = self._output.transformed_feature_spec()
        return specs

    def _vocabulary_size(self, row: TransformedFeature) -> int | None:
        if not row.has_vocabulary:
            return None
        if row.key in self._shared_vocabularies:
            return len(self._shared_vocabularies[row.key])
        size: int = self._output.vocabulary_size_by_name(row.key)
        return size

    @cached_property
    def _shared_vocabularies(self) -> dict[str, list[bytes]]:
        """By key; empty for a graph in which each column has a file of its own."""
        file = f"{self._output.transform_savedmodel_dir}/assets/{vocabulary_file.FILE}"
        if not tf.io.gfile.exists(file):
            return {}
        with tf.io.gfile.GFile(file, "rb") as lines:
            return vocabulary_file.read_vocabularies(lines.read())

    def _width(self, name: str) -> int:
        """Values per row that any feature takes from the column."""
        return max(
            feature.max_values if isinstance(feature, Categorical | Integer) else 1
            for feature in self.problem.features
            if feature.name == name
        )

    def _parser(self, name: str) -> Any:
        spec = self.raw_specs[name]
        if isinstance(spec, tf.SparseTensorSpec):
            return tf.io.VarLenFeature(spec.dtype)
        if isinstance(spec, tf.RaggedTensorSpec):
            return tf.io.RaggedFeature(spec.dtype, row_splits_dtype=spec.row_splits_dtype)
        shape = spec.shape[1:]
        needed = name in self.problem.raw_columns
        default = None if needed else tf.fill(shape, _empty(spec.dtype))
        return tf.io.FixedLenFeature(shape, spec.dtype, default)


def _row_count(column: RawColumn) -> tf.Tensor:
    if isinstance(column, tf.SparseTensor):
        return column.dense_shape[0]
    if isinstance(column, tf.RaggedTensor):
        return column.nrows()
    return tf.shape(column, tf.int64)[0]


def _wrap(values: tf.Tensor, spec: tf.TypeSpec) -> RawColumn:
    """Turns cells into a raw column of the type the graph asks for."""
    present = present_cells(values)
    if values.dtype != spec.dtype:
        # NaN has no integer counterpart.
        values = tf.cast(tf.where(present, values, tf.zeros_like(values)), spec.dtype)
    if isinstance(spec, tf.TensorSpec):
        cells = tf.where(present, values, _empty(spec.dtype))
        return tf.reshape(cells, [-1, *spec.shape[1:]])
    if len(values.shape) == 1:
        values, present = values[:, tf.newaxis], present[:, tf.newaxis]
    indices = tf.where(present)
    present_values = tf.gather_nd(values, indices)
    if isinstance(spec, tf.RaggedTensorSpec):
        lengths = tf.reduce_sum(tf.cast(present, spec.row_splits_dtype), axis=1)
        return tf.RaggedTensor.from_row_lengths(present_values, lengths, validate=False)
    return tf.SparseTensor(indices, present_values, tf.shape(values, tf.int64))


def _missing(spec: tf.TypeSpec, rows: tf.Tensor) -> RawColumn:
    """Makes a raw column of missing cells."""
    if isinstance(spec, tf.TensorSpec):
        shape = tf.stack([tf.cast(rows, tf.int32), *(size or 1 for size in spec.shape[1:])])
        return tf.fill(shape, _empty(spec.dtype))
    no_values = tf.zeros([0], spec.dtype)
    if isinstance(spec, tf.RaggedTensorSpec):
        lengths = tf.zeros(tf.stack([tf.cast(rows, tf.int32)]), spec.row_splits_dtype)
        return tf.RaggedTensor.from_row_lengths(no_values, lengths, validate=False)
    shape = tf.stack([tf.cast(rows, tf.int64), 0])
    return tf.SparseTensor(tf.zeros([0, 2], tf.int64), no_values, shape)


def _empty(dtype: tf.DType) -> tf.Tensor:
    return tf.constant(empty_cell(dtype), dtype)
