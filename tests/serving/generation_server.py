"""The five calls of Google Cloud Storage's JSON API that a ledger needs, in memory.

There is no emulator among the test dependencies, so this keeps to what the API documents of
`ifGenerationMatch`: 0 means "no such object", anything else must be the live generation, a
mismatch is 412.
"""

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if re.fullmatch(r"/storage/v1/b/[^/]+", url.path):
            return self._answer(200, b'{"name": "bucket", "location": "US"}')
        match = re.fullmatch(r"(?:/download)?/storage/v1/b/([^/]+)/o/(.+)", url.path)
        assert match, self.path
        found = self.objects.get(unquote(match[2]))
        if found is None:
            return self._answer(404, b"{}")
        generation, data = found
        wanted = query.get("ifGenerationMatch")
        if wanted and int(wanted[0]) != generation:
            return self._answer(412, b"{}")
        if query.get("alt") == ["media"]:
            return self._answer(200, data)
        return self._answer(200, self._resource(unquote(match[2])))

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        boundary = self.headers["Content-Type"].split("boundary=")[1].strip("\"'").encode()
        _, metadata, media, _ = body.split(b"--" + boundary)
        name = json.loads(metadata.partition(b"\r\n\r\n")[2])["name"]
        data = media.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        with self.turn:
            generation = self.objects.get(name, (0, b""))[0]
            wanted = query.get("ifGenerationMatch")
            if wanted and int(wanted[0]) != generation:
                return self._answer(412, b'{"error": {"code": 412, "message": "conditionNotMet"}}')
            self.server.clock += 1  # type: ignore[attr-defined]
            self.objects[name] = (self.server.clock, data)  # type: ignore[attr-defined]
        return self._answer(200, self._resource(name))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    @property
    def objects(self) -> dict[str, tuple[int, bytes]]:
        return self.server.objects  # type: ignore[attr-defined, no-any-return]

    @property
    def turn(self) -> threading.Lock:
        return self.server.turn  # type: ignore[attr-defined, no-any-return]

    def _resource(self, name: str) -> bytes:
        generation, data = self.objects[name]
        return json.dumps(
            {"name": name, "generation": str(generation), "size": str(len(data)), "bucket": "b"}
        ).encode()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def generation_server() -> Iterator[str]:
    """Starts the server and gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.objects = {}  # type: ignore[attr-defined]
    server.clock = 1_700_000_000_000_000  # type: ignore[attr-defined]
    server.turn = threading.Lock()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
