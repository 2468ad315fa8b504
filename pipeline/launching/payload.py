"""Small files of an artifact, wherever its payload is: a path, `gs://` or `s3://`."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["names", "read_bytes", "read_json", "splits", "tree_size"]


def read_bytes(uri: str, name: str) -> bytes:
    """Reads one file of a payload.

    Raises:
        OSError: there is none, or it can't be read.
    """
    from tfx.dsl.io import fileio

    # Asked first: TensorFlow's files open whether they are there or not, and fail in their own way.
    if not fileio.exists(f"{uri}/{name}"):
        raise FileNotFoundError(f"{uri}/{name}")
    with fileio.open(f"{uri}/{name}", "rb") as file:
        return bytes(file.read())


def read_json(uri: str, name: str) -> Any:
    """Reads one JSON file of a payload.

    Raises:
        OSError: there is none, or it can't be read.
        ValueError: it is not JSON.
    """
    return json.loads(read_bytes(uri, name))


def names(uri: str) -> list[str]:
    """Lists what is in a folder, sorted; nothing if there is no folder."""
    from tfx.dsl.io import fileio

    try:
        return sorted(str(name).strip("/") for name in fileio.listdir(uri))
    except (OSError, fileio.NotFoundError):
        return []


def splits(uri: str) -> list[str]:
    """Names the splits of a payload, train first."""
    found = [name.removeprefix("Split-") for name in names(uri) if name.startswith("Split-")]
    return sorted(found, key=lambda name: (name != "train", name))


def tree_size(uri: str) -> tuple[int, int]:
    """Counts the files of a payload and their bytes."""
    from tfx.dsl.io import fileio

    files = size = 0
    for folder, _, names in fileio.walk(uri):
        for name in names:
            files += 1
            found: Any = fileio.stat(f"{folder}/{name}")
            size += int(found.length)
    return files, size
