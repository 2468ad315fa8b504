"""Clients that are slow, greedy, broken or malicious; others must not notice."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.server.options import ServerOptions

LIMIT = 1 << 20
FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def victim(models: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server in its own process, so that its memory can be watched."""
    from serving.server.child import started

    root = tmp_path_factory.mktemp("victim")
    models.copy(root, {1: "types"})
    options = ServerOptions(
        model_base_path=str(root), model_name="m", port=0, rest_api_port=-1,
        max_request_bytes=LIMIT, rest_api_timeout_in_ms=1500, enable_batching=True,
        drain_timeout_seconds=1,
    )  # fmt: skip
    with started(options, root / "server.log") as child:
        memory = psutil.Process(child.process.pid).memory_info().rss
        yield child
        grown = psutil.Process(child.process.pid).memory_info().rss - memory
        assert child.process.poll() is None, "the server died"
        assert grown < 300 << 20, f"memory grew by {grown >> 20} MiB"
    log = (root / "server.log").read_text()
    assert "Traceback" not in log, log[-3000:]


def post(victim: Any, body: bytes, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"http://{victim.rest_address}/v1/models/m:predict", body, headers, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read().decode("utf-8", "replace"))


def is_well(victim: Any) -> bool:
    body = b'{"signature_name": "int32", "instances": [7]}'
    return post(victim, body) == (200, {"predictions": [7]})


def connect(victim: Any) -> socket.socket:
    address = urlsplit(f"//{victim.rest_address}")
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=30)


def test_thousand_open_connections_disturb_nobody(victim: Any) -> None:
    idle = [connect(victim) for _ in range(1000)]
    try:
        for connection in idle[::2]:
            connection.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\n")
        begun = time.monotonic()
        assert all(is_well(victim) for _ in range(20))
        assert time.monotonic() - begun < 5
    finally:
        for connection in idle:
            connection.close()


