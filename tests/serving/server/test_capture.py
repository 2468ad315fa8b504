"""Capturing requests: complete, bounded, rotated, and never in a request's way."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow.core.example import example_pb2

from components.gates import captured_rows
from components.record_file import read_records
from serving.errors import UserError
from serving.server.capture import Capture, CaptureTerms, Observation


def columns(rows: int = 1) -> Observation:
    inputs: dict[str, Any] = {
        "miles": np.full((rows, 1), 2.5, np.float32),
        "seconds": np.full(rows, -(2**63), np.int64),
        "company": np.array([b"Blue"] * rows, np.object_),
    }
    return Observation(7, inputs, {"probability": np.full((rows, 1), 0.25)}, 1_777_000_000_000)


def examples_in(folder: Path) -> list[example_pb2.Example]:
    return [
        example_pb2.Example.FromString(record)
        for file in sorted(folder.glob("capture-*.tfrecord"))
        for record in read_records([file.read_bytes()], str(file))
    ]


def test_columns_become_rows_with_time_version_and_prediction(tmp_path: Path) -> None:
    capture = Capture(CaptureTerms(tmp_path))
    capture.offer(columns(rows=2))
    capture.close()
    [first, _] = examples_in(tmp_path)
    features = first.features.feature
    assert features["miles"].float_list.value[:] == [2.5]
    assert features["company"].bytes_list.value[:] == [b"Blue"]
    # What stands for a missing number is written as none.
    assert not features["seconds"].int64_list.value
    assert features["kubetfx.version"].int64_list.value[:] == [7]
    assert features["kubetfx.time_ms"].int64_list.value[:] == [1_777_000_000_000]
    assert features["kubetfx.prediction.probability"].float_list.value[:] == [0.25]
    counts = json.loads((tmp_path / "capture.json").read_text())
    assert counts == {"rows": 2, "dropped": 0, "failed": 0}


def test_serialised_examples_are_kept_as_they_came(tmp_path: Path) -> None:
    example = example_pb2.Example()
    example.features.feature["fare"].float_list.value.append(9)
    rows = np.empty(1, np.object_)
    rows[0] = example.SerializeToString()
    capture = Capture(CaptureTerms(tmp_path))
    capture.offer(Observation(3, {"examples": rows}, {"p": np.array([0.5])}, 1))
    capture.close()
    [captured] = captured_rows.look_through(str(tmp_path)).values()
    assert (captured.version, captured.rows) == (3, 1)
    [row] = captured_rows.examples_of(str(tmp_path), captured)
    assert row == example.SerializeToString()


def test_column_of_whole_numbers_and_fractions_becomes_one_of_fractions(tmp_path: Path) -> None:
    capture = Capture(CaptureTerms(tmp_path))
    for fare in (np.array([12], np.int64), np.array([12.5], np.float32)):
        capture.offer(Observation(3, {"fare": fare}, {"p": np.array([0.5])}, 1))
    capture.close()
    [captured] = captured_rows.look_through(str(tmp_path)).values()
    rows = captured_rows.examples_of(str(tmp_path), captured)
    features = [example_pb2.Example.FromString(row).features.feature for row in rows]
    assert [each["fare"].float_list.value[:] for each in features] == [[12.0], [12.5]]


def test_files_are_rotated_and_the_oldest_deleted(tmp_path: Path) -> None:
    capture = Capture(CaptureTerms(tmp_path, file_bytes=2_000, files=3))
    for _ in range(300):
        capture.offer(columns())
        time.sleep(0.0005)
    capture.close()
    files = list(tmp_path.glob("capture-*.tfrecord"))
    assert len(files) == 3
    assert sum(file.stat().st_size for file in files) < 3 * 2_500
    assert not list(tmp_path.glob("*.open"))


def test_slow_disk_costs_rows_and_not_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = Capture(CaptureTerms(tmp_path, waiting=10))
    monkeypatch.setattr(capture._file, "write", lambda record: time.sleep(0.05))
    started = time.perf_counter()
    for _ in range(1000):
        capture.offer(columns())
    assert time.perf_counter() - started < 0.5
    assert capture.dropped >= 900
    capture.close()


def test_sample_is_about_the_share_that_was_asked_for(tmp_path: Path) -> None:
    capture = Capture(CaptureTerms(tmp_path, sample=0.1))
    assert 700 < sum(capture.wants() for _ in range(10_000)) < 1300
    capture.close()


def test_request_that_makes_no_rows_is_counted(tmp_path: Path) -> None:
    capture = Capture(CaptureTerms(tmp_path))
    capture.offer(Observation(1, {"x": np.array([1, 2]), "y": np.array([1])}, {}, 1))
    capture.offer(columns())
    capture.close()
    assert (capture.failed, capture.written) == (1, 1)


def test_file_that_is_being_written_may_end_within_a_row(tmp_path: Path) -> None:
    capture = Capture(CaptureTerms(tmp_path))
    capture.offer(columns(rows=3))
    capture.close()
    [file] = tmp_path.glob("capture-*.tfrecord")
    file.with_name(f"{file.name}.open").write_bytes(file.read_bytes()[:-5])
    file.unlink()
    assert captured_rows.look_through(str(tmp_path))[7].rows == 2


def test_empty_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing has been captured"):
        captured_rows.look_through(str(tmp_path))


def test_server_captures_what_it_answers(models: Any, tmp_path: Path) -> None:
    import httpx

    from serving.server.embedded import running
    from serving.server.options import ServerOptions

    base = tmp_path / "model"
    models.copy(base, {5: "half_plus_two"})
    options = ServerOptions(
        port=0, rest_api_port=-1, model_base_path=str(base), capture=str(tmp_path / "captured")
    )
    with running(options) as server:
        url = f"{server.rest_url}/v1/models/default:predict"
        answer = httpx.post(url, json={"instances": [1.0, 2.0]}, trust_env=False)
        assert answer.status_code == 200
    rows = captured_rows.look_through(str(tmp_path / "captured"))
    assert rows[5].rows == 2
