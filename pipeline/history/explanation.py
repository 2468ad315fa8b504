"""Why a run ended as it did, said again afterwards: from what it recorded, not from its log."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.gates.gate_verdict import Finding
from pipeline.launching import payload

if TYPE_CHECKING:
    from components.gates.gate_verdict import Verdict
    from pipeline.history.run_history import Run

__all__ = ["Explanation", "explain", "read_evaluation", "read_verdict_of"]


@dataclass(frozen=True)
class Explanation:
    """Why a run ended.

    Attributes:
        outcome: in one sentence.
        step: the step that decided it; empty when all went well.
        reasons: sentences.
        expected: what would have let it pass.
        fix: what to do.
        findings: what the data gate found, errors first.
    """

    outcome: str
    step: str = ""
    reasons: tuple[str, ...] = ()
    expected: str = ""
    fix: str = ""
    findings: tuple[Finding, ...] = ()

    def as_dict(self, day: datetime.date) -> dict[str, Any]:
        """Turns it into plain values for a script."""
        return {
            "outcome": self.outcome,
            "step": self.step,
            "reasons": list(self.reasons),
            "expected": self.expected,
            "fix": self.fix,
            "findings": [
                {
                    "severity": each.severity_on(day).value,
                    "kind": each.kind.value,
                    "split": each.split,
                    "column": each.column,
                    "text": each.sentence(day),
                    "rows": [
                        {"file": place.file, "line": place.line, "value": place.value}
                        for place in each.places
                    ],
                }
                for each in self.findings
            ],
        }


def explain(run: Run) -> Explanation:
    """Says why a run ended as it did."""
    verdict = read_verdict_of(run)
    every = verdict.findings if verdict else ()
    findings = tuple(each for each in every if each.severity != "ignore")
    failure = run.summary.get("failure")
    if run.outcome == "stopped":
        return _stopped(run, verdict, findings)
    if failure:
        return Explanation(
            f"{run.outcome} in step {failure['step']}",
            failure["step"],
            (failure["what"],),
            failure["expected"],
            failure["fix"],
            findings,
        )
    if run.outcome in ("not_blessed", "not_pushed"):
        return _not_pushed(run, findings)
    if run.outcome == "no_skew":
        return Explanation(
            "no skew: requests are like the data that the version was trained on",
            findings=findings,
        )
    if run.outcome == "pushed":
        return Explanation(f"pushed version {run.version}", findings=findings)
    last = run.steps[-1].node if run.steps else ""
    what = {
        "failed": (f"step {last} failed", "read its log, or start the run again"),
        "running": (f"step {last} is running, or was killed", "start the run again if it was"),
    }.get(run.outcome, (f"it ended after step {last}", "start the run again: it continues there"))
    return Explanation(what[0], last, fix=what[1], findings=findings)


def _stopped(run: Run, verdict: Verdict | None, findings: tuple[Finding, ...]) -> Explanation:
    """Judges the verdict as of the day of the run."""
    day = run.started.date() if run.started else datetime.date.today()
    stop = verdict.stop(day) if verdict else None
    if stop is None:
        failure = run.summary.get("failure") or {}
        return Explanation(
            "stopped by the data gate",
            "gate",
            tuple(failure.get("what", "").splitlines()),
            failure.get("expected", ""),
            failure.get("fix", ""),
            findings,
        )
    reasons = tuple(line.strip() for line in stop.what.splitlines())
    is_skew = run.step("skew") is not None
    return Explanation(
        "skew: requests are unlike the data that the version was trained on"
        if is_skew
        else "stopped by the data gate: nothing was trained on these data",
        "skew" if is_skew else "gate",
        reasons,
        stop.expected,
        stop.fix,
        findings,
    )


def _not_pushed(run: Run, findings: tuple[Finding, ...]) -> Explanation:
    summary = read_evaluation(run) or {}
    reasons: Sequence[str] = summary.get("reasons", [])
    if summary.get("blessed", False):
        pushed = run.output("pusher", "pushed_model")
        reason = str(pushed.properties.get("reason", "")) if pushed else ""
        return Explanation(
            "blessed, but not pushed", "pusher", (reason,) if reason else (), findings=findings
        )
    return Explanation(
        "the model is not blessed, so it was not pushed",
        "evaluator",
        tuple(reasons),
        "every threshold in evaluation.thresholds to hold",
        "train on better data or longer, or change the threshold if it asks for too much",
        findings,
    )


def read_verdict_of(run: Run) -> Verdict | None:
    """The verdict of the gate on the data, or on requests; None if the run did not get there."""
    artifact = run.output("gate", "verdict") or run.output("skew", "verdict")
    if artifact is None:
        return None
    from components.gates.gate_verdict import VERDICT_FILE, Verdict

    try:
        return Verdict.from_json(payload.read_bytes(artifact.uri, VERDICT_FILE).decode())
    except OSError:
        return None


def read_evaluation(run: Run) -> Mapping[str, Any] | None:
    """The evaluator's summary; None if the run did not get there or its files are gone."""
    artifact = run.output("evaluator", "evaluation")
    if artifact is None:
        return None
    try:
        summary: dict[str, Any] = payload.read_json(artifact.uri, "summary.json")
    except (OSError, ValueError):
        return None
    return summary
