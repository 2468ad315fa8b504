"""What the metadata store knows: executions, their outputs, and those that never ended."""

from __future__ import annotations

import shutil
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_metadata.proto import metadata_store_pb2 as mlmd

if TYPE_CHECKING:
    from ml_metadata import MetadataStore

__all__ = [
    "OutputArtifact",
    "abandon_unfinished",
    "execution_state",
    "output_artifacts",
    "sqlite_connection",
]

_STATES = {
    mlmd.Execution.COMPLETE: "done",
    mlmd.Execution.CACHED: "cached",
    mlmd.Execution.CANCELED: "skipped",
}


@dataclass(frozen=True)
class OutputArtifact:
    """One artifact that an execution made or reused.

    Attributes:
        id: its id in the metadata store.
        uri: where its payload is.
        type: TFX's type name, such as `Examples`.
        properties: its properties and custom properties as plain values.
    """

    id: int
    uri: str
    type: str
    properties: dict[str, Any] = field(repr=False)


def sqlite_connection(file: Path) -> mlmd.ConnectionConfig:
    """Describes a metadata store in an SQLite file, made at the first use."""
    config = mlmd.ConnectionConfig()
    config.sqlite.filename_uri = str(file)
    config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return config


def execution_state(store: MetadataStore, execution_id: int) -> str:
    """Names how an execution ended: done, cached, skipped or failed."""
    [execution] = store.get_executions_by_id([execution_id])
    return _STATES.get(execution.last_known_state, "failed")


def output_artifacts(store: MetadataStore, execution_id: int) -> dict[str, list[OutputArtifact]]:
    """Lists the outputs of an execution by key, in their order."""
    keys: dict[int, str] = {}
    for event in store.get_events_by_execution_ids([execution_id]):
        if event.type in (mlmd.Event.OUTPUT, mlmd.Event.INTERNAL_OUTPUT):
            keys[event.artifact_id] = event.path.steps[0].key
    outputs: defaultdict[str, list[OutputArtifact]] = defaultdict(list)
    for artifact in store.get_artifacts_by_id(sorted(keys)):
        properties = {
            name: _plain(value)
            for group in (artifact.properties, artifact.custom_properties)
            for name, value in group.items()
        }
        outputs[keys[artifact.id]].append(
            OutputArtifact(artifact.id, artifact.uri, artifact.type, properties)
        )
    return dict(outputs)


def abandon_unfinished(store: MetadataStore, artifacts: Path) -> list[str]:
    """Marks executions that a killed process left running as failed and removes their files.

    The caller must hold the lock on the output, so that no other run owns them.

    Args:
        store: the metadata store.
        artifacts: the pipeline root; TFX writes outputs to `<node>/<key>/<execution id>`.

    Returns:
        The nodes that were abandoned.
    """
    types = {kind.id: kind.name for kind in store.get_execution_types()}
    unfinished = [
        execution
        for execution in store.get_executions()
        if execution.last_known_state in (mlmd.Execution.NEW, mlmd.Execution.RUNNING)
    ]
    for execution in unfinished:
        for folder in artifacts.glob(f"*/*/{execution.id}"):
            shutil.rmtree(folder, ignore_errors=True)
        execution.last_known_state = mlmd.Execution.FAILED
    if unfinished:
        store.put_executions(unfinished)
    return [types.get(execution.type_id, "?") for execution in unfinished]


def _plain(value: mlmd.Value) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None
