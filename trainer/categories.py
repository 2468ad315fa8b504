"""Text, whole numbers and truth values become ids.

Ids have one layout for all kinds: 0 is missing, known values follow from 1, unseen ones come
last; −1 pads the rows of columns that hold lists.
"""

from collections.abc import Callable, Sequence
from functools import partial

import tensorflow as tf
import tensorflow_transform as tft

from trainer import cells
from trainer.columns import Column, apart, together
from trainer.problem import Substitute, Vocabulary
from trainer.vocabularies import LARGEST_SHARED, Vocabularies

__all__ = ["PADDING_ID", "identify_number", "identify_text", "identify_truth"]

PADDING_ID = -1
"""Fills rows that hold fewer values than `max_values`."""


def identify_text(columns: Sequence[Column]) -> dict[str, tf.Tensor]:
    """Turns text, empty where missing, into ids by vocabulary or hash."""
    outputs: dict[str, tf.Tensor] = {}
    shared = []
    for column in columns:
        words, key = column.feature.vocabulary, column.row.key
        if words is not None and _is_shared(words):
            shared.append(column)
        elif words is not None:
            outputs |= _identify_by([column], partial(_look_up, vocabulary=words, key=key))
        else:
            count = column.feature.hash_buckets
            hashed = partial(tf.strings.to_hash_bucket_fast, num_buckets=count)
            outputs |= _identify_by([column], hashed)
    if shared:
        outputs |= _identify_by(shared, partial(_look_up_shared, columns=shared))
    return outputs


def _identify_by(
    columns: Sequence[Column], find: Callable[[tf.Tensor], tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Turns text into ids.

    Args:
        columns: text, empty where missing.
        find: numbers the values of each column from 0. Shape: strings [N, W] to int64 [N, W].
    """
    text = together(columns)
    missing = tf.equal(text, "")
    substitutes = [word for column in columns for word in _substitutes(column)]
    if any(substitutes):
        text = tf.where(missing, tf.constant([substitutes]), text)
    ids = find(text) + 1
    has_own = [
        column.feature.missing == "own_token" for column in columns for _ in range(column.row.width)
    ]
    if any(has_own):
        ids = tf.where(missing & tf.constant([has_own]), tf.zeros_like(ids), ids)
    return apart(_pad(ids, missing, columns), columns)


def _substitutes(column: Column) -> list[str]:
    """What stands in for a missing cell, by its place in the row; only the first is no padding."""
    policy = column.feature.missing
    first = str(policy.value) if isinstance(policy, Substitute) else ""
    return [first, *[""] * (column.row.width - 1)]


def _pad(ids: tf.Tensor, missing: tf.Tensor, columns: Sequence[Column]) -> tf.Tensor:
    """Marks missing cells as padding, but for a row's first: an empty row is a missing value.

    Shape:
        both [N, W] to [N, W].
    """
    is_later = [place > 0 for column in columns for place in range(column.row.width)]
    if not any(is_later):
        return ids
    return tf.where(missing & tf.constant([is_later]), tf.constant(PADDING_ID, tf.int64), ids)


def _is_shared(vocabulary: Vocabulary) -> bool:
    """Whether a column is counted along with others; a least frequency asks for exact counts."""
    return vocabulary.min_frequency == 1 and vocabulary.max_size <= LARGEST_SHARED


def _look_up_shared(text: tf.Tensor, columns: Sequence[Column]) -> tf.Tensor:
    """Numbers values by the vocabularies that the columns share a file with."""
    settings = [column.feature.vocabulary for column in columns]
    return Vocabularies.analyse(
        text,
        owners=[n for n, column in enumerate(columns) for _ in range(column.row.width)],
        names=[column.row.key for column in columns],
        max_sizes=[each.max_size for each in settings],
        oov_buckets=[each.oov_buckets for each in settings],
    ).look_up(text)


def _look_up(text: tf.Tensor, vocabulary: Vocabulary, key: str) -> tf.Tensor:
    """Numbers values by a vocabulary with a file of its own, which all values are counted for."""
    # The empty string is in no vocabulary.
    file = tft.vocabulary(
        tf.boolean_mask(text, tf.not_equal(text, "")),
        top_k=vocabulary.max_size,
        # TFT warns of a threshold of 1, which filters nothing.
        frequency_threshold=vocabulary.min_frequency if vocabulary.min_frequency > 1 else None,
        vocab_filename=key,
    )
    return tft.apply_vocabulary(
        text, file, num_oov_buckets=vocabulary.oov_buckets, file_format="text"
    )


def identify_number(column: Column) -> tf.Tensor:
    """Turns whole numbers up to the feature's `max_value` into ids: the numbers themselves."""
    numbers, feature = column.cells, column.feature
    unseen = tf.constant(feature.max_value + 2, tf.int64)
    known = (numbers >= 0) & (numbers <= feature.max_value)
    ids = tf.where(known, numbers + 1, unseen)
    match feature.missing:
        case Substitute(value=value):
            inside = 0 <= int(value) <= feature.max_value
            of_missing = tf.constant(int(value) + 1, tf.int64) if inside else unseen
        case "unseen":
            of_missing = unseen
        case _:
            of_missing = tf.constant(0, tf.int64)
    missing = tf.logical_not(cells.present_cells(numbers))
    return _pad(tf.where(missing, of_missing, ids), missing, [column])


def identify_truth(column: Column) -> tf.Tensor:
    """Turns truth values into ids: 0 missing, 1 false, 2 true."""
    values, feature = column.cells, column.feature
    fill = cells.NO_TRUTH_VALUE if feature.missing == "own_token" else int(feature.missing)
    return tf.where(values < 0, tf.constant(fill, tf.int64), values) + 1
