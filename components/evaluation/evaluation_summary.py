"""TFMA's files of an evaluation → one small JSON file that says what came out, and why.

TFMA keeps its results in TFRecords that need TensorFlow to be read. What the terminal, the
ledger, the dashboard and the report show is written once, when the model has been evaluated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tensorflow_model_analysis.api import model_eval_lib

__all__ = [
    "BASELINE",
    "CANDIDATE",
    "SUMMARY_FILE",
    "overall_plots",
    "reasons",
    "slices",
    "undefined",
]

SUMMARY_FILE = "summary.json"
CANDIDATE, BASELINE = "candidate", "baseline"
_PLACES_NAMED = 5
_BINARY_PLOT, _MULTICLASS_PLOT, _CALIBRATION_PLOT = (
    "confusionMatrixAtThresholds",
    "multiClassConfusionMatrixAtThresholds",
    "calibrationHistogramBuckets",
)


def slices(evaluation: str, *, has_baseline: bool) -> list[dict[str, Any]]:
    """Tabulates the scalar metrics of each slice, the overall one first.

    Args:
        evaluation: the folder of TFMA's files.
        has_baseline: whether the candidate was compared.
    """
    candidate, intervals = _metrics_by_slice(evaluation, CANDIDATE if has_baseline else None)
    baseline = _metrics_by_slice(evaluation, BASELINE)[0] if has_baseline else {}
    return [
        {
            "slice": dict(key),
            "metrics": metrics,
            "baseline": baseline.get(key),
            # Only where they were asked for.
            **({"intervals": intervals[key]} if intervals.get(key) else {}),
        }
        for key, metrics in sorted(candidate.items(), key=lambda row: _as_people_count(row[0]))
    ]


_SliceKey = tuple[tuple[str, Any], ...]


def _as_people_count(key: _SliceKey) -> tuple[Any, ...]:
    """Orders slices by their columns, then by value: 2 before 10, and numbers before words."""
    values = []
    for _, value in key:
        try:
            values.append((0, float(value), ""))
        except (TypeError, ValueError):
            values.append((1, 0.0, str(value)))
    return len(key), [column for column, _ in key], values


def _metrics_by_slice(
    evaluation: str, model: str | None
) -> tuple[dict[_SliceKey, dict[str, float]], dict[_SliceKey, dict[str, list[float]]]]:
    """The scalars of each slice, and the intervals of those that have one."""
    result = model_eval_lib.load_eval_result(evaluation, model_name=model)
    rows, intervals = {}, {}
    for key, outputs in result.slicing_metrics:
        metrics: dict[str, float] = {}
        bounds: dict[str, list[float]] = {}
        for by_class in (each for values in outputs.values() for each in values.values()):
            for name, value in by_class.items():
                if "_diff" in name:
                    continue
                if "doubleValue" in value:
                    metrics[name] = float(value["doubleValue"])
                elif "boundedValue" in value:
                    found = value["boundedValue"]
                    metrics[name] = float(found.get("value", 0.0))
                    bounds[name] = [
                        float(found.get(end, 0.0)) for end in ("lowerBound", "upperBound")
                    ]
        place = tuple((name, _text(value)) for name, value in key)
        rows[place], intervals[place] = metrics, bounds
    return rows, intervals


def overall_plots(
    evaluation: str, model: str | None, class_names: Sequence[str] = ()
) -> dict[str, Any]:
    """Counts over all rows: `thresholds` of a binary task, `confusion` of a multiclass one.

    Args:
        evaluation: where TFMA's files are.
        model: whose, where there are two.
        class_names: what the classes are called, by their number; the number where it is not told.
    """
    result = model_eval_lib.load_eval_result(evaluation, model_name=model)
    # A task without plots has one row of plots, and nothing in it.
    by_slice: dict[Any, dict[str, Any] | None] = dict(result.plots)
    overall = by_slice.get(()) or {}
    plots = [
        plot
        for by_output in overall.values()
        for by_class in by_output.values()
        for plot in by_class.items()
    ]
    found: dict[str, Any] = {}
    for name, plot in plots:
        matrices = plot.get("matrices", [])
        if name == _BINARY_PLOT:
            found["thresholds"] = [_counts(each) for each in matrices]
        elif name == _MULTICLASS_PLOT and matrices:
            found["confusion"] = _confusion(matrices[0].get("entries", []), class_names)
        elif name == _CALIBRATION_PLOT:
            found["calibration"] = _calibration(plot.get("buckets", []))
    return found


def _counts(matrix: dict[str, Any]) -> dict[str, float]:
    # Zeros are left out of what TFMA writes.
    return {
        name: round(float(matrix.get(key, 0.0)), 6)
        for name, key in (
            ("threshold", "threshold"),
            ("true_positives", "truePositives"),
            ("false_positives", "falsePositives"),
            ("true_negatives", "trueNegatives"),
            ("false_negatives", "falseNegatives"),
        )
    }


def _calibration(buckets: list[dict[str, Any]]) -> list[dict[str, float]]:
    """For each range of predictions that has rows: how many, what was said, what was so."""
    rows = []
    for bucket in buckets:
        count = float(bucket.get("numWeightedExamples", 0.0))
        if count:
            rows.append(
                {
                    "rows": count,
                    "mean_prediction": float(bucket.get("totalWeightedRefinedPrediction", 0.0))
                    / count,
                    "mean_label": float(bucket.get("totalWeightedLabel", 0.0)) / count,
                }
            )
    return rows


def _confusion(entries: list[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Labels and counts, a row for each true class."""
    cells = {
        (int(each.get("actualClassId", 0)), int(each.get("predictedClassId", 0))): float(
            each.get("numWeightedExamples", 0.0)
        )
        for each in entries
    }
    classes = sorted({*range(len(names)), *(index for cell in cells for index in cell)})
    return {
        "labels": [names[index] if 0 <= index < len(names) else str(index) for index in classes],
        "counts": [[cells.get((true, said), 0.0) for said in classes] for true in classes],
    }


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def reasons(evaluation: str, rows: list[dict[str, Any]]) -> list[str]:
    """Says for each threshold that was missed: which metric, where, the values, the bound."""
    result = model_eval_lib.load_validation_result(evaluation)
    if result is None or result.validation_ok:
        return []
    by_slice = {_place(row["slice"].items()): row for row in rows}
    told = []
    for per_slice in result.metric_validations_per_slice:
        where = _slice_name(per_slice.slice_key)
        for failure in per_slice.failures:
            told.append(_reason(failure, where, by_slice.get(where, {})))
    for missing in result.missing_slices:
        told.append(f"no rows for the slice {missing}")
    return sorted(told, key=lambda reason: "on all rows" not in reason)


