"""The infra validator with real SavedModels in real server processes, good ones and broken ones."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tfx.types import standard_artifacts as artifacts

from components.bounded_server import BoundedServer, ServerEndedError
from components.infra_validator.comparison import compare
from components.infra_validator.component import Executor
from components.infra_validator.demands import Demands
from components.infra_validator.trial import (
    MODEL_NAME,
    Figures,
    Objection,
    Terms,
    try_out,
)
from components.model_calls import RecordedRequest
from components.record_file import read_records, write_records
from components.signatures import read_signatures
from components.warmup import Row, warmup_requests
from serving.disk import LocalTree

ROWS: list[dict[str, list[Any]]] = [
    {"trip miles": [float(n)] if n % 3 else [], "payment": [b"Cash"] if n % 4 else [], "tips": [1]}
    for n in range(80)
]
SPEC = {
    "trip miles": tf.io.FixedLenFeature([], tf.float32, float("nan")),
    "payment": tf.io.FixedLenFeature([], tf.string, ""),
}
TEXT = tf.TensorSpec([None], tf.string, name="examples")
TERMS = Terms(tolerance=1e-4, start_timeout_s=120, request_timeout_s=20)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are bound by Linux")


class _Model(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = tf.Variable(2.0)

    def answer(self, miles: tf.Tensor, payment: tf.Tensor) -> dict[str, tf.Tensor]:
        known = tf.where(tf.math.is_nan(miles), -1.0, miles)
        score = self.weight * known + tf.cast(payment == "Cash", tf.float32)
        return {"probability": score, "payment": payment}


def _answer_later(answer: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Multiplies matrices for a while, which any server can do."""
    matrix = tf.eye(600) + tf.reshape(answer["probability"][:1], [1, 1]) * 1e-9
    busy = tf.while_loop(lambda n, _: n < 10, lambda n, m: (n + 1, m @ matrix), (0, matrix))[1]
    return {**answer, "probability": answer["probability"] + 0.0 * tf.reduce_sum(busy)}


Change = Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]


