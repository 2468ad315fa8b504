"""What a served version was made of: the artifacts behind it, the runs and the code that made them.

The metadata store links every execution with what it read and wrote. Following these links back
from a pushed model ends at the files of the data.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.launching.metadata import plain_value
from serving.errors import UserError

if TYPE_CHECKING:
    from ml_metadata import MetadataStore

__all__ = ["Ancestor", "of_artifact", "of_version", "versions"]

_SHOWN_PROPERTIES = ("span", "version", "input_fingerprint", "pushed_version", "pushed_destination")


@dataclass(frozen=True)
class Ancestor:
    """An artifact and how it came to be.

    Attributes:
        id: the artifact's id.
        type: TFX's type name.
        key: the input key by which what came out of it knew it; the output's own at the root.
        uri: where the payload is.
        node: the step that made it.
        run_id: the run that made it, which may be earlier than the one that used it.
        facts: rows, span, fingerprint, digest of the code.
        sources: what it was made of.
        is_repeated: whether it is listed above already, where its facts and sources are.
    """

    id: int
    type: str
    key: str
    uri: str
    node: str
    run_id: str
    facts: dict[str, Any] = field(default_factory=dict)
    sources: tuple[Ancestor, ...] = ()
    is_repeated: bool = False


def versions(store: MetadataStore) -> dict[str, mlmd.Artifact]:
    """The pushed models of a store by version, oldest first."""
    found = {}
    for artifact in sorted(store.get_artifacts_by_type("PushedModel"), key=lambda each: each.id):
        properties = _properties(artifact)
        if properties.get("pushed") and properties.get("pushed_version"):
            found[str(properties["pushed_version"])] = artifact
    return found


def of_version(store: MetadataStore, version: str) -> Ancestor:
    """Finds what a pushed version was made of.

    Args:
        store: the metadata store of the pipeline that pushed it.
        version: the version, or `latest`.

    Raises:
        UserError: no run in this store pushed such a version.
    """
    pushed = versions(store)
    if version == "latest" and pushed:
        version = list(pushed)[-1]
    if version not in pushed:
        raise UserError(
            f"no run here has pushed a version {version}.",
            expected=f"one of {', '.join(list(pushed)[-8:])}" if pushed else "a pushed version",
            fix="name the output folder of the run that pushed it with --output",
        )
    return _ancestor(store, pushed[version], "pushed_model", set())


def of_artifact(store: MetadataStore, artifact_id: int, key: str) -> Ancestor:
    """Finds what any artifact was made of.

    Args:
        store: the metadata store.
        artifact_id: its id there.
        key: what it is called in the tree.
    """
    [artifact] = store.get_artifacts_by_id([artifact_id])
    return _ancestor(store, artifact, key, set())


def _ancestor(
    store: MetadataStore, artifact: mlmd.Artifact, key: str, listed: set[int]
) -> Ancestor:
    execution = _producer(store, artifact.id)
    node = run_id = ""
    for context in store.get_contexts_by_execution(execution.id) if execution else ():
        if context.type == "node":
            node = context.name.rpartition(".")[2]
        elif context.type == "pipeline_run":
            run_id = context.name
    place = (int(artifact.id), artifact.type, key, artifact.uri, node, run_id)
    if artifact.id in listed:
        return Ancestor(*place, is_repeated=True)
    listed.add(artifact.id)
    if execution is None:
        return Ancestor(*place, _facts(artifact))
    facts = {**_facts(artifact), **_code(execution)}
    return Ancestor(*place, facts, tuple(_sources(store, execution, listed)))


def _sources(store: MetadataStore, execution: mlmd.Execution, listed: set[int]) -> list[Ancestor]:
    events = [
        event
        for event in store.get_events_by_execution_ids([execution.id])
        if event.type == mlmd.Event.INPUT
    ]
    keys = {event.artifact_id: event.path.steps[0].key for event in events}
    found = store.get_artifacts_by_id(sorted(keys))
    return [_ancestor(store, each, keys[each.id], listed) for each in found]


def _producer(store: MetadataStore, artifact_id: int) -> mlmd.Execution | None:
    """The execution that made an artifact; those that only reused it came later."""
    ids = [
        event.execution_id
        for event in store.get_events_by_artifact_ids([artifact_id])
        if event.type in (mlmd.Event.OUTPUT, mlmd.Event.INTERNAL_OUTPUT)
    ]
    executions = store.get_executions_by_id(sorted(ids))
    made = [each for each in executions if each.last_known_state == mlmd.Execution.COMPLETE]
    return min(made or executions, key=lambda each: int(each.id), default=None)


def _facts(artifact: mlmd.Artifact) -> dict[str, Any]:
    properties = _properties(artifact)
    wanted = {name: properties[name] for name in _SHOWN_PROPERTIES if properties.get(name)}
    rows = {name: value for name, value in properties.items() if name.startswith("rows_") and value}
    return {**wanted, **rows}


def _code(execution: mlmd.Execution) -> dict[str, Any]:
    """The digest of the code and the paths of the functions behind a step, if it has any."""
    properties = {
        name: plain_value(value)
        for group in (execution.properties, execution.custom_properties)
        for name, value in group.items()
    }
    facts = {
        name: properties[name]
        for name in ("preprocessing_fn", "run_fn", "path")
        if properties.get(name) and isinstance(properties[name], str)
    }
    try:
        code = json.loads(properties.get("custom_config") or "{}").get("code")
    except (TypeError, ValueError, AttributeError):
        code = None
    return {**facts, "code": code} if code else facts


def _properties(artifact: mlmd.Artifact) -> dict[str, Any]:
    return {
        name: plain_value(value)
        for group in (artifact.properties, artifact.custom_properties)
        for name, value in group.items()
    }
