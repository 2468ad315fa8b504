"""Files of examples become rows the model can read, in memory where they fit.

Examples are parsed and transformed in large chunks, once; shuffled batches are then gathered from
memory. Data beyond the memory limit is transformed anew in every epoch and shuffled in a buffer.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.problem import DataError, Problem, Task
from trainer.transform_graph import TransformGraph

__all__ = ["Batch", "LabelSummary", "RowStream", "Rows", "find_files", "row_transform"]

Batch: TypeAlias = tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]
"""Model inputs [N, …], labels [N] and weights [N]."""

_CHUNK_ROWS = 4096
"""Rows parsed and transformed at a time: the graph's fixed cost no longer shows from here on."""

_progress = logging.getLogger("kubetfx.progress")


def find_files(patterns: Iterable[str]) -> list[str]:
    """Turns file patterns into the sorted names of the files that match.

    Raises:
        DataError: If none matches.
    """
    patterns = list(patterns)
    files = sorted(name for pattern in patterns for name in tf.io.gfile.glob(pattern))
    if not files:
        raise DataError(
            f"no file of examples matches {', '.join(patterns)}",
            expected="at least one TFRecord file of tf.Examples",
            fix="check that the split exists and is not empty",
        )
    return files


@dataclass(frozen=True)
class LabelSummary:
    """What the training rows say about the label.

    Attributes:
        mean: weighted, of a number. Unit: the label's own.
        deviation: weighted standard deviation of a number, 1 if constant. Unit: the label's own.
        class_rows: weight of each class's rows; (negative, positive) for binary.
        weight_mean: mean weight of all rows, those without a label included.
    """

    mean: float
    deviation: float
    class_rows: tuple[float, ...]
    weight_mean: float


@dataclass(frozen=True)
class Rows:
    """Rows in memory.

    Attributes:
        inputs: the model's inputs, [N, …] each.
        labels: [N]; 0 where there is none.
        weights: [N]; 0 where there is no label.
    """

    inputs: dict[str, npt.NDArray[np.generic]]
    labels: npt.NDArray[np.generic]
    weights: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.weights)

    def summarise(self, problem: Problem, class_count: int) -> LabelSummary:
        """Turns labels and weights into what the training must know of them.

        Raises:
            DataError: If no row has a label and a weight.
        """
        total = float(self.weights.sum(dtype=np.float64))
        if total <= 0:
            weight = problem.training.weight_column
            raise DataError(
                f"none of the {len(self)} training rows has a label in {problem.label.name!r}"
                + ("" if weight is None else f" and a weight in {weight!r}"),
                expected=_LABELS[problem.task],
                fix="correct the label (binary labels other than 0/1 and true/false "
                "need label.positive) or the data",
            )
        labels = self.labels.astype(np.float64)
        mean = float(np.average(labels, weights=self.weights))
        deviation = float(np.sqrt(np.average((labels - mean) ** 2, weights=self.weights)))
        classes: tuple[float, ...] = ()
        if problem.task is not Task.REGRESSION:
            count = 2 if problem.task is Task.BINARY else class_count
            counted = np.bincount(self.labels.astype(np.int64), self.weights, count)
            classes = tuple(float(weight) for weight in counted)
        return LabelSummary(mean, deviation or 1.0, classes, total / len(self))

    def shuffled_batches(self, batch_size: int, seed: int) -> tf.data.Dataset:
        """Yields endless batches; each epoch has an order of its own, given by seed and epoch."""
        count = len(self)
        inputs = {key: tf.constant(values) for key, values in self.inputs.items()}
        labels, weights = tf.constant(self.labels), tf.constant(self.weights)

        @tf.autograph.experimental.do_not_convert
        def order(epoch: tf.Tensor) -> tf.Tensor:
            return tf.random.experimental.stateless_shuffle(
                tf.range(count), seed=tf.stack([tf.constant(seed, tf.int64), epoch])
            )

        @tf.autograph.experimental.do_not_convert
        def gather(chosen: tf.Tensor) -> Batch:
            rows = {key: tf.gather(values, chosen) for key, values in inputs.items()}
            return rows, tf.gather(labels, chosen), tf.gather(weights, chosen)

        epochs = tf.data.Dataset.range(np.iinfo(np.int64).max).map(order)
        return epochs.rebatch(batch_size).map(gather).prefetch(8)

    def chunks(self, chunk_rows: int) -> Iterator[Batch]:
        """Yields all rows in their order."""
        for start in range(0, len(self), chunk_rows):
            part = slice(start, start + chunk_rows)
            inputs = {key: tf.constant(values[part]) for key, values in self.inputs.items()}
            yield inputs, tf.constant(self.labels[part]), tf.constant(self.weights[part])