def save(folder: Path, change: Change = lambda answer: answer) -> Path:
    """Saves a model with the two usual signatures, its answers changed."""
    model = _Model()

    def serialized(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_example(examples, SPEC)
        return change(model.answer(parsed["trip miles"], parsed["payment"]))

    def columns(trip_miles: tf.Tensor, payment: tf.Tensor) -> dict[str, tf.Tensor]:
        return change(model.answer(trip_miles, payment))

    signatures = {
        "serving_default": tf.function(serialized).get_concrete_function(TEXT),
        "columns": tf.function(columns).get_concrete_function(
            trip_miles=tf.TensorSpec([None], tf.float32, name="trip_miles"),
            payment=tf.TensorSpec([None], tf.string, name="payment"),
        ),
    }
    tf.saved_model.save(model, str(folder), signatures=signatures)

    def name_as_raw(saved: Any) -> None:
        inputs = saved.meta_graphs[0].signature_def["columns"].inputs
        inputs["trip miles"].CopyFrom(inputs.pop("trip_miles"))

    edit(folder, name_as_raw)
    return folder


def edit(folder: Path, change: Callable[[Any], None]) -> None:
    file = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    change(saved)
    file.write_bytes(saved.SerializeToString())


def example(row: dict[str, list[Any]]) -> bytes:
    message = tf.train.Example()
    for name, values in row.items():
        feature = message.features.feature[name]
        for value in values:
            if isinstance(value, bytes):
                feature.bytes_list.value.append(value)
            else:
                feature.float_list.value.append(value)
    return bytes(message.SerializeToString())


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("examples")
    (root / "Split-eval").mkdir()
    (root / "Split-eval" / "data-00000").write_bytes(write_records(map(example, ROWS)))
    artifact = artifacts.Examples()
    artifact.uri = str(root)
    artifact.split_names = '["eval"]'
    return artifact


def validate(
    root: Path, examples: Any, blessed: int | None = None, **demands: Any
) -> tuple[Any, dict[str, Any]]:
    """Runs the executor on `<root>/Format-Serving`; returns the blessing and its summary."""
    model, blessing = artifacts.Model(), artifacts.InfraBlessing()
    model.uri, model.id = str(root), 7
    blessing.uri = str(root / "blessing")
    inputs = {"model": [model], "examples": [examples]}
    if blessed is not None:
        evaluation = artifacts.ModelBlessing()
        evaluation.set_int_custom_property("blessed", blessed)
        inputs["model_blessing"] = [evaluation]
    Executor().Do(
        inputs,
        {"blessing": [blessing]},
        {
            "demands": Demands(requests=24, **demands).model_dump_json(),
            "split": "eval",
            "unsent_columns": '["tips"]',
        },
    )
    return blessing, json.loads(Path(blessing.uri, "summary.json").read_text())


def reason_of(blessing: Any, summary: dict[str, Any]) -> str:
    """Checks that blessing and summary refuse alike; returns the sentence."""
    assert blessing.get_int_custom_property("blessed") == 0
    assert Path(blessing.uri, "INFRA_NOT_BLESSED").exists()
    [reason] = summary["reasons"]
    assert blessing.get_string_custom_property("reason") == reason
    return str(reason)


def children() -> list[int]:
    """The processes of this one that still run or were not waited for."""
    listed = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text()
    return [int(pid) for pid in listed.split()]


# ----------------------------------------------------------------------------- whole models


def test_a_good_model_is_blessed_with_its_figures(tmp_path: Path, examples: Any) -> None:
    save(tmp_path / "Format-Serving")
    demands = {"inputs": {"columns": ["trip miles", "payment"]}, "max_p99_ms": 20_000}
    blessing, summary = validate(tmp_path, examples, blessed=1, **demands)
    assert summary["reasons"] == []
    assert blessing.get_int_custom_property("blessed") == 1
    assert blessing.get_int_custom_property("current_model_id") == 7
    assert Path(blessing.uri, "INFRA_BLESSED").exists()
    assert [one["name"] for one in summary["signatures"]] == ["columns", "serving_default"]
    for one in summary["signatures"]:
        assert one["requests"] == 12
        assert one["rest_requests"] == 12
        assert one["rows"] > 12
        assert 0 < one["p50_ms"] <= one["p99_ms"]
        assert 0 < one["rest_p50_ms"] <= one["rest_p99_ms"]
        assert one["largest_difference"] < 1e-5
    assert 0 < summary["load_s"] < summary["start_s"]
    assert 0.1 < summary["memory_before_load_gib"] <= summary["peak_memory_gib"] < 4
    assert children() == []


def test_a_slow_model_is_refused_with_the_figures_and_may_try_again(
    tmp_path: Path, examples: Any
) -> None:
    save(tmp_path / "Format-Serving", _answer_later)
    blessing, summary = validate(tmp_path, examples, max_p50_ms=1, max_p99_ms=1e6)
    reason = reason_of(blessing, summary)
    assert "too slow: signature '" in reason
    assert "single rows), at most 1 ms are allowed" in reason
    assert not summary["repeatable"]


def test_an_operation_that_no_server_has_is_named(tmp_path: Path, examples: Any) -> None:
    folder = save(tmp_path / "Format-Serving")

    def rename(saved: Any) -> None:
        for function in saved.meta_graphs[0].graph_def.library.function:
            for node in function.node_def:
                node.op = "MyOwnOp" if node.op == "IsNan" else node.op

    edit(folder, rename)
    blessing, summary = validate(tmp_path, examples, blessed=1)
    assert reason_of(blessing, summary) == (
        "the model needs the operation 'MyOwnOp', which the model server does not have"
    )
    assert summary["repeatable"]


def test_damaged_variables_are_told(tmp_path: Path, examples: Any) -> None:
    folder = save(tmp_path / "Format-Serving")
    [data] = (folder / "variables").glob("variables.data-*")
    data.write_bytes(b"\0" * 3)
    reason = reason_of(*validate(tmp_path, examples))
    assert reason.startswith(
        "the model server could not load the model: its variables can't be read, are they all "
    )


def test_a_signature_that_fails_on_real_rows_is_told_with_the_servers_words(
    tmp_path: Path, examples: Any
) -> None:
    save(
        tmp_path / "Format-Serving",
        lambda answer: {**answer, "probability": tf.reshape(answer["probability"], [1])},
    )
    reason = reason_of(*validate(tmp_path, examples))
    assert "fails on a request of " in reason
    assert "rows with real values: INVALID_ARGUMENT: " in reason


def test_answers_that_differ_from_the_models_own_are_refused(tmp_path: Path, examples: Any) -> None:
    save(
        tmp_path / "Format-Serving",
        lambda answer: {**answer, "noise": tf.random.uniform(tf.shape(answer["probability"]))},
    )
    reason = reason_of(*validate(tmp_path, examples))
    assert "answers differently on the model server: row " in reason
    assert "of output 'noise' is 0." in reason
    assert "tolerated is 0.0001" in reason


@pytest.mark.parametrize(
    ("demands", "reason"),
    [
        (
            {"signatures": ("serving_default", "predict")},
            "the model lacks the signature 'predict'; it has columns, serving_default",
        ),
        (
            {"inputs": {"columns": ["payment", "tolls", "trip miles"]}},
            "signature 'columns' lacks the input 'tolls', a feature of the model",
        ),
    ],
)
def test_what_the_file_lacks_is_told_without_a_server(
    tmp_path: Path, examples: Any, demands: dict[str, Any], reason: str
) -> None:
    save(tmp_path / "Format-Serving")
    started = time.monotonic()
    assert reason_of(*validate(tmp_path, examples, **demands)) == reason
    assert time.monotonic() - started < 3


def test_a_model_that_the_evaluation_refused_is_not_tried(tmp_path: Path, examples: Any) -> None:
    blessing, summary = validate(tmp_path, examples, blessed=0)
    assert reason_of(blessing, summary) == "not tried: the evaluation did not bless the model"
    assert not summary["checked"]


# ---------------------------------------------------------------------- crashes and hangs


def recorded(folder: Path) -> list[RecordedRequest]:
    rows = [Row(example(row), row) for row in ROWS]
    data, _ = warmup_requests(read_signatures(LocalTree(str(folder))), rows, 8, MODEL_NAME)
    return [RecordedRequest(log) for log in read_records([data], "requests")]


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (signal.SIGSEGV, "the model server crashed with SIGSEGV when signature 'columns' was sent"),
        (signal.SIGSTOP, "signature 'columns' did not answer a request of 1 row within 2 s"),
    ],
)
def test_a_server_that_crashes_or_hangs_at_a_request_is_told_and_gone(
    tmp_path: Path, sent: signal.Signals, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path / "model")
    requests = recorded(folder)
    terms = Terms(tolerance=1e-4, start_timeout_s=120, request_timeout_s=2)
    wait_ready = BoundedServer.wait_ready

    def ready_then_struck(server: BoundedServer, timeout_s: float) -> Any:
        ready = wait_ready(server, timeout_s)
        os.kill(server.pid, sent)
        return ready

    monkeypatch.setattr(BoundedServer, "wait_ready", ready_then_struck)
    with pytest.raises(Objection) as caught:
        try_out(folder, requests, terms, Figures())
    assert caught.value.sentence.startswith(told)
    assert caught.value.is_measured
    assert children() == []


