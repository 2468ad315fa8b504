"""One node of a TFX IR through TFX's own Launcher, the same on a laptop and in a container.

Only what a node needs is imported: its executor when it really runs, TensorFlow never for a
cached step.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.launching import lean_imports, source_digest

lean_imports.install()

from tfx.orchestration.local import runner_utils  # noqa: E402
from tfx.orchestration.portable import (  # noqa: E402
    base_executor_operator,
    beam_executor_operator,
    launcher,
    python_executor_operator,
    runtime_parameter_utils,
)
from tfx.proto.orchestration import executable_spec_pb2, pipeline_pb2  # noqa: E402

from pipeline.launching.metadata import OutputArtifact, execution_state, output_artifacts  # noqa: E402
from pipeline.launching.metadata_handle import MetadataHandle  # noqa: E402
from pipeline.staging import stage as stage_of_payloads  # noqa: E402

if TYPE_CHECKING:
    from ml_metadata.proto import metadata_store_pb2

__all__ = ["NodeOutcome", "NodeState", "bind", "launch", "node_ids"]

RUN_ID_PARAMETER = "pipeline-run-id"


class NodeState(StrEnum):
    """How a node's launch ended."""

    DONE = "done"
    CACHED = "cached"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True)
class NodeOutcome:
    """What one launch left in the metadata store.

    Attributes:
        node: the node's id in the graph.
        state: how it ended; a failed executor raises instead.
        execution_id: the execution in the metadata store, None if there is none.
        outputs: the artifacts by output key.
    """

    node: str
    state: NodeState
    execution_id: int | None
    outputs: dict[str, list[OutputArtifact]]

    def output(self, key: str) -> OutputArtifact | None:
        """The first artifact of an output, if there is one."""
        artifacts = self.outputs.get(key)
        return artifacts[0] if artifacts else None


def bind(
    ir: pipeline_pb2.Pipeline, run_id: str, parameters: Mapping[str, int | str] | None = None
) -> pipeline_pb2.Pipeline:
    """Copies an IR with all that differs between runs put in.

    Args:
        ir: the pipeline, or a slice of it.
        run_id: names the run's context in the metadata.
        parameters: values of runtime parameters by name; the others take their defaults.
    """
    run = pipeline_pb2.Pipeline()
    run.CopyFrom(ir)
    runtime_parameter_utils.substitute_runtime_parameter(
        run, {**(parameters or {}), RUN_ID_PARAMETER: run_id}
    )
    for node in run.nodes:
        for value in node.pipeline_node.parameters.parameters.values():
            if value.field_value.string_value:
                text = source_digest.with_digests(value.field_value.string_value)
                value.field_value.string_value = text
    return run


def node_ids(ir: pipeline_pb2.Pipeline) -> list[str]:
    """Lists the nodes in topological order."""
    return [node.pipeline_node.node_info.id for node in ir.nodes]


def launch(
    ir: pipeline_pb2.Pipeline, node: str, connection: metadata_store_pb2.ConnectionConfig
) -> NodeOutcome:
    """Runs one node: resolves inputs, looks into the cache, executes, publishes.

    Args:
        ir: the pipeline (or a slice that holds the node), run id put in.
        node: the node's id.
        connection: the metadata store.

    Raises:
        KeyError: the IR has no such node.
        Exception: whatever the node's executor raised; the execution is published as failed.
    """
    pipeline_node = _node(ir, node)
    deployment = runner_utils.extract_local_deployment_config(ir)
    store = MetadataHandle(connection)
    info = launcher.Launcher(
        pipeline_node=pipeline_node,
        mlmd_connection=store,
        pipeline_info=ir.pipeline_info,
        pipeline_runtime_spec=ir.runtime_spec,
        executor_spec=runner_utils.extract_executor_spec(deployment, node),
        custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, node),
        custom_executor_operators={
            executable_spec_pb2.PythonClassExecutableSpec: DeferredPython,
            executable_spec_pb2.BeamExecutableSpec: DeferredBeam,
        },
    ).launch()
    execution_id = info.execution_id if info is not None else None
    if execution_id is None:
        return NodeOutcome(node, NodeState.SKIPPED, None, {})
    with store as handle:
        state = NodeState(execution_state(handle.store, execution_id))
        return NodeOutcome(node, state, execution_id, output_artifacts(handle.store, execution_id))


def _node(ir: pipeline_pb2.Pipeline, node: str) -> pipeline_pb2.PipelineNode:
    for candidate in ir.nodes:
        if candidate.pipeline_node.node_info.id == node:
            return candidate.pipeline_node
    raise KeyError(f"no node {node!r} in the pipeline; it has {', '.join(node_ids(ir))}")


@contextmanager
def _without_collection() -> Iterator[None]:
    """Keeps Python from looking for garbage while libraries load, of which nothing is any.

    Hundreds of thousands of objects are made and kept; going through them again and again was a
    fifth of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Deferred(base_executor_operator.BaseExecutorOperator):
    """Stands for an operator that imports its executor only when the executor runs.

    TFX's operators import it when they are made, before the cache is asked.
    """

    SUPPORTED_PLATFORM_CONFIG_TYPE: ClassVar[list[Any]] = []
    operator: type[base_executor_operator.BaseExecutorOperator]

    def run_executor(self, execution_info: Any) -> Any:
        stage = stage_of_payloads.current()
        if stage is None:
            return self.execute(execution_info)
        return stage.run(execution_info, self.execute)

    def execute(self, execution_info: Any) -> Any:
        """Imports the executor and runs it."""
        with _without_collection():
            operator = self.operator(self._executor_spec, self._platform_config)
        operator.with_execution_watcher(self._execution_watcher_address)
        return operator.run_executor(execution_info)


class DeferredPython(_Deferred):
    """Runs a plain Python executor."""

    SUPPORTED_EXECUTOR_SPEC_TYPE: ClassVar[list[Any]] = [
        executable_spec_pb2.PythonClassExecutableSpec
    ]
    operator = python_executor_operator.PythonExecutorOperator


class DeferredBeam(_Deferred):
    """Runs a Beam executor, on the engine that the node's Beam arguments name."""

    SUPPORTED_EXECUTOR_SPEC_TYPE: ClassVar[list[Any]] = [executable_spec_pb2.BeamExecutableSpec]

    def execute(self, execution_info: Any) -> Any:
        """Imports the executor and runs it on its engine."""
        with _without_collection():
            from pipeline.launching.beam_engine import in_process_pipeline, is_in_process

            operator = beam_executor_operator.BeamExecutorOperator(
                self._executor_spec, self._platform_config
            )
        operator.with_execution_watcher(self._execution_watcher_address)
        arguments = [argument.value.string_value for argument in operator.beam_pipeline_args]
        if not is_in_process(arguments):
            return operator.run_executor(execution_info)
        # With Beam arguments TFX packs itself into an sdist for the workers, which the
        # in-process engine has no use for: the arguments go into the pipeline object instead.
        operator.beam_pipeline_args = []
        return operator.run_executor(
            execution_info, make_beam_pipeline_fn=lambda: in_process_pipeline(arguments)
        )
