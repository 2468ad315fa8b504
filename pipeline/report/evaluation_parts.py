"""The evaluator's summary as HTML: verdict, metrics by slice, confusion matrix, ROC curve."""

from __future__ import annotations

from typing import Any

from pipeline.metrics import METRICS
from pipeline.report import fragments, pictures

__all__ = ["confusion", "parts", "roc_points"]

_COUNT = "example_count"
_BOUNDS = {name: one.bounds for metrics in METRICS.values() for name, one in metrics.items()}


def parts(summary: dict[str, Any]) -> list[str]:
    """Makes the pieces of an evaluation's page.

    Args:
        summary: what `components.evaluation.evaluator` wrote as `summary.json`.
    """
    table = confusion(summary)
    pictures_of = [_roc(summary), _precision_and_recall(summary), _calibration(summary)]
    if table is not None:
        labels, counts = table
        matrix = fragments.matrix(labels, counts, corner="true ↓  predicted →")
        pictures_of.append(fragments.heading("Confusion matrix, all rows") + matrix)
    return [_verdict(summary), *_slices(summary), fragments.side_by_side(pictures_of)]


def _roc(summary: dict[str, Any]) -> str:
    points = roc_points(summary)
    if not points:
        return ""
    diagonal = pictures.Line("chance", [(0.0, 0.0), (1.0, 1.0)])
    curve = pictures.Line("candidate", [(false, true) for _, false, true in points])
    chart = pictures.line_chart([curve, diagonal], x="false positive rate", y="true positive rate")
    return fragments.heading("ROC curve, all rows") + chart


def _precision_and_recall(summary: dict[str, Any]) -> str:
    points = []
    for row in sorted(summary.get("thresholds", []), key=lambda each: each["threshold"]):
        said = row["true_positives"] + row["false_positives"]
        positives = row["true_positives"] + row["false_negatives"]
        if said and positives:
            points.append((row["true_positives"] / positives, row["true_positives"] / said))
    if not points:
        return ""
    chart = pictures.line_chart([pictures.Line("candidate", points)], x="recall", y="precision")
    return fragments.heading("Precision and recall, all rows") + chart


def _calibration(summary: dict[str, Any]) -> str:
    """What was so over what was said."""
    buckets = summary.get("calibration", [])
    if not buckets:
        return ""
    said_so = [(row["mean_prediction"], row["mean_label"]) for row in buckets]
    perfect = pictures.Line("perfect", [(0.0, 0.0), (1.0, 1.0)])
    chart = pictures.line_chart(
        [pictures.Line("candidate", said_so), perfect],
        x="mean prediction",
        y="share that was so",
    )
    return fragments.heading("Calibration, all rows") + chart


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
    notes = summary.get("notes", [])
    if not summary["blessed"]:
        return fragments.verdict("Not blessed", "bad", [*summary["reasons"], *notes])
    if not summary["gated"]:
        why = ["no thresholds are set"]
    elif summary["compared"]:
        why = ["all thresholds hold, against the last blessed model too"]
    else:
        why = ["all thresholds hold; there is no earlier blessed model to compare with"]
    return fragments.verdict("Blessed", "good", [*why, *notes])


def _slices(summary: dict[str, Any]) -> list[str]:
    rows = summary["slices"]
    if not rows:
        return []
    names = [name for name in rows[0]["metrics"] if name != _COUNT]
    lines = []
    for row in rows:
        name = ", ".join(f"{column}={value}" for column, value in row["slice"].items())
        rows_of = f"{row['metrics'].get(_COUNT, 0):,.0f}"
        lines.append([name or "all rows", rows_of, *[_cell(row, metric) for metric in names]])
    notes = []
    if any(row.get("intervals") for row in rows):
        notes.append("95 % intervals stand below the values")
    if summary["compared"]:
        notes.append("the change against the last blessed model on the same rows behind Δ")
    return [
        fragments.heading("Metrics by slice"),
        fragments.paragraph(f"{len(rows):,} slices; " + ", ".join(notes)) if notes else "",
        fragments.table(
            ("slice", "rows", *names), lines, right=range(1, len(names) + 2), limit=1000
        ),
    ]


def _cell(row: dict[str, Any], metric: str) -> str | None:
    """A metric, below it its interval, and how it has changed."""
    value = row["metrics"].get(metric)
    if value is None:
        return None
    lines = [fragments.number(value)]
    interval = row.get("intervals", {}).get(metric)
    if interval is not None:
        low, high = (fragments.number(_within(end, metric)) for end in interval)
        lines.append(f"{low} to {high}")
    before = (row["baseline"] or {}).get(metric)
    if before is not None:
        lines.append(f"Δ {value - before:+.4f}")
    return "\n".join(lines)


def _within(value: float, metric: str) -> float:
    """An interval is worked out as if its metric had no bounds; none is shown beyond them."""
    low, high = _BOUNDS.get(metric, (None, None))
    value = value if low is None else max(value, low)
    return value if high is None else min(value, high)
