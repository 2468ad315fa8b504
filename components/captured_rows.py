"""Rows that a server captured → the same facts per column as the training data's statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.column_statistics import Bucket, ColumnStatistics, SplitStatistics
from components.proto_classes import message_class
from components.record_file import read_records
from serving.errors import UserError

__all__ = ["CapturedRows", "read_captured"]

OWN_PREFIX = "kubetfx."
_VERSION, _TIME_MS = "kubetfx.version", "kubetfx.time_ms"
_CHUNK_BYTES = 1 << 20
_DECILES = 10


@dataclass
class CapturedRows:
    """What was captured of one version.

    Attributes:
        version: the version that answered.
        rows: how many there are.
        first_ms: time of the earliest, since 1970.
        last_ms: time of the latest.
    """

    version: int
    rows: int = 0
    first_ms: int = 0
    last_ms: int = 0
    _numbers: dict[str, list[float]] = field(default_factory=dict, repr=False)
    _texts: dict[str, Counter[str]] = field(default_factory=dict, repr=False)
    _whole: dict[str, bool] = field(default_factory=dict, repr=False)

    def add(self, features: Any) -> None:
        """Counts one row."""
        self.rows += 1
        for name, feature in features.items():
            kind = feature.WhichOneof("kind")
            if name == _TIME_MS:
                moment = int(feature.int64_list.value[0])
                self.first_ms = min(self.first_ms or moment, moment)
                self.last_ms = max(self.last_ms, moment)
            if name.startswith(OWN_PREFIX) or kind is None:
                continue
            values = getattr(feature, kind).value
            if kind == "bytes_list":
                texts = self._texts.setdefault(name, Counter())
                texts.update(value.decode(errors="replace") for value in values[:1])
            else:
                whole = kind == "int64_list"
                self._whole[name] = self._whole.get(name, True) and whole
                self._numbers.setdefault(name, []).extend(map(float, values[:1]))

    def statistics(self) -> SplitStatistics:
        """Facts per column; a row that lacks a column has no value there."""
        columns = {name: self._number(name) for name in self._numbers}
        columns |= {
            name: self._text(name, counts)
            for name, counts in self._texts.items()
            if name not in columns or counts
        }
        return SplitStatistics(self.rows, columns)

    def _number(self, name: str) -> ColumnStatistics:
        values = np.array(self._numbers[name], np.float64)
        finite = values[np.isfinite(values)]
        missing = self.rows - len(values)
        if not len(finite):
            return ColumnStatistics(name, "empty", self.rows, self.rows)
        quantiles = _deciles(finite, len(values) / len(finite))
        counts, borders = np.histogram(finite, _DECILES)
        return ColumnStatistics(
            name,
            "int" if self._whole[name] else "float",
            self.rows,
            missing,
            min=float(values.min()),
            max=float(values.max()),
            mean=float(finite.mean()),
            std_dev=float(finite.std()),
            median=float(np.median(finite)),
            zeros=int((values == 0).sum()),
            buckets=tuple(
                Bucket(float(low), float(high), float(count))
                for low, high, count in zip(borders[:-1], borders[1:], counts, strict=True)
            ),
            quantiles=tuple(quantiles),
            not_finite=float(len(values) - len(finite)),
        )

    def _text(self, name: str, counts: Counter[str]) -> ColumnStatistics:
        present = counts.total()
        return ColumnStatistics(
            name,
            "text" if present else "empty",
            self.rows,
            self.rows - present,
            distinct=len(counts),
            values=tuple((value, float(count)) for value, count in counts.most_common(1000)),
        )


def _deciles(values: npt.NDArray[np.float64], weight: float) -> list[Bucket]:
    """Buckets of about a tenth of the values; a value that fills several is not cut in two."""
    ordered = np.sort(values)
    shares = np.linspace(0, 1, _DECILES + 1)
    edges = np.unique(np.quantile(ordered, shares, method="inverted_cdf"))
    upto = np.searchsorted(ordered, edges, side="right").astype(np.float64) * weight
    if len(edges) == 1:
        return [Bucket(float(edges[0]), float(edges[0]), float(upto[0]))]
    # As in TFDV's: a bucket holds its upper end, and a least value that fills a decile has a
    # bucket of its own.
    buckets = [
        Bucket(float(low), float(high), float(count))
        for (low, high), count in zip(pairwise(edges), np.diff(upto), strict=True)
    ]
    least = Bucket(float(edges[0]), float(edges[0]), float(upto[0]))
    if least.count * _DECILES >= upto[-1]:
        return [least, *buckets]
    return [Bucket(least.low, buckets[0].high, least.count + buckets[0].count), *buckets[1:]]


def read_captured(folder: Path) -> dict[int, CapturedRows]:
    """Reads all rows in a capture folder, by version.

    A file that is still being written may end within a row; that row is left out.

    Raises:
        UserError: nothing has been captured there.
    """
    files = sorted(folder.glob("capture-*.tfrecord")) + sorted(folder.glob("capture-*.open"))
    found: dict[int, CapturedRows] = {}
    example_class = message_class("tensorflow/core/example/example.proto", "tensorflow.Example")
    for file in files:
        for record in _records(file):
            example = example_class()
            example.ParseFromString(record)
            features = example.features.feature
            version = int(features[_VERSION].int64_list.value[0]) if _VERSION in features else 0
            found.setdefault(version, CapturedRows(version)).add(features)
    if not found:
        raise UserError(
            f"{folder}: nothing has been captured here.",
            expected="files capture-….tfrecord with rows in them",
            fix="start the server with `kubetfx serve --capture DIR`, and let it be asked",
        )
    return found


def _records(file: Path) -> Iterator[bytes]:
    try:
        yield from read_records(_chunks(file), str(file))
    except ValueError:
        if file.suffix != ".open":
            raise


def _chunks(file: Path) -> Iterable[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk
