"""A load generator in a process of its own: as many clients as told, each with one request open.

    python -m benchmarks.serving_load (rest | grpc) ADDRESS CLIENTS SECONDS FILE [PATH]

FILE holds one request's bytes: a JSON body, or a serialised PredictRequest. Prints JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

WARM_UP_S = 0.5
PATIENCE_S = 30.0


class RestClient(asyncio.Protocol):
    """Sends the same request again and again on one connection; as lean as Python allows."""

    def __init__(self, request: bytes, times: list[tuple[float, float]]) -> None:
        self._request = request
        self._times = times
        self._buffer = b""
        self._sent = 0.0
        self._transport: Any = None
        self.failures = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the first request."""
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Waits for the whole answer, then sends the next request."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        now = time.perf_counter()
        self.failures += not head.startswith(b"HTTP/1.1 200")
        self._times.append((now, now - self._sent))
        self._buffer = b""
        self._send()


async def rest(address: str, clients: int, seconds: float, body: bytes, path: str) -> object:
    host, _, port = address.partition(":")
    request = (
        f"POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    times: list[tuple[float, float]] = []
    begun = time.perf_counter()
    loop = asyncio.get_running_loop()
    pairs = [
        await loop.create_connection(lambda: RestClient(request, times), host, int(port))
        for _ in range(clients)
    ]
    await asyncio.sleep(WARM_UP_S + seconds)
    since = begun + WARM_UP_S
    if len(times) < clients:  # a slow server: count from its first request, and give it time
        since = begun
        while len(times) < clients and time.perf_counter() < begun + PATIENCE_S:
            await asyncio.sleep(0.1)
    ended = time.perf_counter()
    if not times:
        raise RuntimeError(f"no answer from {address}")
    for transport, _ in pairs:
        transport.close()
    return summary(times, since, ended, sum(client.failures for _, client in pairs))


async def grpc(address: str, clients: int, seconds: float, body: bytes, _path: str) -> object:
    import grpc.aio

    times: list[tuple[float, float]] = []
    failures = 0
    begun = time.perf_counter()
    until = begun + WARM_UP_S + seconds

    async def ask(channel: grpc.aio.Channel) -> None:
        nonlocal failures
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
        while (sent := time.perf_counter()) < until:
            try:
                await call(body)
            except grpc.RpcError:
                failures += 1
            now = time.perf_counter()
            times.append((now, now - sent))

    channels = [
        grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(min(clients, 4))
    ]
    await asyncio.gather(*(ask(channels[i % len(channels)]) for i in range(clients)))
    for channel in channels:
        await channel.close()
    return summary(times, begun + WARM_UP_S, until, failures)


def summary(
    times: list[tuple[float, float]], since: float, until: float, failures: int
) -> dict[str, float]:
    taken = sorted(seconds for at, seconds in times if since <= at <= until)
    if not taken:
        raise RuntimeError("no answers")
    return {
        "requests_per_s": len(taken) / (until - since),
        "p50_ms": taken[len(taken) // 2] * 1e3,
        "p99_ms": taken[int(len(taken) * 0.99)] * 1e3,
        "failures": failures,
        "answers": len(times),
    }


def main() -> None:
    kind, address, clients, seconds, file, *path = sys.argv[1:]
    work = {"rest": rest, "grpc": grpc}[kind](
        address, int(clients), float(seconds), Path(file).read_bytes(), *(path or [""])
    )
    print(json.dumps(uvloop.run(work)))


if __name__ == "__main__":
    main()
