"""Models over examples → arrays: each row's labels, predictions and slice values, read once.

TFMA takes batches apart into a dictionary per row and slice, which costs most of its time. Here a
row stays a few numbers: what the metrics need of it, and the values by which it is sliced.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.coders import example_coder

__all__ = ["ModelAnswers", "NotTabularError", "ScoredRows", "ServedModel", "score"]

Floats = npt.NDArray[np.float64]

_BATCH_ROWS = 2048

_progress = logging.getLogger("kubetfx.progress")


class NotTabularError(Exception):
    """A model or data that this way of scoring does not cover; TFMA's does."""


@dataclass(frozen=True)
class ModelAnswers:
    """One model's side of all rows.

    Shape:
        labels [rows]; predictions [rows], or [rows, classes].
    """

    labels: Floats
    predictions: npt.NDArray[np.float32]


@dataclass(frozen=True)
class ScoredRows:
    """All rows of the evaluated splits.

    Attributes:
        rows: how many there are.
        answers: by the model's name.
        values: the different values of each slice column, as they are told.
        codes: for each slice column the place of each row's value in `values`; -1 without one.
            Shape: [rows].
    """

    rows: int
    answers: Mapping[str, ModelAnswers]
    values: Mapping[str, list[Any]]
    codes: Mapping[str, npt.NDArray[np.int32]]


class ServedModel:
    """A SavedModel as the evaluation asks it.

    Args:
        uri: the SavedModel's folder.
        signature: answers serialized tf.Examples.
        prediction_key: which of its outputs is the prediction; may be empty if there is one.
        label_signature: makes the label from serialized tf.Examples; empty where the label is a
            column of the examples.
        label_key: the label's name among the outputs of that signature, or the column.

    Raises:
        NotTabularError: the signatures are of another kind.
    """

    def __init__(
        self, uri: str, signature: str, prediction_key: str, label_signature: str, label_key: str
    ) -> None:
        self._model = tf.saved_model.load(uri)
        self._predict = self._function(signature)
        outputs = self._predict.structured_outputs
        names = [prediction_key] if prediction_key else list(outputs)
        if len(names) != 1 or names[0] not in outputs:
            raise NotTabularError(f"{signature} has the outputs {', '.join(outputs)}")
        self._prediction_key = names[0]
        self._label = self._function(label_signature) if label_signature else None
        self.label_key = label_key
        if self._label is not None and label_key not in self._label.structured_outputs:
            raise NotTabularError(f"{label_signature} does not make {label_key}")

    @property
    def label_column(self) -> str:
        """The column of the examples that is the label; empty where a signature makes it."""
        return "" if self._label is not None else self.label_key

    def answer(self, records: tf.Tensor, column: Floats | None) -> ModelAnswers:
        """Asks about a batch.

        Args:
            records: serialized tf.Examples. Shape: [batch].
            column: the label's column, where no signature makes it. Shape: [batch].

        Raises:
            NotTabularError: labels or predictions are not one number, or one row of numbers, each.
        """
        rows = int(records.shape[0])
        predictions = _call(self._predict, records)[self._prediction_key].numpy()
        if self._label is not None:
            column = _call(self._label, records)[self.label_key].numpy()
        assert column is not None
        if np.size(column) != rows or predictions.dtype.kind != "f":
            raise NotTabularError("labels or predictions are not one number a row")
        predictions = predictions.reshape(rows, -1).astype(np.float32, copy=False)
        labels = np.asarray(column).reshape(rows).astype(np.float64)
        return ModelAnswers(labels, predictions)

    def _function(self, name: str) -> Any:
        function = self._model.signatures.get(name)
        if function is None:
            raise NotTabularError(f"the model has no signature {name}")
        inputs = function.structured_input_signature[1]
        if [spec.dtype for spec in inputs.values()] != [tf.string]:
            raise NotTabularError(f"{name} takes something else than serialized examples")
        return function


