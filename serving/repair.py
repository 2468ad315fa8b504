"""Makes a ledger and its folder agree after a crash, a full disk or a helping hand.

In this order: an unreadable ledger is put aside; what killed writers left is cleared away;
complete folders that the ledger doesn't list are entered as their push would have done; versions
whose files are missing or changed are marked, and so are those that are whole again; pushes that
died are given up; labels leave versions that can't be served; what was retired is deleted.
"""

import re
from dataclasses import dataclass

from serving import labels
from serving.contents import contents, digest, read_manifest, require_complete, verify
from serving.errors import UserError
from serving.ledger import (
    Ledger,
    NewerLayoutError,
    Version,
    now,
    parse,
    read_store,
    update,
)
from serving.store_contract import LEDGER_NAME, LedgerConflictError, VersionStore
from serving.stores import canonical_versions, explain_write_failures
from serving.versions import delete_retired, enter

__all__ = ["Repaired", "is_dead", "repair_store"]


@dataclass(frozen=True)
class Repaired:
    """What a repair found and did."""

    before: Ledger
    ledger: Ledger
    done: tuple[str, ...]
    """One sentence per thing done; empty if ledger and folder agreed."""


@dataclass(frozen=True)
class _Folder:
    """One integer folder, as it is."""

    entry: Version
    """From the manifest, the ledger or the files; `available` or `damaged`."""

    model: str = ""
    has_manifest: bool = False


def repair_store(store: VersionStore, *, who: str, why: str = "") -> Repaired:
    """Makes the ledger agree with the folder.

    Args:
        store: the model's base.
        who: for the history.
        why: for the history.

    Raises:
        UserError: a newer kubetfx wrote the ledger, or the base can't be written.
    """
    done = _put_unreadable_aside(store)
    before = read_store(store)
    dead = {entry.version for entry in before.versions if is_dead(store, entry)}
    with explain_write_failures(store.base, "clearing what killed pushes left"):
        done += [f"removed {name}, left by a push that died" for name in store.sweep(dead)]
    folders = {
        number: _inspect(store, number, before.get(number))
        for number in canonical_versions(store.folders())
    }

    def mend(ledger: Ledger) -> Ledger:
        after = _enter_unlisted(ledger, folders, who)
        after = _mark_state(after, folders)
        after = _give_up(after, dead)
        after = labels.after_loss(after)
        told = _differences(ledger, after)
        if not told:
            return ledger
        return after.with_change("repair", None, who, "; ".join([*([why] if why else []), *told]))

    mended = update(store, mend)
    done += _differences(before, mended)
    retired = [entry.version for entry in mended.versions if entry.state == "retired"]
    after = delete_retired(store, who)
    done += [f"deleted the files of the retired version {number}" for number in retired]
    return Repaired(before, after, tuple(done))


def _put_unreadable_aside(store: VersionStore) -> list[str]:
    """Puts an empty ledger in the place of one that can't be read.

    Raises:
        UserError: a newer kubetfx wrote it, which is no damage.
    """
    snapshot = store.read_ledger()
    if snapshot is None:
        return []
    try:
        parse(snapshot.data, f"{store.base}/{LEDGER_NAME}")
    except NewerLayoutError:
        raise
    except UserError:
        kept = store.keep_aside(snapshot.data)
        # Whoever compares generations must see that something happened.
        known = re.search(rb'"generation":\s*(\d{1,15})\b', snapshot.data)
        empty = Ledger(generation=int(known[1]) + 1 if known else 1)
        try:
            store.swap_ledger(empty.to_json(), snapshot.token)
        except LedgerConflictError:
            return []
        return [f"put the unreadable ledger aside as {kept} and began a new one"]
    return []


def is_dead(store: VersionStore, entry: Version) -> bool:
    """Whether a push ended without a version and nobody works on it any more."""
    if entry.state == "failed":
        return True
    age_s = (now() - entry.created).total_seconds()
    return entry.state == "pushing" and not store.is_being_written(entry.version, age_s)


def _inspect(store: VersionStore, number: int, listed: Version | None) -> _Folder:
    """Reads all files of an integer folder."""
    manifest = read_manifest(store.version(number))
    is_open = listed is None or listed.state in ("pushing", "failed") or not listed.digest
    if is_open and manifest is not None and manifest.entry.version == number:
        entry = manifest.entry
    elif listed is not None and listed.digest:
        entry = listed
    else:
        return _Folder(_foreign(store, number))
    problem = verify(store, entry)
    state = "damaged" if problem else "available"
    entry = entry.model_copy(update={"state": state, "note": problem})
    return _Folder(entry, manifest.model if manifest else "", manifest is not None)


def _foreign(store: VersionStore, number: int) -> Version:
    """An entry for a folder that another program wrote."""
    tree = store.version(number)
    entry = Version(version=number, state="available", key=f"foreign-{number}", created=now())
    files = contents(tree)
    try:
        require_complete(tree.url, [file.path for file in files])
    except UserError as error:
        return entry.model_copy(update={"state": "damaged", "note": error.what})
    facts = {
        "published": now(),
        "digest": digest(files),
        "size_bytes": sum(file.size for file in files),
        "files": len(files),
    }
    return entry.model_copy(update=facts)


def _enter_unlisted(ledger: Ledger, folders: dict[int, _Folder], who: str) -> Ledger:
    for number, folder in sorted(folders.items()):
        listed = ledger.get(number)
        if folder.entry.state == "damaged" or not folder.has_manifest:
            if listed is None:
                ledger = ledger.with_version(folder.entry)
        else:
            ledger = enter(
                ledger, folder.entry, folder.model, who=who, why="found complete by a repair"
            )
    return ledger


def _mark_state(ledger: Ledger, folders: dict[int, _Folder]) -> Ledger:
    for entry in ledger.versions:
        folder = folders.get(entry.version)
        if entry.state in ("pushing", "failed", "retired") or (
            entry.state == "deleted" and folder is None
        ):
            continue
        facts = {"state": "damaged", "note": "its folder is missing"}
        if folder is not None:
            facts = {"state": folder.entry.state, "note": folder.entry.note}
            if not entry.digest:
                facts = folder.entry.model_dump(exclude={"created"})
        if any(getattr(entry, name) != value for name, value in facts.items()):
            ledger = ledger.with_version(entry.model_copy(update=facts))
    return ledger


def _give_up(ledger: Ledger, dead: set[int]) -> Ledger:
    for entry in ledger.versions:
        if entry.version in dead and entry.state == "pushing":
            facts = {"state": "failed", "note": "the push died"}
            ledger = ledger.with_version(entry.model_copy(update=facts))
    return ledger


def _differences(before: Ledger, after: Ledger) -> list[str]:
    """One sentence per version or label that changed."""
    told = []
    for entry in after.versions:
        earlier = before.get(entry.version)
        if earlier is not None and (earlier.state, earlier.note) == (entry.state, entry.note):
            continue
        if entry.state == "damaged":
            told.append(f"version {entry.version} is damaged: {entry.note}")
        elif entry.state == "failed":
            told.append(f"gave up the push of version {entry.version}, which died")
        elif earlier is None or earlier.state in ("pushing", "failed"):
            told.append(f"entered version {entry.version}, which was complete but not listed")
        elif entry.state == "available":
            told.append(f"version {entry.version} is whole again")
    for label in ("stable", "canary"):
        old, new = before.labels.get(label), after.labels.get(label)
        if old != new:
            told.append(f"{label} names {f'version {new}' if new else 'no version'} (was {old})")
    return told
