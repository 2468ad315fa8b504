"""Payloads in a real S3 store: copied in and out, checked, bounded, through outages."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.launching import lean_imports

lean_imports.install()

from tfx.dsl.io import fileio  # noqa: E402
from tfx.proto.orchestration import execution_result_pb2  # noqa: E402
from tfx.types import standard_artifacts  # noqa: E402

from pipeline.staging import object_store, stage, tfx_plugin  # noqa: E402
from serving.errors import UserError  # noqa: E402
from tests.serving.object_store_server import make_bucket, s3_server  # noqa: E402

ROOT = "s3://payloads/data/p/artifacts"


@pytest.fixture(scope="module", autouse=True)
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with (
        s3_server(tmp_path_factory.mktemp("s3") / "weed") as environment,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in environment.items():
            patch.setenv(name, value)
        object_store.store.cache_clear()
        make_bucket("payloads")
        tfx_plugin.register()
        yield
    object_store.store.cache_clear()


def artifact(uri: str) -> Any:
    made = standard_artifacts.Model()
    made.uri = uri
    return made


def execution(inputs: dict[str, str], outputs: dict[str, str]) -> Any:
    return SimpleNamespace(
        input_dict={key: [artifact(uri)] for key, uri in inputs.items()},
        output_dict={key: [artifact(uri)] for key, uri in outputs.items()},
        exec_properties={},
        tmp_dir="",
        stateful_working_dir="",
        execution_output_uri="",
    )


def produce(uri: str, files: dict[str, bytes]) -> None:
    """Makes a payload as an executor would."""

    def executor(info: Any) -> Any:
        result = execution_result_pb2.ExecutorOutput()
        for key, [output] in info.output_dict.items():
            for name, data in files.items():
                file = Path(output.uri) / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
            output.set_string_custom_property("blessed_model", f"{output.uri}/serving")
            result.output_artifacts[key].artifacts.append(output.mlmd_artifact)
        return result

    with stage.active() as running:
        result = running.run(execution({}, {"model": uri}), executor)
    [recorded] = result.output_artifacts["model"].artifacts
    assert recorded.uri == uri
    assert recorded.custom_properties["blessed_model"].string_value == f"{uri}/serving"


def consume(uri: str) -> dict[str, bytes]:
    """Reads a payload as an executor would."""
    seen: dict[str, bytes] = {}

    def executor(info: Any) -> Any:
        [[given]] = info.input_dict.values()
        base = Path(given.uri)
        for file in base.rglob("*"):
            if file.is_file():
                seen[file.relative_to(base).as_posix()] = file.read_bytes()
        return execution_result_pb2.ExecutorOutput()

    with stage.active() as running:
        running.run(execution({"model": uri}, {}), executor)
    return seen


def test_payload_comes_back_byte_for_byte() -> None:
    files = {
        "a.txt": b"text",
        # Arrow would pack and unpack by the name, if it were let.
        "cache/part-0.gz": b"\x1f\x8b not really",
        "empty": b"",
        "deep/er/big.bin": bytes(range(256)) * 80_000,
    }
    produce(f"{ROOT}/trainer/model/1", files)
    assert consume(f"{ROOT}/trainer/model/1") == files


def test_damaged_or_missing_file_is_told() -> None:
    uri = f"{ROOT}/trainer/model/2"
    produce(uri, {"a": b"1234", "b": b"5678"})
    object_store.store().write(f"{uri}/a", b"9999")
    with pytest.raises(UserError, match="a is not what was written"):
        consume(uri)
    object_store.store().remove_file(f"{uri}/a")
    with pytest.raises(UserError, match="a is gone"):
        consume(uri)


def test_local_disk_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    uri = f"{ROOT}/trainer/model/3"
    produce(uri, {"a": bytes(3 << 20)})
    monkeypatch.setenv(stage.SCRATCH, str(tmp_path / "scratch"))
    monkeypatch.setenv(stage.SCRATCH_GIB, str(2 / 1024))
    with pytest.raises(UserError, match="scratch disk"):
        consume(uri)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_tfx_sees_folders_and_files() -> None:
    base = f"{ROOT}/statistics/statistics/7"
    fileio.makedirs(base)
    assert fileio.exists(base)
    assert fileio.isdir(base)
    with fileio.open(f"{base}/Split-train/x.txt", "w") as file:
        file.write("größer")
    with fileio.open(f"{base}/Split-train/x.txt", "r") as file:
        assert file.read() == "größer"
    assert fileio.listdir(base) == ["Split-train"]
    assert fileio.glob(f"{base}/Split-*/x*") == [f"{base}/Split-train/x.txt"]
    assert list(fileio.walk(base)) == [
        (base, ["Split-train"], []),
        (f"{base}/Split-train", [], ["x.txt"]),
    ]
    stat: Any = fileio.stat(f"{base}/Split-train/x.txt")
    assert stat.length == 8
    with pytest.raises(OSError, match="exists already"):
        fileio.copy(f"{base}/Split-train/x.txt", f"{base}/Split-train/x.txt")
    fileio.rename(f"{base}/Split-train/x.txt", f"{base}/y.txt")
    assert not fileio.exists(f"{base}/Split-train/x.txt")
    with pytest.raises(fileio.NotFoundError):
        fileio.open(f"{base}/none", "rb")
    fileio.rmtree(base)
    assert not fileio.exists(f"{base}/y.txt")
    with pytest.raises(fileio.NotFoundError):
        fileio.rmtree(f"{ROOT}/nowhere")


def test_failed_write_leaves_nothing() -> None:
    def half_a_write() -> None:
        with fileio.open(f"{ROOT}/half", "wb") as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_a_write()
    assert not fileio.exists(f"{ROOT}/half")


def test_wrong_credentials_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    start = time.monotonic()
    with pytest.raises(UserError, match="refuses") as told:
        object_store.Store().write(f"{ROOT}/x", b"x")
    assert "secret" in told.value.fix
    assert "wrong" not in str(told.value)
    assert time.monotonic() - start < 5


def test_store_that_answers_503_for_a_while_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import os

    from tests.kubeflow.flaky_proxy import flaky_proxy

    with flaky_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        patient = object_store.Store()
        proxy.busy = True
        threading.Timer(3, proxy.recover).start()
        start = time.monotonic()
        patient.write(f"{ROOT}/late", b"late")
        assert time.monotonic() - start > 2.5
        assert patient.read(f"{ROOT}/late") == b"late"
        proxy.busy = True
        monkeypatch.setenv(object_store.PATIENCE, "1")
        with pytest.raises(UserError, match="does not answer"):
            patient.read(f"{ROOT}/late")
        assert proxy.refused > 2
