"""Scored rows → the files of a TFMA evaluation: metrics, plots, validation, configuration.

The messages are TFMA's own, and so is what holds them against the thresholds; whatever reads an
evaluation reads this one.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_model_analysis.api import types
from tensorflow_model_analysis.evaluators import metrics_validator
from tensorflow_model_analysis.metrics import (
    binary_confusion_matrices,
    metric_specs,
    metric_types,
)
from tensorflow_model_analysis.metrics.multi_class_confusion_matrix_metrics import (
    Matrices,
    MatrixEntryKey,
)
from tensorflow_model_analysis.proto import config_pb2, metrics_for_slice_pb2
from tensorflow_model_analysis.version import VERSION
from tensorflow_model_analysis.writers import metrics_plots_and_validations_writer as writer

from components.evaluation.row_metrics import TASKS, Folds, Rows
from components.evaluation.scored_rows import ModelAnswers, NotTabularError, ScoredRows

__all__ = ["FOLDS", "EvaluationPlan", "slices_of", "write"]

FOLDS = 20
"""Parts of the rows that a jackknife leaves out one by one, as many as TFMA's."""

_FOLD_SEED = 20_260_101
_PLOTS = {
    "ConfusionMatrixPlot": "binary",
    "CalibrationPlot": "binary",
    "MultiClassConfusionMatrixPlot": "multiclass",
}
_FILES = {
    "metrics": "metrics-00000-of-00001.tfrecord",
    "plots": "plots-00000-of-00001.tfrecord",
    "attributions": "attributions-00000-of-00001.tfrecord",
    "validations": "validations.tfrecord",
}

SliceKey = tuple[tuple[str, Any], ...]
Metrics = dict[metric_types.MetricKey, Any]


@dataclass(frozen=True)
class EvaluationPlan:
    """What an EvalConfig asks for, in the words of this way of evaluating.

    Attributes:
        config: with its defaults put in.
        task: binary, multiclass or regression.
        names: the metrics: the name by TFMA's class.
        plots: the settings of each plot by TFMA's class.
        slices: the columns of each slicing; none for all rows.
        intervals: whether metrics get confidence intervals.
    """

    config: config_pb2.EvalConfig
    task: str
    names: Mapping[str, str]
    plots: Mapping[str, Mapping[str, Any]]
    slices: tuple[tuple[str, ...], ...]
    intervals: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns by whose values rows are sliced."""
        return tuple(sorted({name for columns in self.slices for name in columns}))

    @property
    def baseline(self) -> str:
        """The baseline's name; empty without one."""
        return next((str(one.name) for one in self.config.model_specs if one.is_baseline), "")

    @property
    def without_interval(self) -> frozenset[str]:
        """Names of the metrics for which an interval says nothing: the count of rows."""
        specs = self.config.metrics_specs
        keys = metric_specs.metric_keys_to_skip_for_confidence_intervals(specs, self.config)
        return frozenset(str(key.name) for key in keys)

    @property
    def has_thresholds(self) -> bool:
        """Whether anything is asked of the candidate."""
        specs = self.config.metrics_specs
        return bool(
            metric_specs.metric_thresholds_from_metrics_specs(specs, eval_config=self.config)
        )

    @classmethod
    def of(cls, config: config_pb2.EvalConfig) -> EvaluationPlan:
        """Reads an EvalConfig.

        Raises:
            NotTabularError: it asks for something that only TFMA itself does.
        """
        if len(config.metrics_specs) != 1 or config.cross_slicing_specs:
            raise NotTabularError("several metrics_specs, or slices against slices")
        [spec] = config.metrics_specs
        if spec.HasField("binarize") or spec.HasField("aggregate") or spec.query_key:
            raise NotTabularError("metrics by class or by query")
        weighted = ("example_weight_key", "example_weight_keys", "label_keys", "prediction_keys")
        if any(getattr(one, name) for one in config.model_specs for name in weighted):
            raise NotTabularError("weighted rows, or several outputs")
        names, plots = _metrics(spec)
        task = next((_PLOTS[name] for name in plots), "regression")
        if not names.keys() <= TASKS[task][1]:
            raise NotTabularError(f"{', '.join(names)} are not all known for {task}")
        options = config.options
        jackknife = config_pb2.ConfidenceIntervalOptions.JACKKNIFE
        if options.HasField("min_slice_size") or (
            options.compute_confidence_intervals.value
            and options.confidence_intervals.method != jackknife
        ):
            raise NotTabularError("options that only TFMA knows")
        if any(each.feature_values or each.slice_keys_sql for each in config.slicing_specs):
            raise NotTabularError("slices of certain values only")
        slices = tuple(tuple(sorted(each.feature_keys)) for each in config.slicing_specs) or ((),)
        return cls(
            config, task, names, plots, slices, bool(options.compute_confidence_intervals.value)
        )


