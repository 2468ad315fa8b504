"""uvicorn's HTTP protocol with bounds on what a client may send before its request is read."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["BoundedHttpProtocol"]

HEADER_LIMIT_BYTES = 64 << 10
HEADER_TIMEOUT_S = 20.0
"""From the first byte of a request to the end of its headers, and from connecting to that."""


class _JoinedWrites:
    """A transport that sends the head of an answer together with its body.

    uvicorn writes them one after the other, and uvloop makes a system call of each, the first of
    which wakes the client for nothing: a quarter of the time of a small request.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 1"):
            self._head = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        if self._head:
            self.write(b"")

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedHttpProtocol(HttpToolsProtocol):
    """Closes connections whose headers are too large or too slow.

    uvicorn bounds neither, so a few clients could hold connections open for ever or fill the
    memory with one endless header.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_bytes = 0
        self._in_headers = True
        self._header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Gives a new connection its time to send a request."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self.transport = _JoinedWrites(transport)  # type: ignore[assignment]
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the clock."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts header bytes; bodies are bounded where they are read."""
        if self._in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._in_headers and not self.transport.is_closing():
            if self._header_bytes > HEADER_LIMIT_BYTES:
                self.send_400_response("Request header is too large.")
                self._disarm()
            elif self._header_timer is None:
                self._arm()

    def on_message_begin(self) -> None:
        """Starts counting anew: a new request on this connection."""
        super().on_message_begin()
        self._in_headers = True
        self._header_bytes = 0

    def on_headers_complete(self) -> None:
        """Stops the clock."""
        self._in_headers = False
        self._disarm()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Sends a head that no body followed, as after HEAD."""
        self.transport.flush()  # type: ignore[attr-defined]
        super().on_response_complete()

    def _arm(self) -> None:
        self._header_timer = self.loop.call_later(HEADER_TIMEOUT_S, self._too_slow)

    def _disarm(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _too_slow(self) -> None:
        self._header_timer = None
        if not self.transport.is_closing():
            self.transport.close()
