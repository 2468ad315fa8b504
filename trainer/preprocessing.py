"""From raw columns to the model's inputs: one pass over the training rows, one TensorFlow graph.

Every analyzer reads raw cells only, none the result of another, so that TensorFlow Transform can
answer all of them in a single pass. What they find (means, quantiles, vocabularies) becomes part
of the graph, which training and serving then share.

Columns that are treated alike are treated together, as one matrix: the graph of a wide table is
then hardly larger than that of a narrow one, and so is the time to make, load and run it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from trainer import categories, cells, moments
from trainer.columns import Column, apart, convert, together
from trainer.errors import DataError
from trainer.problem import (
    Boolean,
    Bucketized,
    Categorical,
    Integer,
    LogNumeric,
    Numeric,
    Problem,
    Task,
    Timestamp,
    TransformedFeature,
)

__all__ = ["preprocessing_fn", "transform_columns"]

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


def _transform_features(
    rows: Sequence[TransformedFeature], inputs: Mapping[str, cells.RawColumn]
) -> dict[str, tf.Tensor]:
    """Makes the columns of the table; their order in the result is of no account."""
    wanted = dict.fromkeys((row.feature.name, row.width) for row in rows)
    dense = {(name, width): cells.dense_cells(inputs[name], width) for name, width in wanted}
    raw = [Column(row, dense[row.feature.name, row.width]) for row in rows]

    def of(*kinds: type, role: str = "value") -> list[Column]:
        return [one for one in raw if isinstance(one.feature, kinds) and one.row.role == role]

    numbers = convert(of(Numeric, LogNumeric), cells.to_numbers)
    parts = _cut_moments([one for one in raw if isinstance(one.feature, Timestamp)])
    years = [one for one in parts if one.row.role == "year"]
    text = convert(of(Categorical), cells.to_text)
    whole = convert(of(Integer), cells.to_whole_numbers)
    text += convert([one for one in whole if one.feature.max_value is None], cells.to_text)
    outputs = {one.row.key: one.cells for one in parts if one.row.role != "year"}
    outputs |= _scale(numbers + years)
    outputs |= categories.identify_text(text)
    for one in convert(of(Numeric, LogNumeric, role="missing"), cells.to_numbers):
        outputs[one.row.key] = tf.cast(tf.math.is_nan(one.cells), tf.float32)
    for one in convert(of(Bucketized), cells.to_numbers):
        outputs[one.row.key] = _bucketize(one.cells, one.feature)
    for one in whole:
        if one.feature.max_value is not None:
            outputs[one.row.key] = categories.identify_number(one)
    for one in convert(of(Boolean), cells.to_truth_values):
        outputs[one.row.key] = categories.identify_truth(one)
    return outputs


# --------------------------------------------------------------------------------- numbers


def _scale(columns: Sequence[Column]) -> dict[str, tf.Tensor]:
    """Turns numbers, NaN where missing, into float32 z-scores without NaN."""
    if not columns:
        return {}
    plain = [column for column in columns if not isinstance(column.feature, LogNumeric)]
    tailed = [column for column in columns if isinstance(column.feature, LogNumeric)]
    columns = plain + convert(tailed, _log_of_one_more)
    known = together(columns)
    mean, per_deviation = _mean_and_scale(known)
    fill = tf.constant([_fill(column.feature) for column in columns], tf.float64)
    fill = tf.where(tf.math.is_nan(fill), mean, fill)
    scores = (tf.where(tf.math.is_nan(known), fill, known) - mean) * per_deviation
    scores = tf.clip_by_value(scores, -_LARGEST_Z_SCORE, _LARGEST_Z_SCORE)
    return apart(tf.cast(scores, tf.float32), columns)


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


def _cut_moments(columns: Sequence[Column]) -> list[Column]:
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
        cut.append(Column(column.row, part))
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
