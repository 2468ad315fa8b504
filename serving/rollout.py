"""What a person does with the versions of a model: look, promote, go back, hold, withdraw, mend.

Each function edits the ledger of a model's folder or URL and says in a sentence what serving
does next. What can't work is refused before anything is written.
"""

from collections.abc import Callable
from dataclasses import dataclass

from serving import labels
from serving.contents import verify
from serving.errors import UserError
from serving.ledger import Change, Label, Ledger, Version, read_store, update, whoami
from serving.repair import is_dead, repair_store
from serving.store_contract import LEDGER_NAME, VersionStore
from serving.stores import canonical_versions, open_store
from serving.versions import delete_retired

__all__ = [
    "Outcome",
    "Status",
    "pin",
    "promote",
    "repair",
    "retire",
    "rollback",
    "status",
    "unpin",
    "worded",
]


@dataclass(frozen=True)
class Outcome:
    """A change that was made."""

    ledger: Ledger
    explanation: str
    """What servers that follow the ledger do next, in one sentence."""

    caution: str
    """What servers do that watch only the folder; empty if the same."""

    done: tuple[str, ...] = ()
    """What a repair did, one sentence each."""


@dataclass(frozen=True)
class Status:
    """The ledger held against the folder."""

    base: str
    ledger: Ledger
    problems: tuple[str, ...]
    """Where the two disagree, one sentence each; a repair mends them."""

    explanation: str
    caution: str


def status(base: str, *, deep: bool = False) -> Status:
    """Reads a model's ledger and compares it with the folder.

    Args:
        base: the model's folder or URL.
        deep: whether to read every file of every version; else names and sizes are compared.

    Raises:
        UserError: the ledger can't be read.
    """
    store = open_store(base)
    ledger = read_store(store)
    return Status(
        base=store.base,
        ledger=ledger,
        problems=tuple(_problems(store, ledger, deep=deep)),
        explanation=_present(ledger),
        caution=labels.folder_caution(ledger),
    )


def worded(change: Change) -> str:
    """Names a change and its version, and the canary where that is what was moved."""
    number, action, after = change.version, change.action, change.labels
    named = action in ("push", "promote") and after.get("canary") == number
    # A rollback of stable leaves stable at its version, that of a canary takes its label away.
    ended = action == "rollback" and after.get("stable") != number
    return f"{action} {number or ''}".rstrip() + (" as canary" if named or ended else "")


def promote(
    base: str, version: str | int, *, label: Label = "stable", who: str = "", why: str = ""
) -> Outcome:
    """Points a label at a version; promoting to stable releases a pin.

    Args:
        base: the model's folder or URL.
        version: a number, a label, or `latest`.
        label: the label to move.
        who: for the history; the user and host if empty.
        why: for the history.

    Raises:
        UserError: the version is missing, damaged, retired or not whole yet.
    """
    store = _open(base)
    number = _require_servable(store, version)

    def change(ledger: Ledger) -> Ledger:
        _require_available(store.base, ledger, number)
        if ledger.labels.get(label) == number and not (label == "stable" and ledger.pinned):
            return ledger
        if label == "canary" and ledger.labels.get("stable") == number:
            raise UserError(
                f"version {number} of {store.base} is stable already",
                expected="another version to try beside the stable one",
                fix="name another version, or promote another one to stable first",
            )
        after = labels.after_promotion(ledger, number, label, pinned=False)
        return after.with_change("promote", number, who or whoami(), why)

    return _edit(store, change)


def rollback(base: str, *, label: Label = "stable", who: str = "", why: str = "") -> Outcome:
    """Points stable at the version before it that was stable; for canary, ends the trial.

    Args:
        base: the model's folder or URL.
        label: `stable` or `canary`.
        who: for the history; the user and host if empty.
        why: for the history.

    Raises:
        UserError: there is no earlier version that can be served.
    """
    store = _open(base)
    if label == "canary":
        return _edit(store, lambda ledger: _end_canary(store, ledger, who or whoami(), why))
    target = labels.rollback_target(read_store(store))
    if target is not None:
        _require_servable(store, target.version)

    def change(ledger: Ledger) -> Ledger:
        back = labels.rollback_target(ledger)
        if back is None:
            raise _no_earlier(store, ledger)
        if target is None or back.version != target.version:
            _require_servable(store, back.version)
        after = labels.after_promotion(ledger, back.version, "stable", pinned=False)
        return after.with_change("rollback", back.version, who or whoami(), why)

    return _edit(store, change)


