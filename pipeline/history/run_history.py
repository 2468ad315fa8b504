"""Runs as the metadata store remembers them: steps, times, outcome, and what each step left.

The store is the same on a laptop and on a cluster, so all of this works from it alone. A local run
has a folder besides, with its log, its summary and its report.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.history.run_source import RunSource
from pipeline.launching.metadata import OutputArtifact, execution_state, output_artifacts
from pipeline.launching.steps import STEPS
from serving.errors import UserError

if TYPE_CHECKING:
    from ml_metadata import MetadataStore

__all__ = [
    "Run",
    "Step",
    "all_runs",
    "find_run",
    "looks_for_skew",
    "read_run",
    "read_runs",
]

SUMMARY_FILE = "summary.json"
LATEST = "latest"
_SKEW_RUN = "run_id"
"""Custom property of captured examples: the run that made the version which answered."""

_UNFINISHED = (mlmd.Execution.NEW, mlmd.Execution.RUNNING)


@dataclass(frozen=True)
class Step:
    """One node of a run.

    Attributes:
        node: its id in the graph.
        state: done, cached, skipped, failed or running.
        execution_id: in the metadata store.
        started: when the launcher began with it.
        seconds: until its outputs were recorded.
        outputs: artifacts by output key; those of a cached step were made by an earlier run.
    """

    node: str
    state: str
    execution_id: int
    started: datetime.datetime
    seconds: float
    outputs: dict[str, list[OutputArtifact]] = field(default_factory=dict)

    def output(self, key: str) -> OutputArtifact | None:
        """The first artifact of an output, if there is one."""
        artifacts = self.outputs.get(key)
        return artifacts[0] if artifacts else None


@dataclass(frozen=True)
class Run:
    """One run of a pipeline.

    Attributes:
        run_id: names it in the store.
        pipeline: the pipeline's name.
        steps: in the order they started.
        folder: the local run's folder; None on a cluster.
        summary: what the local run wrote down, empty without.
        store: where the run was read from.
    """

    run_id: str
    pipeline: str
    steps: tuple[Step, ...]
    folder: Path | None = None
    summary: dict[str, Any] = field(default_factory=dict, repr=False)
    store: MetadataStore | None = field(default=None, repr=False, compare=False)

    @property
    def started(self) -> datetime.datetime | None:
        """When the first step began."""
        return self.steps[0].started if self.steps else None

    @property
    def seconds(self) -> float:
        """From the first step's begin to the last one's end."""
        if not self.steps:
            return 0.0
        ends = (step.started + datetime.timedelta(seconds=step.seconds) for step in self.steps)
        return (max(ends) - self.steps[0].started).total_seconds()

    @property
    def version(self) -> str:
        """The version that it pushed; empty without."""
        pushed = self._pushed()
        return str(pushed.properties.get("pushed_version", "")) if pushed else ""

    @property
    def outcome(self) -> str:
        """How it ended: `pushed`, `not_blessed`, `not_pushed`, `stopped`, `failed`, `interrupted`.

        A run that looked for skew ends as `no_skew` or `stopped`. Or that it did not end:
        `running`, `unfinished`.
        """
        if self._pushed():
            return "pushed"
        states = {step.state for step in self.steps}
        if self.summary.get("outcome") in ("stopped", "failed", "interrupted"):
            return str(self.summary["outcome"])
        if "failed" in states:
            return "failed"
        if "running" in states:
            return "running"
        nodes = {step.node for step in self.steps}
        if "pusher" in nodes:
            blessing = self.output("evaluator", "blessing")
            is_blessed = blessing is not None and blessing.properties.get("blessed") == 1
            return "not_pushed" if is_blessed else "not_blessed"
        verdict = self.output("skew", "verdict")
        if verdict is not None:
            return "stopped" if verdict.properties.get("errors") else "no_skew"
        verdict = self.output("gate", "verdict")
        if verdict is not None and len(nodes - set(STEPS[: STEPS.index("transform")])) == 0:
            return "stopped" if verdict.properties.get("errors") else "unfinished"
        return "unfinished"

    def step(self, node: str) -> Step | None:
        """The step of a node; None if the run did not get there."""
        return next((step for step in self.steps if step.node == node), None)

    def output(self, node: str, key: str) -> OutputArtifact | None:
        """An output of a step."""
        step = self.step(node)
        return step.output(key) if step else None

    def _pushed(self) -> OutputArtifact | None:
        pushed = self.output("pusher", "pushed_model")
        return pushed if pushed is not None and pushed.properties.get("pushed") else None


def all_runs(source: RunSource | Path) -> list[Run]:
    """Lists the runs of every pipeline in a place, the newest first.

    Args:
        source: the place, or a folder of this machine.

    Raises:
        UserError: nothing has run there, or the store can't be read.
    """
    source = RunSource(source) if isinstance(source, Path) else source
    runs: list[Run] = []
    for store, folder in source.stores():
        runs += read_runs(store, folder)
    if not runs:
        raise source.nothing()
    return sorted(runs, key=_begun, reverse=True)


def _begun(run: Run) -> tuple[float, str]:
    return (run.started.timestamp() if run.started else 0.0, run.run_id)


def find_run(source: RunSource | Path, name: str = LATEST, pipeline: str = "") -> Run:
    """Finds one run by its id, the beginning of it, or `latest`.

    Args:
        source: where to look, or a folder of this machine.
        name: which run.
        pipeline: the pipeline that it must be of; empty for any.

    Raises:
        UserError: no run, or more than one, is called that.
    """
    source = RunSource(source) if isinstance(source, Path) else source
    runs = [run for run in all_runs(source) if pipeline in ("", run.pipeline)]
    if not runs:
        raise source.nothing()
    if name == LATEST:
        return runs[0]
    found = [run for run in runs if run.run_id == name] or [
        run for run in runs if run.run_id.startswith(name)
    ]
    if len(found) == 1:
        return found[0]
    known = ", ".join(run.run_id for run in runs[:5])
    raise UserError(
        f"{'no run is' if not found else f'{len(found)} runs are'} called {name!r}.",
        expected=f"one of {known}{', …' if len(runs) > 5 else ''}, or latest",
        fix="list them: kubetfx runs",
    )


def read_runs(store: MetadataStore, output: Path | None = None) -> list[Run]:
    """Reads all runs of a metadata store.

    Args:
        store: the store.
        output: the local output folder; None on a cluster.
    """
    contexts = store.get_contexts_by_type("pipeline_run")
    return [read_run(store, context.name, output) for context in contexts]


def read_run(store: MetadataStore, run_id: str, output: Path | None = None) -> Run:
    """Reads one run that the store knows.

    Args:
        store: the store.
        run_id: names the run.
        output: the local output folder; None on a cluster.
    """
    context = store.get_context_by_type_and_name("pipeline_run", run_id)
    pipeline, steps = _steps(store, store.get_executions_by_context(context.id))
    folder = output / "runs" / run_id if output else None
    return Run(run_id, pipeline, steps, folder, _summary(folder), store)


def looks_for_skew(store: MetadataStore, run_id: str) -> list[Run]:
    """Finds the runs that compared requests with the data of a run, the newest first."""
    ids = set()
    for artifact in store.get_artifacts_by_type("Examples"):
        if artifact.custom_properties[_SKEW_RUN].string_value == run_id:
            for context in store.get_contexts_by_artifact(artifact.id):
                ids |= {context.name} if context.type == "pipeline_run" else set()
    return [read_run(store, name) for name in sorted(ids, reverse=True)]


def _steps(
    store: MetadataStore, executions: Iterable[mlmd.Execution]
) -> tuple[str, tuple[Step, ...]]:
    """The pipeline's name and the newest execution of each node, in the order of their start."""
    steps: dict[str, Step] = {}
    pipeline = ""
    for execution in sorted(executions, key=lambda each: int(each.id)):
        for context in store.get_contexts_by_execution(execution.id):
            if context.type == "node":
                pipeline, _, node = context.name.rpartition(".")
                steps[node] = _step(store, node, execution)
    ordered = sorted(steps.values(), key=lambda step: (step.started, _rank(step.node)))
    return pipeline, tuple(ordered)


def _rank(node: str) -> int:
    return STEPS.index(node) if node in STEPS else len(STEPS)


def _step(store: MetadataStore, node: str, execution: mlmd.Execution) -> Step:
    began, ended = execution.create_time_since_epoch, execution.last_update_time_since_epoch
    is_running = execution.last_known_state in _UNFINISHED
    return Step(
        node=node,
        state="running" if is_running else execution_state(store, execution.id),
        execution_id=int(execution.id),
        started=datetime.datetime.fromtimestamp(began / 1000).astimezone(),
        seconds=max(ended - began, 0) / 1000,
        outputs=output_artifacts(store, execution.id),
    )


def _summary(folder: Path | None) -> dict[str, Any]:
    """What the local run wrote down; a run that was killed wrote nothing."""
    if folder is None:
        return {}
    try:
        summary: dict[str, Any] = json.loads((folder / SUMMARY_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return summary
