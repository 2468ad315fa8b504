"""Transformed columns in the making; those that are treated alike are treated as one matrix.

An operation of the graph costs the same for one column and for a hundred, wherever the graph is
traced, loaded or run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from trainer.problem import TransformedFeature

__all__ = ["Column", "apart", "convert", "together"]


@dataclass(frozen=True)
class Column:
    """The row of the feature table that is being made, and how far its cells are."""

    row: TransformedFeature
    cells: tf.Tensor
    """Shape: [N, width]."""

    @property
    def feature(self) -> Any:
        """What the user wrote."""
        return self.row.feature


def convert(
    columns: Sequence[Column], conversion: Callable[[tf.Tensor], tf.Tensor]
) -> list[Column]:
    """Converts the cells of many columns, those of one type all at once; keeps no order."""
    converted = []
    for dtype in dict.fromkeys(column.cells.dtype for column in columns):
        alike = [column for column in columns if column.cells.dtype == dtype]
        parts = apart(conversion(together(alike)), alike)
        converted += [Column(column.row, parts[column.row.key]) for column in alike]
    return converted


def together(columns: Sequence[Column]) -> tf.Tensor:
    """Joins columns of one type to a matrix.

    Shape:
        [N, width] each to [N, W].
    """
    if len(columns) == 1:
        return columns[0].cells
    return tf.concat([column.cells for column in columns], axis=1)


def apart(matrix: tf.Tensor, columns: Sequence[Column]) -> dict[str, tf.Tensor]:
    """Cuts a matrix into the columns that it was joined from, by key."""
    if len(columns) == 1:
        return {columns[0].row.key: matrix}
    parts = tf.split(matrix, [column.row.width for column in columns], axis=1)
    return {column.row.key: part for column, part in zip(columns, parts, strict=True)}