def pin(base: str, version: str | int, *, who: str = "", why: str = "") -> Outcome:
    """Points stable at a version and keeps pushes from moving it.

    Promoting, rolling back or `unpin` ends that.

    Raises:
        UserError: the version is missing, damaged, retired or not whole yet.
    """
    store = _open(base)
    number = _require_servable(store, version)

    def change(ledger: Ledger) -> Ledger:
        _require_available(store.base, ledger, number)
        if ledger.pinned and ledger.labels.get("stable") == number:
            return ledger
        after = labels.after_promotion(ledger, number, "stable", pinned=True)
        return after.with_change("pin", number, who or whoami(), why)

    return _edit(store, change)


def unpin(base: str, *, who: str = "", why: str = "") -> Outcome:
    """Lets pushes move stable again; stable itself stays for now.

    Raises:
        UserError: nothing is pinned.
    """
    store = _open(base)

    def change(ledger: Ledger) -> Ledger:
        if not ledger.pinned:
            raise UserError(
                f"no version of {store.base} is pinned",
                expected="a pinned version",
                fix="nothing needs to be done: pushes move stable",
            )
        after = ledger.with_labels(ledger.labels, pinned=False)
        return after.with_change("unpin", ledger.labels.get("stable"), who or whoami(), why)

    return _edit(store, change)


def retire(base: str, version: str | int, *, who: str = "", why: str = "") -> Outcome:
    """Withdraws a version for good and deletes its files.

    Raises:
        UserError: there is no such version, it is withdrawn already, or it is stable.
    """
    store = _open(base)
    number = _number(store.base, read_store(store), version)

    def change(ledger: Ledger) -> Ledger:
        entry = _require_listed(store.base, ledger, number)
        if entry.state not in ("available", "damaged"):
            raise _not_servable(store.base, entry)
        if ledger.labels.get("stable") == number:
            raise UserError(
                f"version {number} of {store.base} is stable: servers answer with it",
                expected="a version that stable does not name",
                fix="run `kubetfx rollout rollback` or promote another version first",
            )
        note = why or "withdrawn by hand"
        after = ledger.with_version(entry.model_copy(update={"state": "retired", "note": note}))
        kept = {key: named for key, named in after.labels.items() if named != number}
        return after.with_labels(kept).with_change("retire", number, who or whoami(), why)

    outcome = _edit(store, change)
    ledger = delete_retired(store, who or whoami())
    told = f"Version {number} is withdrawn and its files are deleted. {outcome.explanation}"
    return Outcome(ledger, told, outcome.caution)


def repair(base: str, *, who: str = "", why: str = "") -> Outcome:
    """Makes the ledger agree with the folder; see `serving.repair`.

    Raises:
        UserError: a newer kubetfx wrote the ledger, or the base can't be written.
    """
    store = open_store(base)
    if not canonical_versions(store.folders()):
        store = _open(base)
    repaired = repair_store(store, who=who or whoami(), why=why)
    return Outcome(
        repaired.ledger,
        labels.what_servers_do(repaired.before, repaired.ledger),
        labels.folder_caution(repaired.ledger),
        repaired.done,
    )


def _open(base: str) -> VersionStore:
    """The store of a folder that has a ledger, so that a mistyped name makes no folder.

    Raises:
        UserError: there is none.
    """
    store = open_store(base)
    if store.read_ledger() is None:
        raise UserError(
            f"{store.base} has no {LEDGER_NAME}",
            expected="a folder that kubetfx pushed to",
            fix="correct --base; `kubetfx rollout status --repair` enters versions of other tools",
        )
    return store


def _edit(store: VersionStore, change: Callable[[Ledger], Ledger]) -> Outcome:
    before = Ledger()

    def remember(ledger: Ledger) -> Ledger:
        nonlocal before
        before = ledger
        return change(ledger)

    after = update(store, remember)
    return Outcome(after, labels.what_servers_do(before, after), labels.folder_caution(after))


def _end_canary(store: VersionStore, ledger: Ledger, who: str, why: str) -> Ledger:
    number = ledger.labels.get("canary")
    if number is None:
        raise UserError(
            f"no version of {store.base} is a canary",
            expected="a canary to take back",
            fix="leave out --canary to roll the stable version back",
        )
    return labels.without_label(ledger, "canary").with_change("rollback", number, who, why)


