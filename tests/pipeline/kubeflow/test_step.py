"""What a run says about itself becomes the graph's runtime parameters."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.launching import infra_retry, lean_imports, metadata

lean_imports.install()

from tfx.proto.orchestration import pipeline_pb2  # noqa: E402

from pipeline.kubeflow import step, task_slice  # noqa: E402
from pipeline.kubeflow.executor_io import ExecutorInput  # noqa: E402
from pipeline.kubeflow.step import resolve_span, run_parameters  # noqa: E402
from pipeline.launching.launch import NodeOutcome, NodeState  # noqa: E402
from serving.errors import GateStop, UserError  # noqa: E402


def given(**parameters: Any) -> ExecutorInput:
    return ExecutorInput(parameters, {}, Path("unused"))


@pytest.mark.parametrize(
    ("wanted", "span"),
    [
        ("latest", -1),
        ("", -1),
        ("17", 17),
        ("scheduled", 20514),
        ("scheduled-1", 20513),
        (" Scheduled-30 ", 20484),
    ],
)
def test_span_is_a_number_the_latest_or_the_schedules_day(wanted: str, span: int) -> None:
    assert resolve_span(wanted, "2026-03-02T02:00:00Z") == span


@pytest.mark.parametrize("wanted", ["yesterday", "-3", "scheduled+1"])
def test_other_words_for_a_span_are_refused(wanted: str) -> None:
    with pytest.raises(UserError, match="not understood"):
        resolve_span(wanted, "2026-03-02T02:00:00Z")


def test_span_of_a_schedule_needs_a_schedule() -> None:
    with pytest.raises(UserError, match="asks for the schedule's day"):
        resolve_span("scheduled", "{{$.pipeline_job_schedule_time_utc}}")


def test_places_follow_the_data_root_and_what_is_not_told_stays_default() -> None:
    assert run_parameters("p", given(data_root="/mnt/x/")) == {
        "pipeline-root": "/mnt/x/p/artifacts"
    }
    told = run_parameters(
        "p", given(data_root="s3://b/x", train_steps=500.0, push_to="", data_path="d", span="3")
    )
    assert told["push_to"] == "s3://b/x/serving/p"
    assert json.loads(str(told["train_args"])) == {"splits": ["train"], "num_steps": 500}
    assert (told["data_path"], told["span"]) == ("d", 3)


def test_store_that_the_pod_knows_nothing_of_is_refused_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    ir = pipeline_pb2.Pipeline()
    ir.pipeline_info.id = "p"
    told = given(run_id="1", data_root="/mnt/x", data_path="s3://b/d.csv")
    with pytest.raises(UserError, match=r"data_path: 's3://b/d\.csv'") as refused:
        step.run_task(task_slice.encode(ir), [], told)
    assert "kubernetes.object_store" in refused.value.fix


def test_refusal_for_slowness_is_tried_again_unless_it_is_another_pipelines(
    tmp_path: Path,
) -> None:
    connection = metadata.sqlite_connection(tmp_path / "metadata.sqlite")
    store = MetadataStore(connection)
    kinds = {
        name: store.put_context_type(mlmd.ContextType(name=name)) for name in ("pipeline", "x")
    }
    kind = store.put_artifact_type(
        mlmd.ArtifactType(name="InfraBlessing", properties={"split": mlmd.STRING})
    )
    for pipeline, is_blessed in (("mine", 0), ("other", 1)):
        artifact = mlmd.Artifact(type_id=kind, uri=pipeline)
        artifact.custom_properties["blessed"].int_value = is_blessed
        artifact.custom_properties["repeatable"].int_value = is_blessed
        [artifact_id] = store.put_artifacts([artifact])
        context = mlmd.Context(type_id=kinds["pipeline"], name=pipeline)
        [context_id] = store.put_contexts([context])
        store.put_attributions_and_associations(
            [mlmd.Attribution(artifact_id=artifact_id, context_id=context_id)], []
        )

    def is_cached(pipeline: str, node_type: str = infra_retry.NODE_TYPE) -> bool:
        ir = pipeline_pb2.Pipeline()
        ir.pipeline_info.id = pipeline
        node = ir.nodes.add().pipeline_node
        node.node_info.type.name = node_type
        node.execution_options.caching_options.enable_cache = True
        step._try_again_what_was_measured(ir, connection)
        return bool(node.execution_options.caching_options.enable_cache)

    assert not is_cached("mine")
    assert is_cached("other")
    assert is_cached("mine", "components.pusher.Pusher")


@pytest.mark.parametrize(
    ("gate", "remedy"),
    [
        ("evaluation", "look at evaluator_summary of task evaluator"),
        ("infra validation", "change the limits in infra_validation"),
    ],
)
def test_refused_push_sends_one_to_the_gate_that_refused(gate: str, remedy: str) -> None:
    told: dict[str, Any] = {
        "pushed": 0,
        "reason": f"not blessed by the {gate}: too slow",
        "refused_by": gate,
    }
    pushed = metadata.OutputArtifact(1, "/pushed", "PushedModel", told)
    with pytest.raises(GateStop) as refused:
        step._require_pushed([NodeOutcome("pusher", NodeState.DONE, 1, {"pushed_model": [pushed]})])
    assert refused.value.exit_code == 3
    assert remedy in refused.value.fix
