"""What happens between steps: weights of classes, early stopping, training that runs away."""

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.errors import DataError
from trainer.heads import Head
from trainer.learning import Learner, Schedule
from trainer.model import build_model
from trainer.problem import Problem, Task
from trainer.rows import Rows


def problem_of(**training: Any) -> Problem:
    return Problem.model_validate(
        {
            "features": [{"kind": "integer", "name": "x", "max_value": 1}],
            "label": {"column": "y"},
            "task": "binary",
            "model": {"kind": "linear", "optimizer": "sgd", "learning_rate": 0.5},
            "training": {"batch_size": 100} | training,
        }
    )


def rows_of(positives: int) -> Rows:
    labels = np.array([1.0] * positives + [0.0] * (100 - positives), np.float32)
    return Rows({"ids": np.ones([100, 1], np.int32)}, labels, np.ones(100, np.float32))


def learn(problem: Problem, rows: Rows, directory: Path, steps: int = 60) -> Any:
    keras.utils.set_random_seed(1)
    head = Head(Task.BINARY)
    model = build_model(problem, {"x_integer": 4})
    learner = Learner(problem, model, head, rows.summarise(problem, 2))
    history = learner.fit(
        rows.shuffled_batches(100, 1), rows, Schedule(steps, 10, 1.0), str(directory)
    )
    (score,) = learner.scores({"ids": tf.constant([[1]])}).numpy()[0]
    return history, 1 / (1 + math.exp(-score))


def test_the_share_of_positives_is_learnt(tmp_path: Path) -> None:
    history, probability = learn(problem_of(), rows_of(10), tmp_path, steps=400)
    assert probability == pytest.approx(0.1, abs=0.01)
    assert history.best_step == 400
    assert math.isnan(history.validations[0].metrics["auc"]) is False


def test_balanced_classes_count_the_same(tmp_path: Path) -> None:
    problem = problem_of(class_weight="balanced")
    assert learn(problem, rows_of(10), tmp_path)[1] == pytest.approx(0.5, abs=0.01)


def test_the_best_weights_are_put_back(tmp_path: Path) -> None:
    # Nothing tells the rows apart: the area stays at one half, and the first look is the best.
    stopping = {"metric": "auc", "patience": 3, "min_delta": 0.2}
    history, probability = learn(problem_of(early_stopping=stopping), rows_of(10), tmp_path)
    assert history.best_step == 10
    assert history.stopped_early
    assert len(history.validations) == 4
    kept, last = learn(
        problem_of(early_stopping=stopping | {"restore_best": False}), rows_of(10), tmp_path
    )
    assert kept.best_step == 10
    assert last < probability


def test_an_undefined_metric_is_no_improvement_and_null_in_the_history(tmp_path: Path) -> None:
    stopping = {"metric": "auc", "patience": 2}
    rows = rows_of(50)
    evaluation = Rows(rows.inputs, np.zeros(100, np.float32), rows.weights)
    problem = problem_of(early_stopping=stopping)
    learner = Learner(
        problem,
        build_model(problem, {"x_integer": 4}),
        Head(Task.BINARY),
        rows.summarise(problem, 2),
    )
    history = learner.fit(
        rows.shuffled_batches(100, 1), evaluation, Schedule(90, 10, 1.0), str(tmp_path)
    )
    assert len(history.validations) == 2
    assert history.to_dict()["validations"][0]["metrics"]["auc"] is None
    unlabelled = Rows(rows.inputs, rows.labels, np.zeros(100, np.float32))
    with pytest.raises(DataError, match="none of the evaluation rows has a label in 'y'"):
        learner.evaluate(unlabelled)


def test_a_training_that_runs_away_names_the_learning_rate(tmp_path: Path) -> None:
    problem = Problem.model_validate(
        {
            "features": [{"kind": "numeric", "name": "x"}],
            "label": {"column": "y"},
            "task": "regression",
            "model": {"kind": "linear", "optimizer": "sgd", "learning_rate": 1e6},
        }
    )
    pick = np.random.default_rng(0)
    values = pick.normal(size=(100, 1)).astype(np.float32)
    rows = Rows({"dense": values}, values[:, 0], np.ones(100, np.float32))
    learner = Learner(
        problem, build_model(problem, {}), Head(Task.REGRESSION), rows.summarise(problem, 0)
    )
    with pytest.raises(DataError, match=r"learning_rate"):
        learner.fit(rows.shuffled_batches(50, 1), rows, Schedule(50, 50, 2.0), str(tmp_path))
