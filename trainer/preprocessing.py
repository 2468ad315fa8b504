"""From raw columns to the model's inputs: one pass over the training rows, one TensorFlow graph.

Every analyzer reads raw cells only, none the result of another, so that TensorFlow Transform can
answer all of them in a single pass. What they find (means, quantiles, vocabularies) becomes part
of the graph, which training and serving then share.

Columns that are treated alike are treated together, as one matrix: the graph of a wide table is
then hardly larger than that of a narrow one, and so is the time to make, load and run it.

Ids have one layout for all kinds: 0 is missing, known values follow from 1, unseen ones come
last; −1 pads the rows of columns that hold lists.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from trainer import cells, moments
from trainer.errors import DataError
from trainer.problem import (
    Boolean,
    Bucketized,
    Categorical,
    Integer,
    LogNumeric,
    Numeric,
    Problem,
    Substitute,
    Task,
    Timestamp,
    TransformedFeature,
    Vocabulary,
)
from trainer.vocabularies import LARGEST_SHARED, Vocabularies

__all__ = ["PADDING_ID", "preprocessing_fn", "transform_columns"]

PADDING_ID = -1
"""Fills rows that hold fewer values than `max_values`."""

# float32 stays exact enough below this; no value of the training data is near it.
_LARGEST_Z_SCORE = 1e6


def preprocessing_fn(
    inputs: Mapping[str, cells.RawColumn], custom_config: Mapping[str, Any]
) -> dict[str, tf.Tensor]:
    """Turns raw columns into the model's inputs, for TFX's Transform component.

    Args:
        inputs: raw columns by name.
        custom_config: `problem` holds the problem as JSON.
    """
    return transform_columns(Problem.model_validate_json(custom_config["problem"]), inputs)


def transform_columns(
    problem: Problem, inputs: Mapping[str, cells.RawColumn]
) -> dict[str, tf.Tensor]:
    """Turns raw columns into transformed features, label and row weight.

    Shape:
        each output [N, width]; the columns are those of `Problem.transformed_features`.

    Raises:
        DataError: If a column that training needs is not among `inputs`.
    """
    absent = [name for name in problem.training_columns if name not in inputs]
    if absent:
        raise DataError(
            f"the data has no column {', '.join(map(repr, absent))}",
            expected=f"one of {', '.join(map(repr, sorted(inputs)))}",
            fix="correct the name in features, label or weight_column",
        )
    outputs = _transform_features(problem.transformed_features, inputs)
    outputs[problem.transformed_label] = _transform_label(problem, inputs[problem.label.name])
    weight = problem.training.weight_column
    if weight is not None:
        outputs[problem.transformed_weight] = _transform_weight(inputs[weight])
    return outputs


@dataclass(frozen=True)
class _Column:
    """A transformed feature in the making: the row of the table, and the cells it is made from."""

    row: TransformedFeature
    cells: tf.Tensor
    """Shape: [N, width]."""

    @property
    def feature(self) -> Any:
        """What the user wrote."""
        return self.row.feature


def _transform_features(
    rows: Sequence[TransformedFeature], inputs: Mapping[str, cells.RawColumn]
) -> dict[str, tf.Tensor]:
    """Makes the columns of the table; their order in the result is of no account."""
    wanted = dict.fromkeys((row.feature.name, row.width) for row in rows)
    dense = {(name, width): cells.dense_cells(inputs[name], width) for name, width in wanted}
    raw = [_Column(row, dense[row.feature.name, row.width]) for row in rows]

    def of(*kinds: type, role: str = "value") -> list[_Column]:
        return [one for one in raw if isinstance(one.feature, kinds) and one.row.role == role]

    numbers = _convert(of(Numeric, LogNumeric), cells.to_numbers)
    moments_cut = _cut_moments([one for one in raw if isinstance(one.feature, Timestamp)])
    years = [one for one in moments_cut if one.row.role == "year"]
    text = _convert(of(Categorical), cells.to_text)
    whole = _convert(of(Integer), cells.to_whole_numbers)
    text += _convert([one for one in whole if one.feature.max_value is None], cells.to_text)
    outputs = {one.row.key: one.cells for one in moments_cut if one.row.role != "year"}
    outputs |= _scale(numbers + years)
    outputs |= _identify(text)
    for one in _convert(of(Numeric, LogNumeric, role="missing"), cells.to_numbers):
        outputs[one.row.key] = tf.cast(tf.math.is_nan(one.cells), tf.float32)
    for one in _convert(of(Bucketized), cells.to_numbers):
        outputs[one.row.key] = _bucketize(one.cells, one.feature)
    for one in whole:
        if one.feature.max_value is not None:
            outputs[one.row.key] = _identify_integer(one)
    for one in _convert(of(Boolean), cells.to_truth_values):
        outputs[one.row.key] = _identify_truth(one.cells, one.feature)
    return outputs


def _convert(
    columns: Sequence[_Column], conversion: Callable[[tf.Tensor], tf.Tensor]
) -> list[_Column]:
    """Converts the cells of many columns, those of one type all at once; keeps no order."""
    converted = []
    for dtype in dict.fromkeys(column.cells.dtype for column in columns):
        alike = [column for column in columns if column.cells.dtype == dtype]
        parts = _apart(conversion(_together(alike)), alike)
        converted += [_Column(column.row, parts[column.row.key]) for column in alike]
    return converted


def _together(columns: Sequence[_Column]) -> tf.Tensor:
    """Joins columns of one type to a matrix.

    Shape:
        [N, width] each to [N, W].
    """
    if len(columns) == 1:
        return columns[0].cells
    return tf.concat([column.cells for column in columns], axis=1)


def _apart(matrix: tf.Tensor, columns: Sequence[_Column]) -> dict[str, tf.Tensor]:
    """Cuts a matrix into the columns that it was joined from, by key."""
    if len(columns) == 1:
        return {columns[0].row.key: matrix}
    parts = tf.split(matrix, [column.row.width for column in columns], axis=1)
    return {column.row.key: part for column, part in zip(columns, parts, strict=True)}


# --------------------------------------------------------------------------------- numbers


def _scale(columns: Sequence[_Column]) -> dict[str, tf.Tensor]:
    """Turns numbers, NaN where missing, into float32 z-scores without NaN."""
    if not columns:
        return {}
    plain = [column for column in columns if not isinstance(column.feature, LogNumeric)]
    tailed = [column for column in columns if isinstance(column.feature, LogNumeric)]
    columns = plain + _convert(tailed, _log_of_one_more)
    known = _together(columns)
    mean, per_deviation = _mean_and_scale(known)
    fill = tf.constant([_fill(column.feature) for column in columns], tf.float64)
    fill = tf.where(tf.math.is_nan(fill), mean, fill)
    scores = (tf.where(tf.math.is_nan(known), fill, known) - mean) * per_deviation
    scores = tf.clip_by_value(scores, -_LARGEST_Z_SCORE, _LARGEST_Z_SCORE)
    return _apart(tf.cast(scores, tf.float32), columns)


def _log_of_one_more(numbers: tf.Tensor) -> tf.Tensor:
    # A comparison with NaN is false, hence missing stays missing.
    return tf.math.log1p(tf.where(numbers < 0, tf.zeros_like(numbers), numbers))


def _fill(feature: Numeric | LogNumeric | Timestamp) -> float:
    """What stands in for a missing number before it is scaled; NaN for the mean."""
    match feature.missing:
        case "mean" | "own_token":
            return math.nan
        case "zero":
            return 0.0
        case constant:
            value = float(constant)
            return math.log1p(value) if isinstance(feature, LogNumeric) else value


def _mean_and_scale(numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Analyses the numbers that are not NaN; returns each column's mean and 1/standard deviation.

    The scale of a constant or empty column is 0: nothing was learnt of other values, so that
    the model had better not see them when it serves.

    Shape:
        [N, W] to [W] and [W].
    """
    mean = tft.mean(numbers, reduce_instance_dims=False)
    variance = tft.var(numbers, reduce_instance_dims=False)
    # TFT divides by the count, which is 0 for an empty column among others.
    mean = tf.where(tf.math.is_finite(mean), mean, tf.zeros_like(mean))
    # What is left of a constant column after rounding is no spread.
    varies = variance > 1e-18 * tf.square(mean)
    zero = tf.zeros_like(variance)
    return mean, tf.where(varies, tf.math.rsqrt(tf.where(varies, variance, zero + 1.0)), zero)


