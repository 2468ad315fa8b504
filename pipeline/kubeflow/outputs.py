"""The artifacts that a task shows on Kubeflow's dashboard.

The dashboard draws artifacts by their exact type: an HTML page, scalars, a confusion matrix. The
payloads stay under our own data root; each TFX output gets a typed artifact that says where.
Inputs are not declared at all, so Kubeflow's launcher never copies data around.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfx.proto.orchestration import pipeline_pb2

__all__ = [
    "CLASSIFICATION",
    "HTML",
    "METRICS",
    "SHOWS_COLUMNS",
    "DashboardOutput",
    "classification_name",
    "declared",
    "metrics_name",
    "output_name",
    "summary_name",
]

HTML = "system.HTML"
METRICS = "system.Metrics"
CLASSIFICATION = "system.ClassificationMetrics"

_TYPES = {
    "Examples": "system.Dataset",
    "Model": "system.Model",
    "PushedModel": "system.Model",
    "TransformGraph": "system.Model",
}
_HAS_METRICS = ("examples", "trainer", "evaluator")
_HAS_CURVES = ("evaluator",)
SHOWS_COLUMNS = frozenset({"statistics", "schema", "anomalies", "serving_statistics"})
"""Nodes whose pages show values of columns."""

_CACHES = ("TransformCache", "ModelRun")
"""Outputs that no one looks for on a dashboard."""


@dataclass(frozen=True)
class DashboardOutput:
    """One output artifact of a task.

    Attributes:
        name: unique within the task.
        type: the schema title by which the dashboard draws it.
        description: what it shows.
    """

    name: str
    type: str
    description: str


def declared(ir: pipeline_pb2.Pipeline, nodes: Sequence[str]) -> list[DashboardOutput]:
    """Lists what a task with these nodes shows."""
    outputs = []
    for each in ir.nodes:
        node = each.pipeline_node
        name = node.node_info.id
        if name not in nodes:
            continue
        outputs.append(DashboardOutput(summary_name(name), HTML, f"What {name} found or made."))
        if name in _HAS_METRICS:
            outputs.append(DashboardOutput(metrics_name(name), METRICS, f"Numbers of {name}."))
        if name in _HAS_CURVES:
            text = "ROC curve and confusion matrix of a classifier."
            outputs.append(DashboardOutput(classification_name(name), CLASSIFICATION, text))
        for key in sorted(node.outputs.outputs):
            kind = node.outputs.outputs[key].artifact_spec.type.name
            if kind in _CACHES:
                continue
            outputs.append(
                DashboardOutput(
                    output_name(name, key),
                    _TYPES.get(kind, "system.Artifact"),
                    f"TFX {kind}; its metadata say where it is.",
                )
            )
    return outputs


def summary_name(node: str) -> str:
    """Names the HTML page of a node."""
    return f"{_word(node)}_summary"


def metrics_name(node: str) -> str:
    """Names the scalars of a node."""
    return f"{_word(node)}_metrics"


def classification_name(node: str) -> str:
    """Names the curves of a node."""
    return f"{_word(node)}_curves"


def output_name(node: str, key: str) -> str:
    """Names the artifact that stands for a TFX output."""
    node, key = _word(node), _word(key)
    return key if node == key else f"{node}_{key}"


def _word(name: str) -> str:
    return re.sub("[^_0-9a-z]+", "_", name.lower()).strip("_")
