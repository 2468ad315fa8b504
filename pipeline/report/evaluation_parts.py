"""The evaluator's summary as HTML: verdict, metrics by slice, confusion matrix, ROC curve."""

from __future__ import annotations

from typing import Any

from pipeline.report import fragments, pictures

__all__ = ["confusion", "parts", "roc_points"]

_COUNT = "example_count"


def parts(summary: dict[str, Any]) -> list[str]:
    """Makes the pieces of an evaluation's page.

    Args:
        summary: what `components.evaluator` wrote as `summary.json`.
    """
    made = [_verdict(summary), *_slices(summary)]
    points = roc_points(summary)
    if points:
        diagonal = pictures.Line("chance", [(0.0, 0.0), (1.0, 1.0)])
        curve = pictures.Line("candidate", [(false, true) for _, false, true in points])
        made += [
            fragments.heading("ROC curve, all rows"),
            pictures.line_chart([curve, diagonal], x="false positive rate", y="true positive rate"),
        ]
    made += _more_curves(summary)
    table = confusion(summary)
    if table is not None:
        labels, counts = table
        made += [
            fragments.heading("Confusion matrix, all rows"),
            fragments.matrix(labels, counts, corner="true ↓  predicted →"),
        ]
    return made


def _more_curves(summary: dict[str, Any]) -> list[str]:
    """Precision over recall, and what was so over what was said."""
    made = []
    points = []
    for row in sorted(summary.get("thresholds", []), key=lambda each: each["threshold"]):
        said = row["true_positives"] + row["false_positives"]
        positives = row["true_positives"] + row["false_negatives"]
        if said and positives:
            points.append((row["true_positives"] / positives, row["true_positives"] / said))
    if points:
        made += [
            fragments.heading("Precision and recall, all rows"),
            pictures.line_chart([pictures.Line("candidate", points)], x="recall", y="precision"),
        ]
    buckets = summary.get("calibration", [])
    if buckets:
        said_so = [(row["mean_prediction"], row["mean_label"]) for row in buckets]
        perfect = pictures.Line("perfect", [(0.0, 0.0), (1.0, 1.0)])
        made += [
            fragments.heading("Calibration, all rows"),
            pictures.line_chart(
                [pictures.Line("candidate", said_so), perfect],
                x="mean prediction",
                y="share that was so",
            ),
        ]
    return made


def roc_points(summary: dict[str, Any]) -> list[tuple[float, float, float]]:
    """Threshold, false positive rate and true positive rate, by falling threshold.

    Empty where the task is not binary.
    """
    points = []
    for row in summary.get("thresholds", []):
        positives = row["true_positives"] + row["false_negatives"]
        negatives = row["false_positives"] + row["true_negatives"]
        if positives and negatives:
            points.append(
                (
                    row["threshold"],
                    row["false_positives"] / negatives,
                    row["true_positives"] / positives,
                )
            )
    return sorted(points, reverse=True)


def confusion(summary: dict[str, Any]) -> tuple[list[str], list[list[float]]] | None:
    """Labels and counts, a row for each true class; None where there are no classes.

    Shape: counts are [classes, classes].
    """
    if "confusion" in summary:
        return summary["confusion"]["labels"], summary["confusion"]["counts"]
    for row in summary.get("thresholds", []):
        if abs(row["threshold"] - 0.5) < 1e-6:
            return ["no", "yes"], [
                [row["true_negatives"], row["false_positives"]],
                [row["false_negatives"], row["true_positives"]],
            ]
    return None


def _verdict(summary: dict[str, Any]) -> str:
    if not summary["blessed"]:
        return fragments.verdict("Not blessed", "bad", summary["reasons"])
    if not summary["gated"]:
        why = ["no thresholds are set"]
    elif summary["compared"]:
        why = ["all thresholds hold, against the last blessed model too"]
    else:
        why = ["all thresholds hold; there is no earlier blessed model to compare with"]
    return fragments.verdict("Blessed", "good", why)


def _slices(summary: dict[str, Any]) -> list[str]:
    rows = summary["slices"]
    if not rows:
        return []
    names = [name for name in rows[0]["metrics"] if name != _COUNT]
    lines: list[list[object]] = []
    for row in rows:
        name = ", ".join(f"{column}={value}" for column, value in row["slice"].items())
        metrics = row["metrics"]
        lines.append(
            [
                name or "all rows",
                f"{metrics.get(_COUNT, 0):,.0f}",
                *[
                    _with_interval(metrics.get(metric), row.get("intervals", {}).get(metric))
                    for metric in names
                ],
            ]
        )
        if row["baseline"] and not row["slice"]:
            baseline = [_shown(row["baseline"].get(metric)) for metric in names]
            lines.append(["last blessed model", "", *baseline])
    return [
        fragments.heading("Metrics by slice"),
        fragments.table(("slice", "rows", *names), lines),
    ]


def _with_interval(value: float | None, interval: list[float] | None) -> str | None:
    shown = _shown(value)
    if shown is None or interval is None:
        return shown
    return f"{shown} ({fragments.number(interval[0])} to {fragments.number(interval[1])})"


def _shown(value: float | None) -> str | None:
    return None if value is None else fragments.number(value)
