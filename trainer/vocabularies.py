"""The vocabularies of many columns from one analysis, behind one lookup table.

A vocabulary of its own for each column costs half a second of tracing and pipeline each, and a
table to load wherever the model goes. Here all of them are counted by one combiner, which
TensorFlow Transform answers in the same pass as the means, and looked up with the column's number
before the text.

Source: the parts of TFT are those of `tft.experimental.approximate_vocabulary`
(tensorflow_transform/experimental/analyzers.py), which does the same for one column.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform import analyzer_nodes, analyzers, nodes
from tfx_bsl.sketches import MisraGriesSketch

from trainer.vocabulary_file import FILE, line_start

__all__ = ["LARGEST_SHARED", "Vocabularies"]

LARGEST_SHARED = 100_000
"""The most values of a column that are counted here, and so that may be kept. Unit: values."""


@dataclass(frozen=True)
class Vocabularies:
    """Vocabularies of the columns of a matrix of text; see `analyse`."""

    file: Any
    """Name of the file, once the analysis has made it."""
    sizes: tf.Tensor
    """Values in each vocabulary: int64 [K]."""
    owners: tuple[int, ...]
    """The vocabulary of each column of the matrix, W of them."""
    oov_buckets: tuple[int, ...]
    """Ids for unseen values in each vocabulary."""

    @classmethod
    def analyse(
        cls,
        text: tf.Tensor,
        owners: Sequence[int],
        names: Sequence[str],
        max_sizes: Sequence[int],
        oov_buckets: Sequence[int],
    ) -> Vocabularies:
        """Finds the most frequent values of K columns, which take W columns of a matrix.

        Counts are exact for columns of up to `LARGEST_SHARED` different values. With more than
        that a count may be short by one in so many cells, and which of the rarest values are kept
        may depend on the order of the rows.

        Args:
            text: cells, the empty string where there is nothing to count. Shape: [N, W].
            owners: the vocabulary that each column of `text` adds to. Shape: [W], 0 … K − 1.
            names: what the vocabularies are called in the file. Shape: [K].
            max_sizes: values kept, at most `LARGEST_SHARED`. Shape: [K].
            oov_buckets: ids for values beyond. Shape: [K].
        """
        analyzers.register_vocab(FILE, vocabulary_key=FILE, file_format="text")
        counter = _Counter(tuple(owners), tuple(names), tuple(max_sizes))
        lines, sizes = analyzers.apply_cacheable_combine_operation(counter, text)
        file = nodes.apply_operation(
            analyzer_nodes.VocabularyOrderAndWrite,
            nodes.apply_operation(analyzer_nodes.FlattenLists, lines),
            vocab_filename=FILE,
            store_frequency=False,
            input_dtype=text.dtype.name,
            file_format="text",
            fingerprint_shuffle=False,
            input_is_sorted=True,
        )
        return cls(
            analyzer_nodes.wrap_as_tensor(file),
            analyzer_nodes.wrap_as_tensor(sizes),
            tuple(owners),
            tuple(oov_buckets),
        )

    def look_up(self, text: tf.Tensor) -> tf.Tensor:
        """Turns text into ids from 0 in each column; unseen values follow the known ones.

        Shape:
            strings [N, W] to int64 [N, W].
        """
        starts = tf.constant([[line_start(owner) for owner in self.owners]])
        found = tft.apply_vocabulary(starts + text, self.file, default_value=-1, file_format="text")
        names = len(self.oov_buckets)
        first = names + tf.cumsum(self.sizes, exclusive=True)
        unseen = tf.gather(self.sizes, self.owners)
        buckets = [self.oov_buckets[owner] for owner in self.owners]
        if max(buckets) > 1:
            unseen += tf.strings.to_hash_bucket_fast(text, 2**62) % tf.constant(buckets, tf.int64)
        return tf.where(found < 0, unseen, found - tf.gather(first, self.owners))


_Sketches = list[MisraGriesSketch]


class _Counter(analyzer_nodes.Combiner):
    """Counts the values of several columns.

    Its outputs are the lines of the file, each after a count as the writer expects it, and the
    sizes of the vocabularies.
    """

    def __init__(
        self, owners: tuple[int, ...], names: tuple[str, ...], max_sizes: tuple[int, ...]
    ) -> None:
        self._owners, self._names, self._max_sizes = owners, names, max_sizes

    def create_accumulator(self) -> _Sketches:
        order = MisraGriesSketch.OrderOnTie.ReverseLexicographical
        return [MisraGriesSketch(LARGEST_SHARED, order_on_tie=order) for _ in self._names]

    def add_input(self, accumulator: _Sketches, batch: Sequence[npt.NDArray[Any]]) -> _Sketches:
        (text,) = batch
        for column, owner in enumerate(self._owners):
            values = _countable(pa.array(text[:, column], pa.binary()))
            if len(values):
                accumulator[owner].AddValues(values)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[_Sketches]) -> _Sketches:
        first, *others = accumulators
        for other in others:
            for mine, theirs in zip(first, other, strict=True):
                mine.Merge(theirs)
        return first

    def extract_output(self, accumulator: _Sketches) -> list[npt.NDArray[Any]]:
        lines = [name.encode() for name in self._names]
        sizes = []
        for number, (sketch, most) in enumerate(zip(accumulator, self._max_sizes, strict=True)):
            values = sketch.Estimate().field(0)[:most].to_pylist()
            lines += [line_start(number) + value for value in values]
            sizes.append(len(values))
        counted = np.array([(0, line) for line in lines], dtype=object)
        return [counted, np.array(sizes, np.int64)]

    def output_tensor_infos(self) -> list[analyzer_nodes.TensorInfo]:
        return [
            analyzer_nodes.TensorInfo(tf.string, [None, 2], None),
            analyzer_nodes.TensorInfo(tf.int64, [len(self._names)], None),
        ]


def _countable(values: pa.Array) -> pa.Array:
    """Leaves out what is empty or would not come back from a line of a file."""
    lengths = pc.binary_length(values)
    kept = pc.greater(lengths, 0)
    written = values.buffers()[2]
    text = b"" if written is None else written.to_pybytes()
    for mark in ("\n", "\r"):
        if mark.encode() in text:
            kept = pc.and_(kept, pc.invert(pc.match_substring(values, mark)))
    return values.filter(kept)