def undefined(rows: Sequence[Mapping[str, Any]], config: Any) -> list[str]:
    """Says which thresholds held for want of a value, on slices whose labels are all the same.

    Args:
        rows: the slices; see `slices`.
        config: the EvalConfig, whose thresholds on every slice count.
    """
    told = []
    for metric in (each for spec in config.metrics_specs for each in spec.metrics):
        if not metric.HasField("threshold"):
            continue
        name = json.loads(metric.config or "{}").get("name", metric.class_name)
        places = [
            _place(row["slice"].items())
            for row in rows
            if row["slice"] and math.isnan(row["metrics"].get(name, 0.0))
        ]
        if places:
            more = f" and {len(places) - _PLACES_NAMED} more" if len(places) > _PLACES_NAMED else ""
            told.append(
                f"{name} is not defined, and not asked for, on slices whose labels are all the "
                f"same: {'; '.join(places[:_PLACES_NAMED])}{more}"
            )
    return told


def _slice_name(key: Any) -> str:
    return _place(
        (single.column, getattr(single, single.WhichOneof("kind")))
        for single in key.single_slice_keys
    )


def _place(pairs: Iterable[tuple[str, Any]]) -> str:
    return ", ".join(f"{column}={_text(value)}" for column, value in pairs) or "all rows"


def _reason(failure: Any, where: str, row: dict[str, Any]) -> str:
    name = failure.metric_key.name.removesuffix("_diff")
    kind = failure.metric_value.WhichOneof("type")
    value = getattr(failure.metric_value, kind).value if kind else float("nan")
    value = getattr(value, "value", value)
    rows = row.get("metrics", {}).get("example_count")
    if rows is not None and where != "all rows":
        where += f" ({rows:,.0f} rows)"
    threshold = failure.metric_threshold
    if threshold.HasField("change_threshold"):
        allowed = threshold.change_threshold.absolute.value
        before = (row.get("baseline") or {}).get(name)
        now = row.get("metrics", {}).get(name)
        if before is not None and now is not None:
            return (
                f"{name} went from {before:.4g} of the last blessed model to {now:.4g} on {where}, "
                f"a change of {now - before:+.4g}; allowed is {allowed:+.4g}"
            )
        return (
            f"{name} changed by {value:+.4g} against the last blessed model on {where}, "
            f"allowed is {allowed:+.4g}"
        )
    bounds = threshold.value_threshold
    if math.isnan(value):
        return f"{name} is not defined on {where}, and a bound is set for it"
    interval = row.get("intervals", {}).get(name)
    shown = f"{value:.4g}" + (f" ({interval[0]:.4g} to {interval[1]:.4g})" if interval else "")
    if bounds.HasField("lower_bound") and not value >= bounds.lower_bound.value:
        return f"{name} is {shown} on {where}, at least {bounds.lower_bound.value:g} is required"
    if bounds.HasField("upper_bound") and not value <= bounds.upper_bound.value:
        return f"{name} is {shown} on {where}, at most {bounds.upper_bound.value:g} is allowed"
    return f"{name} is {shown} on {where}: {failure.message}"
