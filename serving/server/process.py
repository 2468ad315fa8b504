"""The server as a process of its own: logging, signals, exit code."""

import asyncio
import gc
import json
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable

from serving.server.options import ServerOptions

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
    # Before TensorFlow is imported: its start-up chatter is no news to anybody.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    _raise_file_limit()
    import uvloop

    return uvloop.run(_serve(options, started))


async def _serve(options: ServerOptions, started: Started) -> int:
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


def _raise_file_limit() -> None:
    """Allows as many open connections as the system does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 65_536) if hard != resource.RLIM_INFINITY else 65_536
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def log_to_stderr(level: int = logging.INFO) -> None:
    """Sends this server's log to standard error, one line per event."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(level)
    log.propagate = False
