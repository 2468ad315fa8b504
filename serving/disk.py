"""A model's base on a disk: every change one system call, in an order that a crash can't hurt."""

import errno
import fcntl
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from serving.errors import UserError
from serving.store_contract import LEDGER_NAME, LedgerConflictError, Snapshot, VersionExistsError

__all__ = ["Disk", "LocalStaging", "LocalStore", "LocalTree"]

INCOMING_PREFIX = ".incoming-"
DELETING_PREFIX = ".deleting-"
_LOCK_NAME = ".ledger.lock"
_LEDGER_DRAFT = ".ledger.json.new"
_CHUNK_BYTES = 1 << 20
_LOCK_PATIENCE_S = 60.0


class Disk:
    """All the ways in which this package changes a disk, one system call each.

    They are gathered here so that a test can stop the process at, or inside, any one of them.
    """

    def make_folder(self, path: Path) -> None:
        """Creates a folder; an existing one is left alone."""
        with suppress(FileExistsError):
            path.mkdir()

    def create(self, path: Path) -> int:
        """Opens a new or emptied file for writing and returns its descriptor."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)

    def open_lock(self, path: Path) -> int:
        """Opens a file that is there only to be locked and returns its descriptor."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        """Writes some of the data and returns how many bytes."""
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Waits until the file is on the disk."""
        os.fsync(descriptor)

    def sync_folder(self, path: Path) -> None:
        """Waits until the folder's list of names is on the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Gives a file or folder another name at once."""
        source.rename(target)

    def remove_file(self, path: Path) -> None:
        """Removes a file; a missing one is fine."""
        with suppress(FileNotFoundError):
            path.unlink()

    def remove_folder(self, path: Path) -> None:
        """Removes an empty folder; a missing one is fine."""
        with suppress(FileNotFoundError):
            path.rmdir()


class LocalTree:
    """The files below a folder."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)

    @property
    def url(self) -> str:
        """The folder's path."""
        return str(self._folder)

    def sizes(self) -> Mapping[str, int]:
        """Every file's relative path and size, in the order of the paths."""
        found = {}
        # Links are followed: a model may be assembled from links into a content store.
        for parent, _, names in os.walk(self._folder, followlinks=True):
            for name in names:
                path = Path(parent, name)
                found[path.relative_to(self._folder).as_posix()] = path.stat().st_size
        return dict(sorted(found.items()))

    def chunks(self, path: str) -> Iterator[bytes]:
        """The content of one file, in pieces of 1 MiB."""
        with (self._folder / path).open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk


class LocalStaging(LocalTree):
    """A version in `.incoming-…/model`, on its way to its number."""

    def __init__(self, folder: Path, target: Path, disk: Disk) -> None:
        super().__init__(folder)
        self._target = target
        self._disk = disk
        self._made = {folder}
        disk.make_folder(folder)

    def add(self, path: str, chunks: Iterable[bytes]) -> None:
        """Writes one file and waits until it is on the disk."""
        file = self._folder / path
        for parent in reversed(file.relative_to(self._folder).parents):
            folder = self._folder / parent
            if folder not in self._made:
                self._disk.make_folder(folder)
                self._made.add(folder)
        _write_durably(self._disk, file, chunks)

    def publish(self) -> None:
        """Renames the folder to its number, after everything in it is on the disk.

        Raises:
            VersionExistsError: a folder with that number is there already.
        """
        for folder in sorted(self._made, key=lambda made: len(made.parts), reverse=True):
            self._disk.sync_folder(folder)
        # rename() would take the place of an empty folder, and refuses one with content.
        if os.path.lexists(self._target):
            raise VersionExistsError(str(self._target))
        try:
            self._disk.rename(self._folder, self._target)
        except OSError as error:
            if os.path.lexists(self._target):
                raise VersionExistsError(str(self._target)) from error
            raise
        self._disk.sync_folder(self._target.parent)


class LocalStore:
    """A model's base on a disk.

    Writers take turns by a lock on `.ledger.lock`, which the kernel lets go of when its holder
    dies; readers need no lock, since the ledger is only ever replaced by a rename.

    Args:
        base: the model's folder; made by the first write.
        disk: does the system calls.
    """

    def __init__(self, base: str | Path, disk: Disk | None = None) -> None:
        self._base = Path(base)
        self._disk = disk or Disk()
        self._turn = threading.local()

    @property
    def base(self) -> str:
        """The model's folder."""
        return str(self._base)

    def read_ledger(self) -> Snapshot | None:
        """The ledger's bytes, or None before the first push."""
        try:
            data = (self._base / LEDGER_NAME).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Snapshot(data, hashlib.sha256(data).hexdigest())

    def swap_ledger(self, data: bytes, expected: str | None) -> None:
        """Replaces the ledger by a rename, if it still is the one that was read.

        Raises:
            LedgerConflictError: it is another one by now.
        """
        with self.exclusive():
            current = self.read_ledger()
            if (current.token if current else None) != expected:
                raise LedgerConflictError(self.base)
            draft = self._base / _LEDGER_DRAFT
            _write_durably(self._disk, draft, [data])
            self._disk.rename(draft, self._base / LEDGER_NAME)
            self._disk.sync_folder(self._base)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Holds the base's lock; may be nested.

        Raises:
            UserError: another process kept it for longer than a minute.
        """
        if getattr(self._turn, "held", False):
            yield
            return
        self._make_base()
        descriptor = self._disk.open_lock(self._base / _LOCK_NAME)
        try:
            self._wait_for_lock(descriptor)
            self._turn.held = True
            yield
        finally:
            self._turn.held = False
            os.close(descriptor)

    def ledger_stamp(self) -> str | None:
        """Inode, time, size and first bytes of the ledger, which hold its generation."""
        try:
            with (self._base / LEDGER_NAME).open("rb") as file:
                stat = os.fstat(file.fileno())
                # Inodes are used again and a clock ticks slowly: the first three can repeat.
                head = file.read(64)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return f"{stat.st_ino}-{stat.st_mtime_ns}-{stat.st_size}-{head.hex()}"

    def folders(self) -> list[str]:
        """The names of the folders right below the base."""
        try:
            with os.scandir(self._base) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def version(self, number: int) -> LocalTree:
        """The files of one version."""
        return LocalTree(self._base / str(number))

    @contextmanager
    def stage(self, number: int) -> Iterator[LocalStaging]:
        """Makes a hidden folder for a version; what isn't published is removed on the way out.

        Its lock says that the writer lives: `sweep` leaves a folder with a held lock alone.
        """
        incoming = self._base / f"{INCOMING_PREFIX}{number}-{secrets.token_hex(4)}"
        # Under the base's lock, so that a sweep never meets the folder without its own lock.
        with self.exclusive():
            self._disk.make_folder(incoming)
            lock = self._disk.open_lock(incoming / "lock")
            _lock(lock, self._base)
        try:
            yield LocalStaging(incoming / "model", self._base / str(number), self._disk)
        finally:
            self._remove_tree(incoming)
            os.close(lock)

    def remove(self, number: int) -> None:
        """Renames a version out of sight and then deletes its files."""
        hidden = self._base / f"{DELETING_PREFIX}{number}-{secrets.token_hex(4)}"
        try:
            self._disk.rename(self._base / str(number), hidden)
        except FileNotFoundError:
            return
        self._disk.sync_folder(self._base)
        self._remove_tree(hidden)

    def is_being_written(self, number: int, age_s: float) -> bool:
        """Whether a hidden folder for that version is there and its writer lives."""
        return any(
            name.startswith(f"{INCOMING_PREFIX}{number}-")
            and _is_locked(self._base / name / "lock")
            for name in self.folders()
        )

    def keep_aside(self, data: bytes) -> str:
        """Saves the bytes of an unreadable ledger beside it and returns the path."""
        path = self._base / f".{LEDGER_NAME}.unreadable-{time.time_ns()}"
        _write_durably(self._disk, path, [data])
        return str(path)

    def sweep(self, abandoned: Iterable[int] = ()) -> list[str]:
        """Deletes what killed writers left behind and returns the names.

        Args:
            abandoned: not needed here: a dead writer's lock tells.
        """
        swept = []
        with self.exclusive():
            for name in self.folders():
                folder = self._base / name
                dead = name.startswith(INCOMING_PREFIX) and not _is_locked(folder / "lock")
                if dead or name.startswith(DELETING_PREFIX):
                    self._remove_tree(folder)
                    swept.append(name)
        return swept

    def _make_base(self) -> None:
        missing = []
        folder = self._base
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            self._disk.make_folder(folder)
            self._disk.sync_folder(folder.parent)

    def _wait_for_lock(self, descriptor: int) -> None:
        deadline = time.monotonic() + _LOCK_PATIENCE_S
        pause_s = 0.002
        while True:
            try:
                _lock(descriptor, self._base)
                return
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise UserError(
                        f"{self._base / _LOCK_NAME} has been locked for {_LOCK_PATIENCE_S:.0f} s",
                        expected="another writer to finish within a second or so",
                        fix="find the process that holds it (`fuser` on that file) and end it",
                    ) from error
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 0.05)

    def _remove_tree(self, folder: Path) -> None:
        for parent, _, names in os.walk(folder, topdown=False):
            for name in names:
                self._disk.remove_file(Path(parent, name))
            self._disk.remove_folder(Path(parent))


def _write_durably(disk: Disk, path: Path, chunks: Iterable[bytes]) -> None:
    descriptor = disk.create(path)
    try:
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                rest = rest[disk.write(descriptor, rest) :]
        disk.sync(descriptor)
        # What is read back afterwards then comes off the disk and not out of memory.
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, base: Path) -> None:
    """Takes a file's lock; the kernel gives it back when the process ends, however it does.

    Raises:
        BlockingIOError: someone else has it.
        UserError: this kind of disk has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
            raise
        raise UserError(
            f"the disk that holds {base} has no file locks ({error.strerror})",
            expected="a local disk, NFS 4, CephFS or the like",
            fix="if it is a mounted bucket, push to its own URL (s3://…, gs://…) instead",
        ) from error


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
