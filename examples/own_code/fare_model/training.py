"""A small Keras model, exported with the signatures that the YAML names."""

from typing import Any

import keras
import tensorflow as tf
import tensorflow_transform as tft

from fare_model.features import LABEL, NUMBERS


def run_fn(fn_args: Any) -> None:
    """Trains on raw examples through the transform graph, and exports model and graph together."""
    transform = tft.TFTransformOutput(fn_args.transform_output)
    layer = transform.transform_features_layer()
    spec = transform.raw_feature_spec()

    def rows(files: list[str]) -> tf.data.Dataset:
        found = [file for pattern in files for file in tf.io.gfile.glob(pattern)]
        return (
            tf.data.TFRecordDataset(found)
            .batch(256)
            .map(lambda examples: _split(layer(tf.io.parse_example(examples, spec))))
            .cache()
        )

    model = _model(transform)
    model.fit(
        rows(fn_args.train_files).shuffle(1_000).repeat(),
        steps_per_epoch=fn_args.train_steps,
        validation_data=rows(fn_args.eval_files),
        verbose=0,
    )
    _export(model, layer, spec, fn_args.serving_model_dir)


def _split(features: dict[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    label = features.pop(f"{LABEL}_xf")
    return features, label


def _model(transform: tft.TFTransformOutput) -> keras.Model:
    companies = transform.vocabulary_size_by_name("company") + 1
    inputs = {f"{name}_xf": keras.Input((1,), name=f"{name}_xf") for name in NUMBERS}
    company = keras.Input((1,), name="company_xf", dtype="int64")
    embedded = keras.layers.Flatten()(keras.layers.Embedding(companies, 4)(company))
    hidden = keras.layers.Concatenate()([*inputs.values(), embedded])
    for units in (32, 16):
        hidden = keras.layers.Dense(units, activation="relu")(hidden)
    model = keras.Model({**inputs, "company_xf": company}, keras.layers.Dense(1)(hidden))
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mae")
    return model


def _export(model: keras.Model, layer: Any, spec: dict[str, Any], folder: str) -> None:
    """Saves model and transform graph as one; the label is not asked for when serving."""
    module = tf.Module()
    # Keras 3 hides its weights from a session, which is what TensorFlow Serving restores them in;
    # the infra validator refuses a model that lacks this line.
    module.layer, module.weights = layer, [variable.value for variable in model.variables]
    served = {name: feature for name, feature in spec.items() if name != LABEL}
    examples = tf.TensorSpec([None], tf.string, name="examples")

    @tf.function(input_signature=[examples])
    def serving_default(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        features = layer(tf.io.parse_example(examples, served))
        return {"prediction": model({name: features[name] for name in model.input})}

    @tf.function(input_signature=[examples])
    def transform_features(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return layer(tf.io.parse_example(examples, spec))

    signatures = {"serving_default": serving_default, "transform_features": transform_features}
    tf.saved_model.save(module, folder, signatures=signatures)
