"""Which nodes of the graph share a task, and which task waits for which.

Every task costs two pods and an image start, so light nodes travel together. A failed task's
outputs are not recorded by Kubeflow: a gate writes its verdict in the task that shows why, and
stops the run at the start of the next one.

Source: kubeflow/pipelines 2.17.0, backend/src/v2/component/launcher_v2.go (a failed command
uploads nothing but its log).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tfx.proto.orchestration import pipeline_pb2

__all__ = ["GROUPS", "VERDICT_TYPE", "Task", "dependencies", "grouped"]

GROUPS: Mapping[str, tuple[str, ...]] = {
    "examples": ("examples",),
    "data-check": ("statistics", "schema", "anomalies", "previous_span", "gate"),
    "transform": ("window", "transform"),
    "trainer": ("trainer",),
    "evaluator": ("baseline", "evaluator"),
    "pusher": ("infra_validator", "pusher"),
    "skew": ("captured", "serving_statistics", "trained_on", "skew"),
}
"""Nodes that share a task, by the task's name. A node in none of them has a task of its own."""


VERDICT_TYPE = "DataVerdict"
"""The TFX type of a verdict that may stop a run."""


@dataclass(frozen=True)
class Task:
    """One task of the compiled pipeline.

    Attributes:
        name: as Argo accepts it: lower case letters, digits and `-`.
        nodes: ids of the nodes that it runs, in order.
        after: names of the tasks that must have succeeded.
        gates: `task/node` of each verdict of another task that must let the run pass before this
            one starts.
    """

    name: str
    nodes: tuple[str, ...]
    after: tuple[str, ...]
    gates: tuple[str, ...] = ()


def grouped(
    ir: pipeline_pb2.Pipeline, mode: Literal["grouped", "one_per_node"] = "grouped"
) -> list[Task]:
    """Distributes the nodes of a pipeline over tasks, in an order in which they can run.

    Where the groups would make two tasks wait for each other, each node has a task of its own.
    """
    needs = dependencies(ir)
    groups = list(_groups(list(needs), mode))
    verdicts = _gates(ir)
    owner = {node: name for name, nodes in groups for node in nodes}
    waits: dict[str, set[str]] = {
        name: {owner[need] for node in nodes for need in needs[node]} - {name}
        for name, nodes in groups
    }
    tasks: list[Task] = []
    remaining = dict(groups)
    while remaining:
        ready = [name for name in remaining if not waits[name] & remaining.keys()]
        if not ready:
            return grouped(ir, "one_per_node")
        name = ready[0]
        nodes = remaining.pop(name)
        asked = sorted(
            f"{owner[need]}/{need}"
            for need in {need for node in nodes for need in needs[node]} & verdicts - set(nodes)
        )
        tasks.append(Task(name, nodes, tuple(sorted(_direct(name, waits))), tuple(asked)))
    return tasks


def dependencies(ir: pipeline_pb2.Pipeline) -> dict[str, list[str]]:
    """Lists for each node, in topological order, the nodes that it waits for."""
    nodes = [node.pipeline_node for node in ir.nodes]
    known = {node.node_info.id for node in nodes}
    return {
        node.node_info.id: [name for name in node.upstream_nodes if name in known] for node in nodes
    }


def _gates(ir: pipeline_pb2.Pipeline) -> set[str]:
    """The nodes that write a verdict on which the run may stop."""
    return {
        node.pipeline_node.node_info.id
        for node in ir.nodes
        if any(
            output.artifact_spec.type.name == VERDICT_TYPE
            for output in node.pipeline_node.outputs.outputs.values()
        )
    }


def _groups(
    nodes: Sequence[str], mode: Literal["grouped", "one_per_node"]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    groups = GROUPS if mode == "grouped" else {}
    placed: set[str] = set()
    names: set[str] = set()
    for node in nodes:
        if node in placed:
            continue
        name = next((name for name, members in groups.items() if node in members), None)
        members = tuple(each for each in nodes if each in groups[name]) if name else (node,)
        placed.update(members)
        task = _unique(_sanitized(name or node), names)
        names.add(task)
        yield task, members


def _sanitized(name: str) -> str:
    """Writes a node's id the way Argo names things."""
    text = "".join(char if char.isascii() and char.isalnum() else "-" for char in name.lower())
    return text.strip("-") or "node"


def _unique(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}-{number}", number + 1
    return candidate


def _direct(name: str, waits: Mapping[str, set[str]]) -> set[str]:
    """The tasks that must be waited for and that no other one of them waits for already."""
    return {
        one
        for one in waits[name]
        if not any(one in _all_before(other, waits) for other in waits[name] - {one})
    }


def _all_before(name: str, waits: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    todo = set(waits[name])
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo |= waits[one]
    return found
