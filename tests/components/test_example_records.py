import io
import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.example_records import ExampleEncoder, frame_records
from components.record_file import read_records

tfx_coder = pytest.importorskip("tfx_bsl.coders.example_coder")


def decode(records: list[bytes]) -> dict[str, list[list[object] | None]]:
    decoded: dict[str, list[list[object] | None]] = (
        tfx_coder.ExamplesToRecordBatchDecoder().DecodeBatch(records).to_pydict()
    )
    return decoded


def test_missing_cells_are_empty_lists_and_empty_columns_have_no_kind() -> None:
    batch = pa.RecordBatch.from_pydict(
        {
            "whole": pa.array([1, None, 2**62]),
            "part": pa.array([0.1, None, -1.0]),
            "größe in cm": pa.array(["é", None, ""]),
            "none": pa.nulls(3),
        }
    )
    assert decode(ExampleEncoder().encode(batch)) == {
        "whole": [[1], [], [2**62]],
        "part": [[float(np.float32(0.1))], [], [-1.0]],
        "größe in cm": [["é".encode()], [], [b""]],
        "none": [None, None, None],
    }


def test_a_slice_encodes_its_own_rows() -> None:
    batch = pa.RecordBatch.from_pydict({"a": [1, 2, None, 4], "b": ["w", None, "y", "z"]})
    assert decode(ExampleEncoder().encode(batch.slice(1, 3))) == {
        "a": [[2], [], [4]],
        "b": [[], [b"y"], [b"z"]],
    }


def test_no_rows_make_no_records() -> None:
    batch = pa.RecordBatch.from_pydict({"a": pa.array([], pa.int64())})
    assert ExampleEncoder().encode(batch) == []
    assert frame_records([]) == b""


def test_a_known_record_has_the_known_frame() -> None:
    # The checksums are those TensorFlow 2.21's TFRecordWriter writes for b"hello".
    assert frame_records([b"hello"]) == (
        struct.pack("<Q", 5) + bytes.fromhex("eab2043e") + b"hello" + bytes.fromhex("bb1f1c19")
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=20))
def test_framed_records_are_read_back(records: list[bytes]) -> None:
    framed = io.BytesIO(frame_records(records))
    assert list(read_records(iter(lambda: framed.read(7), b""), "t")) == records
