"""The network's parts, and what each setting makes of them."""

import random
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.heads import Head
from trainer.model import IdTable, build_model, build_optimizer
from trainer.problem import Problem, Task

FEATURES = [
    {"kind": "numeric", "name": "n", "indicator": True},
    {"kind": "integer", "name": "a", "max_value": 2},
    {"kind": "categorical", "name": "tags", "hash_buckets": 5, "max_values": 3},
]
ID_COUNTS = {"a_integer": 5, "tags_categorical": 6}


def problem_of(features: Any = FEATURES, **model: Any) -> Problem:
    return Problem.model_validate(
        {"features": features, "label": {"column": "y"}, "task": "binary", "model": model}
    )


def test_vectors_of_a_list_are_averaged_without_its_padding() -> None:
    layer = IdTable([5, 6], [1, 3], 4)
    ids = tf.constant([[4, 0, 5, -1], [0, 2, -1, -1]])
    found = layer(ids).numpy()
    table = layer.table.numpy()
    np.testing.assert_allclose(found[0, 0], table[4])
    np.testing.assert_allclose(found[0, 1], (table[5] + table[10]) / 2, rtol=1e-6)
    np.testing.assert_allclose(found[1, 1], table[7])


def test_a_table_without_lists_is_a_plain_lookup() -> None:
    layer = IdTable([2, 3], [1, 1], 4)
    table = layer(tf.constant([[1, 2]])).numpy()[0]
    np.testing.assert_allclose(table, layer.table.numpy()[[1, 4]])
    again = IdTable.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


@pytest.mark.parametrize("kind", ["wide_and_deep", "linear", "dnn"])
@pytest.mark.parametrize("features", [FEATURES, FEATURES[:1], FEATURES[1:]])
def test_every_kind_of_network_takes_every_kind_of_feature(kind: str, features: Any) -> None:
    problem = problem_of(features, kind=kind, dropout=0.1, l2=0.01)
    model = build_model(problem, ID_COUNTS, units=3)
    inputs = {tensor.name: tf.zeros([7, tensor.shape[1]], tensor.dtype) for tensor in model.inputs}
    assert model(inputs).shape == (7, 3)
    assert any("deep" in layer.name for layer in model.layers) is (kind != "linear")
    assert any("wide" in layer.name for layer in model.layers) is (kind != "dnn")
    assert bool(model.losses)


def test_the_linear_network_is_linear() -> None:
    model = build_model(problem_of(kind="linear"), ID_COUNTS)
    weights = {layer.name: layer for layer in model.layers}
    weights["wide_ids"].set_weights([np.arange(11.0).reshape(-1, 1)])
    weights["wide_dense"].set_weights([np.array([[2.0], [3.0]]), np.array([0.5])])
    scores = model(
        {"dense": tf.constant([[1.0, 1.0]]), "ids": tf.constant([[4, 1, 3, -1]], tf.int32)}
    )
    assert scores.numpy().tolist() == [[2.0 + 3.0 + 0.5 + 4.0 + (6.0 + 8.0) / 2]]


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "adagrad", "ftrl"])
def test_optimizers_are_known_by_name(name: str) -> None:
    optimizer = build_optimizer(problem_of(optimizer=name, learning_rate=0.25))
    assert type(optimizer).__name__.lower() == name
    assert float(keras.ops.convert_to_numpy(optimizer.learning_rate)) == 0.25


def test_heads_turn_scores_into_answers() -> None:
    scores = tf.constant([[0.0, 2.0], [3.0, 0.0]])
    multiclass = problem_of().model_copy(update={"task": Task.MULTICLASS})
    answer = Head(Task.MULTICLASS, classes=("b", "a")).answer(multiclass, scores)
    assert tuple(answer) == multiclass.output_names
    assert answer["class"].numpy().tolist() == [b"a", b"b"]
    assert answer["classes"].numpy().tolist() == [[b"b", b"a"]] * 2
    np.testing.assert_allclose(answer["probabilities"].numpy().sum(axis=1), 1.0, rtol=1e-6)

    number = Head(Task.REGRESSION, offset=10.0, scale=2.0)
    assert number.predict(tf.constant([[3.0]])).numpy().tolist() == [[16.0]]
    assert number.losses(tf.constant([[3.0]]), tf.constant([14.0])).numpy().tolist() == [1.0]
    assert Head(Task.BINARY).predict(tf.constant([[0.0]])).numpy().tolist() == [[0.5]]


def test_the_seed_alone_decides_where_the_weights_start() -> None:
    problem = problem_of(dropout=0.1)
    models = []
    for drawn in range(2):
        random.seed(drawn)  # as if somebody else had drawn
        models.append(build_model(problem, ID_COUNTS))
    for first, second in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(first, second)
