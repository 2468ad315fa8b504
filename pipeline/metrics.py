"""The evaluation metrics a configuration may name, and what TFMA calls them."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.problem import Task

__all__ = ["DEFAULT_METRICS", "METRICS", "Metric"]


@dataclass(frozen=True)
class Metric:
    """One scalar metric.

    Attributes:
        name: the word in the configuration, in tables and in reports.
        tfma_class: the class in `tensorflow_model_analysis.metrics`.
        tasks: the tasks for which it means something.
        bounds: lowest and highest possible value; None where there is no bound.
        higher_is_better: None where neither direction is (a mean, a calibration).
    """

    name: str
    tfma_class: str
    tasks: tuple[Task, ...]
    bounds: tuple[float | None, float | None]
    higher_is_better: bool | None


_BINARY, _MULTICLASS, _REGRESSION = Task.BINARY, Task.MULTICLASS, Task.REGRESSION
_SCORES = (_BINARY, _REGRESSION)

_ROWS = (
    Metric("auc", "AUC", (_BINARY,), (0, 1), True),
    Metric("auc_pr", "AUCPrecisionRecall", (_BINARY,), (0, 1), True),
    Metric("accuracy", "BinaryAccuracy", (_BINARY,), (0, 1), True),
    Metric("precision", "Precision", (_BINARY,), (0, 1), True),
    Metric("recall", "Recall", (_BINARY,), (0, 1), True),
    Metric("cross_entropy", "BinaryCrossEntropy", (_BINARY,), (0, None), False),
    Metric("accuracy", "SparseCategoricalAccuracy", (_MULTICLASS,), (0, 1), True),
    Metric("cross_entropy", "SparseCategoricalCrossentropy", (_MULTICLASS,), (0, None), False),
    Metric("mse", "MeanSquaredError", (_REGRESSION,), (0, None), False),
    Metric("mae", "MeanAbsoluteError", (_REGRESSION,), (0, None), False),
    Metric("r_squared", "SquaredPearsonCorrelation", (_REGRESSION,), (0, 1), True),
    Metric("calibration", "Calibration", _SCORES, (0, None), None),
    Metric("mean_label", "MeanLabel", _SCORES, (None, None), None),
    Metric("mean_prediction", "MeanPrediction", _SCORES, (None, None), None),
)

METRICS: dict[Task, dict[str, Metric]] = {
    task: {row.name: row for row in _ROWS if task in row.tasks} for task in Task
}
"""Every metric by task and name."""

DEFAULT_METRICS: dict[Task, tuple[str, ...]] = {
    _BINARY: ("auc", "auc_pr", "accuracy", "precision", "recall", "cross_entropy", "calibration"),
    _MULTICLASS: ("accuracy", "cross_entropy"),
    _REGRESSION: ("mse", "mae", "r_squared", "mean_label", "mean_prediction"),
}
"""What is computed when the configuration names no metrics."""
