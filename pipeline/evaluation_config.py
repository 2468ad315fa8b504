"""The `evaluation:` section in TFMA's words: models, slices, metrics, thresholds, plots."""

from __future__ import annotations

import json
from typing import Any

from pipeline.config import Project
from pipeline.config.sections import Threshold
from pipeline.metrics import METRICS, Metric
from trainer.problem import Task

__all__ = ["eval_config"]

_PLOTS: dict[Task, tuple[tuple[str, dict[str, Any]], ...]] = {
    Task.BINARY: (
        # Every hundredth, and so 0.5 as well.
        ("ConfusionMatrixPlot", {"num_thresholds": 100}),
        ("CalibrationPlot", {"num_buckets": 10}),
    ),
    Task.MULTICLASS: (("MultiClassConfusionMatrixPlot", {}),),
}
"""TFMA's plots from which ROC, precision and recall, calibration and the confusion are drawn."""


def eval_config(project: Project) -> Any:
    """Words the `evaluation:` section as TFMA's EvalConfig."""
    from tensorflow_model_analysis.proto import config_pb2 as tfma

    config = project.config
    evaluation = config.evaluation
    problem = config.problem
    label_key = evaluation.label_key or (problem.transformed_label if problem else None)
    prediction_key = evaluation.prediction_key or (problem.prediction_key if problem else "")
    preprocessing = evaluation.preprocessing_signature
    if preprocessing is None and problem is not None and not config.run_fn:
        preprocessing = "transform_features"
    spec = {
        "signature_name": "serving_default",
        "label_key": label_key or config.label.name,
        "prediction_key": prediction_key,
        "preprocessing_function_names": [preprocessing] if preprocessing else [],
    }
    slices = [tfma.SlicingSpec()]
    for columns in evaluation.slices:
        keys = [columns] if isinstance(columns, str) else list(columns)
        slices.append(tfma.SlicingSpec(feature_keys=keys))
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(name="candidate", **spec),
            tfma.ModelSpec(name="baseline", is_baseline=True, **spec),
        ],
        slicing_specs=slices,
        metrics_specs=[tfma.MetricsSpec(metrics=_metric_configs(project))],
        options=_evaluation_options(project),
    )


def _evaluation_options(project: Project) -> Any:
    from google.protobuf import wrappers_pb2
    from tensorflow_model_analysis.proto import config_pb2 as tfma

    options = tfma.Options()
    if project.config.evaluation.confidence_intervals:
        options.compute_confidence_intervals.CopyFrom(wrappers_pb2.BoolValue(value=True))
        options.confidence_intervals.method = tfma.ConfidenceIntervalOptions.JACKKNIFE
    return options


def _metric_configs(project: Project) -> list[Any]:
    from tensorflow_model_analysis.proto import config_pb2 as tfma

    config = project.config
    metrics = [tfma.MetricConfig(class_name="ExampleCount")]
    for name in config.metrics:
        metric = METRICS[config.task][name]
        entry = tfma.MetricConfig(
            class_name=metric.tfma_class, config=json.dumps({"name": metric.name})
        )
        threshold = config.evaluation.thresholds.get(name)
        if threshold is not None and threshold.on == "every_slice":
            entry.threshold.CopyFrom(_metric_threshold(metric, threshold))
        elif threshold is not None:
            overall = entry.per_slice_thresholds.add(slicing_specs=[tfma.SlicingSpec()])
            overall.threshold.CopyFrom(_metric_threshold(metric, threshold))
        metrics.append(entry)
    for name, settings in _PLOTS.get(config.task, ()):
        metrics.append(tfma.MetricConfig(class_name=name, config=json.dumps(settings)))
    return metrics


def _metric_threshold(metric: Metric, threshold: Threshold) -> Any:
    """Words one threshold as TFMA's: fixed bounds, and a change against the baseline."""
    from tensorflow_model_analysis.proto import config_pb2 as tfma

    worded = tfma.MetricThreshold()
    if threshold.min is not None:
        worded.value_threshold.lower_bound.value = threshold.min
    if threshold.max is not None:
        worded.value_threshold.upper_bound.value = threshold.max
    if threshold.max_regression is not None:
        better_high = metric.higher_is_better
        worded.change_threshold.direction = (
            tfma.HIGHER_IS_BETTER if better_high else tfma.LOWER_IS_BETTER
        )
        worst = -threshold.max_regression if better_high else threshold.max_regression
        worded.change_threshold.absolute.value = worst
    return worded