def test_a_server_that_hangs_while_it_starts_is_ended(tmp_path: Path) -> None:
    with BoundedServer(tmp_path, "m", tmp_path / "log", 100) as server:
        os.kill(server.pid, signal.SIGSTOP)
        with pytest.raises(ServerEndedError, match="was not ready within 1 s") as caught:
            server.wait_ready(1)
        assert not caught.value.has_begun
    assert children() == []


def test_a_machine_without_a_server_is_no_fault_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorflow.py").write_text("raise ImportError('not installed here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="not installed here; it had not come to the model"):
        try_out(tmp_path, [], TERMS, Figures())


def test_a_server_whose_time_is_up_ends_by_itself(tmp_path: Path) -> None:
    with (
        BoundedServer(tmp_path, "m", tmp_path / "log", 1.5) as server,
        pytest.raises(ServerEndedError, match="had used up its time"),
    ):
        server.wait_ready(60)


def test_a_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "import os, sys, time; from pathlib import Path\n"
        "from components.bounded_server import BoundedServer\n"
        "base = Path(sys.argv[1])\n"
        "with BoundedServer(base, 'm', base / 'log', 100) as server:\n"
        "    time.sleep(1)\n"
        "    print(server.pid, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        cwd=Path(__file__).resolve().parents[2],
    )
    process = Path(f"/proc/{said.stdout.strip()}/stat")
    until = time.monotonic() + 10
    while time.monotonic() < until and process.exists():
        if process.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        assert not process.exists()


# ------------------------------------------------------------------------------ comparison


def test_answers_are_compared_by_scale_and_texts_exactly() -> None:
    import numpy as np

    def answer(numbers: list[float], texts: list[bytes]) -> dict[str, Any]:
        return {"a": np.array(numbers), "t": np.array(texts, dtype=object)}

    nan, inf = float("nan"), float("inf")
    same = answer([1.0, nan, inf, 1000.02], [b"x\0", b"", b"y", b"z"])
    other = answer([1.00005, nan, inf, 1000.0], [b"x\0", b"", b"y", b"z"])
    close = compare(same, other, 1e-4)
    assert close.sentence == ""
    assert 4e-5 < close.largest < 6e-5
    told = compare(same, other, 1e-6).sentence
    assert told == "row 0 of output 'a' is 1 instead of 1.00005"
    gone = answer([1.0, nan, inf, nan], [b"x\0", b"", b"y", b"z"])
    assert "row 3 of output 'a' is nan instead of 1000" in compare(gone, other, 1e-4).sentence
    worded = answer([1.0, nan, inf, 1000.0], [b"x", b"", b"y", b"z"])
    assert compare(worded, other, 1e-4).sentence.startswith("row 0 of output 't' is 'x' instead")
    flat = {"a": np.zeros([4, 1]), "t": same["t"]}
    assert "has the shape [4, 1] instead of [4]" in compare(flat, other, 1e-4).sentence
    assert compare({"a": same["a"]}, other, 1).sentence == "outputs a instead of a, t"