def row_transform(
    graph: TransformGraph, *, transformed: bool = False
) -> Callable[[tf.Tensor], Batch]:
    """Returns the function, traced once, that turns serialized examples into a batch.

    Rows without a label get weight 0.

    Shape:
        [N] strings to a batch of N rows.

    Args:
        graph: what turns raw examples into the model's inputs.
        transformed: the examples hold transformed features already.
    """
    problem = graph.problem

    def transform(examples: tf.Tensor) -> Batch:
        if transformed:
            columns = tf.io.parse_example(examples, graph.transformed_parsers())
        else:
            columns = graph.apply(graph.parse(examples, problem.training_columns))
        labels = tf.reshape(columns[problem.transformed_label], [-1])
        # NaN fails every comparison.
        labelled = labels > -np.inf if labels.dtype.is_floating else labels >= 0
        weights = tf.cast(labelled, tf.float32)
        if problem.training.weight_column is not None:
            weights *= tf.reshape(columns[problem.transformed_weight], [-1])
        labels = tf.where(labelled, labels, tf.zeros_like(labels))
        return graph.model_inputs(columns), labels, weights

    traced: Callable[[tf.Tensor], Batch] = tf.function(
        transform, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
    )
    return traced


class RowStream:
    """Rows in files.

    Args:
        files: TFRecord files of tf.Examples; compressed if the name ends in `.gz`.
        transform: turns serialized examples into a batch, see `row_transform`.
    """

    def __init__(self, files: Sequence[str], transform: Callable[[tf.Tensor], Batch]) -> None:
        self.files = list(files)
        self._transform = transform

    def examples(self, chunk_rows: int) -> tf.data.Dataset:
        """Yields serialized examples, `chunk_rows` at a time, always in the same order."""

        @tf.autograph.experimental.do_not_convert
        def read(file: tf.Tensor) -> tf.data.Dataset:
            is_compressed = tf.strings.regex_full_match(file, r".*\.gz")
            compression = tf.where(is_compressed, "GZIP", "")
            # Batched within each file: interleaving row by row would cost more than reading.
            return tf.data.TFRecordDataset(file, compression).batch(chunk_rows)

        files = tf.data.Dataset.from_tensor_slices(self.files)
        chunks = files.interleave(read, cycle_length=8, num_parallel_calls=tf.data.AUTOTUNE)
        return chunks.rebatch(chunk_rows).prefetch(2)

    def batches(self) -> tf.data.Dataset:
        """Yields rows in large batches, in the files' order."""
        return self.examples(_CHUNK_ROWS).map(self._transform, num_parallel_calls=tf.data.AUTOTUNE)

    def shuffled_batches(self, batch_size: int, buffer_rows: int, seed: int) -> tf.data.Dataset:
        """Yields endless batches, shuffled within `buffer_rows` rows at a time."""

        @tf.autograph.experimental.do_not_convert
        def shuffle(number: tf.Tensor, batch: Batch) -> Batch:
            order = tf.random.experimental.stateless_shuffle(
                tf.range(tf.shape(batch[2])[0]),
                seed=tf.stack([tf.constant(seed, tf.int64), number]),
            )
            shuffled: Batch = tf.nest.map_structure(lambda part: tf.gather(part, order), batch)
            return shuffled

        buffers = self.batches().repeat().rebatch(buffer_rows).enumerate()
        return buffers.map(shuffle).rebatch(batch_size).prefetch(8)

    def chunks(self, chunk_rows: int) -> Iterator[Batch]:
        """Yields all rows in their order."""
        for examples in self.examples(chunk_rows):
            yield self._transform(examples)

    def count(self) -> int:
        """Counts the rows without parsing them."""
        chunks = self.examples(_CHUNK_ROWS)
        total = chunks.reduce(
            tf.constant(0, tf.int64), lambda sum_, part: sum_ + tf.size(part, tf.int64)
        )
        return int(total)

    def load(self, limit_bytes: float, limit_rows: int | None = None) -> tuple[Rows, bool]:
        """Reads rows into memory until the end or a limit.

        Returns:
            The rows, and whether they are all of them (`limit_rows` is as good as the end).

        Raises:
            DataError: If there are none.
        """
        parts: list[Batch] = []
        size, count, complete = 0, 0, True
        # Called from here, not mapped by tf.data, the transform is optimised once for all files.
        for batch in self.chunks(_CHUNK_ROWS):
            parts.append(tf.nest.map_structure(lambda tensor: tensor.numpy(), batch))
            size += sum(array.nbytes for array in tf.nest.flatten(parts[-1]))
            count += len(parts[-1][2])
            _progress.info("rows read", extra={"done": count, "total": None, "unit": "rows"})
            if limit_rows is not None and count >= limit_rows:
                break
            if size > limit_bytes:
                complete = False
                break
        if not parts:
            raise DataError(
                f"{', '.join(self.files)} hold no examples",
                expected="at least one row in each split",
                fix="give more data, or change the splits",
            )
        inputs = {
            key: np.concatenate([part[0][key] for part in parts])[:limit_rows]
            for key in parts[0][0]
        }
        labels, weights = (
            np.concatenate([part[at] for part in parts])[:limit_rows] for at in (1, 2)
        )
        return Rows(inputs, labels, weights), complete


_LABELS = {
    Task.BINARY: "0/1 or true/false, or two values of which label.positive names one",
    Task.MULTICLASS: "a class name or number in each row",
    Task.REGRESSION: "a number in each row",
}
