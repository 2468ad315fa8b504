"""Turns failures into the codes and texts that TensorFlow Serving's two wires carry."""

import enum

import numpy as np

__all__ = ["Code", "ServingStatus", "grpc_message", "http_status"]

GRPC_MESSAGE_LIMIT = 1024
"""Longer messages are cut on the gRPC wire, as TensorFlow Serving does."""


class Code(enum.IntEnum):
    """The canonical status codes; the numbers are those of gRPC."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_HTTP = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}


class ServingStatus(Exception):  # noqa: N818  a status, as gRPC and TensorFlow call it
    """A request that cannot be answered: a canonical code and the text for the caller.

    Args:
        code: the canonical status code.
        message: the text that reaches the caller, without the code.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


def invalid(message: str) -> ServingStatus:
    """Makes the status that most bad requests deserve."""
    return ServingStatus(Code.INVALID_ARGUMENT, message)


def http_status(code: Code) -> int:
    """Turns a canonical code into TensorFlow Serving's HTTP status."""
    return _HTTP.get(code, 500)


def grpc_message(message: str) -> str:
    """Cuts a message to what TensorFlow Serving puts on the gRPC wire."""
    if len(message) <= GRPC_MESSAGE_LIMIT:
        return message
    return message[:GRPC_MESSAGE_LIMIT] + "...TRUNCATED"


def from_runtime(error: BaseException) -> ServingStatus:
    """Turns an exception that came out of a graph run or load into a status.

    TensorFlow's own errors carry a canonical code and a message; numpy's out-of-memory error
    and everything else that may surface become the nearest code.
    """
    if isinstance(error, ServingStatus):
        return error
    code, message = getattr(error, "error_code", None), getattr(error, "message", None)
    if isinstance(code, int) and isinstance(message, str):
        return ServingStatus(Code(code) if code in set(Code) else Code.UNKNOWN, message)
    if isinstance(error, MemoryError | np.exceptions.AxisError):
        return ServingStatus(Code.RESOURCE_EXHAUSTED, f"not enough memory: {error}")
    if isinstance(error, TypeError | ValueError):
        return invalid(str(error))
    return ServingStatus(Code.INTERNAL, f"{type(error).__name__}: {error}")
