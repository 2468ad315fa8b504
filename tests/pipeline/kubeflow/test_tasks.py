"""Which nodes share a task, and how a task's part of the graph travels."""

import random

import pytest

from pipeline.launching import lean_imports

lean_imports.install()

from tfx.proto.orchestration import executable_spec_pb2, pipeline_pb2  # noqa: E402

from pipeline.kubeflow import task_slice, tasks  # noqa: E402

TAXI = {
    "examples": [],
    "statistics": ["examples"],
    "schema": ["statistics"],
    "anomalies": ["statistics", "schema"],
    "gate": ["anomalies", "schema", "statistics"],
    "transform": ["examples", "schema", "gate"],
    "trainer": ["transform"],
    "baseline": ["trainer"],
    "evaluator": ["baseline", "trainer"],
    "pusher": ["trainer", "evaluator"],
}


def graph(nodes: dict[str, list[str]]) -> pipeline_pb2.Pipeline:
    ir = pipeline_pb2.Pipeline()
    ir.pipeline_info.id = "p"
    deployment = pipeline_pb2.IntermediateDeploymentConfig()
    for name, upstream in nodes.items():
        node = ir.nodes.add().pipeline_node
        node.node_info.id = name
        node.upstream_nodes.extend(upstream)
        if "gate" in name:
            node.outputs.outputs["verdict"].artifact_spec.type.name = tasks.VERDICT_TYPE
        deployment.executor_specs[name].Pack(
            executable_spec_pb2.PythonClassExecutableSpec(class_path=f"some.{name}")
        )
    ir.deployment_config.Pack(deployment)
    return ir


def test_light_nodes_share_a_task_and_a_gate_stops_the_next_one() -> None:
    planned = tasks.grouped(graph(TAXI))
    assert [(task.name, task.nodes, task.after, task.gates) for task in planned] == [
        ("examples", ("examples",), (), ()),
        ("data-check", ("statistics", "schema", "anomalies", "gate"), ("examples",), ()),
        ("transform", ("transform",), ("data-check",), ("data-check/gate",)),
        ("trainer", ("trainer",), ("transform",), ()),
        ("evaluator", ("baseline", "evaluator"), ("trainer",), ()),
        ("pusher", ("pusher",), ("evaluator",), ()),
    ]


def test_one_per_node_keeps_the_order_of_the_graph() -> None:
    planned = tasks.grouped(graph(TAXI), "one_per_node")
    assert [task.nodes for task in planned] == [(name,) for name in TAXI]
    assert planned[5].gates == ("gate/gate",)


@pytest.mark.parametrize("seed", range(20))
def test_any_graph_is_grouped_so_that_every_node_runs_after_what_it_needs(seed: int) -> None:
    chance = random.Random(seed)
    names = [*TAXI, "Odd.Name_1", "odd-name-1", "Ödd"]
    nodes: dict[str, list[str]] = {}
    for name in names:
        nodes[name] = chance.sample(list(nodes), min(len(nodes), chance.randrange(3)))
    planned = tasks.grouped(graph(nodes))
    done: set[str] = set()
    before: dict[str, set[str]] = {}
    for task in planned:
        before[task.name] = set(task.after).union(*(before[name] for name in task.after))
        for node in task.nodes:
            assert set(nodes[node]) <= done
            done.add(node)
    assert done == set(names)
    assert len({task.name for task in planned}) == len(planned)
    assert all(task.name.isascii() and "_" not in task.name for task in planned)


def test_slice_holds_its_nodes_only_and_survives_the_journey() -> None:
    ir = graph(TAXI)
    part = task_slice.slice_ir(ir, ["statistics", "schema"])
    text = task_slice.encode(part)
    assert task_slice.decode(text) == part
    assert text == task_slice.encode(task_slice.slice_ir(ir, ["schema", "statistics"]))
    assert [node.pipeline_node.node_info.id for node in part.nodes] == ["statistics", "schema"]
    deployment = pipeline_pb2.IntermediateDeploymentConfig()
    part.deployment_config.Unpack(deployment)
    assert sorted(deployment.executor_specs) == ["schema", "statistics"]


@pytest.mark.parametrize("text", ["", "x", "zAAAA", "z!!!", "p////"])
def test_what_is_no_slice_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a part of a pipeline"):
        task_slice.decode(text)
