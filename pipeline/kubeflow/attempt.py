"""What an earlier attempt of the same task left, and what this one does about it.

A pod can be killed at any moment and Kubeflow starts the task again. TFX's Launcher goes on with
the execution that the dead attempt has registered, so nothing is recorded twice; what it does not
do is to remove half-written outputs, and its resolver nodes would be recorded once more.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx.dsl.io import fileio

from pipeline.launching.launch import NodeOutcome, NodeState
from pipeline.launching.metadata import execution_state, output_artifacts, run_execution

if TYPE_CHECKING:
    from ml_metadata import MetadataStore
    from tfx.proto.orchestration import pipeline_pb2

__all__ = ["finished", "recorded_outcome"]

_FINISHED = (mlmd.Execution.COMPLETE, mlmd.Execution.CACHED)
_RESOLVER = "tfx.dsl.components.common.resolver.Resolver"
_log = logging.getLogger(__name__)


def finished(
    store: MetadataStore, ir: pipeline_pb2.Pipeline, node: pipeline_pb2.PipelineNode
) -> NodeOutcome | None:
    """Returns what a finished earlier attempt made, or clears away an unfinished one.

    Args:
        store: the metadata store.
        ir: the task's part of the pipeline, run id and pipeline root put in.
        node: the node about to be launched.
    """
    name = node.node_info.id
    run_id = ir.runtime_spec.pipeline_run_id.field_value.string_value
    execution = run_execution(store, ir.pipeline_info.id, run_id, name)
    if execution is None:
        return None
    if execution.last_known_state in _FINISHED:
        outcome = _outcome(store, name, execution.id)
        made = [artifact for artifacts in outcome.outputs.values() for artifact in artifacts]
        if all(fileio.exists(artifact.uri) for artifact in made):
            _log.info("%s: finished by an earlier attempt of this task", name)
            return outcome
    root = ir.runtime_spec.pipeline_root.field_value.string_value
    _log.info("%s: an earlier attempt did not finish; its outputs are removed", name)
    for key in node.outputs.outputs:
        _remove(f"{root}/{name}/{key}/{execution.id}")
    _remove(f"{root}/{name}/.system/executor_execution/{execution.id}")
    is_resolver = node.node_info.type.name == _RESOLVER
    # The Launcher takes up an execution that is running, and resolvers begin anew.
    execution.last_known_state = mlmd.Execution.FAILED if is_resolver else mlmd.Execution.RUNNING
    store.put_executions([execution])
    return None


def recorded_outcome(
    store: MetadataStore, pipeline: str, run_id: str, node: str
) -> NodeOutcome | None:
    """What this run has recorded of a node of another task."""
    execution = run_execution(store, pipeline, run_id, node)
    return None if execution is None else _outcome(store, node, execution.id)


def _outcome(store: MetadataStore, node: str, execution_id: int) -> NodeOutcome:
    state = NodeState(execution_state(store, execution_id))
    return NodeOutcome(node, state, execution_id, output_artifacts(store, execution_id))


def _remove(folder: str) -> None:
    if fileio.exists(folder):
        fileio.rmtree(folder)
