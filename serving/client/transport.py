"""Sends calls over the network, for those who wait and for those who await."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from serving.client.calls import NOT_HTTP, Call, Failure, Wire
from serving.errors import UserError

__all__ = ["Endpoint", "Tls", "endpoint"]


@dataclass(frozen=True)
class Tls:
    """Files, in PEM, for an encrypted connection."""

    ca: Path | None = None
    """Whom to trust; None means the system's authorities."""
    certificate: Path | None = None
    """The client's own certificate, where the server asks for one."""
    key: Path | None = None


@dataclass(frozen=True)
class Endpoint:
    """Where a server is and how to talk to it."""

    address: str
    """gRPC: `host:port` or `unix:path`; REST: `http://host:port`."""
    is_rest: bool
    tls: Tls | None

    def wire(self) -> Wire:
        """Makes the calls for this server."""
        if self.is_rest:
            from serving.client.rest_wire import RestWire

            return RestWire(self.address)
        from serving.client.grpc_wire import GrpcWire

        return GrpcWire(self.address)


def endpoint(address: str, tls: Tls | None) -> Endpoint:
    """Reads an address.

    Args:
        address: `host:port`, `grpc://…`, `grpcs://…` (gRPC), `http://…`, `https://…` (REST), or
            `unix:path` (gRPC on a socket).
        tls: given or not, `grpcs` and `https` are encrypted.

    Raises:
        UserError: when it is none of these.
    """
    if address.startswith("unix:"):
        return Endpoint(address, is_rest=False, tls=None)
    if "://" not in address:
        address = f"{'grpcs' if tls else 'grpc'}://{address}"
    parts = urlsplit(address)
    if parts.scheme not in ("grpc", "grpcs", "http", "https") or not parts.netloc:
        raise UserError(
            f"{address!r} is no address of a model server",
            expected="host:port for gRPC, http://host:port or https://host:port for REST",
            fix="for instance 127.0.0.1:8500",
        )
    if parts.scheme in ("grpcs", "https"):
        tls = tls or Tls()
    if parts.scheme in ("http", "https"):
        base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        return Endpoint(base, is_rest=True, tls=tls)
    return Endpoint(parts.netloc, is_rest=False, tls=tls)


def _grpc_credentials(tls: Tls | None) -> Any:
    import grpc

    if tls is None:
        return None
    ca, key, certificate = (
        path.read_bytes() if path else None for path in (tls.ca, tls.key, tls.certificate)
    )
    return grpc.ssl_channel_credentials(ca, key, certificate)


def _http_options(where: Endpoint) -> dict[str, Any]:
    host = urlsplit(where.address).hostname or ""
    options: dict[str, Any] = {
        # A proxy from the environment is of no use on the way to this machine.
        "trust_env": host not in ("localhost", "::1") and not host.startswith("127."),
    }
    if where.tls is not None:
        context = ssl.create_default_context(cafile=where.tls.ca)
        if where.tls.certificate is not None:
            context.load_cert_chain(where.tls.certificate, where.tls.key)
        options["verify"] = context
    return options


def sync_transport(where: Endpoint, headers: Mapping[str, str]) -> Any:
    """Opens the way to a server for calls that wait."""
    return _SyncRest(where, headers) if where.is_rest else _SyncGrpc(where, headers)


def async_transport(where: Endpoint, headers: Mapping[str, str]) -> Any:
    """Opens the way to a server for calls that are awaited."""
    return _AsyncRest(where, headers) if where.is_rest else _AsyncGrpc(where, headers)


class _Grpc:
    """A channel of `grpc` or of `grpc.aio`."""

    def __init__(self, module: Any, where: Endpoint, headers: Mapping[str, str]) -> None:
        from serving.client.grpc_wire import open_channel

        self._channel = open_channel(module, where.address, _grpc_credentials(where.tls))
        self._metadata = _metadata(headers)

    def _invoke(self, call: Call[Any], timeout_s: float) -> Any:
        invoke = self._channel.unary_unary(call.where)
        return invoke(call.payload.SerializeToString(), timeout=timeout_s, metadata=self._metadata)


class _SyncGrpc(_Grpc):
    def __init__(self, where: Endpoint, headers: Mapping[str, str]) -> None:
        import grpc

        super().__init__(grpc, where, headers)

    def send(self, call: Call[Any], timeout_s: float) -> bytes:
        import grpc

        from serving.client.grpc_wire import failure_of

        try:
            answer: bytes = self._invoke(call, timeout_s)
        except grpc.RpcError as error:
            raise failure_of(error) from error
        return answer

    def close(self) -> None:
        self._channel.close()


class _AsyncGrpc(_Grpc):
    def __init__(self, where: Endpoint, headers: Mapping[str, str]) -> None:
        import grpc.aio

        super().__init__(grpc.aio, where, headers)

    async def send(self, call: Call[Any], timeout_s: float) -> bytes:
        import grpc

        from serving.client.grpc_wire import failure_of

        try:
            answer: bytes = await self._invoke(call, timeout_s)
        except grpc.RpcError as error:
            raise failure_of(error) from error
        return answer

    async def close(self) -> None:
        await self._channel.close()


class _Rest:
    """A client of httpx, `Client` or `AsyncClient`."""

    def __init__(self, kind: Any, where: Endpoint, headers: Mapping[str, str]) -> None:
        self._base = where.address
        self._client = kind(headers=dict(headers), **_http_options(where))

    def _request(self, call: Call[Any], timeout_s: float) -> Any:
        method = "GET" if call.payload is None else "POST"
        return self._client.request(
            method, self._base + call.where, content=call.payload, timeout=timeout_s
        )


class _SyncRest(_Rest):
    def __init__(self, where: Endpoint, headers: Mapping[str, str]) -> None:
        import httpx

        super().__init__(httpx.Client, where, headers)

    def send(self, call: Call[Any], timeout_s: float) -> bytes:
        import httpx

        try:
            return _body(self._request(call, timeout_s))
        except httpx.TransportError as error:
            raise _http_failure(error) from error

    def close(self) -> None:
        self._client.close()


class _AsyncRest(_Rest):
    def __init__(self, where: Endpoint, headers: Mapping[str, str]) -> None:
        import httpx

        super().__init__(httpx.AsyncClient, where, headers)

    async def send(self, call: Call[Any], timeout_s: float) -> bytes:
        import httpx

        try:
            return _body(await self._request(call, timeout_s))
        except httpx.TransportError as error:
            raise _http_failure(error) from error

    async def close(self) -> None:
        await self._client.aclose()


def _metadata(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower(), value) for name, value in headers.items())


def _body(response: Any) -> bytes:
    from serving.client.rest_wire import failure_of_response

    if response.status_code != 200:
        raise failure_of_response(response.status_code, response.content)
    data: bytes = response.content
    return data


def _http_failure(error: Any) -> Failure:
    import httpx

    if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
        return Failure("DEADLINE_EXCEEDED", "no answer in time", is_safe_to_repeat=False)
    text = str(error) or type(error).__name__
    if isinstance(error, httpx.RemoteProtocolError) and "illegal" in text:
        return Failure("UNAVAILABLE", NOT_HTTP, is_safe_to_repeat=False)
    return Failure("UNAVAILABLE", text, is_safe_to_repeat=True)
