"""From what the nodes of a task made to what Kubeflow's dashboard shows of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.kubeflow import outputs
from pipeline.kubeflow.executor_io import DeclaredOutput, ExecutorInput, write_output

if TYPE_CHECKING:
    from pipeline.launching.launch import NodeOutcome
    from pipeline.launching.metadata import OutputArtifact

__all__ = ["show"]

_TEXT_LIMIT = 500
_log = logging.getLogger(__name__)


def show(
    given: ExecutorInput,
    outcomes: Iterable[NodeOutcome],
    pipeline: str,
    masked: Collection[str] = (),
) -> None:
    """Writes pages, numbers, curves and pointers, and the document that announces them.

    Args:
        given: what the task was told.
        outcomes: of its nodes.
        pipeline: the pipeline's name.
        masked: columns whose values are not shown.
    """
    from pipeline.report.step_pages import step_page

    metadata: dict[str, Mapping[str, Any]] = {}
    for outcome in outcomes:
        page = given.outputs.get(outputs.summary_name(outcome.node))
        if page is not None:
            _write(page, step_page(outcome, pipeline, masked))
        numbers = _numbers(outcome)
        if numbers:
            metadata[outputs.metrics_name(outcome.node)] = numbers
        curves = _curves(outcome)
        if curves:
            metadata[outputs.classification_name(outcome.node)] = curves
        for key, artifacts in outcome.outputs.items():
            name = outputs.output_name(outcome.node, key)
            declared = given.outputs.get(name)
            if declared is None or not artifacts:
                continue
            facts = _facts(artifacts[0])
            metadata[name] = facts
            _write(declared, json.dumps(facts, indent=1) + "\n")
    write_output(given, metadata)


def _write(output: DeclaredOutput, text: str) -> None:
    output.path.parent.mkdir(parents=True, exist_ok=True)
    output.path.write_text(text, encoding="utf-8")


def _facts(artifact: OutputArtifact) -> dict[str, Any]:
    """Where the payload is and how much, flat, as Kubeflow wants metadata."""
    from pipeline.launching import payload

    facts: dict[str, Any] = {"uri": artifact.uri, "tfx_type": artifact.type, "id": artifact.id}
    try:
        files, size = payload.tree_size(artifact.uri)
        facts |= {"files": files, "size_bytes": size}
    except OSError as error:
        _log.warning("can't measure %s: %s", artifact.uri, error)
    for name, value in artifact.properties.items():
        if isinstance(value, int | float):
            facts[name] = value
        elif isinstance(value, str) and value:
            facts[name] = value[:_TEXT_LIMIT]
    rows = [
        value
        for name, value in artifact.properties.items()
        if name.startswith("rows_") and not name.startswith("rows_dropped_")
    ]
    if rows:
        facts["rows"] = sum(rows)
    return facts


def _numbers(outcome: NodeOutcome) -> dict[str, float]:
    """Scalars for a `system.Metrics` artifact."""
    if outcome.node == "examples":
        examples = outcome.output("examples")
        rows = examples.properties.items() if examples else ()
        return {name: float(count) for name, count in rows if name.startswith("rows_")}
    if outcome.node == "trainer":
        history = _document(outcome, "model_run", "history.json")
        looks = history.get("validations", [])
        metrics = looks[-1]["metrics"] if looks else {}
        numbers = {f"eval_{name}": value for name, value in metrics.items() if value is not None}
        return {**numbers, "steps": float(looks[-1]["step"])} if looks else numbers
    if outcome.node == "evaluator":
        summary = _document(outcome, "evaluation", "summary.json")
        overall = [row["metrics"] for row in summary.get("slices", []) if not row["slice"]]
        numbers = dict(overall[0]) if overall else {}
        return {**numbers, "blessed": float(summary.get("blessed", False))} if summary else {}
    return {}


def _curves(outcome: NodeOutcome) -> dict[str, Any]:
    """Confusion matrix and ROC curve for a `system.ClassificationMetrics` artifact.

    Source: kfp 2.17.0, `kfp.dsl.ClassificationMetrics`, which writes the same two entries.
    """
    if outcome.node != "evaluator":
        return {}
    from pipeline.report import evaluation_parts

    summary = _document(outcome, "evaluation", "summary.json")
    curves: dict[str, Any] = {}
    points = evaluation_parts.roc_points(summary)
    if points:
        curves["confidenceMetrics"] = [
            {"confidenceThreshold": threshold, "falsePositiveRate": false, "recall": true}
            for threshold, false, true in points
        ]
    table = evaluation_parts.confusion(summary)
    if table is not None:
        labels, counts = table
        curves["confusionMatrix"] = {
            "annotationSpecs": [{"displayName": label} for label in labels],
            "rows": [{"row": row} for row in counts],
        }
    return curves


def _document(outcome: NodeOutcome, key: str, file: str) -> dict[str, Any]:
    """A JSON file of an output; empty if there is none, as with a user's own code."""
    from pipeline.launching import payload

    artifact = outcome.output(key)
    if artifact is None:
        return {}
    try:
        document: dict[str, Any] = payload.read_json(artifact.uri, file)
    except (OSError, ValueError) as error:
        _log.warning("no numbers of %s: %s", outcome.node, error)
        return {}
    return document
