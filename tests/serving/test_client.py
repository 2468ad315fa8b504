"""The client against the embedded server, over both APIs, waiting and awaiting."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pandas as pd
import pytest

from serving.client import (
    AsyncClient,
    Client,
    DeadlineError,
    NotFoundError,
    RefusedError,
    Retry,
    Tls,
    UnavailableError,
)
from serving.client.extract import DESCRIPTION_FILE, extract
from serving.client.protos import message
from serving.errors import UserError
from tests.serving.server.conftest import Models, everything, models  # noqa: F401  fixtures

KIND = "art der Zahlung (é)"


@pytest.fixture(params=["grpc", "rest", "async grpc", "async rest"])
def connect(request: pytest.FixtureRequest, everything: Any) -> Iterator[Callable[..., Any]]:  # noqa: F811
    """Opens clients of each kind for a model; the awaiting ones are made to wait."""
    address = everything.grpc_address if "grpc" in request.param else everything.rest_url
    opened: list[Any] = []

    def open_client(model: str, **settings: Any) -> Any:
        kind = Waiting if "async" in request.param else Client
        opened.append(kind(address, model, **settings))
        return opened[-1]

    yield open_client
    for client in opened:
        client.close()


class Waiting:
    """An AsyncClient whose calls wait, so that each test covers both."""

    def __init__(self, address: str, model: str, **settings: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(address, model, **settings)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        return lambda *args, **kwargs: self._runner.run(method(*args, **kwargs))

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


def sigmoid(x: float) -> float:
    import math

    return 1 / (1 + math.exp(-x))


def test_dict_rows_with_gaps_become_examples(connect: Any) -> None:
    client = connect("tabular")
    rows = [
        {"fare": 5, KIND: "cash", "trips": 1},  # a whole number where the model wants a float
        {"fare": None, KIND: "card"},
        {},
    ]
    answer = client.predict(rows)
    expected = [sigmoid(0.5 + 1 + 1), sigmoid(-0.1 + 2 + 0), sigmoid(-0.1 - 1)]
    assert [row["probability"] for row in answer] == pytest.approx(expected, rel=1e-5)
    assert len(answer) == 3
    assert answer[-1]["probability"] == pytest.approx(expected[2], rel=1e-5)
    assert answer.to_pandas().shape == (3, 1)


def test_frames_and_columns_give_the_same_as_dicts(connect: Any) -> None:
    client = connect("tabular")
    frame = pd.DataFrame({"fare": [5.0, 7.5], KIND: ["cash", "x"], "trips": [1, 2]})
    by_examples = client.predict(frame).columns["probability"]
    by_columns = client.predict(frame, signature="columns").columns["probability"]
    assert by_examples == pytest.approx(by_columns, rel=1e-6)
    gaps = pd.DataFrame({"fare": [None, 7.5], KIND: pd.array([pd.NA, "x"]), "trips": [1.0, 2.0]})
    assert len(client.predict(gaps)) == 2


def test_missing_cells_mean_the_same_in_both_signatures(connect: Any) -> None:
    client = connect("tabular")
    rows = [{"trips": 1, "day": 4}, {"trips": 1, "fare": 2.0, KIND: "cash"}]
    by_examples = client.predict(rows).columns["probability"]
    by_columns = client.predict(rows, signature="columns").columns["probability"]
    assert by_examples == pytest.approx(by_columns, rel=1e-6)
    assert by_examples[0] == pytest.approx(sigmoid(-0.1 - 1 + 1 + 0.5), rel=1e-5)


def test_examples_of_any_library_are_sent_as_they_are(connect: Any) -> None:
    import tensorflow as tf

    feature = tf.train.Feature(float_list=tf.train.FloatList(value=[5.0]))
    example = tf.train.Example(features=tf.train.Features(feature={"fare": feature}))
    client = connect("tabular")
    as_message = client.predict([example])
    as_bytes = client.predict(example.SerializeToString())
    assert list(as_message) == list(as_bytes)
    assert as_message[0]["probability"] == pytest.approx(sigmoid(0.5 - 1), rel=1e-5)


def test_versions_and_labels_are_named(connect: Any) -> None:
    client = connect("half_plus_two")
    assert client.predict({"x": 1.0}).columns == {"y": [3.5]}
    assert client.predict({"x": 1.0}, version=1).columns == {"y": [2.5]}
    assert client.predict({"x": 1.0}, label="stable").columns == {"y": [2.5]}
    with pytest.raises(RefusedError, match="Unrecognized servable version label: nope") as caught:
        client.predict({"x": 1.0}, label="nope")
    assert caught.value.expected.startswith("a label that points to a loaded version")
    with pytest.raises(NotFoundError, match=r"Specific\(half_plus_two, 9\)"):
        client.predict({"x": 1.0}, version=9)
    with pytest.raises(UserError, match="are both given"):
        client.predict({"x": 1.0}, version=1, label="stable")


def test_classify_regress_status_and_signatures(connect: Any) -> None:
    client = connect("half_plus_two")
    rows = [{"x": 1.0}, {"x": 3.0}]
    assert client.classify(rows, signature="classify", version=1) == [
        [("yes", 2.5), ("no", -2.5)], [("yes", 3.5), ("no", -3.5)],
    ]  # fmt: skip
    assert client.regress(rows, signature="regress", label="stable") == [2.5, 3.5]
    assert [(item.version, item.state) for item in client.status()] == [
        (2, "AVAILABLE"), (1, "AVAILABLE"),
    ]  # fmt: skip
    described = client.signatures()["classify"]
    assert described.method == "classify"
    assert described.examples_input == "inputs"
    assert described.outputs["scores"].shape == (-1, 2)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("float", [1.5, 2.0]), ("double", 0.1), ("int32", -7), ("int64", 2**62), ("uint8", 255),
        ("uint64", 2**64 - 1), ("string", "é"), ("bool", True), ("int8", [[1], [2]]),
    ],
)  # fmt: skip
def test_every_type_survives_the_way_there_and_back(connect: Any, kind: str, value: Any) -> None:
    answer = connect("types").predict([{"x": value}], signature=kind).columns["y"][0]
    if isinstance(answer, bytes):
        answer = answer.decode()
    assert answer == value


def test_bytes_outputs_come_back_as_bytes(connect: Any) -> None:
    answer = connect("types").predict([{"x": b"\x00\xff"}], signature="bytes")
    assert answer.columns["image_bytes"] == [b"\x00\xff"]


@pytest.mark.parametrize(
    ("rows", "settings", "complaint"),
    [
        ([{"fahre": 1.0}], {}, "row 0 has a column 'fahre' that the model does not know"),
        ([{"fare": 1.0}, {"fare": "x"}], {}, "row 1, column 'fare': 'x' does not fit its type"),
        ([{"trips": 1.5}], {}, "row 0, column 'trips': 1.5 does not fit"),
        ([{"fare": 1.0}], {"signature": "columns"}, "row 0 has no value for 'trips'"),
        ([{"day": "x"}], {}, "row 0, column 'day': 'x' does not fit its type"),
        ([], {}, "there are no rows"),
        ([{"fare": 1.0}, b"x"], {}, "rows are of bytes, dict"),
        ([{"fare": 1.0}], {"signature": "nope"}, "has no signature 'nope'"),
        (
            [{"fare": [[1.0], [2.0, 3.0]], KIND: "a", "trips": 1}],
            {"signature": "columns"},
            "ragged",
        ),
        ([{"unknown": 1}], {"ignore_unknown": True}, "that the model does not know"),
    ],
)
def test_rows_that_do_not_fit_are_named(
    connect: Any, rows: Any, settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UserError) as caught:
        connect("tabular").predict(rows, **settings)
    assert complaint in caught.value.what
    assert caught.value.expected
    assert caught.value.fix


def test_unknown_columns_can_be_left_out(connect: Any) -> None:
    answer = connect("tabular").predict([{"fare": 5.0, "tips": 2.0}], ignore_unknown=True)
    assert answer[0]["probability"] == pytest.approx(sigmoid(0.5 - 1), rel=1e-5)


def test_a_number_of_another_type_than_the_models_is_named_by_row_and_column(connect: Any) -> None:
    with pytest.raises(RefusedError) as caught:
        connect("tabular").predict([{"day": 4}, {"day": 4.5}])
    assert "\n" not in caught.value.what
    assert caught.value.expected == "values of type int64 in column 'day'; row 1 has float"


def test_several_values_for_a_column_of_one_are_refused(connect: Any) -> None:
    with pytest.raises(UserError, match=r"row 1, column 'fare': 2 values"):
        connect("tabular").predict([{"fare": [5.0]}, {"fare": [5.0, 6.0]}])


@pytest.mark.parametrize("kind", [Client, Waiting])
def test_the_other_apis_port_is_told_at_once(everything: Any, kind: Any) -> None:  # noqa: F811
    patient = Retry(attempts=50, first_wait_s=1)
    rest = everything.rest_url.removeprefix("http://")
    for address, port, remedy in (
        (rest, "a gRPC port", f"http://{rest}"),
        (f"http://{everything.grpc_address}", "a REST port", "without http://"),
    ):
        begun = time.monotonic()
        client = kind(address, "tabular", retry=patient)
        try:
            with pytest.raises(UnavailableError) as caught:
                client.signatures()
        finally:
            client.close()
        assert caught.value.expected.startswith(port)
        assert remedy in caught.value.fix
        assert time.monotonic() - begun < 5


def test_deadlines_end_a_call_without_a_second_try(connect: Any) -> None:
    client = connect("slow")
    client.signatures()
    begun = time.monotonic()
    with pytest.raises(DeadlineError):
        client.predict({"steps": 30_000}, timeout_s=0.3)
    assert time.monotonic() - begun < 2


def test_nobody_there_is_said_after_some_tries() -> None:
    for address in ("127.0.0.1:1", "http://127.0.0.1:1"):
        begun = time.monotonic()
        retry = Retry(attempts=3, first_wait_s=0.02)
        with Client(address, retry=retry) as client, pytest.raises(UnavailableError) as caught:
            client.status()
        assert address.removeprefix("http://") in caught.value.what
        assert time.monotonic() - begun < 5


def test_a_server_that_restarts_is_waited_for(models: Models, tmp_path: Path) -> None:  # noqa: F811
    from serving.server.embedded import running
    from serving.server.options import ServerOptions

    base = models.copy(tmp_path, {1: "half_plus_two"})
    options = ServerOptions(model_base_path=str(base), model_name="m", drain_timeout_seconds=1)
    with running(options) as first:
        grpc_port, rest_port = first.server.grpc_port, first.server.rest_port
    options = ServerOptions(
        model_base_path=str(base), model_name="m", port=grpc_port, rest_api_port=rest_port
    )
    patient = Retry(attempts=100, longest_wait_s=0.2)
    clients = [
        Client(address, "m", retry=patient, timeout_s=30)
        for address in (f"127.0.0.1:{grpc_port}", f"http://127.0.0.1:{rest_port}")
    ]
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(client.predict, {"x": 1.0}) for client in clients]
        time.sleep(0.3)
        assert not any(item.done() for item in waiting)
        with running(options):
            assert [item.result(30).columns for item in waiting] == [{"y": [2.5]}] * 2
    for client in clients:
        client.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for localhost, made here and trusted by nobody else."""
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    addresses = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    pem = serialization.Encoding.PEM
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    return folder


