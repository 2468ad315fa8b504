"""A sample of what a server was asked and said, as tf.Examples for later comparison.

A request never waits for it: what was asked is put into a bounded queue, or dropped and counted
when that is full. A thread beside the event loop turns it into rows, one tf.Example each, in
TFRecord files that are rotated by size; the oldest are deleted.

    <folder>/capture-<start, ms since 1970>-<process>.tfrecord     finished files
    <folder>/….tfrecord.open                                       the one being written
    <folder>/capture.json                                          counts, every few seconds

The raw features are those of the request; beside them stand `kubetfx.time_ms`, `kubetfx.version`
and `kubetfx.prediction`.
"""

import json
import logging
import os
import queue
import random
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import google_crc32c
import numpy as np
from tensorflow.core.example import example_pb2, feature_pb2

from serving.errors import UserError
from serving.server.tensors import Array

__all__ = ["PREDICTION", "TIME_MS", "VERSION", "Capture", "CaptureTerms", "Observation"]

TIME_MS, VERSION, PREDICTION = "kubetfx.time_ms", "kubetfx.version", "kubetfx.prediction"
COUNTS_FILE = "capture.json"

_FLUSH_S = 2.0
_MISSING_INTEGERS = (-(2**63), -(2**31))
_MASK_DELTA = 0xA282EAD8

log = logging.getLogger("kubetfx.serve")


@dataclass(frozen=True)
class CaptureTerms:
    """How much is captured, and where.

    Attributes:
        folder: of the files; made if it is not there.
        sample: share of the requests.
        file_bytes: a file is finished at about this size.
        files: finished files kept.
        waiting: requests that may wait to be written; more are dropped.
    """

    folder: Path
    sample: float = 1.0
    file_bytes: int = 16 << 20
    files: int = 20
    waiting: int = 512


@dataclass(frozen=True)
class Observation:
    """One answered request.

    Attributes:
        version: the version that answered.
        inputs: arrays by alias, [rows, …] each; or one array of serialised tf.Examples.
        outputs: arrays by alias, [rows, …] each.
        time_ms: when it was answered, since 1970.
    """

    version: int
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    time_ms: int


class Capture:
    """Takes observations from the event loop and writes them in a thread of its own.

    Raises:
        UserError: the folder can't be written.
    """

    def __init__(self, terms: CaptureTerms) -> None:
        self.terms = terms
        self.written = 0
        """Rows written."""
        self.dropped = 0
        """Requests dropped because too many were waiting."""
        self.failed = 0
        """Requests that could not be turned into rows, or written."""
        self._queue: queue.Queue[Observation | None] = queue.Queue(terms.waiting)
        self._random = random.Random()
        try:
            terms.folder.mkdir(parents=True, exist_ok=True)
            self._file: _RotatedFile = _RotatedFile(terms)
        except OSError as error:
            raise UserError(
                f"the capture folder {terms.folder} can't be written: {error.strerror}",
                expected="a folder in which this user may make files",
                fix="choose another one with --capture, or change its owner or mode",
            ) from error
        self._thread = threading.Thread(target=self._write, name="serving-capture", daemon=True)
        self._thread.start()

    def wants(self) -> bool:
        """Draws whether the next request is part of the sample."""
        return self.terms.sample >= 1 or self._random.random() < self.terms.sample

    def offer(self, observation: Observation) -> None:
        """Hands a request over; never waits."""
        try:
            self._queue.put_nowait(observation)
        except queue.Full:
            self.dropped += 1

    def close(self, within_s: float = 5.0) -> None:
        """Writes what is waiting and ends the thread."""
        try:
            self._queue.put(None, timeout=within_s)
        except queue.Full:
            log.warning("capture: the disk is too slow, what was waiting is lost")
            return
        self._thread.join(within_s)

    def _write(self) -> None:
        last = time.monotonic()
        while True:
            try:
                observation = self._queue.get(timeout=_FLUSH_S)
            except queue.Empty:
                self._flush()
                last = time.monotonic()
                continue
            if observation is None:
                break
            try:
                for row in _rows(observation):
                    self._file.write(row)
                    self.written += 1
            except Exception:
                self.failed += 1
                log.debug("capture: a request was left out", exc_info=True)
            if time.monotonic() - last > _FLUSH_S:
                self._flush()
                last = time.monotonic()
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        """Brings what was written to the disk, with the counts beside it."""
        try:
            self._file.flush()
            counts = {"rows": self.written, "dropped": self.dropped, "failed": self.failed}
            partial = self.terms.folder / f".{COUNTS_FILE}.partial"
            partial.write_text(json.dumps(counts) + "\n")
            partial.replace(self.terms.folder / COUNTS_FILE)
        except OSError:
            self.failed += 1
            log.warning("capture: the folder can't be written", exc_info=True)


