"""TFX's own file calls on `s3://`: makes folders, reads statistics, removes failed outputs.

Executors don't come this way; see `stage`.
"""

from __future__ import annotations

import fnmatch
import io
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, ClassVar

from tfx.dsl.io import filesystem, filesystem_registry

from pipeline.staging.object_store import SCHEME, store

__all__ = ["S3Filesystem", "register", "register_nothing_there"]

_PRIORITY = 1
"""Before TensorFlow's, which claims schemes that it can't read."""


def register() -> None:
    """Lets TFX read and write `s3://`."""
    filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY.register(S3Filesystem, priority=_PRIORITY)


def register_nothing_there() -> None:
    """Lets TFX find nothing on `s3://`, for a run whose payloads are elsewhere.

    Its steps could not read what an earlier run with another data root has left there, so a cache
    that points there counts as a miss.
    """
    filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY.register(_Nothing, priority=_PRIORITY)


class S3Filesystem(filesystem.Filesystem):
    """TFX's interface, on an S3 store."""

    SUPPORTED_SCHEMES: ClassVar[list[str]] = [SCHEME]

    @staticmethod
    def open(name: Any, mode: str = "r") -> Any:
        """Opens an object; what is written becomes visible when the file is closed."""
        path = _text(name)
        if "w" in mode:
            writer = _Writer(path)
            return writer if "b" in mode else io.TextIOWrapper(writer, encoding="utf-8")
        try:
            data = store().read(path)
        except FileNotFoundError as error:
            raise filesystem.NotFoundError(path) from error
        return io.BytesIO(data) if "b" in mode else io.StringIO(data.decode())

    @staticmethod
    def copy(src: Any, dst: Any, overwrite: bool = False) -> None:
        """Copies an object."""
        if not overwrite and S3Filesystem.exists(dst):
            raise OSError(f"{_text(dst)} exists already")
        with S3Filesystem.open(src, "rb") as source:
            store().write(_text(dst), source.read())

    @staticmethod
    def exists(path: Any) -> bool:
        """Whether there is an object or a folder."""
        return _kind(path) != "NotFound"

    @staticmethod
    def glob(pattern: Any) -> list[Any]:
        """The objects and folders that match."""
        text = _text(pattern)
        parent, _, last = text.rpartition("/")
        folders = S3Filesystem.glob(parent) if _is_pattern(parent) else [parent]
        found = []
        for folder in folders:
            if not S3Filesystem.isdir(folder):
                continue
            names = S3Filesystem.listdir(folder)
            found += [f"{folder}/{name}" for name in names if fnmatch.fnmatchcase(name, last)]
        return sorted(found)

    @staticmethod
    def isdir(path: Any) -> bool:
        """Whether there is a folder."""
        return _kind(path) == "Directory"

    @staticmethod
    def listdir(path: Any) -> list[Any]:
        """The names in a folder."""
        try:
            return sorted(each.base_name for each in store().children(_text(path)))
        except FileNotFoundError as error:
            raise filesystem.NotFoundError(_text(path)) from error

    @staticmethod
    def makedirs(path: Any) -> None:
        """Makes a folder."""
        store().make_folder(_text(path))

    @staticmethod
    def mkdir(path: Any) -> None:
        """Makes a folder."""
        store().make_folder(_text(path))

    @staticmethod
    def remove(path: Any) -> None:
        """Deletes an object."""
        try:
            store().remove_file(_text(path))
        except FileNotFoundError as error:
            raise filesystem.NotFoundError(_text(path)) from error

    @staticmethod
    def rename(src: Any, dst: Any, overwrite: bool = False) -> None:
        """Copies an object and deletes the first one; a store has no rename."""
        S3Filesystem.copy(src, dst, overwrite)
        S3Filesystem.remove(src)

    @staticmethod
    def rmtree(path: Any) -> None:
        """Deletes a folder with all that is in it."""
        if not S3Filesystem.exists(path):
            raise filesystem.NotFoundError(_text(path))
        store().remove_folder(_text(path))

    @staticmethod
    def stat(path: Any) -> Any:
        """Size and time of an object, named as TensorFlow names them."""
        info = store().info(_text(path))
        if info.type.name == "NotFound":
            raise filesystem.NotFoundError(_text(path))
        return SimpleNamespace(length=int(info.size or 0), mtime_nsec=int(info.mtime_ns or 0))

    @staticmethod
    def walk(
        top: Any, topdown: bool = True, onerror: Callable[..., None] | None = None
    ) -> Iterable[tuple[Any, list[Any], list[Any]]]:
        """Walks a tree of folders."""
        folder = _text(top).rstrip("/")
        try:
            entries = store().children(folder)
        except FileNotFoundError as error:
            if onerror is not None:
                onerror(error)
            return
        folders = sorted(each.base_name for each in entries if each.type.name == "Directory")
        files = sorted(each.base_name for each in entries if each.is_file)
        if topdown:
            yield folder, folders, files
        for name in folders:
            yield from S3Filesystem.walk(f"{folder}/{name}", topdown, onerror)
        if not topdown:
            yield folder, folders, files


class _Nothing(S3Filesystem):
    """An S3 store that this run doesn't look into."""

    @staticmethod
    def exists(path: Any) -> bool:
        """There is nothing."""
        return False


class _Writer(io.BytesIO):
    """Collects what is written and stores it when it is closed without an error."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._failed = False

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        self._failed = kind is not None
        self.close()

    def close(self) -> None:
        if not self.closed and not self._failed:
            store().write(self._path, self.getvalue())
        super().close()


def _kind(path: Any) -> str:
    return str(store().info(_text(path)).type.name)


def _is_pattern(path: str) -> bool:
    return any(sign in path for sign in "*?[")


def _text(path: Any) -> str:
    return path.decode() if isinstance(path, bytes) else str(path)
