"""Collects the body of an HTTP request within bounds of size, memory and time."""

import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from serving.server.execution import Workers

__all__ = ["BodyBudget", "BodyRefusedError", "read_body"]

TOTAL_BUDGET_FACTOR = 8
"""Bodies under way at once may together be this many times the largest single one."""

Receive = Callable[[], Awaitable[Any]]


class BodyRefusedError(Exception):
    """A body that is not read to its end; the connection must be closed after the answer."""

    def __init__(self, http_status: int, message: str) -> None:
        super().__init__(http_status, message)
        self.http_status = http_status
        self.message = message


class BodyBudget:
    """Bytes that all request bodies together may hold in memory."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit = limit_bytes
        self.total = limit_bytes * TOTAL_BUDGET_FACTOR
        self.used = 0

    def take(self, so_far: int, size: int) -> None:
        """Books more bytes for one body.

        Raises:
            BodyRefusedError: 413 when the body is too large, 503 when all of them are.
        """
        if so_far + size > self.limit:
            raise BodyRefusedError(413, f"request body is larger than {self.limit} bytes")
        if self.used + size > self.total:
            raise BodyRefusedError(503, "too many large requests are under way")
        self.used += size


async def read_body(
    receive: Receive, headers: list[tuple[bytes, bytes]], budget: BodyBudget, workers: Workers
) -> tuple[bytes, int]:
    """Reads a request body to its end and undoes gzip.

    Args:
        receive: ASGI's.
        headers: ASGI's, names in lower case.
        budget: what may be held.
        workers: where to undo gzip.

    Returns:
        The body, and the bytes booked for it, to be given back. A body that claims to be gzip and
        is not, is cut short or grows too large becomes empty, as TensorFlow Serving has it.

    Raises:
        BodyRefusedError: when it is too large or the client went away.
    """
    gzipped = False
    declared = 0
    for name, value in headers:
        if name == b"content-encoding":
            gzipped = b"gzip" in value
        elif name == b"content-length":
            declared = int(value)
    if declared > budget.limit:
        raise BodyRefusedError(413, f"request body is larger than {budget.limit} bytes")
    chunks: list[bytes] = []
    booked = 0
    try:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise BodyRefusedError(400, "client went away")
            chunk = message.get("body", b"")
            if chunk:
                budget.take(booked, len(chunk))
                booked += len(chunk)
                chunks.append(chunk)
            if not message.get("more_body", False):
                break
    except BaseException:
        budget.used -= booked
        raise
    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    if gzipped and body:
        body = await workers.do(lambda: gunzip(body, budget.limit))
    return body, booked


def gunzip(data: bytes, limit_bytes: int) -> bytes:
    """Undoes gzip; gives nothing when the data is damaged, cut short or grows beyond the limit."""
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        plain = stream.decompress(data, limit_bytes)
    except zlib.error:
        return b""
    return plain if stream.eof else b""
