"""Arrow columns → serialized tf.Examples → TFRecord bytes, without TensorFlow.

A missing cell is a feature with an empty list, a column without any value a feature of no kind,
which is what TFX's own CsvExampleGen writes and what schema inference expects.
"""

from __future__ import annotations

import struct

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

__all__ = ["ExampleEncoder", "frame_records"]

_FLOAT32 = pa.float32()
_BYTES = pa.binary()


class ExampleEncoder:
    """Turns rows into serialized tf.Examples; make one and keep it."""

    def __init__(self) -> None:
        self._encoder = RecordBatchToExamplesEncoder()

    def encode(self, batch: pa.RecordBatch) -> list[bytes]:
        """Encodes each row of a batch of int64, float64, string or null columns.

        Floats are narrowed to the 32 bits that a tf.Example has.
        """
        if batch.num_rows == 0:
            return []
        if batch.num_columns == 0:
            return [b""] * batch.num_rows
        lists = [_as_lists(column) for column in batch.columns]
        records: list[bytes] = self._encoder.encode(
            pa.RecordBatch.from_arrays(lists, batch.schema.names)
        )
        return records


def _as_lists(cells: pa.Array) -> pa.Array:
    """Wraps each value in a list of one, each missing cell in an empty list."""
    count = len(cells)
    if pa.types.is_null(cells.type):
        return pa.nulls(count, pa.list_(_BYTES))
    if pa.types.is_floating(cells.type):
        cells = pc.cast(cells, _FLOAT32, safe=False)
    elif pa.types.is_string(cells.type):
        cells = pc.cast(cells, _BYTES)
    elif cells.offset:
        cells = pa.concat_arrays([cells])
    ends = np.zeros(count + 1, np.int32)
    if cells.null_count:
        np.cumsum(cells.is_valid().to_numpy(zero_copy_only=False), out=ends[1:])
        cells = cells.drop_null()
    else:
        ends[1:] = np.arange(1, count + 1)
    return pa.ListArray.from_arrays(pa.array(ends), cells)


def frame_records(records: list[bytes]) -> bytes:
    """Turns records into the bytes of a TFRecord file (or of a part of one).

    Source: tensorflow/core/lib/io/record_writer.h (length and payload, each with the masked
    CRC-32C of its bytes), tensorflow/core/lib/hash/crc32c.h (the mask).
    """
    lengths = [len(each) for each in records]
    # Records of a table share few lengths: their headers are made once each.
    headers = {length: _header(length) for length in set(lengths)}
    sums = np.fromiter(map(google_crc32c.value, records), np.uint32, len(records))
    footers = _masked(sums).astype("<u4").tobytes()
    parts: list[bytes] = [b""] * (3 * len(records))
    parts[0::3] = [headers[length] for length in lengths]
    parts[1::3] = records
    parts[2::3] = [footers[at : at + 4] for at in range(0, len(footers), 4)]
    return b"".join(parts)


def _header(length: int) -> bytes:
    octets = struct.pack("<Q", length)
    checksum = np.array([google_crc32c.value(octets)], np.uint32)
    return octets + bytes(_masked(checksum).astype("<u4").tobytes())


def _masked(
    sums: np.ndarray[tuple[int], np.dtype[np.uint32]],
) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    rotated = (sums >> np.uint32(15)) | (sums << np.uint32(17))
    return rotated + np.uint32(0xA282EAD8)