class _RotatedFile:
    """TFRecords in files of a bounded size, of which a bounded number is kept."""

    def __init__(self, terms: CaptureTerms) -> None:
        self._terms = terms
        self._file: BinaryIO
        self._path: Path
        self._size = 0
        self._open()

    def write(self, record: bytes) -> None:
        if self._size >= self._terms.file_bytes:
            self._finish()
            self._open()
        framed = _framed(record)
        self._file.write(framed)
        self._size += len(framed)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._finish()

    def _open(self) -> None:
        stamp = time.time_ns() // 1_000_000
        path = self._terms.folder / f"capture-{stamp}-{os.getpid()}.tfrecord"
        while path.exists() or path.with_name(f"{path.name}.open").exists():
            stamp += 1
            path = path.with_name(f"capture-{stamp}-{os.getpid()}.tfrecord")
        self._path, self._size = path, 0
        self._file = path.with_name(f"{path.name}.open").open("wb")

    def _finish(self) -> None:
        self._file.close()
        unfinished = Path(self._file.name)
        if self._size:
            unfinished.rename(self._path)
        else:
            unfinished.unlink(missing_ok=True)
        finished = sorted(self._terms.folder.glob("capture-*.tfrecord"))
        for old in finished[: -self._terms.files]:
            old.unlink(missing_ok=True)


def _rows(observation: Observation) -> list[bytes]:
    """Turns one request into a serialised tf.Example per row."""
    arrays = list(observation.inputs.values())
    count = int(arrays[0].shape[0]) if arrays and arrays[0].ndim else 0
    rows = _serialised(observation.inputs) or [
        _example(observation.inputs, row).SerializeToString() for row in range(count)
    ]
    made = []
    for index, row in enumerate(rows):
        extra = example_pb2.Example()
        features = extra.features.feature
        features[TIME_MS].int64_list.value.append(observation.time_ms)
        features[VERSION].int64_list.value.append(observation.version)
        for alias, array in observation.outputs.items():
            if array.ndim and array.shape[0] == len(rows):
                _add(features[f"{PREDICTION}.{alias}"], array[index])
        # Two serialised messages after one another are the two merged.
        made.append(row + extra.SerializeToString())
    return made


def _serialised(inputs: Mapping[str, Array]) -> list[bytes]:
    """The rows of a request that sent tf.Examples; none for one that sent columns."""
    if len(inputs) != 1:
        return []
    [array] = inputs.values()
    if array.dtype != np.object_ or array.ndim != 1:
        return []
    rows = [bytes(each) for each in array.tolist()]
    try:
        if all(example_pb2.Example.FromString(row).features.feature for row in rows):
            return rows
    except Exception:  # noqa: BLE001  (protobuf's own error class moved between versions)
        pass
    return []


def _example(inputs: Mapping[str, Array], row: int) -> example_pb2.Example:
    example = example_pb2.Example()
    for alias, array in inputs.items():
        _add(example.features.feature[alias], array[row])
    return example


def _add(feature: feature_pb2.Feature, value: Array) -> None:
    """Writes one cell; what stands for a missing one becomes an empty list."""
    cells: Sequence[object] = np.asarray(value).ravel().tolist()
    for cell in cells:
        if isinstance(cell, bytes | str):
            text = cell if isinstance(cell, bytes) else cell.encode()
            feature.bytes_list.value.extend([text] if text else [])
        elif isinstance(cell, bool | int):
            feature.int64_list.value.extend([] if cell in _MISSING_INTEGERS else [int(cell)])
        elif isinstance(cell, float):
            feature.float_list.value.extend([cell] if cell == cell else [])


def _framed(record: bytes) -> bytes:
    """Source: tensorflow/core/lib/io/record_writer.h, tensorflow/core/lib/hash/crc32c.h."""
    length = struct.pack("<Q", len(record))
    return length + _masked(length) + record + _masked(record)


def _masked(data: bytes) -> bytes:
    crc = int(google_crc32c.value(data))
    rotated = ((crc >> 15) | (crc << 17)) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + _MASK_DELTA) & 0xFFFFFFFF)
