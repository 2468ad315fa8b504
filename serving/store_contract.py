"""Where the versions of one model live: a folder on a disk or a prefix in an object store.

A store is a base with `ledger.json` and one folder per version. What differs between a disk and
an object store is how something appears all at once, so that is what a store offers:

                     a disk                               an object store
    a version        copied to `.incoming-…`, synced,     uploaded below its number, with
                     renamed to its number                `saved_model.pb` last
    the ledger       rename over it, under a file lock    a conditional put
    a deletion       renamed to `.deleting-…`, removed    `saved_model.pb` removed first

A model server that watches a disk therefore never sees an integer folder that is not whole. In
an object store a folder without `saved_model.pb` is no version, and who wants to be sure follows
the ledger, which names a version only after it was read back.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

__all__ = [
    "LEDGER_NAME",
    "MODEL_FILE",
    "LedgerConflictError",
    "Snapshot",
    "Staging",
    "Tree",
    "VersionExistsError",
    "VersionStore",
]

LEDGER_NAME = "ledger.json"
# A model server takes a folder for a version as soon as this file is in it.
MODEL_FILE = "saved_model.pb"


class LedgerConflictError(Exception):
    """Someone else changed the ledger between our read and our write."""


class VersionExistsError(Exception):
    """The number that was to be published is a folder already."""


@dataclass(frozen=True)
class Snapshot:
    """The bytes of a ledger and the token that a later write must still find in place."""

    data: bytes
    token: str


class Tree(Protocol):
    """Files by their path relative to a folder, `/` between the parts."""

    @property
    def url(self) -> str:
        """Where the folder is, as a person would write it."""
        ...

    def sizes(self) -> Mapping[str, int]:
        """Every file's relative path and its size in bytes; empty if there is no folder."""
        ...

    def chunks(self, path: str) -> Iterator[bytes]:
        """The content of one file, in pieces."""
        ...


class Staging(Tree, Protocol):
    """A version that is being written and that no model server sees yet."""

    def add(self, path: str, chunks: Iterable[bytes]) -> None:
        """Writes one file and makes it durable."""
        ...

    def publish(self) -> None:
        """Makes the version visible, all at once.

        Raises:
            VersionExistsError: a folder with that number is there already.
        """
        ...


class VersionStore(Protocol):
    """The base of one model: its versions and its ledger."""

    @property
    def base(self) -> str:
        """The folder or URL of the model."""
        ...

    def read_ledger(self) -> Snapshot | None:
        """The ledger's bytes, or None before the first push."""
        ...

    def swap_ledger(self, data: bytes, expected: str | None) -> None:
        """Replaces the ledger if it still is the one that was read.

        Args:
            data: the new document.
            expected: the token of the read, None if there was no ledger.

        Raises:
            LedgerConflictError: it is another one by now; nothing was written.
        """
        ...

    def exclusive(self) -> AbstractContextManager[None]:
        """Keeps other writers waiting, where the store can; elsewhere the swap alone decides."""
        ...

    def ledger_stamp(self) -> str | None:
        """A short text that changes whenever the ledger does, without reading it."""
        ...

    def folders(self) -> list[str]:
        """The names of the folders right below the base."""
        ...

    def version(self, number: int) -> Tree:
        """The files of one version."""
        ...

    def stage(self, number: int) -> AbstractContextManager[Staging]:
        """Starts writing a version; leaving the block without `publish` discards it."""
        ...

    def remove(self, number: int) -> None:
        """Makes a version disappear at once and then deletes its files."""
        ...

    def is_being_written(self, number: int, age_s: float) -> bool:
        """Whether somebody still works on a version that was reserved so long ago."""
        ...

    def keep_aside(self, data: bytes) -> str:
        """Saves the bytes of an unreadable ledger and returns their place."""
        ...

    def sweep(self, abandoned: Iterable[int] = ()) -> list[str]:
        """Deletes what killed writers left behind and returns the names.

        Args:
            abandoned: numbers whose push is known to have died.
        """
        ...
