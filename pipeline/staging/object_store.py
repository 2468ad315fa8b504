"""An S3 store through Arrow's file system, with patience and with words for its refusals.

Endpoint, region and credentials come from the environment, as for every AWS tool:
AWS_ENDPOINT_URL, AWS_DEFAULT_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY or a service
account's identity.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import re
import time
import urllib.parse
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from serving.errors import UserError

__all__ = ["PATIENCE", "SCHEME", "Store", "is_remote", "store"]

SCHEME = "s3://"
PATIENCE = "KUBETFX_STORE_PATIENCE_S"
"""Environment variable: how long to wait for a store that is busy or away. Unit: seconds."""

_DEFAULT_PATIENCE_S = 300.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 10.0
_CHUNK_BYTES = 8 << 20
_REFUSAL = re.compile(
    r"ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID"
    r"|NO_SUCH_BUCKET|MISSING_AUTHENTICATION_TOKEN|HTTP status 40[013]|AWS Error .*403"
)

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


def is_remote(uri: str) -> bool:
    """Whether a payload is in an S3 store."""
    return uri.startswith(SCHEME)


class Store:
    """Files in an S3 store, by `s3://bucket/key`.

    Raises:
        UserError: from every method, when the store refuses, or stays away longer than the
            patience lasts.
    """

    def __init__(self) -> None:
        from pyarrow import fs

        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        parts = urllib.parse.urlsplit(endpoint or "")
        self.endpoint = endpoint or "Amazon S3"
        options: dict[str, Any] = {}
        if endpoint:
            options = {"endpoint_override": parts.netloc, "scheme": parts.scheme}
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        self.files = fs.S3FileSystem(
            region=region or "us-east-1",
            connect_timeout=5,
            request_timeout=60,
            # A few quick tries here, patience below.
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=2),
            background_writes=False,
            **options,
        )

    def download(self, uri: str, target: Path) -> str:
        """Copies an object to a file and returns the SHA-256 of what was written."""

        def copy() -> str:
            digest = hashlib.sha256()
            with (
                self.files.open_input_stream(_key(uri), compression=None) as source,
                target.open("wb") as file,
            ):
                while chunk := source.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    file.write(chunk)
            return digest.hexdigest()

        return self._patiently(copy, f"reading {uri}")

    def upload(self, source: Path, uri: str) -> str:
        """Copies a file to an object and returns the SHA-256 of what was read."""

        def copy() -> str:
            digest = hashlib.sha256()
            with (
                source.open("rb") as file,
                self.files.open_output_stream(_key(uri), compression=None) as target,
            ):
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    target.write(chunk)
            return digest.hexdigest()

        return self._patiently(copy, f"writing {uri}")

    def read(self, uri: str) -> bytes:
        """The content of an object.

        Raises:
            FileNotFoundError: there is none.
        """

        def content() -> bytes:
            with self.files.open_input_stream(_key(uri), compression=None) as source:
                return bytes(source.read())

        return self._patiently(content, f"reading {uri}")

    def write(self, uri: str, data: bytes) -> None:
        """Makes an object."""

        def put() -> None:
            with self.files.open_output_stream(_key(uri), compression=None) as target:
                target.write(data)

        self._patiently(put, f"writing {uri}")

    def sizes(self, uri: str) -> dict[str, int]:
        """Sizes of the objects below a folder, by their path relative to it. Unit: bytes."""
        from pyarrow import fs

        base = _key(uri).rstrip("/") + "/"
        selector = fs.FileSelector(base, recursive=True, allow_not_found=True)
        found = self._patiently(lambda: self.files.get_file_info(selector), f"listing {uri}")
        return {each.path.removeprefix(base): int(each.size) for each in found if each.is_file}

    def children(self, uri: str) -> list[Any]:
        """What is right below a folder, as Arrow's FileInfo.

        Raises:
            FileNotFoundError: there is no such folder.
        """
        from pyarrow import fs

        selector = fs.FileSelector(_key(uri).rstrip("/"), recursive=False)
        found = self._patiently(lambda: self.files.get_file_info(selector), f"listing {uri}")
        return list(found)

    def info(self, uri: str) -> Any:
        """Arrow's FileInfo of an object or folder; its type tells when there is nothing."""
        return self._patiently(
            lambda: self.files.get_file_info(_key(uri).rstrip("/")), f"looking at {uri}"
        )

    def make_folder(self, uri: str) -> None:
        """Makes an empty folder, which in an object store is an empty object."""
        self._patiently(
            lambda: self.files.create_dir(_key(uri).rstrip("/"), recursive=True), f"making {uri}"
        )

    def remove_file(self, uri: str) -> None:
        """Deletes an object."""
        self._patiently(lambda: self.files.delete_file(_key(uri)), f"deleting {uri}")

    def remove_folder(self, uri: str) -> None:
        """Deletes everything below a folder, and the folder."""
        key = _key(uri).rstrip("/")

        def remove() -> None:
            with suppress(FileNotFoundError):
                self.files.delete_dir_contents(key, missing_dir_ok=True)
            # The empty object that stands for the folder may be there or not.
            with suppress(FileNotFoundError):
                self.files.delete_dir(key)

        self._patiently(remove, f"deleting {uri}")

    def _patiently(self, do: Callable[[], _Result], doing: str) -> _Result:
        """Tries again while the store is busy or away."""
        deadline = time.monotonic() + float(os.environ.get(PATIENCE, _DEFAULT_PATIENCE_S))
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                return do()
            except FileNotFoundError:
                raise
            except OSError as error:
                if error.errno is not None:
                    # The local disk's, not the store's.
                    raise
                refused = _REFUSAL.search(str(error)) is not None
                if refused or time.monotonic() + wait_s > deadline:
                    raise self._refusal(doing, error, refused=refused) from error
                _log.warning("%s failed (%s); trying again", doing, _brief(error))
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _refusal(self, doing: str, error: OSError, *, refused: bool) -> UserError:
        if refused:
            return UserError(
                f"the object store {self.endpoint} refuses {doing}: {_brief(error)}",
                expected="credentials that may read and write there, and a bucket that exists",
                fix="mend the secret named in kubernetes.object_store, then retry the run",
            )
        return UserError(
            f"the object store {self.endpoint} does not answer, {doing}: {_brief(error)}",
            expected="a store that answers within a few minutes",
            fix="start it, then retry the run: finished steps are kept",
        )


@functools.cache
def store() -> Store:
    """The process's connection to the store; made at the first use."""
    return Store()


def _key(uri: str) -> str:
    return uri.removeprefix(SCHEME)


def _brief(error: OSError) -> str:
    return " ".join(str(error).split())[:300]
