"""Raw columns, as TensorFlow Transform hands them over, become cells that may be missing.

A raw column is dense, sparse or ragged and holds float32, int64 or strings, whatever the schema
says about it; a feature asks for numbers, text, whole numbers or truth values. Here both meet.
A missing cell is NaN, the empty string, `NO_INTEGER` or a truth value of `NO_TRUTH_VALUE`: what
the CSV calls empty, what a reader of examples finds absent, and what a client of the served model
sends instead of a null.
"""

from typing import TypeAlias

import tensorflow as tf

__all__ = [
    "NO_INTEGER",
    "NO_TRUTH_VALUE",
    "RawColumn",
    "dense_cells",
    "empty_cell",
    "present_cells",
    "to_numbers",
    "to_text",
    "to_truth_values",
    "to_whole_numbers",
]

RawColumn: TypeAlias = tf.Tensor | tf.SparseTensor | tf.RaggedTensor

NO_INTEGER = -(2**63)
"""The missing whole number: the smallest int64."""

NO_TRUTH_VALUE = -1
"""The missing truth value; false is 0, true is 1."""

_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
_TRUE = r"(?i)true|t|yes|y|1|1\.0"
_FALSE = r"(?i)false|f|no|n|0|0\.0"
# Beyond this the float64 neighbours of an integer are no longer its neighbours.
_LARGEST_EXACT = 2.0**53


def empty_cell(dtype: tf.DType) -> float | int | str:
    """Returns what stands for a missing cell in a raw column of `dtype`."""
    if dtype == tf.string:
        return ""
    return NO_INTEGER if dtype.is_integer else float("nan")


def dense_cells(column: RawColumn, width: int = 1) -> tf.Tensor:
    """Turns a raw column into its first `width` values per row, missing ones filled in.

    Shape:
        dense [N], [N, k], sparse [N, k] or ragged [N, (k)] to dense [N, width].
    """
    empty = empty_cell(column.dtype)
    if isinstance(column, tf.RaggedTensor):
        return column.to_tensor(empty, shape=[None, width])
    if isinstance(column, tf.SparseTensor):
        # Rows may hold more values than `width`, or none may hold any.
        shape = tf.maximum(column.dense_shape, tf.constant([0, width], tf.int64))
        cells = tf.sparse.to_dense(tf.SparseTensor(column.indices, column.values, shape), empty)
        return tf.ensure_shape(cells[:, :width], [None, width])
    given = 1
    for size in column.shape[1:]:
        given *= size
    cells = column if len(column.shape) == 2 else tf.reshape(column, [-1, given])
    if given < width:
        return tf.pad(cells, [[0, 0], [0, width - given]], constant_values=empty)
    return cells if given == width else cells[:, :width]


def present_cells(column: tf.Tensor) -> tf.Tensor:
    """Tells which cells of a raw, dense column are not missing."""
    if column.dtype == tf.string:
        return tf.not_equal(column, "")
    if column.dtype.is_integer:
        return tf.not_equal(column, tf.constant(NO_INTEGER, column.dtype))
    return tf.logical_not(tf.math.is_nan(column))


def to_numbers(cells: tf.Tensor) -> tf.Tensor:
    """Turns cells of any type into float64; missing, infinite and unreadable ones are NaN."""
    if cells.dtype == tf.string:
        text = tf.strings.strip(cells)
        readable = tf.strings.regex_full_match(text, _NUMBER)
        numbers = tf.strings.to_number(tf.where(readable, text, "nan"), tf.float64)
    else:
        numbers = tf.cast(cells, tf.float64)
        if cells.dtype.is_integer:
            numbers = tf.where(present_cells(cells), numbers, _nan())
    return tf.where(tf.math.is_finite(numbers), numbers, _nan())


def to_text(cells: tf.Tensor) -> tf.Tensor:
    """Turns cells of any type into strings as they would be written; missing ones are empty."""
    if cells.dtype == tf.string:
        return cells
    if cells.dtype.is_integer:
        return tf.where(present_cells(cells), tf.strings.as_string(cells), "")
    whole = tf.strings.as_string(tf.cast(tf.where(_is_whole(cells), cells, 0), tf.int64))
    text = tf.where(_is_whole(cells), whole, tf.strings.as_string(cells, shortest=True))
    return tf.where(tf.math.is_nan(cells), "", text)


def to_whole_numbers(cells: tf.Tensor) -> tf.Tensor:
    """Turns cells of any type into int64; missing and fractional ones are `NO_INTEGER`."""
    if cells.dtype.is_integer:
        return tf.cast(cells, tf.int64)
    numbers = to_numbers(cells)
    whole = tf.cast(tf.where(_is_whole(numbers), numbers, 0), tf.int64)
    return tf.where(_is_whole(numbers), whole, tf.constant(NO_INTEGER, tf.int64))


def to_truth_values(cells: tf.Tensor) -> tf.Tensor:
    """Turns 0/1 or true/false, t/f, yes/no, y/n into int64 0 and 1, all else into −1."""
    if cells.dtype == tf.string:
        text = tf.strings.strip(cells)
        true = tf.strings.regex_full_match(text, _TRUE)
        false = tf.strings.regex_full_match(text, _FALSE)
    else:
        true, false = tf.equal(cells, 1), tf.equal(cells, 0)
    values = tf.cast(true, tf.int64)
    return tf.where(true | false, values, tf.constant(NO_TRUTH_VALUE, tf.int64))


def _is_whole(numbers: tf.Tensor) -> tf.Tensor:
    in_range = tf.abs(numbers) <= _LARGEST_EXACT
    return in_range & tf.equal(tf.floor(numbers), numbers)


def _nan() -> tf.Tensor:
    return tf.constant(float("nan"), tf.float64)
