"""The model that the serving benchmark asks: tabular, small, made by Keras."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

NUMBERS = [f"number_{i}" for i in range(10)]
WORDS = ["payment", "company"]
VOCABULARY = [f"word {i}" for i in range(60)]


def build() -> Any:
    """Makes the Keras model: ten numbers, two looked-up words, three dense layers."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    inputs: dict[str, Any] = {
        **{name: keras.Input((), name=name) for name in NUMBERS},
        **{name: keras.Input((), name=name, dtype=tf.string) for name in WORDS},
    }
    parts = [keras.layers.Reshape((1,))(inputs[name]) for name in NUMBERS]
    for name in WORDS:
        numbers = keras.layers.StringLookup(vocabulary=VOCABULARY)(inputs[name])
        parts.append(keras.layers.Embedding(len(VOCABULARY) + 1, 8)(numbers))
    deep = keras.layers.Concatenate()(parts)
    for width in (64, 64, 32):
        deep = keras.layers.Dense(width, "relu")(deep)
    output = keras.layers.Dense(1, "sigmoid", name="probability")(deep)
    return keras.Model(inputs, {"probability": output})


def save(folder: Path) -> None:
    """Writes the Keras file and the SavedModel with the signatures that our trainer exports."""
    import keras
    import tensorflow as tf

    model = build()
    model.save(folder / "model.keras")
    spec = {
        **{name: tf.TensorSpec([None], tf.float32, name=name) for name in NUMBERS},
        **{name: tf.TensorSpec([None], tf.string, name=name) for name in WORDS},
    }
    features = {
        **{name: tf.io.FixedLenFeature([], tf.float32, 0.0) for name in NUMBERS},
        **{name: tf.io.FixedLenFeature([], tf.string, "") for name in WORDS},
    }

    def columns(values: Any) -> Any:
        return model(values, training=False)

    def serving_default(examples: Any) -> Any:
        return model(tf.io.parse_example(examples, features), training=False)

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("columns", columns, input_signature=[spec])
    archive.add_endpoint(
        "serving_default",
        serving_default,
        input_signature=[tf.TensorSpec([None], tf.string, name="examples")],
    )
    archive.write_out(str(folder / "serving" / "1"), verbose=False)


def row() -> dict[str, Any]:
    """One row as clients send it."""
    return {
        **{name: 0.5 + i for i, name in enumerate(NUMBERS)},
        **dict.fromkeys(WORDS, VOCABULARY[7]),
    }


if __name__ == "__main__":
    save(Path(sys.argv[1]))
