"""Raw columns of every shape and type, read as every type."""

import math
from typing import Any

import pytest
import tensorflow as tf

from trainer.cells import (
    NO_INTEGER,
    dense_cells,
    empty_cell,
    present_cells,
    to_numbers,
    to_text,
    to_truth_values,
    to_whole_numbers,
)


def same(found: tf.Tensor, expected: list[Any]) -> bool:
    values = found.numpy().tolist()
    return len(values) == len(expected) and all(
        value == wanted or (isinstance(wanted, float) and math.isnan(wanted) and math.isnan(value))
        for value, wanted in zip(values, expected, strict=True)
    )


NAN = float("nan")
ROWS = [["a"], [], ["b", "c", "d"]]


@pytest.mark.parametrize("width", [1, 2, 5])
def test_sparse_and_ragged_rows_become_the_same_cells(width: int) -> None:
    ragged = tf.ragged.constant(ROWS, dtype=tf.string)
    expected = [[*(v.encode() for v in row[:width]), *[b""] * (width - len(row))] for row in ROWS]
    assert dense_cells(ragged, width).numpy().tolist() == expected
    assert dense_cells(ragged.to_sparse(), width).numpy().tolist() == expected


def test_a_column_without_any_value_is_missing_in_each_row() -> None:
    nothing = tf.SparseTensor(tf.zeros([0, 2], tf.int64), tf.zeros([0], tf.int64), [3, 0])
    assert dense_cells(nothing).numpy().tolist() == [[NO_INTEGER]] * 3


def test_dense_columns_keep_their_cells() -> None:
    assert dense_cells(tf.constant([1.0, 2.0])).numpy().tolist() == [[1.0], [2.0]]
    assert dense_cells(tf.constant([[1], [2]], tf.int64), 2).numpy().tolist() == [
        [1, NO_INTEGER],
        [2, NO_INTEGER],
    ]
    assert dense_cells(tf.constant([["a", "b"]])).numpy().tolist() == [[b"a"]]


@pytest.mark.parametrize("dtype", [tf.string, tf.int64, tf.float32, tf.float64])
def test_the_empty_cell_is_not_present(dtype: tf.DType) -> None:
    assert not present_cells(tf.constant([empty_cell(dtype)], dtype)).numpy().any()


def test_numbers_are_read_from_all_types() -> None:
    text = ["1", " -2.5 ", "3e2", "", "x", "1_000", "nan", "inf", "0x1"]
    assert same(to_numbers(tf.constant(text)), [1.0, -2.5, 300.0, *[NAN] * 6])
    assert same(to_numbers(tf.constant([5, NO_INTEGER], tf.int64)), [5.0, NAN])
    assert same(to_numbers(tf.constant([0.5, math.inf, NAN])), [0.5, NAN, NAN])


def test_text_is_written_as_in_the_data() -> None:
    assert to_text(tf.constant(["a", ""])).numpy().tolist() == [b"a", b""]
    assert to_text(tf.constant([8, NO_INTEGER], tf.int64)).numpy().tolist() == [b"8", b""]
    assert to_text(tf.constant([8.0, 0.1, NAN])).numpy().tolist() == [b"8", b"0.1", b""]


def test_whole_numbers_are_whole() -> None:
    assert to_whole_numbers(tf.constant([8.0, 8.5, NAN])).numpy().tolist() == [
        8,
        NO_INTEGER,
        NO_INTEGER,
    ]
    assert to_whole_numbers(tf.constant(["8", "8.0", "8.5", ""])).numpy().tolist() == [
        8,
        8,
        NO_INTEGER,
        NO_INTEGER,
    ]


def test_truth_has_many_spellings() -> None:
    text = ["true", "T", " Yes", "y", "1", "False", "n", "0", "maybe", ""]
    values = to_truth_values(tf.constant(text)).numpy().tolist()
    assert values == [1, 1, 1, 1, 1, 0, 0, 0, -1, -1]
    assert to_truth_values(tf.constant([1, 0, 2], tf.int64)).numpy().tolist() == [1, 0, -1]
    assert to_truth_values(tf.constant([1.0, 0.0, NAN])).numpy().tolist() == [1, 0, -1]