def _bucketize(numbers: tf.Tensor, feature: Bucketized) -> tf.Tensor:
    """Turns numbers, NaN where missing, into ids of ranges."""
    missing = tf.math.is_nan(numbers)
    present = tf.boolean_mask(numbers, tf.logical_not(missing))
    if feature.boundaries is not None:
        boundaries = tf.constant(feature.boundaries, tf.float64)
    else:
        assert feature.buckets is not None  # One of the two is always given.
        # A hundredth of a bucket, TFT's own choice.
        quantiles = tft.quantiles(present, feature.buckets, epsilon=0.01 / feature.buckets)
        boundaries = tf.cast(tf.reshape(quantiles, [-1]), tf.float64)
    match feature.missing:
        case "own_bucket":
            fill = tf.constant(0.0, tf.float64)
        case "mean":
            fill = _mean_and_scale(numbers)[0]
        case constant:
            fill = tf.constant(0.0 if constant == "zero" else constant, tf.float64)
    ids = tf.searchsorted(
        boundaries, tf.reshape(tf.where(missing, fill, numbers), [-1]), side="right"
    )
    ids = tf.reshape(tf.cast(ids, tf.int64), [-1, 1]) + 1
    return tf.where(missing, tf.zeros_like(ids), ids) if feature.missing == "own_bucket" else ids


