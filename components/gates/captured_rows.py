"""Rows that a server captured → examples of one version, each column of one type.

Callers send 12 where others send 12.5: a column with any fraction is made one of fractions, one
with any text one of texts, so that statistics can be told of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tfx.dsl.io import fileio

from components.proto_classes import message_class
from components.record_file import read_records
from serving.errors import UserError

__all__ = ["LEAST_ROWS", "CapturedVersion", "choose", "examples_of", "look_through"]

LEAST_ROWS = 30
"""Fewer rows tell nothing about a distribution. Unit: rows."""

_OWN_PREFIX = "kubetfx."
_VERSION, _TIME_MS = "kubetfx.version", "kubetfx.time_ms"
_CHUNK_BYTES = 1 << 20
_KINDS = ("int64_list", "float_list", "bytes_list")
"""From the narrowest to the widest."""


@dataclass
class CapturedVersion:
    """What was captured of one version.

    Attributes:
        version: the version that answered.
        rows: how many there are.
        first_ms: time of the earliest, since 1970.
        last_ms: time of the latest.
        kinds: the widest kind of value in each column.
    """

    version: int
    rows: int = 0
    first_ms: int = 0
    last_ms: int = 0
    kinds: dict[str, str] = field(default_factory=dict)

    def add(self, features: Any) -> None:
        """Counts one row."""
        self.rows += 1
        for name, feature in features.items():
            kind = feature.WhichOneof("kind")
            if name == _TIME_MS:
                moment = int(feature.int64_list.value[0])
                self.first_ms = min(self.first_ms or moment, moment)
                self.last_ms = max(self.last_ms, moment)
            elif kind is not None and not name.startswith(_OWN_PREFIX):
                known = self.kinds.get(name, kind)
                self.kinds[name] = max(known, kind, key=_KINDS.index)


def look_through(folder: str) -> dict[int, CapturedVersion]:
    """Counts the rows in a capture folder by version.

    Raises:
        UserError: nothing has been captured there.
    """
    found: dict[int, CapturedVersion] = {}
    for features in _rows(folder):
        version = _version(features)
        found.setdefault(version, CapturedVersion(version)).add(features)
    if not found:
        raise UserError(
            f"{folder}: nothing has been captured here.",
            expected="files capture-….tfrecord with rows in them",
            fix="start the server with `kubetfx serve --capture DIR`, and let it be asked",
        )
    return found


def choose(captured: dict[int, CapturedVersion], version: int | None) -> CapturedVersion:
    """Picks the version asked for, or the latest with enough rows.

    Raises:
        UserError: it was not captured, or too little of it.
    """
    if version is not None and version not in captured:
        raise UserError(
            f"no request to version {version} was captured.",
            expected=f"one of {', '.join(map(str, sorted(captured)))}",
            fix="leave the version out for the latest",
        )
    enough = [number for number, rows in captured.items() if rows.rows >= LEAST_ROWS]
    chosen = captured[version if version is not None else max(enough or captured)]
    if chosen.rows < LEAST_ROWS:
        raise UserError(
            f"only {chosen.rows} rows of version {chosen.version} were captured.",
            expected=f"at least {LEAST_ROWS}: fewer tell nothing about a distribution",
            fix="wait for more requests, or raise --capture_sample",
        )
    return chosen


def examples_of(folder: str, chosen: CapturedVersion) -> Iterator[bytes]:
    """Lists the rows of one version as serialized tf.Examples, without what the server added."""
    example_class = message_class("tensorflow/core/example/example.proto", "tensorflow.Example")
    for features in _rows(folder):
        if _version(features) != chosen.version:
            continue
        example = example_class()
        for name, kind in chosen.kinds.items():
            # A column that this row lacks is a cell without a value.
            values = getattr(example.features.feature[name], kind).value
            if name in features:
                values.extend(_as_kind(features[name], kind))
            else:
                getattr(example.features.feature[name], kind).SetInParent()
        yield example.SerializeToString()


def _as_kind(feature: Any, kind: str) -> Iterable[Any]:
    own = feature.WhichOneof("kind")
    if own is None:
        return ()
    values = getattr(feature, own).value
    if own == kind:
        return values  # type: ignore[no-any-return]
    if kind == "float_list":
        return map(float, values)
    return (
        f"{value:g}".encode() if isinstance(value, float) else b"%d" % value for value in values
    )


def _version(features: Any) -> int:
    return int(features[_VERSION].int64_list.value[0]) if _VERSION in features else 0


def _rows(folder: str) -> Iterator[Any]:
    """The features of every captured row."""
    example_class = message_class("tensorflow/core/example/example.proto", "tensorflow.Example")
    finished = sorted(fileio.glob(f"{folder}/capture-*.tfrecord"))
    for file in [*finished, *sorted(fileio.glob(f"{folder}/capture-*.open"))]:
        for record in _records(file):
            example = example_class()
            example.ParseFromString(record)
            yield example.features.feature


def _records(file: str) -> Iterator[bytes]:
    try:
        yield from read_records(_chunks(file), file)
    except ValueError:
        # A file that is still being written may end within a row; that row is left out.
        if not file.endswith(".open"):
            raise


def _chunks(file: str) -> Iterator[bytes]:
    with fileio.open(file, "rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk
