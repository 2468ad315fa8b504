"""A real Chromium, spoken to over its own protocol: pages, errors, requests, pictures."""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd
from websockets.sync.client import ClientConnection, connect

from pipeline.launching.metadata import sqlite_connection

_TIMEOUT_S = 30.0


class Browser:
    """One page of a headless Chromium."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self.errors: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command and notes what happens until its answer comes."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=_TIMEOUT_S))
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def open(self, file: Path, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Opens a file and waits until its scripts have run."""
        self.errors.clear()
        self.requests.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=file.resolve().as_uri())
        deadline = time.monotonic() + _TIMEOUT_S
        while self.value("document.readyState") != "complete":
            assert time.monotonic() < deadline, "the page did not load"
            time.sleep(0.05)

    def value(self, expression: str) -> Any:
        """Evaluates an expression in the page."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def scroll_through(self) -> None:
        """Brings every part into view once, so that all charts are drawn."""
        self.value(
            "(async () => { for (let y = 0; y < document.body.scrollHeight; y += 500) {"
            " scrollTo(0, y); await new Promise((done) => setTimeout(done, 40)); }"
            " scrollTo(0, 0); await new Promise((done) => setTimeout(done, 150)); })()"
        )

    def picture(self, file: Path) -> None:
        """Takes a picture of the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 12000)}
        shot = self.call(
            "Page.captureScreenshot",
            format="png",
            captureBeyondViewport=True,
            clip={**clip, "scale": 1},
        )
        file.write_bytes(base64.b64decode(shot["data"]))

    def _note(self, message: dict[str, Any]) -> None:
        details = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(details["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if details["type"] in ("error", "warning", "assert"):
                self.errors.append(json.dumps(details["args"]))
            case "Log.entryAdded" if details["entry"]["level"] in ("error", "warning"):
                self.errors.append(details["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(details["request"]["url"])


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser, if this machine has Chromium; `make test-browser` insists on it."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    program = program or shutil.which("google-chrome")
    if program is None and os.environ.get("KUBETFX_NEEDS_BROWSER"):
        pytest.fail("no Chromium on this machine: install it, e.g. apt-get install chromium")
    if program is None:
        pytest.skip("no Chromium on this machine")
    profile = tmp_path_factory.mktemp("chromium")
    log = (profile / "stderr.log").open("wb")
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    arguments += ["--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen([program, *arguments], stderr=log, stdout=log)
    try:
        with connect(_page_address(profile, process), max_size=None) as socket:
            yield Browser(socket)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _page_address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    """Waits for the browser to say its port, then asks for the address of its one page."""
    import httpx

    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, (profile / "stderr.log").read_text()
        found = re.search(r"127\.0\.0\.1:(\d+)/devtools", (profile / "stderr.log").read_text())
        if found:
            pages = httpx.get(f"http://127.0.0.1:{found[1]}/json", trust_env=False).json()
            shown = [page for page in pages if page["type"] == "page"]
            if shown:
                return str(shown[0]["webSocketDebuggerUrl"])
        time.sleep(0.1)
    raise AssertionError("Chromium did not start: " + (profile / "stderr.log").read_text())


# ------------------------------------------------------------- a run, put into a real store


@dataclass
class Fabricated:
    """A run without its work: a real metadata store, with payloads as the steps leave them."""

    output: Path
    run_id: str = "20260501T120000.000001"
    pipeline: str = "taxi"
    clock_ms: int = 1_777_000_000_000

    def __post_init__(self) -> None:
        self.output.mkdir(parents=True, exist_ok=True)
        self.store = MetadataStore(sqlite_connection(self.output / "metadata.sqlite"))
        self.contexts = {
            kind: self._context(kind, name)
            for kind, name in (("pipeline_run", self.run_id), ("pipeline", self.pipeline))
        }
        self.folder = self.output / "runs" / self.run_id
        self.folder.mkdir(parents=True)

    def payload(self, node: str, key: str, name: str, content: bytes | str) -> Path:
        """Writes one file of an artifact."""
        file = self.output / "artifacts" / node / key / "1" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    def step(
        self,
        node: str,
        outputs: dict[str, tuple[str, dict[str, Any]]],
        inputs: dict[str, int] | None = None,
        state: int = mlmd.Execution.COMPLETE,
        told: dict[str, str] | None = None,
    ) -> dict[str, int]:
        """Records an execution; outputs are type and properties by key, inputs ids by key.

        `told` are the settings that the step was given.
        """
        kind = self.store.put_execution_type(mlmd.ExecutionType(name=f"test.{node}"))
        execution = mlmd.Execution(type_id=kind, last_known_state=state)
        for name, value in (told or {}).items():
            execution.custom_properties[name].string_value = value
        context = self._context("node", f"{self.pipeline}.{node}")
        pairs = []
        for key, number in (inputs or {}).items():
            pairs.append((self.store.get_artifacts_by_id([number])[0], _event(key, "INPUT")))
        for key, (type_name, properties) in outputs.items():
            declared = {name: mlmd.STRING for name in properties if name == "split_names"}
            type_id = self.store.put_artifact_type(
                mlmd.ArtifactType(name=type_name, properties=declared), can_add_fields=True
            )
            uri = str(self.output / "artifacts" / node / key / "1")
            artifact = mlmd.Artifact(type_id=type_id, uri=uri, state=mlmd.Artifact.LIVE)
            for name, value in properties.items():
                field = "int_value" if isinstance(value, int) else "string_value"
                place = artifact.properties if name in declared else artifact.custom_properties
                setattr(place[name], field, value)
            pairs.append((artifact, _event(key, "OUTPUT")))
        _, ids, _ = self.store.put_execution(
            execution, pairs, [context, *self.contexts.values()], force_reuse_context=True
        )
        return dict(zip((*(inputs or {}), *outputs), map(int, ids), strict=True))

    def _context(self, kind: str, name: str) -> mlmd.Context:
        type_id = self.store.put_context_type(mlmd.ContextType(name=kind))
        found = self.store.get_context_by_type_and_name(kind, name)
        if found is not None:
            return found
        context = mlmd.Context(type_id=type_id, name=name)
        [context.id] = self.store.put_contexts([context])
        return context


def _event(key: str, kind: str) -> mlmd.Event:
    event = mlmd.Event(type=mlmd.Event.Type.Value(kind))
    event.path.steps.add(key=key)
    return event


@pytest.fixture
def fabricated(tmp_path: Path) -> Fabricated:
    """An empty run to be filled."""
    return Fabricated(tmp_path / "out")
