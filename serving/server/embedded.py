"""A server inside another program, in a thread of its own: for tests and checks."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import uvloop

from serving.server.options import ServerOptions
from serving.server.server import ModelServer

__all__ = ["Embedded", "running"]

T = TypeVar("T")


@dataclass(frozen=True)
class Embedded:
    """A server that answers."""

    server: ModelServer
    grpc_address: str
    rest_url: str
    _loop: asyncio.AbstractEventLoop

    def do(self, work: Coroutine[Any, Any, T], timeout_s: float = 60) -> T:
        """Does something on the server's event loop and waits for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)


@contextmanager
def running(options: ServerOptions, *, start_timeout_s: float = 300) -> Iterator[Embedded]:
    """Runs a server until the end of the block.

    Ports that the options leave at their defaults are replaced by free ones.

    Raises:
        UserError: when the options cannot be used.
        ServingStatus: when a model cannot be loaded.
        TimeoutError: when nothing could be loaded in time, for instance from an empty folder.
    """
    defaults = ServerOptions()
    if options.port == defaults.port:
        options = replace(options, port=0)
    if options.rest_api_port == defaults.rest_api_port:
        options = replace(options, rest_api_port=-1)
    ready: concurrent.futures.Future[Embedded] = concurrent.futures.Future()
    stop: list[Any] = []
    thread = threading.Thread(
        target=lambda: uvloop.run(_live(options, ready, stop)), name="model-server", daemon=True
    )
    thread.start()
    try:
        yield ready.result(start_timeout_s)
    finally:
        for end in stop:
            end()
        thread.join(options.drain_timeout_seconds + 30)


async def _live(
    options: ServerOptions, ready: "concurrent.futures.Future[Embedded]", stop: list[Any]
) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    task = asyncio.current_task()

    def end() -> None:
        with suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(ended.set)
            if not ready.done() and task is not None:
                loop.call_soon_threadsafe(task.cancel)

    stop.append(end)
    try:
        async with ModelServer(options) as server:
            rest = f"http://{options.host}:{server.rest_port}" if server.rest_port else ""
            ready.set_result(Embedded(server, f"{options.host}:{server.grpc_port}", rest, loop))
            await ended.wait()
    except BaseException as error:
        if ready.done():
            raise
        ready.set_exception(error)
