"""Sends recorded requests to a model server, over gRPC and REST, and reads the answers.

A request is recorded as TensorFlow Serving records it, a PredictionLog, which is also what
warmup files hold; over gRPC exactly these bytes are sent. Nothing here imports TensorFlow.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from components.proto_classes import message_class
from serving.client import Client, Retry, ServingError
from serving.client.tensors import from_proto
from serving.errors import UserError

__all__ = ["Answer", "CallFailedError", "ModelCalls", "RecordedRequest", "read"]

Answer = dict[str, npt.NDArray[Any]]
"""What a model says, by the name of the output; the first dimension counts the rows."""

_APIS = "tensorflow_serving/apis"
_SERVICE = "/tensorflow.serving.PredictionService"
_RESPONSES = {
    "predict": ("Predict", f"{_APIS}/predict.proto", "PredictResponse"),
    "classify": ("Classify", f"{_APIS}/classification.proto", "ClassificationResponse"),
    "regress": ("Regress", f"{_APIS}/regression.proto", "RegressionResponse"),
}
_OPTIONS = [
    ("grpc.max_receive_message_length", 2**31 - 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
]


class CallFailedError(Exception):
    """A request was not answered.

    Args:
        code: the canonical status, `INVALID_ARGUMENT`.
        message: the server's words.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    @property
    def is_timeout(self) -> bool:
        """Whether the answer was not there in time."""
        return self.code == "DEADLINE_EXCEEDED"


class RecordedRequest:
    """One request out of a PredictionLog.

    Args:
        log: the serialized PredictionLog.
        version: the version to ask; without, the one that the server prefers.
    """

    def __init__(self, log: bytes, version: int | None = None) -> None:
        parsed = message_class(
            f"{_APIS}/prediction_log.proto", "tensorflow.serving.PredictionLog"
        ).FromString(log)
        kind = parsed.WhichOneof("log_type")
        self.kind: str = kind.removesuffix("_log")
        self.message: Any = getattr(parsed, kind).request
        self.version = version
        if version is not None:
            self.message.model_spec.version.value = version

    @property
    def signature(self) -> str:
        """The signature that is asked."""
        return str(self.message.model_spec.signature_name)

    @cached_property
    def rows(self) -> int:
        """How many rows it asks about."""
        return len(next(iter(self.inputs.values())))

    @cached_property
    def inputs(self) -> Answer:
        """The inputs by name; `classify` and `regress` have serialized `examples`."""
        if self.kind == "predict":
            return {name: _array(from_proto(one)) for name, one in self.message.inputs.items()}
        examples = self.message.input.example_list.examples
        return {"examples": _array([one.SerializeToString() for one in examples])}

    @cached_property
    def body(self) -> bytes:
        """The request as gRPC sends it."""
        return bytes(self.message.SerializeToString())


class ModelCalls:
    """Connections to one server; use it as a context manager.

    Args:
        model_name: the model as the server knows it.
        grpc_address: host and port.
        rest_url: where the REST API begins.
        timeout_s: the longest wait for one answer. Unit: seconds.
    """

    def __init__(self, model_name: str, grpc_address: str, rest_url: str, timeout_s: float) -> None:
        self._channel = grpc.insecure_channel(grpc_address, _OPTIONS)
        self._methods = {
            kind: self._channel.unary_unary(f"{_SERVICE}/{method}")
            for kind, (method, _, _) in _RESPONSES.items()
        }
        self._timeout_s = timeout_s
        self._rest = Client(rest_url, model_name, timeout_s=timeout_s, retry=Retry(attempts=1))

    def __enter__(self) -> ModelCalls:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        self._rest.close()

    def grpc(self, request: RecordedRequest) -> bytes:
        """Sends a request and returns the answer unread, for who measures; see `read`.

        Raises:
            CallFailedError: the server refused it, or did not answer in time.
        """
        try:
            return bytes(self._methods[request.kind](request.body, timeout=self._timeout_s))
        except grpc.RpcError as error:
            raise CallFailedError(error.code().name, error.details() or "") from error

    def rest(self, request: RecordedRequest) -> Answer:
        """Sends the rows of a `predict` request as JSON.

        Raises:
            CallFailedError: the server refused it, or did not answer in time.
        """
        columns = {name: values.tolist() for name, values in request.inputs.items()}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        try:
            answer = self._rest.predict(rows, signature=request.signature, version=request.version)
        except ServingError as error:
            raise CallFailedError(error.code, f"over REST: {error.what}") from error
        except UserError as error:
            raise CallFailedError("INVALID_ARGUMENT", f"over REST: {error.what}") from error
        return {name: _array(values) for name, values in answer.columns.items()}


def read(request: RecordedRequest, response: bytes) -> Answer:
    """Turns the answer to a request into arrays.

    `classify` gives `classes` (if they have names) and `scores`, [N, C]; `regress` gives
    `outputs`, [N].
    """
    _, file, name = _RESPONSES[request.kind]
    parsed = message_class(file, f"tensorflow.serving.{name}").FromString(response)
    if request.kind == "predict":
        return {output: _array(from_proto(one)) for output, one in parsed.outputs.items()}
    if request.kind == "regress":
        return {"outputs": _array([row.value for row in parsed.result.regressions])}
    rows = [row.classes for row in parsed.result.classifications]
    answer = {"scores": _array([[one.score for one in row] for row in rows])}
    labels = [[one.label.encode() for one in row] for row in rows]
    return {**answer, "classes": _array(labels)} if any(map(any, labels)) else answer


def _array(values: Any) -> npt.NDArray[Any]:
    """Turns nested lists into an array; texts become bytes, which numpy must not cut at zeros."""
    array = np.array(values, dtype=object)
    first = next(iter(array.ravel()), 0.0)
    if isinstance(first, str):
        return np.array([one.encode() for one in array.ravel()], dtype=object).reshape(array.shape)
    return array if isinstance(first, bytes) else np.array(values)
