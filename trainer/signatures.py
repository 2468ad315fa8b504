"""The exported model: raw rows in, predictions out, the transform graph inside.

Signatures, all with a batch dimension N:

- `serving_default`: `examples`, serialized tf.Examples with the raw columns (no label needed).
- `columns`: one input per raw column under its own name, so that a client sends rows as it has
  them. Shape [N] ([N, W] for columns of lists). NaN, or the empty string, is a missing cell; whole
  numbers that may be missing are float64 for that reason, exact up to 2^53.
- `transform_features`: `examples` to the transformed features, label and row weight (if there is
  one), for TensorFlow Model Analysis (`preprocessing_function_names`, with the problem's
  `transformed_label` as `label_key` and `transformed_weight` as `example_weight_key`).

The two that predict return, by task:

- binary: `probability` [N, 1];
- multiclass: `probabilities` [N, C], `class` [N] (the most probable one's name) and `classes`
  [N, C] (the names in the order of the probabilities);
- regression: `prediction` [N, 1].

The first of each is what TensorFlow Model Analysis takes as `prediction_key`.
"""

import keyword
import re
from collections.abc import Iterable, Mapping

import keras
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.saved_model import fingerprinting_utils

from trainer.feature_table import unique_name
from trainer.heads import Head
from trainer.problem import Problem
from trainer.transform_graph import TransformGraph

__all__ = ["COLUMNS", "EXAMPLES", "TRANSFORM", "column_arguments", "export"]

EXAMPLES = "serving_default"
COLUMNS = "columns"
TRANSFORM = "transform_features"

_EXAMPLES_SPEC = tf.TensorSpec([None], tf.string, name="examples")


class _Served(tf.Module):
    """What the SavedModel keeps: tables and weights. Keras' and TFT's wrappers stay out."""

    def __init__(self, graph: TransformGraph, model: keras.Model) -> None:
        super().__init__(name="served")
        self.transform = graph.resources
        self.weights = [variable.value for variable in model.variables]


def export(
    directory: str, problem: Problem, graph: TransformGraph, model: keras.Model, head: Head
) -> None:
    """Writes the SavedModel with its three signatures.

    Args:
        directory: where to; TFX: `fn_args.serving_model_dir`.
        problem: what the model answers.
        graph: raw columns to the model's inputs.
        model: the model's inputs to scores.
        head: scores to answers.
    """

    def answer(raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        scores = model(graph.model_inputs(graph.apply(raw)), training=False)
        return head.answer(problem, scores)

    def from_examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(graph.parse(examples, problem.raw_columns))

    arguments = column_arguments(problem.raw_columns)

    def from_columns(**cells: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(graph.wrap({name: cells[argument] for name, argument in arguments.items()}))

    def transform(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        transformed = graph.apply(graph.parse(examples, problem.training_columns))
        keys = [row.key for row in problem.transformed_features] + [problem.transformed_label]
        if problem.training.weight_column is not None:
            keys.append(problem.transformed_weight)
        return {key: transformed[key] for key in keys}

    specs = {
        argument: tf.TensorSpec(spec.shape, spec.dtype, name=argument)
        for name, argument in arguments.items()
        for spec in [graph.cell_specs[name]]
    }
    signatures = {
        EXAMPLES: tf.function(from_examples, autograph=False).get_concrete_function(_EXAMPLES_SPEC),
        COLUMNS: tf.function(from_columns, autograph=False).get_concrete_function(**specs),
        TRANSFORM: tf.function(transform, autograph=False).get_concrete_function(_EXAMPLES_SPEC),
    }
    tf.saved_model.save(_Served(graph, model), directory, signatures=signatures)
    _name_inputs(directory, arguments)


def column_arguments(columns: Iterable[str]) -> dict[str, str]:
    """Returns, by raw column, the name of its argument in the `columns` function.

    A function's arguments are identifiers, and TensorFlow tells them apart without regard to
    case. The SavedModel's signature has the raw names all the same, which is what TF Serving's
    clients use; who calls the function of a SavedModel loaded in Python uses the arguments.
    """
    columns = list(columns)
    arguments: dict[str, str] = {}
    # Names that can stay as they are come first, lest another takes theirs.
    for name in sorted(columns, key=lambda column: _identifier(column) != column):
        taken = {argument.casefold() for argument in arguments.values()}
        arguments[name] = unique_name(_identifier(name), taken)
    return {name: arguments[name] for name in columns}


def _identifier(name: str) -> str:
    """Mends a name the way TensorFlow does, so that it takes most raw names in Python too."""
    mended = re.sub(r"[^A-Za-z0-9]", "_", name)
    mended = mended if mended[0].isalpha() else f"arg_{mended}"
    return f"{mended}_" if keyword.iskeyword(mended) else mended


def _name_inputs(directory: str, arguments: Mapping[str, str]) -> None:
    """Gives the inputs of the `columns` signature their raw names.

    `tf.saved_model.save` names a signature's inputs after arguments, although the format, and
    TF Serving, take any string.
    """
    if all(name == argument for name, argument in arguments.items()):
        return
    path = f"{directory}/saved_model.pb"
    saved = saved_model_pb2.SavedModel()
    with tf.io.gfile.GFile(path, "rb") as file:
        saved.ParseFromString(file.read())
    inputs = saved.meta_graphs[0].signature_def[COLUMNS].inputs
    named = {name: type(inputs[argument])() for name, argument in arguments.items()}
    for name, argument in arguments.items():
        named[name].CopyFrom(inputs[argument])
    inputs.clear()
    for name, info in named.items():
        inputs[name].CopyFrom(info)
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(saved.SerializeToString(deterministic=True))
    fingerprinting_utils.write_fingerprint(directory)
