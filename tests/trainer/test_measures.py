"""Our measures, compared with scikit-learn's."""

import math

import numpy as np
import pytest
from sklearn import metrics

from trainer.measures import measure
from trainer.problem import Task

random = np.random.default_rng(0)


@pytest.mark.parametrize("distinct", [3, 1000])
def test_binary_measures_agree_with_scikit_learn(distinct: int) -> None:
    labels = (random.random(2000) < 0.3).astype(float)
    scores = np.round(np.clip(labels * 0.2 + random.random(2000) * 0.8, 0.01, 0.99) * distinct)
    scores = np.clip(scores / distinct, 0.01, 0.99)
    weights = random.integers(0, 4, 2000).astype(float)
    found = measure(Task.BINARY, labels, scores[:, np.newaxis], weights)
    assert found == pytest.approx(
        {
            "loss": metrics.log_loss(labels, scores, sample_weight=weights),
            "auc": metrics.roc_auc_score(labels, scores, sample_weight=weights),
            "auc_pr": metrics.average_precision_score(labels, scores, sample_weight=weights),
            "accuracy": metrics.accuracy_score(labels, scores > 0.5, sample_weight=weights),
        }
    )


def test_areas_of_one_class_alone_are_not_defined() -> None:
    found = measure(Task.BINARY, np.ones(3), np.full((3, 1), 0.5), np.ones(3))
    assert math.isnan(found["auc"])
    assert math.isnan(found["auc_pr"])
    assert found["loss"] == pytest.approx(math.log(2))


def test_multiclass_measures_agree_with_scikit_learn() -> None:
    labels = random.integers(0, 3, 500)
    probabilities = random.dirichlet([1, 1, 1], 500)
    found = measure(Task.MULTICLASS, labels.astype(float), probabilities, np.ones(500))
    assert found["loss"] == pytest.approx(metrics.log_loss(labels, probabilities), rel=1e-4)
    assert found["accuracy"] == metrics.accuracy_score(labels, probabilities.argmax(axis=1))


def test_regression_measures_are_in_the_labels_unit() -> None:
    labels, found = np.array([0.0, 10.0]), np.array([[3.0], [10.0]])
    assert measure(Task.REGRESSION, labels, found, np.ones(2), scale=3.0) == pytest.approx(
        {"loss": 0.5, "mae": 1.5, "rmse": math.sqrt(4.5)}
    )
