"""A client for TensorFlow Serving and servers that speak like it, without TensorFlow.

    from serving.client import Client

    with Client("127.0.0.1:8500", "taxi") as client:
        predictions = client.predict([{"fare": 12.5, "payment_type": "Cash"}])

Importing it takes some tens of milliseconds; it needs grpcio and protobuf, and httpx for REST.
"""

from serving.client.answers import Predictions, SignatureInfo, TensorDescription, VersionStatus
from serving.client.client import AsyncClient, Client
from serving.client.errors import (
    DeadlineError,
    NotFoundError,
    RefusedError,
    ServingError,
    UnavailableError,
)
from serving.client.retry import Retry
from serving.client.transport import Tls

__all__ = [
    "AsyncClient",
    "Client",
    "DeadlineError",
    "NotFoundError",
    "Predictions",
    "RefusedError",
    "Retry",
    "ServingError",
    "SignatureInfo",
    "TensorDescription",
    "Tls",
    "UnavailableError",
    "VersionStatus",
]
