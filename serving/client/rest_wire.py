"""Calls over REST."""

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from serving.client.answers import Predictions, SignatureInfo, TensorDescription, VersionStatus
from serving.client.calls import Call, Failure, Model, Tensors
from serving.client.protos import message
from serving.client.tensors import nested

__all__ = ["RestWire", "failure_of_response"]

_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class RestWire:
    """Makes the calls of the REST API."""

    def __init__(self, address: str) -> None:
        self.address = address

    def predict(
        self, model: Model, key: str, signature: SignatureInfo, tensors: Tensors
    ) -> Call[Predictions]:
        """Runs a signature on tensors, in column format."""
        inputs = {
            name: nested([_json_value(value) for value in values], shape)
            for name, (values, shape, _) in tensors.items()
        }
        body = {"signature_name": key, "inputs": inputs}

        def read(answer: Any) -> Predictions:
            outputs = answer["outputs"]
            if len(signature.outputs) == 1:
                outputs = {next(iter(signature.outputs)): outputs}
            columns = {
                name: _undo_b64(outputs[name]) if name.endswith("_bytes") else outputs[name]
                for name in sorted(outputs)
            }
            return Predictions(columns, model.name, model.version)

        return self._post("Predict", model, body, read)

    def classify(
        self, model: Model, key: str, examples: list[bytes]
    ) -> Call[list[list[tuple[str, float]]]]:
        """Gives (label, score) pairs per example."""
        body = {"signature_name": key, "examples": [_example_json(item) for item in examples]}
        return self._post(
            "Classify",
            model,
            body,
            lambda answer: [[(label, score) for label, score in row] for row in answer["results"]],
        )

    def regress(self, model: Model, key: str, examples: list[bytes]) -> Call[list[float]]:
        """Gives one number per example."""
        body = {"signature_name": key, "examples": [_example_json(item) for item in examples]}
        return self._post("Regress", model, body, lambda answer: list(answer["results"]))

    def signatures(self, model: Model) -> Call[dict[str, SignatureInfo]]:
        """Describes a model."""

        def read(answer: Any) -> dict[str, SignatureInfo]:
            found = answer["metadata"]["signature_def"]["signature_def"]
            return {key: _signature(found[key]) for key in sorted(found)}

        where = _path(model) + "/metadata"
        return Call(f"the signatures of {model.name}", where, None, _read_json(read))

    def status(self, model: Model) -> Call[list[VersionStatus]]:
        """Tells which versions are loaded."""

        def read(answer: Any) -> list[VersionStatus]:
            return [
                VersionStatus(int(item["version"]), item["state"], item["status"]["error_message"])
                for item in answer["model_version_status"]
            ]

        return Call(f"the versions of {model.name}", _path(model), None, _read_json(read))

    @staticmethod
    def _post(what: str, model: Model, body: Any, read: Callable[[Any], Any]) -> Call[Any]:
        if not body["signature_name"]:
            del body["signature_name"]
        data = json.dumps(body, ensure_ascii=False).encode()
        where = f"{_path(model)}:{what.lower()}"
        return Call(f"{what} of {model.name}", where, data, _read_json(read))


def _read_json(read: Callable[[Any], Any]) -> Callable[[bytes], Any]:
    def read_bytes(data: bytes) -> Any:
        # Texts of outputs may be no UTF-8; they come out with replacement characters.
        return read(json.loads(data.decode("utf-8", "replace")))

    return read_bytes


def _path(model: Model) -> str:
    path = f"/v1/models/{quote(model.name, safe='')}"
    if model.version is not None:
        return f"{path}/versions/{model.version}"
    if model.label is not None:
        return f"{path}/labels/{quote(model.label, safe='')}"
    return path


def _json_value(value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _undo_b64(value: Any) -> Any:
    if isinstance(value, list):
        return [_undo_b64(item) for item in value]
    return base64.b64decode(value["b64"])


def _example_json(data: bytes) -> dict[str, Any]:
    features = message("tensorflow.Example").FromString(data).features.feature
    document: dict[str, Any] = {}
    for name in features:
        kind = features[name].WhichOneof("kind")
        values = getattr(features[name], kind).value if kind else []
        document[name] = [_json_value(value) for value in values]
    return document


def _signature(definition: Any) -> SignatureInfo:
    def described(tensors: Any) -> dict[str, TensorDescription]:
        return {
            name: TensorDescription(
                tensors[name]["dtype"].removeprefix("DT_").lower(),
                None
                if tensors[name]["tensor_shape"].get("unknown_rank")
                else tuple(int(dim["size"]) for dim in tensors[name]["tensor_shape"]["dim"]),
            )
            for name in sorted(tensors)
        }

    method = definition["method_name"].rpartition("/")[2]
    return SignatureInfo(method, described(definition["inputs"]), described(definition["outputs"]))


def failure_of_response(status: int, body: bytes) -> Failure:
    """Turns an HTTP answer other than 200 into a status."""
    text = body.decode("utf-8", "replace")
    try:
        text = json.loads(text)["error"]
    except (ValueError, KeyError, TypeError):
        text = text[:500] or f"HTTP status {status}"
    return Failure(_CODES.get(status, "UNKNOWN"), text, is_safe_to_repeat=status in (502, 503))
