"""Runs the nodes of one task, each through TFX's Launcher, against the cluster's metadata store."""

from __future__ import annotations

import datetime
import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.kubeflow import parameters, task_slice
from pipeline.staging.object_store import is_remote
from serving.errors import GateStop, UserError

if TYPE_CHECKING:
    from ml_metadata.proto import metadata_store_pb2
    from tfx.proto.orchestration import pipeline_pb2

    from pipeline.kubeflow.executor_io import ExecutorInput
    from pipeline.launching.launch import NodeOutcome

__all__ = ["METADATA_URL", "NodeError", "resolve_span", "run_parameters", "run_task"]

METADATA_URL = "KUBETFX_METADATA_URL"
"""Environment variable: where the metadata store is."""

_EPOCH = datetime.date(1970, 1, 1)
_log = logging.getLogger("kubetfx.step")


class NodeError(Exception):
    """A node's executor raised; the cause is what it raised."""

    def __init__(self, node: str) -> None:
        super().__init__(node)
        self.node = node


def run_task(
    nodes: str, gates: Sequence[str], given: ExecutorInput, masked: Sequence[str] = ()
) -> None:
    """Runs the nodes in order and writes what the dashboard shows.

    Args:
        nodes: the task's part of the IR, as `task_slice.encode` wrote it.
        gates: `task/node` of each earlier verdict that must let the run pass.
        given: parameters, and where the outputs belong.
        masked: columns whose values are not shown.

    Raises:
        UserError: a parameter, the store or the data can't be used.
        GateStop: a gate stops the run.
        NodeError: a node's executor raised.
    """
    from pipeline.kubeflow import dashboard
    from pipeline.launching import gate_stop, launch, metadata

    ir = task_slice.decode(nodes)
    pipeline = ir.pipeline_info.id
    run_id = given.text("run_id")
    if not run_id:
        raise UserError(
            "the task got no run_id.",
            expected="the parameter run_id, which Kubeflow's driver fills in",
            fix="compile the pipeline anew with this version",
        )
    _require_object_store(given)
    bound = launch.bind(ir, run_id, run_parameters(pipeline, given))
    connection = metadata.connection(_metadata_url())
    _try_again_what_was_measured(bound, connection)
    outcomes = []
    with _payloads_at(given.text(parameters.DATA_ROOT)):
        _pass_gates(pipeline, run_id, gates, connection)
        for name in launch.node_ids(bound):
            if name in _PUSH_NODES and not given.flag(parameters.PUSH):
                _log.info("%s: not run, the push is off in this run", name)
                outcomes.append(launch.NodeOutcome(name, launch.NodeState.SKIPPED, None, {}))
                continue
            outcome = _run_node(bound, name, connection)
            outcomes.append(outcome)
            if any(name in node.pipeline_node.upstream_nodes for node in bound.nodes):
                gate_stop.require_passed(outcome)
        dashboard.show(given, outcomes, pipeline, masked)
    if given.flag(parameters.PUSH):
        _require_pushed(outcomes)


def _require_object_store(given: ExecutorInput) -> None:
    """Refuses `s3://` in a pod that was told neither an endpoint nor credentials."""
    if any(name.startswith("AWS_") for name in os.environ):
        return
    for name, value in given.parameters.items():
        if isinstance(value, str) and is_remote(value):
            raise UserError(
                f"{name}: {value!r} is in an object store that this pod was told nothing about.",
                expected="a spec that was compiled with the store, for runs that name s3://",
                fix="write kubernetes.object_store into the YAML and compile anew",
            )


def _try_again_what_was_measured(
    ir: pipeline_pb2.Pipeline, connection: metadata_store_pb2.ConnectionConfig
) -> None:
    """As the local run does: a refusal for slowness is not answered from the cache."""
    from pipeline.launching import infra_retry
    from pipeline.launching.metadata_handle import MetadataHandle

    if any(node.pipeline_node.node_info.type.name == infra_retry.NODE_TYPE for node in ir.nodes):
        with MetadataHandle(connection) as handle:
            infra_retry.try_again_if_measured(ir, handle.store)


@contextmanager
def _payloads_at(root: str) -> Iterator[None]:
    """Lets TFX and the executors work on payloads in an object store."""
    from pipeline.staging import stage, tfx_plugin

    if not is_remote(root):
        tfx_plugin.register_nothing_there()
        yield
        return
    tfx_plugin.register()
    with stage.active():
        yield


_PUSH_NODES = ("infra_validator", "pusher")


def run_parameters(pipeline: str, given: ExecutorInput) -> dict[str, int | str]:
    """Turns the inputs of a run into the runtime parameters of the graph.

    Raises:
        UserError: a value that makes no sense.
    """
    from pipeline import graph
    from pipeline.skew import skew_graph

    root = given.text(parameters.DATA_ROOT).rstrip("/")
    values: dict[str, int | str] = {"pipeline-root": f"{root}/{pipeline}/artifacts"}
    if "data_path" in given.parameters:
        values[graph.DATA_PATH] = given.text("data_path")
    if "span" in given.parameters:
        values[graph.SPAN] = resolve_span(given.text("span"), given.text("scheduled"))
    if "train_steps" in given.parameters:
        values[graph.TRAIN_ARGS] = graph.train_args(given.number("train_steps"))
    if "push_to" in given.parameters:
        values[graph.PUSH_TO] = given.text("push_to") or f"{root}/serving/{pipeline}"
    if skew_graph.CAPTURED in given.parameters:
        model = pipeline.removesuffix(skew_graph.SUFFIX)
        values[skew_graph.CAPTURED] = given.text(skew_graph.CAPTURED) or f"{root}/captured/{model}"
        values[skew_graph.VERSION] = given.number(skew_graph.VERSION)
        values[skew_graph.VERSIONS] = given.text(skew_graph.VERSIONS) or f"{root}/serving/{model}"
    return values


