"""The server as a process of its own: logging, signals, exit code."""

import asyncio
import gc
import json
import logging
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import TextIO

from serving.errors import UserError
from serving.server.options import ServerOptions
from serving.server.ports import check_free

__all__ = ["Started", "run"]

log = logging.getLogger("kubetfx.serve")

Started = Callable[[str, str], None]
"""Told the gRPC and the REST address once both answer; the latter is empty when there is none."""


def announce_as_json(grpc_address: str, rest_address: str) -> None:
    """Prints the addresses as one line of JSON, for a parent process that waits for it."""
    print(json.dumps({"grpc": grpc_address, "rest": rest_address}), flush=True)


def run(options: ServerOptions, started: Started = announce_as_json) -> int:
    """Serves until SIGTERM or SIGINT; gives the exit code.

    Raises:
        UserError: when the options or the files that they name cannot be used.
    """
    import uvloop

    for port, flag in ((options.port, "--port"), (options.rest_api_port, "--rest_api_port")):
        check_free(options.host, port, flag)  # before the seconds that TensorFlow takes
    _raise_file_limit()
    # Each bad request would otherwise be a warning in the log, besides its answer.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if "tensorflow" not in sys.modules:
        # TensorFlow would import Keras by itself: a third of the start, and serving needs none.
        sys.modules["keras"] = None  # type: ignore[assignment]
    chatter = _NativeChatter()
    _log_to(chatter.screen)
    try:
        code: int = uvloop.run(_serve(options, started, chatter))
        _end_stuck_threads(code)
        return code
    finally:
        chatter.show()


async def _serve(options: ServerOptions, started: Started, chatter: "_NativeChatter") -> int:
    from serving.server.server import ModelServer
    from serving.server.status import ServingStatus

    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = ModelServer(options)
    starting = asyncio.create_task(server.start())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            return 0
        try:
            starting.result()
        except ServingStatus as status:
            log.error("Failed to start server. Error: %s", status)
            return 1
        chatter.show()
        # What is loaded stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        rest = f"{options.host}:{server.rest_port}" if server.rest_port else ""
        started(f"{options.host}:{server.grpc_port}", rest)
        await stop.wait()
        log.info("draining for at most %g s", options.drain_timeout_seconds)
        return 0
    finally:
        stopping.cancel()
        await server.stop()


def _end_stuck_threads(code: int) -> None:
    """Ends the process now if a run or a load goes on after the drain; Python would wait for it."""
    until = time.monotonic() + 1
    while any(thread.name.startswith("serving-") for thread in threading.enumerate()):
        if time.monotonic() > until:
            log.warning("a run goes on after the drain and is given up")
            sys.stdout.flush()
            os._exit(code)
        time.sleep(0.02)


def _raise_file_limit() -> None:
    """Allows as many open connections as the system does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 65_536) if hard != resource.RLIM_INFINITY else 65_536
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _log_to(screen: TextIO) -> None:
    """Sends this server's log to the screen, one line per event."""
    handler = logging.StreamHandler(screen)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.handlers[:] = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False


class _NativeChatter:
    """Hides what TensorFlow's C++ code prints while it starts: no news to anybody.

    `screen` is the real standard error all the while. What was hidden is printed after all when
    a start fails in Python, so that no clue is lost. In a log nothing is hidden: it may hold the
    last words of a crash.
    """

    def __init__(self) -> None:
        self._real = os.dup(2)
        self.screen: TextIO = os.fdopen(
            os.dup(2), "w", encoding="utf-8", errors="replace", buffering=1
        )
        self._hidden = tempfile.TemporaryFile()  # noqa: SIM115  closed by show()
        if os.isatty(2):
            os.dup2(self._hidden.fileno(), 2)

    def show(self) -> None:
        """Lets standard error be itself again."""
        if self._real < 0:
            return
        sys.stderr.flush()
        os.dup2(self._real, 2)
        os.close(self._real)
        self._real = -1
        if sys.exc_info()[0] not in (None, UserError):
            self._hidden.seek(0)
            self.screen.write(self._hidden.read()[-4000:].decode("utf-8", "replace"))
        self._hidden.close()