def test_slow_bodies_are_cut_off(victim: Any) -> None:
    with connect(victim) as slow:
        slow.sendall(
            b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
        )
        for _ in range(4):
            time.sleep(0.1)
            slow.sendall(b" ")
            assert is_well(victim)
        answer = b"".join(iter(lambda: slow.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive within 1.5 s" in answer


def test_slow_and_endless_headers_are_cut_off(
    everything: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving.server import http_protocol

    monkeypatch.setattr(http_protocol, "HEADER_TIMEOUT_S", 0.2)
    address = urlsplit(everything.rest_url)
    with socket.create_connection((address.hostname or "", address.port or 0), 30) as slow:
        slow.sendall(b"GET /v1/models/m HTTP/1.1\r\n")
        assert slow.recv(100) == b""
    with socket.create_connection((address.hostname or "", address.port or 0), 30) as endless:
        endless.sendall(b"GET /v1/models/m HTTP/1.1\r\nX: ")
        sent = 0
        with suppress(ConnectionError):
            while sent < 1000:
                endless.sendall(b"a" * 10_000)
                sent += 1
        assert sent < 1000


def test_too_large_bodies_are_refused_before_they_are_read(victim: Any) -> None:
    with connect(victim) as greedy:
        greedy.sendall(
            b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000000\r\n\r\n"
        )
        assert greedy.recv(100).startswith(b"HTTP/1.1 413 ")
    with connect(victim) as chunked:
        chunked.sendall(
            b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"10000\r\n" + b"[" * 0x10000 + b"\r\n"
        answer = b""
        try:
            for _ in range(100):
                chunked.sendall(chunk)
            answer = chunked.recv(100)
        except ConnectionError:
            answer = b"HTTP/1.1 413 "
        assert answer.startswith(b"HTTP/1.1 413 ")
    assert is_well(victim)


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(b" " * (200 << 20), 9),  # a bomb: 200 MiB from 200 KiB
        gzip.compress(b'{"instances": [1]}')[:-6],
        b"\x1f\x8b not gzip",
    ],
    ids=["bomb", "cut short", "garbage"],
)
def test_bad_gzip_is_an_empty_document(victim: Any, body: bytes) -> None:
    status, answer = post(victim, body, **{"Content-Encoding": "gzip"})
    assert (status, answer) == (400, {"error": "JSON Parse error: The document is empty"})


@pytest.mark.parametrize(
    "body",
    [
        b"[" * (LIMIT - 10),
        b'{"a":' * (LIMIT // 6),
        b'{"instances": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"inputs": ' + b"[" * 90 + b"1" + b"]" * 90 + b', "signature_name": "int32"}',
        b'{"instances": [' + b"9" * 900_000 + b"]}",
        b'{"instances": ["' + b"\xff" * 900_000 + b'"]}',
        b'{"signature_name": "' + b"s" * 900_000 + b'"}',
        b'{"signature_name": "int32", "instances": [' + b"1," * 400_000 + b"1.5]}",
        b'{"signature_name": "int32", "instances": [' + b"1," * 400_000 + b"]}",
    ],
    ids=["deep", "deep objects", "deep list", "rank 90", "long number", "no utf-8", "long name",
         "late type error", "late parse error"],
)  # fmt: skip
def test_monstrous_json_is_refused_quickly(victim: Any, body: bytes) -> None:
    begun = time.monotonic()
    status, answer = post(victim, body)
    assert status == 400
    assert len(answer["error"]) < 100_000
    assert time.monotonic() - begun < 5
    assert is_well(victim)


def test_many_large_requests_at_once_stay_within_memory(victim: Any) -> None:
    body = b'{"signature_name": "float", "instances": [[' + b"1.5," * 200_000 + b"1]]}"
    statuses: list[int] = []

    def send() -> None:
        statuses.append(post(victim, body)[0])

    threads = [threading.Thread(target=send) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert set(statuses) <= {200, 503, 504}
    assert is_well(victim)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\xff\xfe garbage\r\n\r\n",
        b"GET /v1/models/\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/models/m:predict HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /v1/models/m HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_broken_http_ends_one_connection_only(victim: Any, raw: bytes) -> None:
    with connect(victim) as broken:
        broken.sendall(raw)
        broken.shutdown(socket.SHUT_WR)
        assert b"500" not in broken.recv(1000)[:20]
    assert is_well(victim)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "instances": JSON,
        "inputs": JSON,
        "examples": JSON,
        "context": JSON,
        "signature_name": st.sampled_from(["float", "int64", "string", "bytes", "bool", ""]) | JSON,
    },
)


@FUZZ
@given(REQUESTS, st.sampled_from(["predict", "classify", "regress"]))
def test_random_requests_get_an_answer_or_a_reason(victim: Any, request: Any, verb: str) -> None:
    body = json.dumps(request).encode()
    url = f"http://{victim.rest_address}/v1/models/m:{verb}"
    status, answer = 200, ""
    try:
        with urllib.request.urlopen(url, body, timeout=30) as response:
            answer = response.read().decode()
    except urllib.error.HTTPError as error:
        status, answer = error.code, error.read().decode("utf-8", "replace")
    json.loads(answer)
    assert status in (200, 400, 501), answer


@FUZZ
@given(
    st.binary(max_size=200), st.sampled_from(["Predict", "Classify", "Regress", "MultiInference"])
)
def test_random_grpc_bytes_get_a_status(victim: Any, data: bytes, call: str) -> None:
    with grpc.insecure_channel(victim.grpc_address) as channel:
        invoke = channel.unary_unary(f"/tensorflow.serving.PredictionService/{call}")
        code = grpc.StatusCode.OK
        try:
            invoke(data, timeout=30)
        except grpc.RpcError as error:
            code = error.code()
        assert code is not grpc.StatusCode.UNAVAILABLE


TENSORS = st.fixed_dictionaries(
    {
        "dtype": st.integers(0, 30),
        "dims": st.lists(st.integers(-2, 5) | st.just(2**40), max_size=4),
    },
    optional={
        "float_val": st.lists(st.floats(width=32), max_size=4),
        "int_val": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
        "string_val": st.lists(st.binary(max_size=5), max_size=4),
        "scomplex_val": st.lists(st.floats(width=32), max_size=3),
        "half_val": st.lists(st.integers(0, 2**31 - 1), max_size=3),
        "tensor_content": st.binary(max_size=20),
    },
)


@FUZZ
@given(TENSORS, st.sampled_from(["float", "int32", "string", "half", "bool", "serving_default"]))
def test_random_tensors_get_an_answer_or_a_reason(
    victim: Any, tensor: dict[str, Any], signature: str
) -> None:
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "m", signature
    proto = request.inputs["x"]
    proto.dtype = tensor["dtype"]
    for size in tensor["dims"]:
        proto.tensor_shape.dim.add().size = size
    for name, values in tensor.items():
        if name == "tensor_content":
            proto.tensor_content = values
        elif name not in ("dtype", "dims"):
            getattr(proto, name).extend(values)
    with grpc.insecure_channel(victim.grpc_address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        code = grpc.StatusCode.OK
        try:
            stub.Predict(request, timeout=30)
        except grpc.RpcError as error:
            code = error.code()
        assert code in (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT)


def test_the_victim_is_still_well(victim: Any, tmp_path: Path) -> None:
    assert is_well(victim)
