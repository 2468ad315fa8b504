"""From raw columns to the model's inputs: one pass over the training rows, one TensorFlow graph.

Every analyzer reads raw cells only, none the result of another, so that TensorFlow Transform can
answer all of them in a single pass. What they find (means, quantiles, vocabularies) becomes part
of the graph, which training and serving then share.

Ids have one layout for all kinds: 0 is missing, known values follow from 1, unseen ones come
last; −1 pads the rows of columns that hold lists.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from trainer import cells, moments
from trainer.errors import DataError
from trainer.problem import (
    Boolean,
    Bucketized,
    Categorical,
    Feature,
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

__all__ = ["PADDING_ID", "preprocessing_fn", "transform_columns"]

PADDING_ID = -1
"""Fills rows that hold fewer values than `max_values`."""

# TFT's rule of thumb for where counting all values becomes cheaper than the sketch.
_LARGEST_SKETCH = 200_000

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
    outputs: dict[str, tf.Tensor] = {}
    for feature in problem.features:
        rows = [row for row in problem.transformed_features if row.feature is feature]
        outputs |= _transform_feature(feature, rows, inputs[feature.name])
    outputs[problem.transformed_label] = _transform_label(problem, inputs[problem.label.name])
    weight = problem.training.weight_column
    if weight is not None:
        outputs[problem.transformed_weight] = _transform_weight(inputs[weight])
    return outputs


def _transform_feature(
    feature: Feature, rows: list[TransformedFeature], column: cells.RawColumn
) -> dict[str, tf.Tensor]:
    key = rows[0].key
    raw = cells.dense_cells(column, rows[0].width)
    match feature:
        case Numeric() | LogNumeric():
            numbers = cells.to_numbers(raw)
            outputs = {key: _scale(numbers, feature)}
            if feature.indicator:
                outputs[rows[1].key] = tf.cast(tf.math.is_nan(numbers), tf.float32)
            return outputs
        case Bucketized():
            return {key: _bucketize(cells.to_numbers(raw), feature)}
        case Categorical():
            return {key: _identify(cells.to_text(raw), feature, key)}
        case Integer():
            return {key: _identify_integer(cells.to_whole_numbers(raw), feature, key)}
        case Boolean():
            return {key: _identify_truth(cells.to_truth_values(raw), feature)}
        case Timestamp():
            return _cut_moments(raw, feature, rows)


# --------------------------------------------------------------------------------- numbers


def _scale(numbers: tf.Tensor, feature: Numeric | LogNumeric) -> tf.Tensor:
    """Turns numbers, NaN where missing, into float32 z-scores without NaN."""
    known = _z_score_domain(numbers, feature)
    mean, per_deviation = _mean_and_scale(known)
    match feature.missing:
        case "mean":
            fill = mean
        case constant:
            value = tf.constant(0.0 if constant == "zero" else constant, tf.float64)
            fill = _z_score_domain(value, feature)
    scores = (tf.where(tf.math.is_nan(known), fill, known) - mean) * per_deviation
    return tf.cast(tf.clip_by_value(scores, -_LARGEST_Z_SCORE, _LARGEST_Z_SCORE), tf.float32)


def _z_score_domain(numbers: tf.Tensor, feature: Numeric | LogNumeric) -> tf.Tensor:
    if isinstance(feature, LogNumeric):
        # A comparison with NaN is false, hence missing stays missing.
        return tf.math.log1p(tf.where(numbers < 0, tf.zeros_like(numbers), numbers))
    return numbers


def _mean_and_scale(numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Analyses the present numbers; returns their mean and 1/standard deviation.

    The scale of a constant or empty column is 0: nothing was learnt of other values, so that
    the model had better not see them when it serves.
    """
    present = tf.boolean_mask(numbers, tf.logical_not(tf.math.is_nan(numbers)))
    mean, variance = tft.mean(present), tft.var(present)
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


def _identify(text: tf.Tensor, feature: Categorical | Integer, key: str) -> tf.Tensor:
    """Turns text, empty where missing, into ids by vocabulary or hash."""
    missing = tf.equal(text, "")
    if isinstance(feature.missing, Substitute):
        text = tf.where(missing, str(feature.missing.value), text)
    if feature.hash_buckets is not None:
        ids = tf.strings.to_hash_bucket_fast(text, feature.hash_buckets)
    else:
        assert feature.vocabulary is not None  # One of the ways is always given.
        # The empty string is in no vocabulary.
        present = tf.boolean_mask(text, tf.not_equal(text, ""))
        ids = tft.apply_vocabulary(
            text,
            _vocabulary(present, feature.vocabulary, key),
            num_oov_buckets=feature.vocabulary.oov_buckets,
            file_format="text",
        )
    if feature.missing == "own_token":
        return _pad(tf.where(missing, tf.zeros_like(ids), ids + 1), missing)
    return _pad(ids + 1, missing)


def _pad(ids: tf.Tensor, missing: tf.Tensor) -> tf.Tensor:
    """Marks missing cells as padding, but for a row's first: an empty row is a missing value.

    Shape:
        both [N, width] to [N, width].
    """
    if ids.shape[1] == 1:
        return ids
    others = tf.where(missing[:, 1:], tf.constant(PADDING_ID, tf.int64), ids[:, 1:])
    return tf.concat([ids[:, :1], others], axis=1)


def _vocabulary(present: tf.Tensor, vocabulary: Vocabulary, key: str) -> Any:
    """Analyses which strings get an id; returns the file that will hold them.

    Most vocabularies hold all values there are. Counting up to `max_size` of them at a time is
    then exact, and unlike a full count it needs no Beam stages of its own. With more values than
    that, those in more than 1/max_size of the rows are still sure to be found.
    """
    if vocabulary.min_frequency > 1 or vocabulary.max_size > _LARGEST_SKETCH:
        return tft.vocabulary(
            present,
            top_k=vocabulary.max_size,
            # TFT warns of a threshold of 1, which filters nothing.
            frequency_threshold=vocabulary.min_frequency if vocabulary.min_frequency > 1 else None,
            vocab_filename=key,
        )
    return tft.experimental.approximate_vocabulary(
        present, top_k=vocabulary.max_size, vocab_filename=key
    )


def _identify_integer(numbers: tf.Tensor, feature: Integer, key: str) -> tf.Tensor:
    """Turns whole numbers into ids: the numbers themselves, or by vocabulary or hash."""
    if feature.max_value is None:
        return _identify(cells.to_text(numbers), feature, key)
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
    return _pad(tf.where(missing, of_missing, ids), missing)


def _identify_truth(values: tf.Tensor, feature: Boolean) -> tf.Tensor:
    """Turns truth values into ids: 0 missing, 1 false, 2 true."""
    fill = cells.NO_TRUTH_VALUE if feature.missing == "own_token" else int(feature.missing)
    return tf.where(values < 0, tf.constant(fill, tf.int64), values) + 1


def _cut_moments(
    raw: tf.Tensor, feature: Timestamp, rows: list[TransformedFeature]
) -> dict[str, tf.Tensor]:
    """Turns timestamps into one column per part."""
    seconds, valid = moments.to_epoch_seconds(raw, feature)
    parts = moments.calendar_parts(seconds)
    outputs = {}
    for row in rows:
        part = getattr(parts, row.role)
        if row.role == "year":
            years = tf.where(valid, tf.cast(part, tf.float64), float("nan"))
            outputs[row.key] = _scale(years, Numeric(name=feature.name))
        else:
            outputs[row.key] = tf.where(valid, part, tf.zeros_like(part))
    return outputs


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
