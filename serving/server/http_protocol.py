"""uvicorn's HTTP protocol with bounds on what a client may send before its request is read."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["BoundedHttpProtocol"]

HEADER_LIMIT_BYTES = 64 << 10
HEADER_TIMEOUT_S = 20.0
"""From the first byte of a request to the end of its headers, and from connecting to that."""


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
