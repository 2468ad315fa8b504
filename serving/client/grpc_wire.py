"""Calls over gRPC."""

from typing import Any

import grpc

from serving.client.answers import Predictions, SignatureInfo, TensorDescription, VersionStatus
from serving.client.calls import NOT_GRPC, Call, Failure, Model, Tensors
from serving.client.protos import enum_name, message
from serving.client.tensors import dtype_name, from_proto, to_proto

__all__ = ["GrpcWire", "failure_of", "open_channel"]

_API = "tensorflow.serving"
_PREDICTION = f"/{_API}.PredictionService"
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Attempts are counted and timed by the client, not by the channel.
    ("grpc.enable_retries", 0),
]


class GrpcWire:
    """Makes the calls of PredictionService and ModelService."""

    def __init__(self, address: str) -> None:
        self.address = address

    def predict(
        self, model: Model, key: str, signature: SignatureInfo, tensors: Tensors
    ) -> Call[Predictions]:
        """Runs a signature on tensors."""
        request = self._request("PredictRequest", model, key)
        for name, (values, shape, dtype) in tensors.items():
            request.inputs[name].CopyFrom(to_proto(values, shape, dtype))

        def read(data: bytes) -> Predictions:
            response = message(f"{_API}.PredictResponse").FromString(data)
            columns = {
                name: from_proto(response.outputs[name]) for name in sorted(response.outputs)
            }
            return Predictions(columns, model.name, response.model_spec.version.value)

        return Call(f"Predict of {model.name}", f"{_PREDICTION}/Predict", request, read)

    def classify(
        self, model: Model, key: str, examples: list[bytes]
    ) -> Call[list[list[tuple[str, float]]]]:
        """Gives (label, score) pairs per example."""
        request = self._examples("ClassificationRequest", model, key, examples)

        def read(data: bytes) -> list[list[tuple[str, float]]]:
            response = message(f"{_API}.ClassificationResponse").FromString(data)
            return [
                [(item.label, item.score) for item in row.classes]
                for row in response.result.classifications
            ]

        return Call(f"Classify of {model.name}", f"{_PREDICTION}/Classify", request, read)

    def regress(self, model: Model, key: str, examples: list[bytes]) -> Call[list[float]]:
        """Gives one number per example."""
        request = self._examples("RegressionRequest", model, key, examples)

        def read(data: bytes) -> list[float]:
            response = message(f"{_API}.RegressionResponse").FromString(data)
            return [item.value for item in response.result.regressions]

        return Call(f"Regress of {model.name}", f"{_PREDICTION}/Regress", request, read)

    def signatures(self, model: Model) -> Call[dict[str, SignatureInfo]]:
        """Describes a model."""
        request = self._request("GetModelMetadataRequest", model, "")
        request.metadata_field.append("signature_def")

        def read(data: bytes) -> dict[str, SignatureInfo]:
            response = message(f"{_API}.GetModelMetadataResponse").FromString(data)
            packed = response.metadata["signature_def"].value
            signatures = message(f"{_API}.SignatureDefMap").FromString(packed).signature_def
            return {key: _signature(signatures[key]) for key in sorted(signatures)}

        where = f"{_PREDICTION}/GetModelMetadata"
        return Call(f"the signatures of {model.name}", where, request, read)

    def status(self, model: Model) -> Call[list[VersionStatus]]:
        """Tells which versions are loaded."""
        request = self._request("GetModelStatusRequest", model, "")

        def read(data: bytes) -> list[VersionStatus]:
            response = message(f"{_API}.GetModelStatusResponse").FromString(data)
            states = f"{_API}.ModelVersionStatus.State"
            return [
                VersionStatus(
                    item.version, enum_name(states, item.state), item.status.error_message
                )
                for item in response.model_version_status
            ]

        where = f"/{_API}.ModelService/GetModelStatus"
        return Call(f"the versions of {model.name}", where, request, read)

    @staticmethod
    def _request(kind: str, model: Model, key: str) -> Any:
        request = message(f"{_API}.{kind}")()
        spec = request.model_spec
        spec.name = model.name
        if key:
            spec.signature_name = key
        if model.version is not None:
            spec.version.value = model.version
        elif model.label is not None:
            spec.version_label = model.label
        return request

    def _examples(self, kind: str, model: Model, key: str, examples: list[bytes]) -> Any:
        request = self._request(kind, model, key)
        for example in examples:
            request.input.example_list.examples.add().MergeFromString(example)
        return request


def _signature(definition: Any) -> SignatureInfo:
    def described(tensors: Any) -> dict[str, TensorDescription]:
        return {
            name: TensorDescription(
                dtype_name(tensors[name].dtype),
                None
                if tensors[name].tensor_shape.unknown_rank
                else tuple(dim.size for dim in tensors[name].tensor_shape.dim),
            )
            for name in sorted(tensors)
        }

    method = definition.method_name.rpartition("/")[2]
    return SignatureInfo(method, described(definition.inputs), described(definition.outputs))


def open_channel(module: Any, address: str, credentials: Any) -> Any:
    """Opens a channel of `grpc` or of `grpc.aio`."""
    if credentials is None:
        return module.insecure_channel(address, options=_OPTIONS)
    return module.secure_channel(address, credentials, options=_OPTIONS)


def failure_of(error: grpc.RpcError) -> Failure:
    """Turns what gRPC raises into a status."""
    caught: Any = error
    code, details = caught.code(), caught.details() or ""
    unavailable = code is grpc.StatusCode.UNAVAILABLE
    if "http1" in details:  # "Trying to connect an http1.x server"
        return Failure(code.name, NOT_GRPC, is_safe_to_repeat=False)
    return Failure(code.name, details, is_safe_to_repeat=unavailable)
