"""Turns a SavedModel into a version that servers can load: whole or not at all.

A push takes four steps, and a process that dies at any point leaves something that the next
push, or `repair`, finishes or clears away:

1. a number is reserved in the ledger under a key made of the run and the model's content;
2. the files are copied where no server looks, made durable and read back;
3. the copy becomes `<base>/<number>` at once;
4. the ledger lists it, moves its label and retires what is beyond retention.

A retry of the same run finds its key and goes on with the same number. Retired versions are
deleted last, when the ledger no longer offers them.
"""

import hashlib
import json
import math
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from serving import labels
from serving.contents import (
    MANIFEST,
    FileDigest,
    Manifest,
    contents,
    digest,
    digest_of,
    read_manifest,
    require_complete,
    verify,
)
from serving.errors import UserError
from serving.ledger import Label, Ledger, Version, now, read_store, update, whoami
from serving.store_contract import Staging, Tree, VersionExistsError, VersionStore
from serving.stores import explain_write_failures, highest_number

__all__ = ["Origin", "Pushed", "Terms", "delete_retired", "enter", "push", "retire_spare"]

_NUMBER_ATTEMPTS = 5


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a model comes from, for the ledger."""

    model: str
    """The model's name as servers know it."""

    pipeline: str = ""
    run_id: str = ""
    """Empty if no pipeline run stands behind it: then every push is one of its own."""

    node: str = ""
    model_uri: str = ""
    span: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    fingerprint: str = ""
    warmup_requests: int = 0


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What becomes of a version once it is there."""

    push_as: Label = "stable"
    """The label that it asks for."""

    keep: int = 5
    """Newest versions that retention keeps. Unit: versions."""

    who: str = ""
    """Who pushes; the user and host if empty."""

    why: str = ""
    """A reason for the history."""


@dataclass(frozen=True)
class Pushed:
    """What a push led to."""

    version: int
    url: str
    """Where the version is."""

    entry: Version
    ledger: Ledger
    resumed: bool
    """Whether an earlier try of the same run had got somewhere already."""

    explanation: str
    """One sentence on what serving does next."""


def push(
    store: VersionStore,
    source: Tree,
    origin: Origin,
    terms: Terms | None = None,
    extra: Mapping[str, bytes] | None = None,
) -> Pushed:
    """Publishes a SavedModel as the next version and enters it in the ledger.

    Args:
        store: the model's base.
        source: the SavedModel's files.
        origin: where it comes from.
        terms: its label and the retention.
        extra: more files for the version, by path; what the model has itself stays.

    Raises:
        UserError: the model is incomplete, the base can't be written or has no room, or the
            files read back are not those that were written. Nothing half made is visible then.
    """
    terms = replace(terms or Terms(), who=(terms.who if terms else "") or whoami())
    files = contents(source)
    require_complete(source.url, [file.path for file in files])
    own = {file.path for file in files}
    added = {path: data for path, data in (extra or {}).items() if path not in own}
    key = _push_key(origin, digest(files))
    files = sorted(
        [*files, *(digest_of(path, [data]) for path, data in added.items())],
        key=lambda file: file.path,
    )
    with explain_write_failures(store.base, "clearing what an earlier push left"):
        store.sweep()
    before = read_store(store)
    entry = _draft(origin, key, files, terms)
    foreign: set[int] = set()
    for _ in range(_NUMBER_ATTEMPTS):
        entry, resumed = _reserve(store, entry, foreign)
        if entry.state != "pushing":
            return _pushed(store, entry, before, delete_retired(store, terms.who), resumed=True)
        manifest = Manifest(model=origin.model, entry=entry, files=tuple(files))
        try:
            with _failure_recorded(store, entry):
                published = _copy(store, source, added, manifest)
        except VersionExistsError:
            foreign.add(entry.version)
            continue
        _list_published(store, published, origin.model, terms)
        return _pushed(store, entry, before, delete_retired(store, terms.who), resumed=resumed)
    raise UserError(
        f"{store.base} got folders with the next {_NUMBER_ATTEMPTS} version numbers from elsewhere",
        expected="nobody else to number the versions of a model",
        fix="stop the other program that writes there, or push to a folder of its own",
    )


def enter(ledger: Ledger, entry: Version, model: str, *, who: str, why: str) -> Ledger:
    """Lists a version whose folder is complete and moves the label that it asked for.

    A version that is listed already stays as it is, so that a retry changes nothing.
    """
    listed = ledger.get(entry.version)
    if listed is not None and listed.state not in ("pushing", "failed"):
        return ledger
    ready = entry.model_copy(update={"state": "available", "published": now(), "note": ""})
    after = ledger.with_version(ready).with_settings(model=model or ledger.model)
    after = labels.after_push(after, entry.version, entry.push_as)
    return after.with_change("push", entry.version, who, why)


def retire_spare(ledger: Ledger, *, keep: int, who: str) -> Ledger:
    """Withdraws the versions beyond the newest `keep` that no label names."""
    after = ledger.with_settings(keep=keep)
    for spare in labels.beyond_retention(after):
        note = f"beyond the newest {keep}"
        after = after.with_version(spare.model_copy(update={"state": "retired", "note": note}))
        after = after.with_change("retention", spare.version, who, note)
    return after


def delete_retired(store: VersionStore, who: str) -> Ledger:
    """Deletes the files of retired versions, then records that, and returns the ledger."""
    ledger = read_store(store)
    retired = [entry.version for entry in ledger.versions if entry.state == "retired"]
    for number in retired:
        with explain_write_failures(store.base, f"deleting the retired version {number}"):
            store.remove(number)

    def record(current: Ledger) -> Ledger:
        after = current
        for number in retired:
            entry = current.get(number)
            if entry is not None and entry.state == "retired":
                after = after.with_version(entry.model_copy(update={"state": "deleted"}))
                after = after.with_change("delete", number, who, entry.note)
        return after

    return update(store, record) if retired else ledger


def _draft(origin: Origin, key: str, files: list[FileDigest], terms: Terms) -> Version:
    return Version(
        version=1,
        state="pushing",
        key=key,
        created=now(),
        pipeline=origin.pipeline,
        run_id=origin.run_id,
        node=origin.node,
        model_uri=origin.model_uri,
        span=origin.span,
        metrics={name: value for name, value in origin.metrics.items() if math.isfinite(value)},
        fingerprint=origin.fingerprint,
        warmup_requests=origin.warmup_requests,
        push_as=terms.push_as,
        digest=digest(files),
        size_bytes=sum(file.size for file in files),
        files=len(files),
    )


def _reserve(store: VersionStore, draft: Version, foreign: set[int]) -> tuple[Version, bool]:
    """Gives the push a number of its own, or finds the one that an earlier try got.

    Args:
        store: the model's base.
        draft: the entry, whatever its number.
        foreign: numbers that turned out to be someone else's folders.

    Returns:
        The entry, `pushing` unless an earlier try had finished, and whether there was one.
    """
    reserved = draft
    resumed = False

    def reserve(ledger: Ledger) -> Ledger:
        nonlocal reserved, resumed
        mine = [
            entry
            for entry in ledger.versions
            if entry.key == draft.key and entry.version not in foreign
        ]
        usable = [entry for entry in mine if _is_usable(store, entry)]
        resumed = bool(usable)
        if usable:
            reserved = usable[-1]
            if reserved.state not in ("pushing", "failed"):
                return ledger
            number, created = reserved.version, reserved.created
            reserved = draft.model_copy(update={"version": number, "created": created})
        else:
            number = max(
                int(time.time()), ledger.last_version + 1, highest_number(store.folders()) + 1
            )
            reserved = draft.model_copy(update={"version": number})
        for number in foreign:
            ledger = ledger.without_version(number)
        return ledger.with_version(reserved)

    update(store, reserve)
    return reserved, resumed


def _is_usable(store: VersionStore, entry: Version) -> bool:
    """Whether a retry may go on with that entry; a damaged version needs a new number."""
    if entry.state == "available":
        return not verify(store, entry, deep=False)
    return entry.state != "damaged"


def _copy(
    store: VersionStore, source: Tree, added: Mapping[str, bytes], manifest: Manifest
) -> Version:
    """Makes the version's folder appear, unless an earlier try did, and returns its entry.

    Raises:
        VersionExistsError: the number is a folder that isn't ours.
    """
    number = manifest.entry.version
    if earlier := _published_before(store, manifest):
        return earlier
    doing = f"copying {manifest.entry.size_bytes / 1e6:.1f} MB of model"
    with explain_write_failures(store.base, doing), store.stage(number) as staging:
        for file in manifest.files:
            if file.path in added:
                staging.add(file.path, [added[file.path]])
            else:
                staging.add(file.path, _unchanged(source, file))
        staging.add(MANIFEST, [manifest.model_dump_json(indent=1).encode()])
        _require_equal(staging, manifest)
        try:
            staging.publish()
        except VersionExistsError:
            # Two tries of the same run may be alive at once: one of them was faster.
            if earlier := _published_before(store, manifest):
                return earlier
            raise
    return manifest.entry


def _published_before(store: VersionStore, manifest: Manifest) -> Version | None:
    """The entry in the folder of that number, if another try of the same push completed it."""
    found = read_manifest(store.version(manifest.entry.version))
    if found is None or found.entry.key != manifest.entry.key or verify(store, found.entry):
        return None
    return found.entry


def _unchanged(source: Tree, file: FileDigest) -> Iterator[bytes]:
    """The file's content, with an error at the end if it isn't what was read before."""
    seen = hashlib.sha256()
    for chunk in source.chunks(file.path):
        seen.update(chunk)
        yield chunk
    if seen.hexdigest() != file.sha256:
        raise UserError(
            f"{source.url}/{file.path} changed while it was pushed",
            expected="a model that nobody writes to any more",
            fix="run the push again when the training has finished",
        )


def _require_equal(staging: Staging, manifest: Manifest) -> None:
    copied = contents(staging)
    if digest(copied) != manifest.entry.digest:
        wanted = set(manifest.files)
        wrong = next((file.path for file in copied if file not in wanted), "a file")
        raise UserError(
            f"{wrong} in {staging.url} reads back differently from what was written",
            expected=f"the {len(manifest.files)} files of the model, byte for byte",
            fix="check that disk or store (`dmesg`, its own log), then run the push again",
        )


@contextmanager
def _failure_recorded(store: VersionStore, entry: Version) -> Iterator[None]:
    """Marks the entry as failed when the block fails; best effort, since the disk may be full."""
    try:
        yield
    except VersionExistsError:
        raise
    except BaseException as error:
        note = str(error).partition("\n")[0] or type(error).__name__
        failed = entry.model_copy(update={"state": "failed", "note": note})

        def fail(ledger: Ledger) -> Ledger:
            listed = ledger.get(entry.version)
            if listed is None or listed.state != "pushing":
                return ledger
            return ledger.with_version(failed)

        with suppress(Exception):
            update(store, fail)
        raise


def _list_published(store: VersionStore, entry: Version, model: str, terms: Terms) -> None:
    def change(ledger: Ledger) -> Ledger:
        after = enter(ledger, entry, model, who=terms.who, why=terms.why)
        if after is ledger:
            return ledger
        return retire_spare(after, keep=terms.keep, who=terms.who)

    update(store, change)


def _pushed(
    store: VersionStore, entry: Version, before: Ledger, after: Ledger, *, resumed: bool
) -> Pushed:
    listed = after.get(entry.version) or entry
    number = entry.version
    if listed.state != "available":
        explanation = (
            f"This run pushed version {number} before; it is {listed.state}: {listed.note}."
        )
    elif after.names_of(number):
        explanation = labels.what_servers_do(before, after)
    elif after.pinned and entry.push_as == "stable":
        explanation = f"stable is pinned to version {after.labels['stable']}; nothing changes."
    else:
        explanation = (
            f"Version {number} gets no label, because a later one has it already; "
            f"`kubetfx rollout promote {number}` would make it stable."
        )
    return Pushed(number, store.version(number).url, listed, after, resumed, explanation)


def _push_key(origin: Origin, source_digest: str) -> str:
    """The same for every try of one run to push one model."""
    run = origin.run_id or uuid.uuid4().hex
    parts = json.dumps([origin.pipeline, run, origin.node, source_digest])
    return hashlib.sha256(parts.encode()).hexdigest()[:32]
