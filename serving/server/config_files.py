"""Reads the text protos that TensorFlow Serving takes as files.

Only ModelServerConfig comes with the serving API's package. The three others are described
here, field for field as in TensorFlow Serving's `.proto` files.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from google.protobuf.message import Message
from tensorflow_serving.config import model_server_config_pb2

from serving.errors import UserError
from serving.server.batching import BatchingParameters

__all__ = [
    "Monitoring",
    "Tls",
    "parse_model_config",
    "read_batching",
    "read_model_config",
    "read_monitoring",
    "read_tls",
]

PROMETHEUS_PATH = "/monitoring/prometheus/metrics"

M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Monitoring:
    """Where the Prometheus page is, if there is one."""

    enabled: bool = False
    path: str = PROMETHEUS_PATH


@dataclass(frozen=True)
class Tls:
    """Key and certificates of the gRPC port, in PEM."""

    server_key: bytes
    server_cert: bytes
    custom_ca: bytes | None
    client_verify: bool


def read_model_config(path: str) -> model_server_config_pb2.ModelServerConfig:
    """Turns a `--model_config_file` into its message.

    Raises:
        UserError: when the file is missing or is no ModelServerConfig.
    """
    return _read(path, model_server_config_pb2.ModelServerConfig(), "--model_config_file")


def parse_model_config(text: str, place: str) -> model_server_config_pb2.ModelServerConfig:
    """Turns the text of a ModelServerConfig into its message; `place` is for messages."""
    return _parse(text, model_server_config_pb2.ModelServerConfig(), place)


def read_batching(path: str) -> BatchingParameters:
    """Turns a `--batching_parameters_file` into parameters; no file means the defaults.

    Raises:
        UserError: when the file is missing, is no BatchingParameters or asks for the impossible.
    """
    if not path:
        return BatchingParameters()
    message: Any = _read(path, _message("BatchingParameters")(), "--batching_parameters_file")
    given = {
        name: getattr(message, name).value
        for name in (
            "max_batch_size",
            "batch_timeout_micros",
            "max_enqueued_batches",
            "num_batch_threads",
        )
        if message.HasField(name)
    }
    try:
        return BatchingParameters(
            **given,
            allowed_batch_sizes=tuple(message.allowed_batch_sizes),
            pad_variable_length_inputs=message.pad_variable_length_inputs,
        )
    except ValueError as error:
        raise UserError(
            f"{path}: {error}",
            expected="batching parameters that TensorFlow Serving would take",
            fix="change the file named by --batching_parameters_file",
        ) from error


def read_monitoring(path: str) -> Monitoring:
    """Turns a `--monitoring_config_file` into what to expose; no file means nothing."""
    if not path:
        return Monitoring()
    message: Any = _read(path, _message("MonitoringConfig")(), "--monitoring_config_file")
    config = message.prometheus_config
    return Monitoring(enabled=config.enable, path=config.path or PROMETHEUS_PATH)


def read_tls(path: str) -> Tls | None:
    """Turns an `--ssl_config_file` into key and certificates; no file means no TLS."""
    if not path:
        return None
    message: Any = _read(path, _message("SSLConfig")(), "--ssl_config_file")
    return Tls(
        message.server_key.encode(),
        message.server_cert.encode(),
        message.custom_ca.encode() or None,
        message.client_verify,
    )


def _read(path: str, message: M, flag: str) -> M:
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{flag}={path} cannot be read: {error}",
            expected="a text file",
            fix=f"check the path given to {flag}",
        ) from error
    return _parse(text, message, path)


def _parse(text: str, message: M, place: str) -> M:
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        kind = message.DESCRIPTOR.name
        raise UserError(
            f"Invalid protobuf file: '{place}': {error}",
            expected=f"a {kind} in protobuf's text form, with the fields "
            + ", ".join(field.name for field in message.DESCRIPTOR.fields),
            fix="correct the line named above",
        ) from error
    return message


_INT64, _STRING, _BOOL = ".google.protobuf.Int64Value", ".google.protobuf.StringValue", "bool"
_MESSAGES: dict[str, list[tuple[str, int, str]]] = {
    "BatchingParameters": [
        ("max_batch_size", 1, _INT64),
        ("batch_timeout_micros", 2, _INT64),
        ("max_enqueued_batches", 3, _INT64),
        ("num_batch_threads", 4, _INT64),
        ("thread_pool_name", 5, _STRING),
        ("allowed_batch_sizes", 6, "repeated int64"),
        ("pad_variable_length_inputs", 7, _BOOL),
    ],
    "PrometheusConfig": [("enable", 1, _BOOL), ("path", 2, "string")],
    "MonitoringConfig": [("prometheus_config", 1, ".tensorflow.serving.PrometheusConfig")],
    "SSLConfig": [
        ("server_key", 1, "string"),
        ("server_cert", 2, "string"),
        ("custom_ca", 3, "string"),
        ("client_verify", 4, _BOOL),
    ],
}


@functools.cache
def _message(name: str) -> Any:
    """Builds the class of a message that the serving API's package leaves out."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="kubetfx/serving_config.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    for message_name, members in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for field_name, number, spelled in members:
            repeated = spelled.startswith("repeated ")
            kind = spelled.removeprefix("repeated ")
            field = message.field.add(
                name=field_name,
                number=number,
                label=kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL,
            )
            if kind.startswith("."):
                field.type, field.type_name = kinds.TYPE_MESSAGE, kind
            else:
                field.type = getattr(kinds, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    found = pool.FindMessageTypeByName(f"tensorflow.serving.{name}")
    return message_factory.GetMessageClass(found)
