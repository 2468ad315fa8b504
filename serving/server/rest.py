"""The REST API as a plain ASGI application; four routes need no framework."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2

from serving.server.config_files import Monitoring
from serving.server.core import Call, Core, Target
from serving.server.example_calls import (
    classify_plan,
    classify_result,
    regress_plan,
    regress_result,
)
from serving.server.grpc_services import SIGNATURE_DEF, metadata_response, status_response
from serving.server.inference import predict_plan
from serving.server.json_examples import example_rows
from serving.server.json_reading import read_json
from serving.server.json_requests import predict_body, request_object
from serving.server.json_responses import classify_json, error_json, predict_json, regress_json
from serving.server.request_body import BodyBudget, BodyRefusedError, Receive, read_body
from serving.server.saved_model import DEFAULT_SIGNATURE
from serving.server.status import Code, from_runtime, http_status, invalid

__all__ = ["RestApp"]

LARGE_BODY_BYTES = 64 << 10
"""Larger bodies are parsed in a worker thread."""
LARGE_OUTPUT_VALUES = 10_000
"""More values than these are printed in a worker thread."""

_INT64_MAX = 2**63 - 1
_PREDICTION = re.compile(
    rb"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:(classify|regress|predict)",
    re.IGNORECASE,
)
_STATUS = re.compile(
    rb"/v1/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?(?:/(metadata))?",
    re.IGNORECASE,
)
_JSON = (b"content-type", b"application/json")
_CLOSE = (b"connection", b"close")
_CORS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
]

Send = Callable[[Any], Awaitable[None]]
Answer = tuple[int, bytes, list[tuple[bytes, bytes]]]


class RestApp:
    """The REST API of one server.

    Args:
        core: the models and how to run them.
        timeout_s: the longest time for one request, its body included.
        monitoring: where the Prometheus page is.
        cors: whether browsers elsewhere may call.
    """

    def __init__(
        self, core: Core, *, timeout_s: float, monitoring: Monitoring, cors: bool = False
    ) -> None:
        self._core = core
        self._timeout_s = timeout_s
        self._monitoring = monitoring
        self._headers = [_JSON, *(_CORS if cors else [])]
        self._budget = BodyBudget(core.max_request_bytes)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answers one ASGI request."""
        if scope["type"] != "http":
            return
        path: bytes = scope["raw_path"]
        if scope["query_string"]:
            path += b"?" + scope["query_string"]
        if path[:4].lower() != b"/v1/":
            status, body, headers = self._outside(scope["method"], path)
        else:
            status, body, headers = await self._inside(scope, path, receive)
        headers = [*headers, (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _outside(self, method: str, path: bytes) -> Answer:
        if self._monitoring.enabled and path == self._monitoring.path.encode():
            page = self._core.metrics.page().encode()
            return 200, page, [(b"content-type", b"text/plain")]
        return 404, b"", []

    async def _inside(self, scope: Any, path: bytes, receive: Receive) -> Answer:
        body: bytes | None = None
        booked = 0
        try:
            async with asyncio.timeout(self._timeout_s):
                body, booked = await read_body(
                    receive, scope["headers"], self._budget, self._core.workers
                )
                return 200, await self._answer(scope["method"], path, body), self._headers
        except BodyRefusedError as refused:
            return refused.http_status, error_json(refused.message), [*self._headers, _CLOSE]
        except TimeoutError:
            if body is None:
                text = f"request body did not arrive within {self._timeout_s:g} s"
                return 408, error_json(text), [*self._headers, _CLOSE]
            text = f"no answer within {self._timeout_s:g} s"
            return http_status(Code.DEADLINE_EXCEEDED), error_json(text), self._headers
        except Exception as error:  # noqa: BLE001  every fault becomes an answer
            status = from_runtime(error)
            return http_status(status.code), error_json(status.message), self._headers
        finally:
            self._budget.used -= booked

    async def _answer(self, method: str, path: bytes, body: bytes) -> bytes:
        if method == "POST" and (match := _PREDICTION.fullmatch(path)):
            target = _target(match)
            api = match.group(4).lower()
            name = {b"predict": "Predict", b"classify": "Classify", b"regress": "Regress"}[api]
            answers = {"Predict": self._predict, "Classify": self._classify}
            with self._core.call(target, name, "REST") as call:
                return await answers.get(name, self._regress)(call, body)
        if method == "GET" and (match := _STATUS.fullmatch(path)):
            target = _target(match)
            if not target.name:
                raise invalid("Missing model name in request.")
            return self._metadata(target) if match.group(4) else self._status(target)
        raise invalid(f"Malformed request: {method} {path.decode('ascii', 'replace')}")

    # --- inference -----------------------------------------------------------------------------

    async def _document(self, body: bytes) -> dict[str, Any]:
        if len(body) > LARGE_BODY_BYTES:
            return await self._core.workers.do(lambda: request_object(read_json(body)))
        return request_object(read_json(body))

    async def _predict(self, call: Call, body: bytes) -> bytes:
        document = await self._document(body)
        with self._core.find(call).lease() as model:
            key = document.get("signature_name") or DEFAULT_SIGNATURE
            signature = model.signatures.get(key)
            if signature is None:
                raise invalid(f'Serving signature name: "{key}" not found in signature def')
            specs = signature.inputs
            if len(body) > LARGE_BODY_BYTES:
                arrays, rows = await self._core.workers.do(lambda: predict_body(document, specs))
            else:
                arrays, rows = predict_body(document, specs)
            inputs = {alias: (array, specs[alias].dtype) for alias, array in arrays.items()}
            plan = predict_plan(model, signature, inputs)
            outputs = plan.named(await self._core.run(call, plan))
        if sum(array.size for array in outputs.values()) > LARGE_OUTPUT_VALUES:
            return await self._core.workers.do(lambda: predict_json(outputs, rows=rows))
        return predict_json(outputs, rows=rows)

    async def _classify(self, call: Call, body: bytes) -> bytes:
        document, rows = await self._rows(body)
        with self._core.find(call).lease() as model:
            plan = classify_plan(model, document.get("signature_name", ""), rows)
            outputs = plan.named(await self._core.run(call, plan))
        result = classify_result(outputs, len(rows))
        return classify_json(
            [(item.label, item.score) for item in row.classes] for row in result.classifications
        )

    async def _regress(self, call: Call, body: bytes) -> bytes:
        document, rows = await self._rows(body)
        with self._core.find(call).lease() as model:
            plan = regress_plan(model, document.get("signature_name", ""), rows)
            outputs = plan.named(await self._core.run(call, plan))
        regress_result(outputs, len(rows))  # checks the shape
        return regress_json(next(iter(outputs.values())))

    async def _rows(self, body: bytes) -> tuple[dict[str, Any], list[bytes]]:
        document = await self._document(body)
        if len(body) > LARGE_BODY_BYTES:
            return document, await self._core.workers.do(lambda: example_rows(document))
        return document, example_rows(document)

    # --- status --------------------------------------------------------------------------------

    def _status(self, target: Target) -> bytes:
        return _message_json(status_response(self._core, target), keep_names=False).encode()

    def _metadata(self, target: Target) -> bytes:
        response = metadata_response(self._core, target, [SIGNATURE_DEF])
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata[SIGNATURE_DEF].Unpack(signatures)
        spec = _message_json(response.model_spec, keep_names=True)
        described = _message_json(signatures, keep_names=True)
        return (
            f'{{\n"model_spec":{spec},\n"metadata": {{"signature_def": {described}}}\n}}\n'.encode()
        )


def _message_json(message: Any, *, keep_names: bool) -> str:
    text: str = json_format.MessageToJson(
        message,
        indent=1,
        preserving_proto_field_name=keep_names,
        always_print_fields_with_no_presence=True,
        ensure_ascii=False,
    )
    return text + "\n"


def _target(match: re.Match[bytes]) -> Target:
    name, version, label = match.group(1, 2, 3)
    number = int(version[:40]) if version else None
    if number is not None and (number > _INT64_MAX or len(version) > 40):
        raise invalid(f"Failed to convert version: {version.decode()} to numeric.")
    return Target(_decoded(name), number, _decoded(label))


def _decoded(part: bytes | None) -> str:
    return unquote_to_bytes(part).decode("utf-8", "replace") if part else ""