def _metrics(spec: config_pb2.MetricsSpec) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    names: dict[str, str] = {}
    plots: dict[str, dict[str, Any]] = {}
    for metric in spec.metrics:
        settings = json.loads(metric.config) if metric.config else {}
        if metric.class_name in _PLOTS:
            plots[metric.class_name] = settings
        elif metric.class_name in names or metric.module or set(settings) - {"name"}:
            raise NotTabularError(f"{metric.class_name} with settings of its own")
        else:
            names[metric.class_name] = settings.get("name", "example_count")
    return names, plots


def slices_of(scored: ScoredRows, columns: tuple[str, ...]) -> Iterator[tuple[SliceKey, Rows]]:
    """Lists the slices by the values of some columns, with their rows.

    Rows without a value in one of the columns are in none of them.
    """
    if not columns:
        yield (), np.arange(scored.rows)
        return
    sizes = [max(len(scored.values[name]), 1) for name in columns]
    codes = [scored.codes[name].astype(np.int64) for name in columns]
    complete = np.flatnonzero(np.logical_and.reduce([each >= 0 for each in codes]))
    flat = np.ravel_multi_index([each[complete] for each in codes], sizes)
    order = np.argsort(flat, kind="stable")
    starts = np.flatnonzero(np.diff(flat[order], prepend=-1))
    for start, stop in itertools.pairwise([*starts, len(order)]):
        places = np.unravel_index(flat[order[start]], sizes)
        key = tuple(
            (name, scored.values[name][int(place)])
            for name, place in zip(columns, places, strict=True)
        )
        yield key, complete[order[start:stop]]


def write(
    plan: EvaluationPlan, scored: ScoredRows, folder: str, model_uris: Mapping[str, str]
) -> bool:
    """Writes a whole evaluation and tells whether every threshold holds.

    Args:
        plan: what is asked for.
        scored: the rows, with the answers of every model of the plan.
        folder: where to.
        model_uris: where the models are, by name.

    Raises:
        NotTabularError: the answers are not of the plan's task; nothing has been written.
    """
    make: Callable[[ModelAnswers], Any] = TASKS[plan.task][0]
    models = {name: make(answers) for name, answers in scored.answers.items()}
    random = np.random.default_rng(_FOLD_SEED)
    folds = random.integers(0, FOLDS, scored.rows) if plan.intervals else None
    metrics, plots, checks = [], [], []
    for columns in plan.slices:
        for key, rows in slices_of(scored, columns):
            found = _slice_metrics(plan, models, rows, folds)
            metrics.append(writer.convert_slice_metrics_to_proto((key, found), None))
            check = metrics_validator.validate_metrics((key, found), plan.config)
            labels = next(iter(scored.answers.values())).labels[rows]
            if key and not np.ptp(labels):
                _pass_undefined(check)
            checks.append(check)
            drawn = _slice_plots(plan, models, rows)
            if drawn:
                plots.append(writer.convert_slice_plots_to_proto((key, drawn), None))
    combine = writer.CombineValidations(plan.config)
    verdict = combine.create_accumulator()
    for check in checks:
        verdict = combine.add_input(verdict, check)
    verdict = combine.extract_output(verdict)
    tf.io.gfile.makedirs(folder)
    for name, messages in (
        ("metrics", metrics),
        ("plots", plots),
        ("attributions", []),
        ("validations", [verdict]),
    ):
        with tf.io.TFRecordWriter(f"{folder}/{_FILES[name]}") as file:
            for message in messages:
                file.write(message.SerializeToString())
    run = config_pb2.EvalRun(
        eval_config=plan.config, version=VERSION, model_locations=dict(model_uris)
    )
    with tf.io.gfile.GFile(f"{folder}/eval_config.json", "w") as file:
        file.write(json_format.MessageToJson(run))
    return bool(verdict.validation_ok)


def _pass_undefined(check: Any) -> None:
    """Takes back failures of metrics that a slice without differing labels can't have."""
    for one in check.metric_validations_per_slice:
        failures = [
            each for each in one.failures if not math.isnan(each.metric_value.double_value.value)
        ]
        del one.failures[:]
        one.failures.extend(failures)
    kept = [one for one in check.metric_validations_per_slice if one.failures]
    del check.metric_validations_per_slice[:]
    check.metric_validations_per_slice.extend(kept)
    check.validation_ok = not kept


