"""A server that answers as Kubeflow's pipelines API does, as far as starting runs goes.

Requests are held against the API's own models (kfp_server_api, generated from its protos), specs
and inputs against the rules that `launcher` stands for. The client and the command that talk to it
are the real ones.

Source: kubeflow/pipelines 2.17.0, backend/src/apiserver/server/{run,experiment,recurring_run}_
server.go, backend/src/apiserver/template/v2_template.go (validatePipelineJobInputs).
"""

from __future__ import annotations

import json
import threading
import urllib.parse
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kfp_server_api
import yaml

from tests.kubeflow.launcher import Cluster, RefusedError, SpecRun

_VERSION = "/apis/v2beta1"
_CREATED = {
    "experiments": ("experiment_id", kfp_server_api.V2beta1Experiment, ("display_name",)),
    "runs": ("run_id", kfp_server_api.V2beta1Run, ("display_name", "experiment_id")),
    "recurringruns": (
        "recurring_run_id",
        kfp_server_api.V2beta1RecurringRun,
        ("display_name", "experiment_id", "trigger", "mode", "max_concurrency"),
    ),
}
"""What can be made: the name of its id, its model, and what a request must say."""

_INVALID, _FORBIDDEN = (400, 3), (403, 7)
"""HTTP status, and gRPC's code inside the answer."""


class PipelinesApi:
    """Keeps what was made, by kind and id.

    Attributes:
        kept: the documents, as they were sent.
        forbids: answers every request to make something with 403.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in _CREATED}
        self.forbids = False
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def only(self, kind: str) -> dict[str, Any]:
        """The one document of a kind."""
        [document] = self.kept[kind].values()
        return document

    def make(self, kind: str, document: dict[str, Any]) -> dict[str, Any]:
        """Keeps a document and gives it an id.

        Raises:
            RefusedError: the API server would refuse it.
        """
        id_name, model, required = _CREATED[kind]
        unknown = set(document) - set(model.attribute_map.values())
        if unknown:
            raise RefusedError(f"unknown field {sorted(unknown)}")
        missing = [name for name in required if not document.get(name)]
        if missing:
            raise RefusedError(f"{missing[0]} is empty")
        if (
            "experiment_id" in required
            and document["experiment_id"] not in self.kept["experiments"]
        ):
            raise RefusedError("no such experiment")
        if "pipeline_spec" in model.attribute_map:
            self._check_spec(document)
        made = {**document, id_name: str(uuid.uuid4()), "created_at": "2026-03-02T02:00:00Z"}
        made |= {"state": "SUCCEEDED"} if kind == "runs" else {}
        self.kept[kind][made[id_name]] = made
        return made

    def _check_spec(self, document: dict[str, Any]) -> None:
        given = document["pipeline_spec"]
        parts = [given[name] for name in ("pipeline_spec", "platform_spec") if name in given]
        config = document.get("runtime_config", {})
        known = kfp_server_api.V2beta1RuntimeConfig.attribute_map.values()
        if set(config) - set(known):
            raise RefusedError(f"unknown field in runtime_config: {sorted(config)}")
        text = yaml.safe_dump_all(parts or [given])
        SpecRun(text, Cluster(self.folder), config.get("parameters") or {})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = urllib.parse.urlsplit(self.path).path.removeprefix(_VERSION).strip("/")
                kind, _, name = path.partition("/")
                if path == "healthz":
                    self.answer(200, {"multi_user": False})
                elif kind in api.kept and not name:
                    self.answer(200, {kind: list(api.kept[kind].values())})
                elif name in api.kept.get(kind, {}):
                    self.answer(200, api.kept[kind][name])
                else:
                    self.refuse((404, 5), f"{path} not found")

            def do_POST(self) -> None:
                kind = self.path.removeprefix(_VERSION).strip("/")
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if api.forbids:
                    self.refuse(_FORBIDDEN, "User 'nobody' is not authorized to create runs")
                    return
                try:
                    self.answer(200, api.make(kind, json.loads(body)))
                except (RefusedError, KeyError, ValueError) as error:
                    self.refuse(_INVALID, f"Invalid input error: {error}")

            def refuse(self, status: tuple[int, int], message: str) -> None:
                self.answer(status[0], {"error": message, "code": status[1], "message": message})

            def answer(self, status: int, document: dict[str, Any]) -> None:
                data = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        return Handler


@contextmanager
def pipelines_api(folder: Path) -> Iterator[PipelinesApi]:
    """Runs the server until the block ends."""
    api = PipelinesApi(folder)
    thread = threading.Thread(target=api.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        api.server.shutdown()
        api.server.server_close()