# -------------------------------------------------------------------------------- categories


def _identify(columns: Sequence[_Column]) -> dict[str, tf.Tensor]:
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
        outputs |= _identify_by(shared, partial(_look_up_together, columns=shared))
    return outputs


def _identify_by(
    columns: Sequence[_Column], find: Callable[[tf.Tensor], tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Turns text into ids.

    Args:
        columns: text, empty where missing.
        find: numbers the values of each column from 0. Shape: strings [N, W] to int64 [N, W].
    """
    text = _together(columns)
    missing = tf.equal(text, "")
    policies = [column.feature.missing for column in columns for _ in range(column.row.width)]
    if any(isinstance(policy, Substitute) for policy in policies):
        values = [str(each.value) if isinstance(each, Substitute) else "" for each in policies]
        text = tf.where(missing, tf.constant([values]), text)
    ids = find(text) + 1
    has_own = [policy == "own_token" for policy in policies]
    if any(has_own):
        ids = tf.where(missing & tf.constant([has_own]), tf.zeros_like(ids), ids)
    return _apart(_pad(ids, missing, columns), columns)


def _pad(ids: tf.Tensor, missing: tf.Tensor, columns: Sequence[_Column]) -> tf.Tensor:
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


def _look_up_together(text: tf.Tensor, columns: Sequence[_Column]) -> tf.Tensor:
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


def _identify_integer(column: _Column) -> tf.Tensor:
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


def _identify_truth(values: tf.Tensor, feature: Boolean) -> tf.Tensor:
    """Turns truth values into ids: 0 missing, 1 false, 2 true."""
    fill = cells.NO_TRUTH_VALUE if feature.missing == "own_token" else int(feature.missing)
    return tf.where(values < 0, tf.constant(fill, tf.int64), values) + 1


def _cut_moments(columns: Sequence[_Column]) -> list[_Column]:
    """Turns timestamps into parts: ids, and the year as a number, NaN where it is missing."""
    cut = []
    found: dict[Timestamp, tuple[moments.CalendarParts, tf.Tensor]] = {}
    for column in columns:
        if column.feature not in found:
            seconds, valid = moments.to_epoch_seconds(column.cells, column.feature)
            found[column.feature] = moments.calendar_parts(seconds), valid
        parts, valid = found[column.feature]
        part = getattr(parts, column.row.role)
        if column.row.role == "year":
            part = tf.where(valid, tf.cast(part, tf.float64), math.nan)
        else:
            part = tf.where(valid, part, tf.zeros_like(part))
        cut.append(_Column(column.row, part))
    return cut


# ---------------------------------------------------------------------------- label, weight


def _transform_label(problem: Problem, column: cells.RawColumn) -> tf.Tensor:
    """Turns the label into 0/1 or a number (float32), or a class index (int64).

    A label that is missing or unreadable becomes NaN, or class −1.
    """
    raw = cells.dense_cells(column)
    match problem.task:
        case Task.REGRESSION:
            return tf.cast(cells.to_numbers(raw), tf.float32)
        case Task.BINARY:
            return _is_positive(raw, problem)
        case Task.MULTICLASS:
            text = cells.to_text(raw)
            present = tf.boolean_mask(text, tf.not_equal(text, ""))
            classes = tft.vocabulary(present, vocab_filename=problem.transformed_label)
            return tft.apply_vocabulary(text, classes, default_value=-1)


def _is_positive(raw: tf.Tensor, problem: Problem) -> tf.Tensor:
    positive = problem.label.positive
    missing = tf.logical_not(cells.present_cells(raw))
    if isinstance(positive, str) and raw.dtype == tf.string:
        yes = tf.equal(raw, positive)
    elif positive is None or isinstance(positive, bool):
        values = cells.to_truth_values(raw)
        missing = values < 0
        yes = tf.equal(values, int(positive is not False))
    else:
        numbers = cells.to_numbers(raw)
        missing = tf.math.is_nan(numbers)
        yes = tf.equal(numbers, _as_number(positive, problem.label.name))
    return tf.where(missing, float("nan"), tf.cast(yes, tf.float32))


def _as_number(positive: str | float, label: str) -> float:
    try:
        return float(positive)
    except ValueError as error:
        raise DataError(
            f"the label {label!r} holds numbers, but positive is {positive!r}",
            expected="one of the label's values",
            fix="correct label.positive",
        ) from error


def _transform_weight(column: cells.RawColumn) -> tf.Tensor:
    numbers = cells.to_numbers(cells.dense_cells(column))
    return tf.cast(tf.where(numbers > 0, numbers, tf.zeros_like(numbers)), tf.float32)
