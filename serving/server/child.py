"""A server in a process of its own, started and ended by another program."""

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from serving.server.options import ServerOptions

__all__ = ["ChildServer", "started"]


@dataclass(frozen=True)
class ChildServer:
    """A server process that answers."""

    process: "subprocess.Popen[str]"
    grpc_address: str
    rest_address: str
    """Empty when there is no REST API."""
    start_s: float
    """From starting the process to its readiness; importing TensorFlow is most of it."""


@contextmanager
def started(
    options: ServerOptions, log: Path, *, start_timeout_s: float = 300
) -> Iterator[ChildServer]:
    """Runs `python -m serving.server` until the end of the block.

    Args:
        options: what the server is told; ports 0 and -1 mean any free ones.
        log: where its standard error goes.
        start_timeout_s: the longest wait for its readiness.

    Raises:
        RuntimeError: when it ends or is not ready in time; the message has the end of its log.
    """
    defaults = ServerOptions()
    arguments = [
        f"--{item.name}={getattr(options, item.name)}"
        for item in fields(options)
        if getattr(options, item.name) != getattr(defaults, item.name)
    ]
    environment = dict(os.environ)
    root = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")]))
    begun = time.monotonic()
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving.server", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=environment,
        )
    try:
        addresses = _wait(process, begun + start_timeout_s, log)
        yield ChildServer(process, addresses["grpc"], addresses["rest"], time.monotonic() - begun)
    finally:
        _end(process, options.drain_timeout_seconds)


def _wait(process: "subprocess.Popen[str]", until: float, log: Path) -> dict[str, str]:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := until - time.monotonic()) > 0:
            if not selector.select(left):
                break
            line = process.stdout.readline()
            if not line:
                break
            if line.startswith("{"):
                found: dict[str, str] = json.loads(line)
                return found
    code = process.poll()
    tail = log.read_text("utf-8", "replace")[-2000:]
    ended = f"ended with code {code}" if code is not None else "was not ready in time"
    raise RuntimeError(f"the model server {ended}; the end of its log:\n{tail}")


def _end(process: "subprocess.Popen[str]", drain_s: float) -> None:
    process.terminate()
    try:
        process.wait(drain_s + 10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
