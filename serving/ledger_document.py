"""The ledger's document: its parts, and what a changed one looks like.

Everything here is immutable and touches no disk; `serving.ledger` reads and writes it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    PositiveInt,
    model_validator,
)

__all__ = [
    "SCHEMA",
    "Action",
    "Change",
    "Label",
    "Ledger",
    "Record",
    "Retention",
    "State",
    "Version",
    "now",
]

SCHEMA = 1
"""The layout that this code writes and the newest that it reads."""

HISTORY_LIMIT = 1000
"""Changes kept; the oldest fall off. Unit: changes."""

DELETED_LIMIT = 200
"""Records kept of versions without files; the oldest fall off. Unit: versions."""

Label = Literal["stable", "canary"]
State = Literal["pushing", "failed", "available", "retired", "deleted", "damaged"]
Action = Literal[
    "push", "promote", "rollback", "pin", "unpin", "retire", "retention", "delete", "repair"
]


class Record(BaseModel):
    """A part of the document: immutable, and nothing unknown goes unnoticed."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        # `schema` is what the key is called in the file.
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


class Version(Record):
    """One version and where it came from."""

    version: PositiveInt
    """The folder's name: the second since 1970 when it was given, or one more than the last."""

    state: State
    """`pushing` and `failed`: no complete folder yet; `available`: may be served; `retired`:
    withdrawn and about to be deleted; `deleted`: without files; `damaged`: some are wrong."""

    key: str
    """Names the push: a retry of the same run and model has the same key and number."""

    created: datetime
    """When the number was given."""

    published: datetime | None = None
    """When the complete folder was entered here."""

    stable_at: datetime | None = None
    """When it last became stable; None if it never was."""

    pipeline: str = ""
    """The pipeline's name."""

    run_id: str = ""
    """The pipeline run that made it."""

    node: str = ""
    """The step that pushed it."""

    model_uri: str = ""
    """The model artifact that it was copied from."""

    span: int | None = None
    """The newest span of the data that it was trained on."""

    metrics: dict[str, FiniteFloat] = Field(default_factory=dict)
    """The evaluation's overall metrics."""

    digest: str = ""
    """SHA-256 over all paths, sizes and SHA-256 of its files, but the manifest's."""

    fingerprint: str = ""
    """What TensorFlow's fingerprint.pb says of the graph, signatures, objects and checkpoint."""

    size_bytes: int = 0
    """All its files together."""

    files: int = 0
    """How many files it has."""

    warmup_requests: int = 0
    """Requests that a server replays when it loads it."""

    push_as: Label = "stable"
    """The label that its push asked for."""

    note: str = ""
    """Why it failed, was retired or is damaged."""


class Change(Record):
    """One entry of the history."""

    generation: int
    at: datetime
    action: Action
    version: int | None
    who: str
    why: str
    labels: dict[Label, int]
    """The labels after the change."""


class Retention(Record):
    """Which versions stay."""

    keep: PositiveInt = 5
    """Newest available versions kept, besides those that a label names. Unit: versions."""


class Ledger(Record):
    """The whole document."""

    # The first two come first in the file: the stamp of a store reads only its beginning.
    schema_version: int = Field(default=SCHEMA, alias="schema")
    generation: int = 0
    """Goes up by one with every write."""

    model: str = ""
    """The model's name as servers know it."""

    labels: dict[Label, int] = Field(default_factory=dict)
    """Which version each label names."""

    pinned: bool = False
    """Whether pushes must leave `stable` where it is."""

    last_version: int = 0
    """The highest number ever given, so that none is given twice."""

    retention: Retention = Field(default_factory=Retention)
    versions: tuple[Version, ...] = ()
    """Oldest first."""

    history: tuple[Change, ...] = ()
    """Oldest first, at most HISTORY_LIMIT."""

    @model_validator(mode="after")
    def _check_references(self) -> Self:
        numbers = [entry.version for entry in self.versions]
        if numbers != sorted(set(numbers)):
            raise ValueError(f"versions are not unique and ascending: {numbers}")
        if missing := [number for number in self.labels.values() if number not in numbers]:
            raise ValueError(f"a label names version {missing[0]}, which is not listed")
        return self

    @property
    def available(self) -> tuple[Version, ...]:
        """The versions that may be served, oldest first."""
        return tuple(entry for entry in self.versions if entry.state == "available")

    @property
    def stable(self) -> Version | None:
        """The version that `stable` names."""
        return self.get(self.labels.get("stable"))

    @property
    def canary(self) -> Version | None:
        """The version that `canary` names."""
        return self.get(self.labels.get("canary"))

    def get(self, number: int | None) -> Version | None:
        """The entry of a version, or None."""
        return next((entry for entry in self.versions if entry.version == number), None)

    def names_of(self, number: int) -> tuple[Label, ...]:
        """The labels on a version."""
        return tuple(label for label, version in self.labels.items() if version == number)

    def with_version(self, entry: Version) -> Self:
        """A ledger with that entry in the place of the one with its number, or added."""
        others = [other for other in self.versions if other.version != entry.version]
        ordered = sorted([*others, entry], key=lambda other: other.version)
        return self._with(
            versions=tuple(ordered), last_version=max(self.last_version, entry.version)
        )

    def without_version(self, number: int) -> Self:
        """A ledger that doesn't list the version."""
        return self._with(versions=tuple(e for e in self.versions if e.version != number))

    def with_labels(self, labels: Mapping[Label, int], *, pinned: bool | None = None) -> Self:
        """A ledger with those labels; a version that becomes stable gets the time of it."""
        moved = self._with(labels=dict(labels), pinned=self.pinned if pinned is None else pinned)
        stable = moved.stable
        if stable is not None and self.labels.get("stable") != stable.version:
            moved = moved.with_version(stable.model_copy(update={"stable_at": now()}))
        return moved

    def with_change(self, action: Action, version: int | None, who: str, why: str) -> Self:
        """A ledger whose history ends with this change."""
        change = Change(
            generation=self.generation + 1,
            at=now(),
            action=action,
            version=version,
            who=who,
            why=why,
            labels=dict(self.labels),
        )
        return self._with(history=(*self.history, change)[-HISTORY_LIMIT:])

    def with_settings(self, *, model: str | None = None, keep: int | None = None) -> Self:
        """A ledger with that model name or retention."""
        retention = self.retention if keep is None else Retention(keep=keep)
        return self._with(model=self.model if model is None else model, retention=retention)

    def next_generation(self) -> Self:
        """The ledger as it is written: one generation on, without the oldest deleted records."""
        gone = [entry.version for entry in self.versions if entry.state in ("deleted", "failed")]
        forgotten = set(gone[:-DELETED_LIMIT])
        kept = tuple(entry for entry in self.versions if entry.version not in forgotten)
        return self._with(generation=self.generation + 1, versions=kept)

    def to_json(self) -> bytes:
        """The document's bytes."""
        return self.model_dump_json(indent=1).encode() + b"\n"

    def _with(self, **changed: Any) -> Self:
        return self.model_copy(update=changed)


def now() -> datetime:
    """The present time in UTC."""
    return datetime.now(UTC)