def score(
    files: Sequence[str],
    models: Mapping[str, ServedModel],
    schema: schema_pb2.Schema,
    slice_columns: Sequence[str],
) -> ScoredRows:
    """Reads all rows once and asks every model about them.

    Args:
        files: TFRecord files of tf.Examples, gzipped if their name ends so.
        models: by name.
        schema: of the examples.
        slice_columns: columns whose values are kept.

    Raises:
        NotTabularError: a model, a label or a slice column is of another kind.
    """
    labels = {model.label_column for model in models.values()} - {""}
    columns = sorted(labels | set(slice_columns))
    decode = _decoder(schema, columns) if columns else None
    parts: dict[str, list[ModelAnswers]] = {name: [] for name in models}
    slices = {name: _SliceColumn() for name in slice_columns}
    done = 0
    for records in _batches(files):
        cells = _cells(decode(records.numpy()), columns) if decode else {}
        for name in slice_columns:
            slices[name].add(cells[name])
        for name, model in models.items():
            column = cells.get(model.label_column)
            parts[name].append(model.answer(records, _numbers(column, model.label_key)))
        done += int(records.shape[0])
        _progress.info("evaluate", extra={"done": done, "total": None, "unit": "rows"})
    if not done:
        raise NotTabularError("there are no rows")
    return ScoredRows(
        done,
        {name: _joined(answers) for name, answers in parts.items()},
        {name: column.values for name, column in slices.items()},
        {name: np.concatenate(column.codes) for name, column in slices.items()},
    )


def _batches(files: Sequence[str]) -> Iterator[tf.Tensor]:
    for gzipped in (False, True):
        own = [file for file in files if file.endswith(".gz") == gzipped]
        if own:
            records = tf.data.TFRecordDataset(own, compression_type="GZIP" if gzipped else "")
            yield from records.batch(_BATCH_ROWS).prefetch(2)


def _call(function: Any, records: tf.Tensor) -> dict[str, tf.Tensor]:
    [name] = function.structured_input_signature[1]
    answer: dict[str, tf.Tensor] = function(**{name: records})
    return answer


def _decoder(
    schema: schema_pb2.Schema, columns: Sequence[str]
) -> Callable[[npt.NDArray[Any]], pa.RecordBatch]:
    """Reads the given columns only."""
    kept = schema_pb2.Schema()
    for feature in schema.feature:
        if feature.name in columns:
            kept.feature.add(name=feature.name, type=feature.type)
    missing = set(columns) - {feature.name for feature in kept.feature}
    if missing:
        raise NotTabularError(f"the schema has no {', '.join(sorted(missing))}")
    coder = example_coder.ExamplesToRecordBatchDecoder(kept.SerializeToString())
    return lambda records: coder.DecodeBatch(records.tolist())


def _cells(batch: pa.RecordBatch, columns: Sequence[str]) -> dict[str, pa.Array]:
    """One value a row, or none.

    Raises:
        NotTabularError: a row has several.
    """
    cells = {}
    for name in columns:
        lists = batch.column(batch.schema.get_field_index(name))
        if pa.types.is_null(lists.type):
            cells[name] = pa.nulls(len(lists))
            continue
        lengths = lists.value_lengths().fill_null(0).to_numpy()
        if lengths.max(initial=0) > 1:
            raise NotTabularError(f"{name} has several values in a row")
        ends = np.cumsum(lengths)
        places = pa.array(ends - 1, mask=lengths == 0)
        cells[name] = lists.flatten().take(places)
    return cells


def _numbers(cells: pa.Array | None, name: str) -> Floats | None:
    if cells is None:
        return None
    if cells.null_count or not (
        pa.types.is_integer(cells.type) or pa.types.is_floating(cells.type)
    ):
        raise NotTabularError(f"the label {name} is not a number in every row")
    return np.asarray(cells.to_numpy(zero_copy_only=False), np.float64)


def _joined(parts: Sequence[ModelAnswers]) -> ModelAnswers:
    return ModelAnswers(
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.predictions for part in parts]),
    )


class _SliceColumn:
    """Numbers the values of a column in the order in which they turn up."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.codes: list[npt.NDArray[np.int32]] = []
        self._places: dict[Any, int] = {}

    def add(self, cells: pa.Array) -> None:
        """Takes the cells of a batch.

        Raises:
            NotTabularError: a value is no UTF-8, of which TFMA has more to say.
        """
        if pa.types.is_null(cells.type):
            self.codes.append(np.full(len(cells), -1, np.int32))
            return
        encoded = cells.dictionary_encode()
        places = np.array([self._place(value) for value in encoded.dictionary.to_pylist()] or [-1])
        indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        self.codes.append(np.where(indices < 0, -1, places[indices]).astype(np.int32))

    def _place(self, value: Any) -> int:
        if isinstance(value, bytes):
            try:
                value = value.decode()
            except UnicodeDecodeError as error:
                raise NotTabularError("a slice value is no UTF-8") from error
        place = self._places.setdefault(value, len(self.values))
        if place == len(self.values):
            self.values.append(value)
        return place