def resolve_span(wanted: str, scheduled: str) -> int:
    """Turns what a run says about its span into a number.

    Args:
        wanted: `latest`, a number, `scheduled` or `scheduled-N`.
        scheduled: when the run's schedule started it, ISO 8601.

    Raises:
        UserError: something else, or no schedule to refer to.
    """
    from pipeline import graph

    text = wanted.strip().lower()
    if text in ("", "latest"):
        return graph.LATEST_SPAN
    if text.isdecimal():
        return int(text)
    found = re.fullmatch(r"scheduled(?:-(\d+))?", text)
    if found is None:
        raise UserError(
            f"span: {wanted!r} is not understood.",
            expected="latest, a number, scheduled, or scheduled-N",
            fix="start the run again with one of these",
        )
    try:
        day = datetime.datetime.fromisoformat(scheduled).date()
    except ValueError as error:
        raise UserError(
            f"span: {wanted!r} asks for the schedule's day, which is {scheduled!r}.",
            expected="a run that a schedule started",
            fix="name the span by its number, or use latest",
        ) from error
    return (day - _EPOCH).days - int(found.group(1) or 0)


def _run_node(
    ir: pipeline_pb2.Pipeline, name: str, connection: metadata_store_pb2.ConnectionConfig
) -> NodeOutcome:
    from pipeline.kubeflow import attempt
    from pipeline.launching import launch, step_facts
    from pipeline.launching.metadata_handle import MetadataHandle

    start = time.monotonic()
    [node] = [each.pipeline_node for each in ir.nodes if each.pipeline_node.node_info.id == name]
    with MetadataHandle(connection) as handle:
        outcome = attempt.finished(handle.store, ir, node)
    if outcome is None:
        _log.info("%s: starts", name)
        try:
            outcome = launch.launch(ir, name, connection)
        except Exception as error:
            raise NodeError(name) from error
    if outcome.state is launch.NodeState.FAILED:
        raise UserError(
            f"step {name} failed before it started: its inputs were not there.",
            expected="the outputs of the steps before it in this run",
            fix="retry the run from its first failed task",
        )
    words = step_facts.describe(outcome)
    _log.info("%s: %s in %.1f s. %s", name, outcome.state, time.monotonic() - start, words)
    return outcome


def _pass_gates(
    pipeline: str,
    run_id: str,
    gates: Sequence[str],
    connection: metadata_store_pb2.ConnectionConfig,
) -> None:
    """Asks the verdicts of earlier tasks whether the run may go on."""
    if not gates:
        return
    from pipeline.kubeflow import attempt, outputs
    from pipeline.launching import gate_stop
    from pipeline.launching.metadata_handle import MetadataHandle

    with MetadataHandle(connection) as handle:
        outcomes = {
            gate: attempt.recorded_outcome(handle.store, pipeline, run_id, gate.rpartition("/")[2])
            for gate in gates
        }
    for gate, outcome in outcomes.items():
        if outcome is None:
            continue
        try:
            gate_stop.require_passed(outcome)
        except GateStop as stop:
            # This task is the red one, and has no pictures.
            task, _, node = gate.rpartition("/")
            page = outputs.summary_name(node)
            raise GateStop(
                f"{node} of task {task} stops the run, see {page} there: {stop.what}",
                expected=stop.expected,
                fix=stop.fix,
            ) from stop


def _require_pushed(outcomes: Sequence[NodeOutcome]) -> None:
    """Fails the task when the model was not let through; the evaluation's pictures are kept."""
    for outcome in outcomes:
        pushed = outcome.output("pushed_model")
        if pushed is None or pushed.properties.get("pushed"):
            continue
        reason = str(pushed.properties.get("reason") or "the model is not blessed")
        if pushed.properties.get("refused_by") == "infra validation":
            raise GateStop(
                f"not pushed: {reason}.",
                expected="a model that a server loads and that answers as it should",
                fix="mend the model, or change the limits in infra_validation; a refusal for time "
                "or memory is tried again in the next run",
            )
        raise GateStop(
            f"not pushed: {reason}.",
            expected="a model that holds every threshold",
            fix="look at evaluator_summary of task evaluator; train longer, or change "
            "evaluation.thresholds",
        )


def _metadata_url() -> str:
    url = os.environ.get(METADATA_URL, "")
    if not url:
        raise UserError(
            f"the variable {METADATA_URL} is not set.",
            expected="the URL of the metadata store, from the secret named in the YAML",
            fix="create the secret: kubectl create secret generic kubetfx-metadata "
            "--from-literal=url=postgresql://…",
        )
    return url
