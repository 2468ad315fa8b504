"""Versions that come and go while requests run."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from serving import rollout, versions
from serving.server.options import ServerOptions
from serving.server.status import ServingStatus
from serving.stores import open_store, open_tree


def served(base: Path, **changed: Any) -> Any:
    from serving.server.embedded import running

    settings: dict[str, Any] = {
        "model_base_path": str(base),
        "model_name": "m",
        "file_system_poll_wait_seconds": 0.05,
        "load_retry_interval_micros": 50_000,
        "drain_timeout_seconds": 5,
    }
    return running(ServerOptions(**settings | changed))


def ask(server: Any, path: str = "m", body: str = '{"instances": [1.0]}') -> Any:
    request = urllib.request.Request(
        f"{server.rest_url}/v1/models/{path}:predict", body.encode(), method="POST"
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)["predictions"][0]


def states(server: Any, name: str = "m") -> dict[int, str]:
    with urllib.request.urlopen(f"{server.rest_url}/v1/models/{name}", timeout=30) as response:
        entries = json.load(response)["model_version_status"]
    return {int(entry["version"]): entry["state"] for entry in entries}


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "took too long"
        time.sleep(0.02)


class Load:
    """Clients that ask without pause and remember what they got."""

    def __init__(self, server: Any, clients: int = 3) -> None:
        self.answers: list[Any] = []
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(server,)) for _ in range(clients)]

    def _run(self, server: Any) -> None:
        while not self._stop.is_set():
            try:
                self.answers.append(ask(server))
            except (OSError, ValueError) as error:
                self.failures.append(str(error))

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


def test_new_version_takes_over_without_a_failed_request(models: Any, tmp_path: Path) -> None:
    base = models.copy(tmp_path, {1: "half_plus_two"})
    with served(base) as server, Load(server) as load:
        wait_until(lambda: len(load.answers) > 20)
        models.copy(base, {2: "half_plus_three"})
        wait_until(lambda: bool(load.answers) and load.answers[-1] == 3.5)
        wait_until(lambda: states(server) == {1: "END", 2: "AVAILABLE"})
        # The folder of the new one goes: back to the old one, again without a gap.
        shutil.rmtree(base / "2")
        wait_until(lambda: load.answers[-1] == 2.5)
    assert load.failures == []
    assert set(load.answers) == {2.5, 3.5}


def test_version_that_fails_to_load_leaves_the_old_one_alone(models: Any, tmp_path: Path) -> None:
    base = models.copy(tmp_path, {1: "half_plus_two"})
    with served(base, max_num_load_retries=1) as server:
        (base / "2").mkdir()
        wait_until(lambda: states(server).get(2) == "END")
        assert ask(server) == 2.5
        # Half a copy, as `cp` would leave it for a moment: fails too, and is tried again.
        shutil.copy(models.root / "half_plus_three" / "saved_model.pb", base / "2")
        time.sleep(0.3)
        assert ask(server) == 2.5
        shutil.copytree(models.root / "half_plus_three" / "variables", base / "2" / "variables")
        wait_until(lambda: ask(server) == 3.5)


def test_start_fails_when_nothing_can_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"\xff not a model")
    with (
        pytest.raises(ServingStatus, match="Some models did not become available"),
        served(tmp_path, max_num_load_retries=0),
    ):
        pass


def test_ports_open_only_when_a_version_is_loaded(models: Any, tmp_path: Path) -> None:
    later = threading.Timer(0.5, lambda: models.copy(tmp_path, {7: "half_plus_two"}))
    later.start()
    begun = time.monotonic()
    with served(tmp_path) as server:
        assert time.monotonic() - begun > 0.4
        assert ask(server, "m/versions/7") == 2.5


def test_vanished_base_folder_keeps_what_is_loaded(models: Any, tmp_path: Path) -> None:
    base = tmp_path / "models"
    base.mkdir()
    models.copy(base, {1: "half_plus_two"})
    with served(base) as server:
        shutil.rmtree(base)
        time.sleep(0.3)
        assert ask(server) == 2.5


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("latest { num_versions: 2 }", {3, 2}),
        ("all {}", {1, 2, 3}),
        ("specific { versions: 1 versions: 3 versions: 9 }", {1, 3}),
    ],
)
def test_version_policies_choose_folders(
    models: Any, tmp_path: Path, policy: str, expected: set[int]
) -> None:
    base = models.copy(tmp_path, {1: "half_plus_two", 2: "half_plus_three", 3: "half_plus_two"})
    (base / "1").rename(base / "0001")  # leading zeros mean the same number
    (base / "not-a-version").mkdir()
    config = tmp_path / "models.config"
    config.write_text(one_model(base, policy=policy))
    with served(base, model_config_file=str(config), model_base_path="") as server:
        wait_until(lambda: set(states(server).values()) == {"AVAILABLE"})
        assert states(server).keys() == expected


def one_model(base: Path, name: str = "m", policy: str = "", labels: str = "") -> str:
    chosen = f"model_version_policy {{ {policy} }}" if policy else ""
    return (
        f'model_config_list {{ config {{ name: "{name}" base_path: "{base}" '
        f'model_platform: "tensorflow" {chosen} {labels} }} }}'
    )


def test_config_file_is_polled_and_labels_move(models: Any, tmp_path: Path) -> None:
    base = models.copy(tmp_path, {1: "half_plus_two", 2: "half_plus_three"})
    config = tmp_path / "models.config"
    config.write_text(one_model(base, policy="all {}"))
    settings = {
        "model_config_file": str(config), "model_base_path": "",
        "model_config_file_poll_wait_seconds": 0.05,
    }  # fmt: skip
    with served(base, **settings) as server:
        wait_until(lambda: states(server) == {1: "AVAILABLE", 2: "AVAILABLE"})
        labels = 'version_labels { key: "stable" value: %d }'
        config.write_text(one_model(base, policy="all {}", labels=labels % 1))
        wait_until(lambda: labelled(server) == 2.5)
        # A label on a version that is not loaded is refused, and nothing changes.
        config.write_text(one_model(base, policy="all {}", labels=labels % 9))
        time.sleep(0.3)
        assert labelled(server) == 2.5
        for text in ("model_config_list { nonsense }", ""):
            config.write_text(text)
            time.sleep(0.2)
            assert labelled(server) == 2.5
        config.write_text(one_model(base, policy="all {}", labels=labels % 2))
        wait_until(lambda: labelled(server) == 3.5)


def labelled(server: Any) -> Any:
    try:
        return ask(server, "m/labels/stable")
    except urllib.error.HTTPError:
        return None


def test_reload_by_grpc_adds_and_removes_models(models: Any, tmp_path: Path) -> None:
    import grpc
    from google.protobuf import text_format
    from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc

    base = models.copy(tmp_path, {1: "half_plus_two"})
    with served(base) as server, grpc.insecure_channel(server.grpc_address) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)

        def reload(text: str) -> Any:
            request = model_management_pb2.ReloadConfigRequest()
            text_format.Parse(text, request.config)
            return stub.HandleReloadConfigRequest(request, timeout=30)

        reload(one_model(base, "other"))
        assert ask(server, "other") == 2.5
        wait_until(lambda: states(server) == {1: "END"})
        with pytest.raises(urllib.error.HTTPError, match="404"):
            ask(server)
        bad = {
            one_model(base, labels='version_labels { key: "a" value: 5 }'): (
                "FAILED_PRECONDITION",
                "Request to assign label to version 5 of model m, which is not currently "
                "available for inference",
            ),
            one_model(Path("relative")): (
                "INVALID_ARGUMENT",
                "Expected model m to have an absolute path or URI; got base_path()=relative",
            ),
            one_model(base).replace("tensorflow", "caffe"): (
                "INVALID_ARGUMENT", "Model m requests unsupported platform caffe",
            ),
            one_model(base).replace("model_platform", "logging_config {} model_platform"): (
                "INVALID_ARGUMENT", "No request-logger-creator provided.",
            ),
            "custom_model_config {}": (
                "INVALID_ARGUMENT",
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
                "ModelConfigList is currently supported",
            ),
        }  # fmt: skip
        for text, expected in bad.items():
            with pytest.raises(grpc.RpcError) as caught:
                reload(text)
            error: Any = caught.value
            assert (error.code().name, error.details()) == expected
        assert ask(server, "other") == 2.5


def push(base: str, models: Any, name: str, push_as: Any = "stable") -> int:
    """Pushes a model as one more run would."""
    pushed = versions.push(
        open_store(base),
        open_tree(str(models.root / name)),
        versions.Origin(model="m", run_id=str(time.monotonic_ns())),
        versions.Terms(push_as=push_as),
    )
    return pushed.version


def test_ledger_decides_what_is_served(models: Any, tmp_path: Path) -> None:
    base = str(tmp_path / "m")
    first = push(base, models, "half_plus_two")
    with served(Path(base)) as server, Load(server) as load:
        assert ask(server) == 2.5
        second = push(base, models, "half_plus_three", "canary")
        wait_until(lambda: canary(server) == 3.5)
        assert ask(server) == 2.5
        assert states(server) == {first: "AVAILABLE", second: "AVAILABLE"}
        rollout.promote(base, second)
        wait_until(lambda: ask(server) == 3.5)
        begun = time.monotonic()
        rollout.rollback(base)
        wait_until(lambda: ask(server) == 2.5)
        assert time.monotonic() - begun < 5
    assert load.failures == []


def test_a_canary_never_stands_in_for_a_stable_version_that_does_not_load(
    models: Any, tmp_path: Path
) -> None:
    base = str(tmp_path / "m")
    first, second = (push(base, models, "half_plus_two") for _ in range(2))
    third = push(base, models, "half_plus_three", "canary")
    rollout.retire(base, "canary")
    rollout.rollback(base)
    with served(Path(base), max_num_load_retries=0) as server, Load(server) as load:
        assert states(server) == {first: "AVAILABLE"}
        third = push(base, models, "half_plus_three", "canary")
        rollout.promote(base, second)
        (Path(base) / str(second) / "saved_model.pb").write_bytes(b"damaged")
        wait_until(lambda: canary(server) == 3.5)
        wait_until(lambda: states(server).get(second) == "END")
        assert ask(server) == 2.5
        assert states(server)[first] == "AVAILABLE"
        shutil.rmtree(Path(base) / str(first))
        time.sleep(0.3)
        assert ask(server) == 2.5
        rollout.promote(base, third)
        wait_until(lambda: ask(server) == 3.5)
        wait_until(lambda: states(server)[first] == "END")
    assert load.failures == []


def test_a_start_waits_for_stable_not_for_the_canary(models: Any, tmp_path: Path) -> None:
    base = str(tmp_path / "m")
    push(base, models, "half_plus_two")
    push(base, models, "half_plus_three", "canary")
    with served(Path(base)) as server:
        assert ask(server) == 2.5
        wait_until(lambda: canary(server) == 3.5)
        assert ask(server) == 2.5


def canary(server: Any) -> Any:
    try:
        return ask(server, "m/labels/canary")
    except urllib.error.HTTPError:
        return None


def test_warmup_requests_run_before_a_version_serves(models: Any, tmp_path: Path) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    def warm(version: int, signature: str) -> None:
        incoming = tmp_path / f".incoming-{version}"
        shutil.copytree(models.root / "half_plus_two", incoming)
        record = prediction_log_pb2.PredictionLog()
        request = record.predict_log.request
        request.model_spec.signature_name = signature
        request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0]))
        (incoming / "assets.extra").mkdir()
        path = incoming / "assets.extra" / "tf_serving_warmup_requests"
        with tf.io.TFRecordWriter(str(path)) as writer:
            writer.write(record.SerializeToString())
        incoming.rename(tmp_path / str(version))

    warm(1, "serving_default")
    with served(tmp_path, max_num_load_retries=0) as server:
        assert ask(server) == 2.5
        warm(2, "no_such_signature")
        wait_until(lambda: states(server).get(2) == "END")
        with urllib.request.urlopen(f"{server.rest_url}/v1/models/m/versions/2") as response:
            status = json.load(response)["model_version_status"][0]["status"]
        assert status == {
            "error_code": "FAILED_PRECONDITION",
            "error_message": 'Serving signature key "no_such_signature" not found.',
        }
        assert ask(server) == 2.5


def test_sigterm_lets_requests_finish_and_ends_the_process(models: Any, tmp_path: Path) -> None:
    from serving.server.child import started

    base = models.copy(tmp_path, {1: "slow"})
    options = ServerOptions(
        model_base_path=str(base), model_name="m", port=0, rest_api_port=-1,
        drain_timeout_seconds=20,
    )  # fmt: skip
    answers: list[Any] = []
    with started(options, tmp_path / "server.log") as child:
        url = f"http://{child.rest_address}/v1/models/m:predict"

        def slowly() -> None:
            with urllib.request.urlopen(url, b'{"instances": [20000]}', timeout=60) as response:
                answers.append(json.load(response))

        thread = threading.Thread(target=slowly)
        thread.start()
        time.sleep(0.3)
        assert not answers
        child.process.send_signal(signal.SIGTERM)
        assert child.process.wait(30) == 0
        thread.join(30)
    assert answers == [{"predictions": [1.0]}]
    log = (tmp_path / "server.log").read_text()
    assert "draining" in log
    assert "Traceback" not in log


def test_sigterm_ends_the_process_even_if_a_run_does_not(models: Any, tmp_path: Path) -> None:
    from serving.server.child import started

    base = models.copy(tmp_path, {1: "slow"})
    options = ServerOptions(
        model_base_path=str(base), model_name="m", port=0, rest_api_port=-1,
        drain_timeout_seconds=1, rest_api_timeout_in_ms=600_000,
    )  # fmt: skip
    with started(options, tmp_path / "server.log") as child:
        url = f"http://{child.rest_address}/v1/models/m:predict"

        def for_ever() -> None:
            with suppress(OSError):
                urllib.request.urlopen(url, b'{"instances": [10000000]}', timeout=60).close()

        thread = threading.Thread(target=for_ever)
        thread.start()
        time.sleep(0.5)
        child.process.send_signal(signal.SIGTERM)
        assert child.process.wait(20) == 0
        thread.join(30)
    assert "Traceback" not in (tmp_path / "server.log").read_text()


def test_unix_socket_and_cors_headers(models: Any, tmp_path: Path) -> None:
    from serving.client import Client

    base = tmp_path / "models"
    base.mkdir()
    models.copy(base, {1: "half_plus_two"})
    path = tmp_path / "grpc.sock"
    with served(base, grpc_socket_path=str(path), enable_cors_support=True) as server:
        with Client(f"unix:{path}", "m") as client:
            assert client.predict({"x": 1.0}).columns == {"y": [2.5]}
        with urllib.request.urlopen(f"{server.rest_url}/v1/models/m", timeout=30) as response:
            assert response.headers["Access-Control-Allow-Origin"] == "*"


def test_start_that_waits_for_a_first_version_can_be_ended(tmp_path: Path) -> None:
    import subprocess
    import sys

    log = tmp_path / "server.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving.server", f"--model_base_path={tmp_path}", "--port=0",
             "--rest_api_port=-1"], stdout=subprocess.PIPE, stderr=stderr, text=True,
        )  # fmt: skip
    try:
        wait_until(lambda: "Did you forget to name your leaf directory" in log.read_text(), 60)
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
