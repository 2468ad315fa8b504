"""A model's base in an object store: `s3://` through s3fs, `gs://` through gcsfs.

An object store has no rename and no lock. A version is uploaded below its number with
`saved_model.pb` last, and the ledger is written by a conditional put: If-Match / If-None-Match
on S3, a generation match on Google Cloud Storage. A store that ignores the condition would let
two pushes overwrite each other's ledger, so the first write of a process tries whether it holds.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from serving.conditional_put import Documents, GcsDocuments, S3Documents
from serving.errors import UserError
from serving.store_contract import (
    LEDGER_NAME,
    MODEL_FILE,
    LedgerConflictError,
    Snapshot,
    VersionExistsError,
)

__all__ = ["ObjectStaging", "ObjectStore", "ObjectTree"]

DEAD_AFTER_S = 3600.0
"""A push that has not ended by then is taken for dead by a repair. Unit: seconds."""

_CHUNK_BYTES = 1 << 20
_PROBE_NAME = ".conditional-write-check"


class ObjectTree:
    """The objects below a prefix.

    Args:
        url: `s3://bucket/prefix` or `gs://bucket/prefix`.
        filesystem: an fsspec filesystem; made from the URL if None.
    """

    def __init__(self, url: str, filesystem: Any = None) -> None:
        self._url = url.rstrip("/")
        self._fs = filesystem if filesystem is not None else _filesystem(url)

    @property
    def url(self) -> str:
        """The prefix, with its scheme."""
        return self._url

    def sizes(self) -> Mapping[str, int]:
        """Every object's relative path and size, in the order of the paths."""
        prefix = self._fs._strip_protocol(self._url) + "/"
        self._fs.invalidate_cache()
        found = self._fs.find(prefix, detail=True)
        return {
            path.removeprefix(prefix): int(entry["size"])
            for path, entry in sorted(found.items())
            # Some tools mark a folder by an empty object whose name ends in a slash.
            if entry["type"] == "file" and not path.endswith("/")
        }

    def chunks(self, path: str) -> Iterator[bytes]:
        """The content of one object, in pieces of 1 MiB."""
        with self._fs.open(f"{self._url}/{path}", "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk


class ObjectStaging(ObjectTree):
    """A version below its number that lacks `saved_model.pb`, which is held back until the end."""

    def __init__(self, url: str, filesystem: Any) -> None:
        super().__init__(url, filesystem)
        self._model_file: bytes | None = None
        self._added: dict[str, int] = {}

    def add(self, path: str, chunks: Iterable[bytes]) -> None:
        """Uploads one file, or keeps it if it is the one that completes the version."""
        if path == MODEL_FILE:
            self._model_file = b"".join(chunks)
            return
        self._upload(path, chunks)

    def sizes(self) -> Mapping[str, int]:
        """The files added so far; what a killed push left below the same number is none of them."""
        held = {} if self._model_file is None else {MODEL_FILE: len(self._model_file)}
        present = super().sizes()
        return held | {path: present[path] for path in self._added if path in present}

    def chunks(self, path: str) -> Iterator[bytes]:
        """The content of one file, as the store has it."""
        if path == MODEL_FILE and self._model_file is not None:
            yield self._model_file
        else:
            yield from super().chunks(path)

    def publish(self) -> None:
        """Uploads `saved_model.pb`, which makes the prefix a version.

        Raises:
            VersionExistsError: it is one already.
        """
        present = super().sizes()
        if MODEL_FILE in present:
            raise VersionExistsError(self._url)
        for path in present.keys() - self._added.keys():
            self._fs.rm_file(f"{self._url}/{path}")
        self._upload(MODEL_FILE, [self._model_file or b""])

    def _upload(self, path: str, chunks: Iterable[bytes]) -> None:
        written = 0
        with self._fs.open(f"{self._url}/{path}", "wb") as file:
            for chunk in chunks:
                written += file.write(chunk)
        self._added[path] = written


class ObjectStore:
    """A model's base in an object store.

    Args:
        base: `s3://bucket/prefix` or `gs://bucket/prefix`.
    """

    def __init__(self, base: str) -> None:
        self._base = base.rstrip("/")
        self._fs = _filesystem(base)
        self._documents: Documents = (
            S3Documents(self._base, self._fs)
            if base.startswith("s3://")
            else GcsDocuments(self._base)
        )
        self._conditions_hold = False

    @property
    def base(self) -> str:
        """The model's URL."""
        return self._base

    def read_ledger(self) -> Snapshot | None:
        """The ledger's bytes, or None before the first push."""
        return self._documents.read(LEDGER_NAME)

    def swap_ledger(self, data: bytes, expected: str | None) -> None:
        """Replaces the ledger by a conditional put.

        Raises:
            LedgerConflictError: it is another one by now.
            UserError: the store does not honour conditions.
        """
        self._require_conditions()
        self._documents.write(LEDGER_NAME, data, expected)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Does nothing: an object store has no lock, and the conditional put decides."""
        yield

    def ledger_stamp(self) -> str | None:
        """The ledger's ETag or generation."""
        return self._documents.stamp(LEDGER_NAME)

    def folders(self) -> list[str]:
        """The prefixes right below the base that hold an object.

        Some stores go on listing a prefix whose objects are all deleted.
        """
        paths = ObjectTree(self._base, self._fs).sizes()
        return sorted({path.partition("/")[0] for path in paths if "/" in path})

    def version(self, number: int) -> ObjectTree:
        """The files of one version."""
        return ObjectTree(f"{self._base}/{number}", self._fs)

    @contextmanager
    def stage(self, number: int) -> Iterator[ObjectStaging]:
        """Starts uploading a version.

        What a failed push leaves has no `saved_model.pb`: no server takes it for a version, the
        push run again writes over it, and `sweep` deletes it.
        """
        yield ObjectStaging(f"{self._base}/{number}", self._fs)

    def remove(self, number: int) -> None:
        """Deletes `saved_model.pb` first, so that no server loads a half deleted version."""
        url = f"{self._base}/{number}"
        with suppress(FileNotFoundError):
            self._fs.rm_file(f"{url}/{MODEL_FILE}")
        for path in ObjectTree(url, self._fs).sizes():
            with suppress(FileNotFoundError):
                self._fs.rm_file(f"{url}/{path}")

    def is_being_written(self, number: int, age_s: float) -> bool:
        """Whether the push began less than an hour ago: a store can't tell who lives."""
        return age_s < DEAD_AFTER_S

    def keep_aside(self, data: bytes) -> str:
        """Saves the bytes of an unreadable ledger beside it and returns the URL."""
        url = f"{self._base}/.{LEDGER_NAME}.unreadable-{time.time_ns()}"
        self._fs.pipe_file(url, data)
        return url

    def sweep(self, abandoned: Iterable[int] = ()) -> list[str]:
        """Deletes the uploads of pushes that are known to have died and returns their names."""
        swept = []
        for number in abandoned:
            files = self.version(number).sizes()
            if files and MODEL_FILE not in files:
                self.remove(number)
                swept.append(str(number))
        return swept

    def _require_conditions(self) -> None:
        """Tries both conditions on a small object.

        Raises:
            UserError: a put went through although its condition was false.
        """
        if self._conditions_hold:
            return
        with suppress(LedgerConflictError):
            self._documents.write(_PROBE_NAME, b"", None)
        for condition, expected in (("If-None-Match", None), ("If-Match", self._documents.never)):
            try:
                self._documents.write(_PROBE_NAME, b"", expected)
            except LedgerConflictError:
                continue
            raise UserError(
                f"the object store behind {self._base} ignores {condition} on a put",
                expected="conditional writes, without which two pushes can lose each other",
                fix="use a store that has them (AWS S3, GCS, MinIO, SeaweedFS 4) or a volume",
            )
        self._conditions_hold = True


def _filesystem(url: str) -> Any:
    """An fsspec filesystem that never answers from a listing it kept.

    Credentials and endpoint come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`,
    `GOOGLE_APPLICATION_CREDENTIALS`, …), as for every other client of the two.
    """
    if url.startswith("s3://"):
        import s3fs

        # Named, for fsspec keeps a filesystem by its arguments, and the environment may change.
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return s3fs.S3FileSystem(use_listings_cache=False, endpoint_url=endpoint)
    import gcsfs

    return gcsfs.GCSFileSystem(use_listings_cache=False)
