"""What the steps of a run were told, as the metadata store keeps it, on a laptop and a cluster."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pipeline.launching.metadata import plain_value

if TYPE_CHECKING:
    from pipeline.history.run_history import Run

__all__ = ["step_settings"]


def step_settings(run: Run, node: str, name: str) -> dict[str, Any]:
    """Reads one parameter of a step, a JSON object; empty if there is none.

    Args:
        run: the run.
        node: the step's id in the graph.
        name: the parameter.
    """
    step = run.step(node)
    if step is None or run.store is None:
        return {}
    for execution in run.store.get_executions_by_id([step.execution_id]):
        for kept in (execution.properties, execution.custom_properties):
            try:
                found = json.loads(plain_value(kept[name])) if name in kept else None
            except (TypeError, ValueError):
                continue
            if isinstance(found, dict):
                return found
    return {}