def _slice_metrics(
    plan: EvaluationPlan, models: Mapping[str, Any], rows: Rows, folds: Folds | None
) -> Metrics:
    """A slice's metrics of every model, and of the candidate less the baseline."""
    own = None if folds is None else folds[rows]
    samples: dict[metric_types.MetricKey, npt.NDArray[np.float64]] = {}
    for model, answers in models.items():
        measured = answers.metrics(plan.names, rows, own, FOLDS)
        for name, values in measured.items():
            samples[metric_types.MetricKey(name=name, model_name=model)] = values
    for key, values in list(samples.items()):
        if plan.baseline and key.model_name != plan.baseline:
            theirs = samples[key.make_baseline_key(plan.baseline)]
            samples[key.make_diff_key()] = values - theirs
    # A slice that one fold holds alone has no value without it.
    is_spread = own is not None and bool(np.all(np.bincount(own, minlength=FOLDS) < len(rows)))
    bare = plan.without_interval
    return {
        key: _with_error(values, is_spread=is_spread and key.name not in bare)
        for key, values in samples.items()
    }


def _with_error(values: npt.NDArray[np.float64], *, is_spread: bool) -> Any:
    """The value, with what the jackknife says of its error.

    Source: tensorflow_model_analysis/evaluators/jackknife.py.
    """
    value, without = float(values[0]), values[1:]
    # Without one fold there may be no row of a class, and no value.
    if not is_spread or not np.isfinite(without).all():
        return value
    pseudo = value * FOLDS - without * (FOLDS - 1)
    return types.ValueWithTDistribution(
        sample_mean=float(without.mean()),
        sample_standard_deviation=float(pseudo.std(ddof=1) / FOLDS**0.5),
        sample_degrees_of_freedom=FOLDS - 1,
        unsampled_value=value,
    )


# ----------------------------------------------------------------------------------- plots


def _slice_plots(plan: EvaluationPlan, models: Mapping[str, Any], rows: Rows) -> dict[Any, Any]:
    makers = {
        "ConfusionMatrixPlot": ("confusion_matrix_plot", _confusion_at_thresholds),
        "CalibrationPlot": ("calibration_plot", _calibration),
        "MultiClassConfusionMatrixPlot": ("multi_class_confusion_matrix_plot", _confusion),
    }
    drawn = {}
    for tfma_class, settings in plan.plots.items():
        name, make = makers[tfma_class]
        for model, answers in models.items():
            drawn[metric_types.PlotKey(name=name, model_name=model)] = make(answers, rows, settings)
    return drawn


def _confusion_at_thresholds(answers: Any, rows: Rows, settings: Mapping[str, Any]) -> Any:
    count = settings.get("num_thresholds", 1000)
    thresholds = np.concatenate(([-1e-6], np.arange(count + 1) / count))
    true, false = answers.at_thresholds(rows, thresholds)
    matrices = binary_confusion_matrices.Matrices(
        thresholds.tolist(), true, false[0] - false, false, true[0] - true
    )
    return matrices.to_proto().confusion_matrix_at_thresholds


def _calibration(answers: Any, rows: Rows, settings: Mapping[str, Any]) -> Any:
    count = settings.get("num_buckets", 1000)
    edges = np.concatenate(([-np.inf], np.arange(count + 1) / count))
    plot = metrics_for_slice_pb2.CalibrationHistogramBuckets()
    parts = zip(*answers.calibration(rows, edges), strict=True)
    for (low, high), (many, label, prediction) in zip(
        itertools.pairwise([*edges, np.inf]), parts, strict=True
    ):
        plot.buckets.add(
            lower_threshold_inclusive=low,
            upper_threshold_exclusive=high,
            total_weighted_label={"value": label},
            total_weighted_refined_prediction={"value": prediction},
            num_weighted_examples={"value": many},
        )
    return plot


def _confusion(answers: Any, rows: Rows, settings: Mapping[str, Any]) -> Any:
    if settings.keys() & {"thresholds", "num_thresholds"}:
        raise NotTabularError("a confusion matrix with thresholds")
    counts = answers.confusion(rows)
    cells = {
        MatrixEntryKey(int(true), int(said)): float(counts[true, said])
        for true, said in zip(*np.nonzero(counts), strict=True)
    }
    matrices = Matrices({0.0: cells})
    return matrices.to_proto().multi_class_confusion_matrix_at_thresholds
