"""What the metadata store knows: executions, their outputs, and those that never ended."""

from __future__ import annotations

import datetime
import re
import shutil
import urllib.parse
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_metadata.proto import metadata_store_pb2 as mlmd

from serving.errors import UserError

if TYPE_CHECKING:
    from ml_metadata import MetadataStore

__all__ = [
    "OutputArtifact",
    "abandon_unfinished",
    "connection",
    "execution_state",
    "masked",
    "output_artifacts",
    "plain_value",
    "pushed_version",
    "run_execution",
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
        made: when it was recorded.
    """

    id: int
    uri: str
    type: str
    properties: dict[str, Any] = field(repr=False)
    made: datetime.datetime | None = None


def sqlite_connection(file: Path) -> mlmd.ConnectionConfig:
    """Describes a metadata store in an SQLite file, made at the first use."""
    config = mlmd.ConnectionConfig()
    config.sqlite.filename_uri = str(file)
    config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return config


def connection(url: str) -> mlmd.ConnectionConfig:
    """Describes the metadata store behind a URL.

    Args:
        url: `postgresql://user:password@host:port/database`, `mysql://…` alike, or
            `sqlite:////path`; user, password and database with special characters escaped.

    Raises:
        UserError: it is no such URL. The message never holds the password.
    """
    parts = urllib.parse.urlsplit(url)
    scheme = {"postgres": "postgresql"}.get(parts.scheme, parts.scheme)
    if scheme == "sqlite" and parts.path.strip("/"):
        return sqlite_connection(Path("/" + parts.path.lstrip("/")))
    database = urllib.parse.unquote(parts.path.strip("/"))
    try:
        port = parts.port
    except ValueError:
        port = -1
    if scheme not in ("postgresql", "mysql") or not parts.hostname or not database or port == -1:
        raise UserError(
            f"the metadata store's URL {masked(url)!r} can't be used.",
            expected="postgresql://user:password@host:5432/database or sqlite:////path",
            fix="correct the URL; escape @, : and / in a password as %40, %3A and %2F",
        )
    user, password = (urllib.parse.unquote(text or "") for text in (parts.username, parts.password))
    config = mlmd.ConnectionConfig()
    if scheme == "mysql":
        config.mysql.host, config.mysql.port = parts.hostname, port or 3306
        config.mysql.user, config.mysql.password = user, password
        config.mysql.database = database
        return config
    config.postgresql.host, config.postgresql.port = parts.hostname, str(port or 5432)
    config.postgresql.user, config.postgresql.password = user, password
    config.postgresql.dbname = database
    # The user seldom has the right to make databases, and asking for it is an error.
    config.postgresql.skip_db_creation = True
    options = dict(urllib.parse.parse_qsl(parts.query))
    for name in ("sslmode", "sslcert", "sslkey", "sslpassword", "sslrootcert"):
        if name in options:
            setattr(config.postgresql.ssloption, name, options[name])
    return config


def masked(url: str) -> str:
    """Hides the password in a URL."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)


def run_execution(
    store: MetadataStore, pipeline: str, run_id: str, node: str
) -> mlmd.Execution | None:
    """Finds what a run has recorded of a node; the newest, should there be several."""
    run = store.get_context_by_type_and_name("pipeline_run", run_id)
    if run is None:
        return None
    mine = [
        execution
        for execution in store.get_executions_by_context(run.id)
        if any(
            context.type == "node" and context.name == f"{pipeline}.{node}"
            for context in store.get_contexts_by_execution(execution.id)
        )
    ]
    return max(mine, key=lambda execution: int(execution.id), default=None)


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
            name: plain_value(value)
            for group in (artifact.properties, artifact.custom_properties)
            for name, value in group.items()
        }
        made = datetime.datetime.fromtimestamp(artifact.create_time_since_epoch / 1000)
        outputs[keys[artifact.id]].append(
            OutputArtifact(artifact.id, artifact.uri, artifact.type, properties, made)
        )
    return dict(outputs)


def pushed_version(store: MetadataStore, model_id: int) -> str | None:
    """Finds the version as which a model was pushed last; None if it never was."""
    versions = [
        artifact.custom_properties["pushed_version"].string_value
        for artifact in store.get_artifacts_by_type("PushedModel")
        if artifact.custom_properties["current_model_id"].int_value == model_id
        and artifact.custom_properties["pushed"].int_value
    ]
    return versions[-1] if versions else None


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


def plain_value(value: mlmd.Value) -> Any:
    """Turns a property into a number or a text; None if it is empty."""
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None
