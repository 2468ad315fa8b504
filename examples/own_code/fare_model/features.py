"""What the model sees of a trip."""

from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

NUMBERS = ("trip_miles", "trip_seconds")
LABEL = "fare"


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, tf.Tensor]:
    """Scales the numbers' logarithms, and gives each company an id."""
    outputs = {
        f"{name}_xf": tft.scale_to_z_score(tf.math.log1p(_dense(inputs[name], 0.0)))
        for name in NUMBERS
    }
    outputs["company_xf"] = tft.compute_and_apply_vocabulary(
        _dense(inputs["company"], ""), top_k=50, num_oov_buckets=1, vocab_filename="company"
    )
    outputs[f"{LABEL}_xf"] = _dense(inputs[LABEL], 0.0)
    return outputs


def _dense(column: Any, default: Any) -> tf.Tensor:
    """Turns a column with gaps into one value per row. Shape: [N, 1]."""
    if isinstance(column, tf.SparseTensor):
        shape = [column.dense_shape[0], 1]
        filled = tf.cast(default, column.dtype)
        column = tf.sparse.to_dense(
            tf.SparseTensor(column.indices, column.values, shape), default_value=filled
        )
    return column if column.dtype == tf.string else tf.cast(column, tf.float32)