def _number(base: str, ledger: Ledger, version: str | int) -> int:
    """The version that a person means by a number, a label or `latest`."""
    text = str(version).strip()
    if text.isdecimal():
        return int(text)
    if text == "latest" and ledger.available:
        return ledger.available[-1].version
    for label, number in ledger.labels.items():
        if label == text:
            return number
    known = [*map(str, (entry.version for entry in ledger.available)), *ledger.labels, "latest"]
    raise UserError(
        f"{base} has no version {text!r}",
        expected=f"one of {', '.join(known)}" if ledger.available else "a version that was pushed",
        fix="look at `kubetfx rollout status`",
    )


def _require_listed(base: str, ledger: Ledger, number: int) -> Version:
    entry = ledger.get(number)
    if entry is None:
        return _refuse_unknown(base, ledger, number)
    return entry


def _refuse_unknown(base: str, ledger: Ledger, number: int) -> Version:
    known = ", ".join(str(entry.version) for entry in ledger.available)
    raise UserError(
        f"{base} has no version {number}",
        expected=f"one of {known}" if known else "a version, but none was pushed yet",
        fix="look at `kubetfx rollout status`; `--repair` enters folders that are not listed",
    )


def _require_available(base: str, ledger: Ledger, number: int) -> Version:
    entry = _require_listed(base, ledger, number)
    if entry.state != "available":
        raise _not_servable(base, entry)
    return entry


def _require_servable(store: VersionStore, version: str | int) -> int:
    """The number of a version that is available and whose files are all as pushed."""
    ledger = read_store(store)
    number = _number(store.base, ledger, version)
    entry = _require_available(store.base, ledger, number)
    if problem := verify(store, entry):
        raise UserError(
            f"version {number} of {store.base} is damaged: {problem}",
            expected="the files as they were pushed",
            fix="restore them or push again; `kubetfx rollout status --repair` marks it as damaged",
        )
    return number


def _not_servable(base: str, entry: Version) -> UserError:
    reason = f" ({entry.note})" if entry.note else ""
    fixes = {
        "pushing": "wait for that push to end, or run `kubetfx rollout status --repair`",
        "failed": "run its pipeline again",
        "damaged": "restore its files and run `kubetfx rollout status --repair`, or push again",
    }
    return UserError(
        f"version {entry.version} of {base} is {entry.state}{reason}",
        expected="an available version",
        fix=fixes.get(entry.state, "its files are gone: push that model again"),
    )


def _no_earlier(store: VersionStore, ledger: Ledger) -> UserError:
    later = [entry.version for entry in ledger.available if entry is not ledger.stable]
    return UserError(
        f"{store.base} has no version before {ledger.labels.get('stable', 'the first')} to serve",
        expected="an earlier version that is available and has been stable",
        fix=f"promote {later[-1]} by name, or push a better model"
        if later
        else "push a better model",
    )


def _problems(store: VersionStore, ledger: Ledger, *, deep: bool) -> list[str]:
    folders = set(canonical_versions(store.folders()))
    found = []
    for entry in ledger.versions:
        if entry.state == "available" and (problem := verify(store, entry, deep=deep)):
            found.append(f"version {entry.version} is damaged: {problem}")
        elif entry.state == "retired":
            found.append(f"version {entry.version} is retired, but its files are not deleted yet")
        elif entry.state == "pushing" and is_dead(store, entry):
            found.append(f"the push of version {entry.version} died")
        elif entry.state == "deleted" and entry.version in folders:
            found.append(f"version {entry.version} is deleted, but has a folder")
    unlisted = folders - {entry.version for entry in ledger.versions}
    found += [f"version {number} is in the folder, but not listed" for number in sorted(unlisted)]
    return found


def _present(ledger: Ledger) -> str:
    stable, canary = ledger.labels.get("stable"), ledger.labels.get("canary")
    if stable is None:
        return "Nothing is served: no version is there."
    text = f"Servers that follow the ledger answer with version {stable}"
    if canary is not None:
        text += f", and with version {canary} when asked for the label canary"
    if ledger.pinned:
        text += "; stable is pinned, so pushes leave it there"
    return text + "."
