"""The ledger of a model's versions: which there are, which serve, and who changed that and why.

One JSON document beside the versions, `<base>/ledger.json`. Whoever serves a model reads it and
follows its labels; whoever changes it does so by compare-and-swap, so that of two writers at
once the second one starts again from what the first one wrote.

    from serving import ledger

    document = ledger.read("/models/taxi")      # a Ledger; generation 0 if nothing was pushed
    document.labels                             # {"stable": 1764000000}
    document.available                          # the versions that may be served
    watch = ledger.LedgerWatch("/models/taxi")
    if (changed := watch.poll()) is not None:   # one stat() while nothing changes
        ...
"""

import getpass
import random
import socket
import time
from collections.abc import Callable

from pydantic import ValidationError
from pydantic_core import from_json

from serving.errors import UserError
from serving.ledger_document import (
    SCHEMA,
    Change,
    Label,
    Ledger,
    Record,
    Retention,
    State,
    Version,
    now,
)
from serving.store_contract import LEDGER_NAME, LedgerConflictError, VersionStore
from serving.stores import explain_write_failures, open_store

__all__ = [
    "SCHEMA",
    "Change",
    "Label",
    "Ledger",
    "LedgerWatch",
    "NewerLayoutError",
    "Record",
    "Retention",
    "State",
    "Version",
    "generation",
    "now",
    "parse",
    "read",
    "read_store",
    "update",
    "whoami",
]

_ATTEMPTS = 60


class NewerLayoutError(UserError):
    """The ledger was written by a newer kubetfx than this one."""


class LedgerWatch:
    """Reads a ledger again only when it changed.

    Args:
        base: the model's folder or URL.
    """

    def __init__(self, base: str) -> None:
        self._store = open_store(base)
        self._stamp: str | None = ""

    def poll(self) -> Ledger | None:
        """The ledger if it changed since the last call, else None; the first call returns it.

        Raises:
            UserError: the document can't be read as a ledger.
        """
        stamp = self._store.ledger_stamp()
        if stamp == self._stamp:
            return None
        # The stamp is older than what is read, so a change in between shows at the next poll.
        document = read_store(self._store)
        self._stamp = stamp
        return document


def read(base: str) -> Ledger:
    """Reads the ledger of a model's folder or URL; one of generation 0 if nothing was pushed.

    Raises:
        UserError: the document can't be read as a ledger.
    """
    return read_store(open_store(base))


def read_store(store: VersionStore) -> Ledger:
    """Reads a store's ledger; see `read`."""
    snapshot = store.read_ledger()
    if snapshot is None:
        return Ledger()
    return parse(snapshot.data, f"{store.base}/{LEDGER_NAME}")


def generation(base: str) -> int:
    """The ledger's generation, 0 if nothing was pushed."""
    return read(base).generation


def parse(data: bytes, where: str) -> Ledger:
    """Turns the document's bytes into a ledger.

    Args:
        data: the content of `ledger.json`.
        where: its place, for messages.

    Raises:
        NewerLayoutError: a newer kubetfx wrote it.
        UserError: it is no JSON or not what the layout says.
    """
    try:
        document = from_json(data)
    except ValueError as error:
        raise UserError(
            f"{where} is not JSON: {error}",
            expected="the ledger as it was last written",
            fix="run `kubetfx rollout status --repair`, which rebuilds it from the versions",
        ) from error
    layout = document.get("schema") if isinstance(document, dict) else None
    if isinstance(layout, int) and layout > SCHEMA:
        raise NewerLayoutError(
            f"{where} has layout {layout}, written by a newer kubetfx",
            expected=f"layout {SCHEMA} or older",
            fix="upgrade kubetfx here; the file was left as it is",
        )
    try:
        return Ledger.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise UserError(
            f"{where} is not a ledger: {place}: {first['msg']}",
            expected=f"layout {SCHEMA} of the ledger, as kubetfx writes it",
            fix="undo the edit, or run `kubetfx rollout status --repair`, which rebuilds it",
        ) from error


def update(store: VersionStore, change: Callable[[Ledger], Ledger]) -> Ledger:
    """Changes a ledger by compare-and-swap and returns it as written.

    Args:
        store: the model's base.
        change: turns the current ledger into the new one. It is called again when someone else
            was faster, so it must decide from its argument alone. Returning its argument, or
            raising, leaves the ledger as it is.

    Raises:
        UserError: the ledger can't be read or written.
    """
    written = b""
    for attempt in range(_ATTEMPTS):
        with explain_write_failures(store.base, "writing the ledger"), store.exclusive():
            snapshot = store.read_ledger()
            current = Ledger()
            if snapshot is not None:
                current = parse(snapshot.data, f"{store.base}/{LEDGER_NAME}")
                if snapshot.data == written:
                    # A put whose answer got lost was sent again and met its own first half.
                    return current
            changed = change(current)
            if changed is current:
                return current
            written = changed.next_generation().to_json()
            # Nothing is written that could not be read again.
            changed = Ledger.model_validate_json(written)
            try:
                store.swap_ledger(written, snapshot.token if snapshot else None)
                return changed
            except LedgerConflictError:
                pass
        time.sleep(random.uniform(0, min(0.02 * 1.5**attempt, 1.0)))
    raise UserError(
        f"the ledger of {store.base} was changed by others at each of {_ATTEMPTS} attempts",
        expected="fewer writers at once",
        fix="run it again; nothing was lost",
    )


def whoami() -> str:
    """The person and machine that a change is recorded for, as `user@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container often runs under a number that no password file lists.
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
