"""One request to a server, independent of how it is sent and of who waits for it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from serving.client.answers import Predictions, SignatureInfo, VersionStatus

__all__ = ["NOT_GRPC", "NOT_HTTP", "Call", "Failure", "Model", "Tensors", "Wire"]

T_co = TypeVar("T_co", covariant=True)
Tensors = dict[str, tuple[list[Any], list[int], str]]
"""Flat values, shape and type by input."""

NOT_GRPC = "the answer is not gRPC's but HTTP/1.1"
NOT_HTTP = "the answer is not HTTP/1.1"


@dataclass(frozen=True)
class Model:
    """The model that a request is for."""

    name: str
    version: int | None = None
    label: str | None = None


@dataclass(frozen=True)
class Failure(Exception):  # noqa: N818  carried around before it is raised as a ServingError
    """A status other than OK."""

    code: str
    message: str
    is_safe_to_repeat: bool


@dataclass(frozen=True)
class Call(Generic[T_co]):
    """A request and how to read its answer."""

    what: str
    """For messages: `Predict of taxi`."""
    where: str
    """gRPC: the method's path; REST: the URL's path."""
    payload: Any
    """gRPC: the message; REST: the body, or None for GET."""
    read: Callable[[Any], T_co]
    """Turns the answer's bytes into what the caller gets."""


class Wire(Protocol):
    """Makes calls for one of the two APIs."""

    address: str

    def predict(
        self, model: Model, key: str, signature: SignatureInfo, tensors: Tensors
    ) -> Call[Predictions]:
        """Runs a signature on tensors."""
        ...

    def classify(
        self, model: Model, key: str, examples: list[bytes]
    ) -> Call[list[list[tuple[str, float]]]]:
        """Gives (label, score) pairs per example."""
        ...

    def regress(self, model: Model, key: str, examples: list[bytes]) -> Call[list[float]]:
        """Gives one number per example."""
        ...

    def signatures(self, model: Model) -> Call[dict[str, SignatureInfo]]:
        """Describes a model."""
        ...

    def status(self, model: Model) -> Call[list[VersionStatus]]:
        """Tells which versions are loaded."""
        ...
