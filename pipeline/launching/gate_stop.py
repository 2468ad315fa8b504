"""Stops a run at a gate: a recorded verdict becomes the error that ends it.

The step that wrote the verdict has succeeded and its verdict is recorded, also when it is answered
from the cache; whoever launched the step calls this before it launches the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from components.gates.gate_verdict import Verdict
    from pipeline.launching.step_outcome import StepOutcome

__all__ = ["require_passed", "verdict_of"]

_OUTPUT = "verdict"
_TYPE = "DataVerdict"


def verdict_of(outcome: StepOutcome) -> Verdict | None:
    """Reads the verdict that a step left; None if the step is no gate."""
    artifact = outcome.output(_OUTPUT)
    if artifact is None or artifact.type != _TYPE:
        return None
    from components.gates.anomaly_gate import read_verdict

    return read_verdict(artifact.uri)


def require_passed(outcome: StepOutcome) -> None:
    """Does nothing for a step that is no gate, or a gate that lets the run pass.

    Raises:
        GateStop: the verdict stops the run today.
    """
    verdict = verdict_of(outcome)
    stop = verdict.stop() if verdict is not None else None
    if stop is not None:
        raise stop
