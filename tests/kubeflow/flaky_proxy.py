"""An S3 store that answers 503 for as long as the test says, in front of the real one."""

from __future__ import annotations

import http.client
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_BUSY = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code>"
    b"<Message>Please reduce your request rate.</Message></Error>"
)


class FlakyProxy:
    """Passes requests on, unless it is busy."""

    def __init__(self, target: str) -> None:
        self.target = urllib.parse.urlsplit(target).netloc
        self.busy = False
        self.refused = 0
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def recover(self) -> None:
        """Answers again."""
        self.busy = False

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if proxy.busy:
                    proxy.refused += 1
                    self.answer(503, [("Content-Type", "application/xml")], _BUSY)
                    return
                connection = http.client.HTTPConnection(proxy.target, timeout=30)
                # The signature covers the Host header: it must arrive as it was sent.
                connection.request(self.command, self.path, body, dict(self.headers.items()))
                reply = connection.getresponse()
                data = reply.read()
                skipped = ("transfer-encoding", "connection", "content-length")
                headers = [each for each in reply.getheaders() if each[0].lower() not in skipped]
                length = reply.getheader("Content-Length")
                if self.command == "HEAD" and length:
                    headers.append(("Content-Length", length))
                self.answer(reply.status, headers, data)
                connection.close()

            def answer(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                if self.command != "HEAD":
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        return Handler


@contextmanager
def flaky_proxy(target: str) -> Iterator[FlakyProxy]:
    """Runs the proxy until the block ends."""
    proxy = FlakyProxy(target)
    thread = threading.Thread(target=proxy.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.server.shutdown()
        proxy.server.server_close()