def test_grpc_is_encrypted_when_asked(
    models: Models,  # noqa: F811
    certificates: Path,
    tmp_path: Path,
) -> None:
    from serving.server.embedded import running
    from serving.server.options import ServerOptions

    base = tmp_path / "m"
    base.mkdir()
    models.copy(base, {1: "half_plus_two"})
    quoted = {
        field: (certificates / f"{file}.pem").read_text().replace("\n", "\\n")
        for field, file in (("server_key", "key"), ("server_cert", "cert"))
    }
    config = tmp_path / "ssl.config"
    config.write_text("\n".join(f'{field}: "{text}"' for field, text in quoted.items()))
    options = ServerOptions(
        model_base_path=str(base), model_name="m", ssl_config_file=str(config), rest_api_port=0,
        drain_timeout_seconds=1,
    )  # fmt: skip
    with running(options) as server:
        trusting = Tls(ca=certificates / "cert.pem")
        with Client(f"grpcs://{server.grpc_address}", "m", tls=trusting) as client:
            assert client.predict({"x": 1.0}).columns == {"y": [2.5]}
        once = Retry(attempts=1)
        with (
            Client(f"grpcs://{server.grpc_address}", "m", retry=once) as client,
            pytest.raises(UnavailableError),
        ):
            client.predict({"x": 1.0})


def test_headers_reach_the_server() -> None:
    seen: dict[str, str] = {}

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        seen.update(context.invocation_metadata())
        return b""

    handler = grpc.method_handlers_generic_handler(
        "tensorflow.serving.ModelService",
        {"GetModelStatus": grpc.unary_unary_rpc_method_handler(answer)},
    )
    server = grpc.server(ThreadPoolExecutor(1), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with Client(f"127.0.0.1:{port}", headers={"Authorization": "Bearer x"}) as client:
            assert client.status() == []
    finally:
        server.stop(0)
    assert seen["authorization"] == "Bearer x"


@pytest.mark.parametrize("address", ["ftp://x:1", "http://", "grpc://"])
def test_addresses_that_make_no_sense_are_refused(address: str) -> None:
    with pytest.raises(UserError, match="is no address of a model server"):
        Client(address)


def test_both_clients_offer_the_same_calls() -> None:
    def calls(kind: type) -> dict[str, str]:
        return {
            name: str(inspect.signature(method)).split(" -> ")[0]
            for name, method in vars(kind).items()
            if not name.startswith("_")
        }

    assert calls(Client) == calls(AsyncClient)


def test_the_client_imports_neither_tensorflow_nor_numpy() -> None:
    code = (
        "import sys, time; t = time.process_time();"
        "from serving.client import Client; Client('127.0.0.1:1', 'm').close();"
        "print(time.process_time() - t);"
        "heavy = {'tensorflow', 'tensorflow_serving', 'numpy', 'pandas', 'tfx', 'keras'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    seconds = [
        float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
        for _ in range(3)
    ]
    assert min(seconds) < 0.5


def test_the_messages_are_those_of_the_installed_serving_api() -> None:
    assert DESCRIPTION_FILE.read_bytes() == extract(), "run: python -m serving.client.extract"


def test_our_messages_live_beside_tensorflows() -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    ours = message("tensorflow.serving.PredictRequest")()
    ours.model_spec.name = "m"
    ours.inputs["x"].float_val.append(1.5)
    theirs = predict_pb2.PredictRequest.FromString(ours.SerializeToString())
    assert theirs.inputs["x"].float_val[:] == [1.5]
    assert message("tensorflow.Example") is not tf.train.Example


def test_one_client_serves_many_threads(everything: Any) -> None:  # noqa: F811
    for address in (everything.grpc_address, everything.rest_url):
        with Client(address, "half_plus_two") as client, ThreadPoolExecutor(16) as pool:
            answers = pool.map(
                lambda x, client=client: client.predict({"x": float(x)}, version=1)[0]["y"],
                range(100),
            )
            assert list(answers) == [x / 2 + 2 for x in range(100)]
    assert threading.active_count() < 100
