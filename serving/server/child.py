"""A server in a process of its own, started and ended by another program.

`ServerProcess` is the one way to start one: it waits for what the process says, notices when it
ends instead, and words that end. `started` is the plain server by it; who wants limits on the
process names a module of its own that sets them and then serves.
"""

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from serving.server.options import ServerOptions

__all__ = ["ChildServer", "ServerEndedError", "ServerProcess", "started"]

_LOOK_AGAIN_S = 0.2
"""How often to see whether the process still lives; a child of its own may hold its output open."""
_LAST_BYTES = 4000
_START_FAILED = re.compile(r"Failed to start server\. Error: (.*)", re.DOTALL)
_MISTAKE = re.compile(r"^error: (.*)", re.DOTALL | re.MULTILINE)
_NO_WORDS = re.compile(
    r"\s*(@ |\*\*\* |\d{4}-\d\d-\d\d \S+ INFO |[IWE]\d{4} \d\d:\d\d|WARNING: All log messages)"
)
"""Lines of a C++ stack trace, what a server logs while all is well, and TensorFlow's chatter."""


class ServerEndedError(RuntimeError):
    """The server is not up, or no longer.

    Args:
        what: what it did, as the end of a sentence that begins with "the model server".
        said: the last that it said of its own accord; empty if it crashed or hung in silence.
        has_begun: whether it got as far as to look at a model; else no model is to blame.
    """

    def __init__(self, what: str, said: str = "", *, has_begun: bool = True) -> None:
        super().__init__(what, said)
        self.what = what
        self.said = said
        self.has_begun = has_begun

    def __str__(self) -> str:
        return f"the model server {self.what}" + (f": {self.said}" if self.said else "")


class ServerProcess:
    """A Python module run as a server that prints a line of JSON for each thing it has to tell.

    Args:
        module: what `python -m` runs; its modules are found as this process finds its own.
        arguments: its command line.
        log: the file that gets its standard error.
    """

    def __init__(self, module: str, arguments: Sequence[str], log: Path) -> None:
        environment = dict(os.environ)
        paths = [str(Path(__file__).resolve().parents[2]), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        self.begun = time.monotonic()
        """When it was started, on the monotonic clock."""
        self._log = log
        self._unread = b""
        with log.open("wb") as stderr:
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
            )

    def message(self, timeout_s: float) -> dict[str, Any]:
        """Waits for the next line of JSON.

        Args:
            timeout_s: counted from the start of the process.

        Raises:
            ServerEndedError: it ended first, or the time is up.
        """
        until = self.begun + timeout_s
        while True:
            line = self._line(until, timeout_s)
            if line.startswith(b"{"):  # others are a model's own print
                told: dict[str, Any] = json.loads(line)
                return told

    def _line(self, until: float, timeout_s: float) -> bytes:
        stdout = self.process.stdout
        assert stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                left = until - time.monotonic()
                if selector.select(min(max(left, 0), _LOOK_AGAIN_S)):
                    chunk = os.read(stdout.fileno(), 65536)
                    if not chunk:
                        raise self._ending_while_starting(5)
                    self._unread += chunk
                elif self.process.poll() is not None:
                    raise self._ending_while_starting(0)
                elif left <= 0:
                    raise ServerEndedError(f"was not ready within {timeout_s:g} s and was ended")
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _ending_while_starting(self, patience_s: float) -> ServerEndedError:
        """Tells how it ended; its output may end a moment before the process does."""
        try:
            code = self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return ServerEndedError("closed its output without being ready", self.last_words())
        failed = _START_FAILED.search(self._log_end())
        if code > 0 and failed:
            return ServerEndedError("could not load the model", failed[1].strip())
        return ServerEndedError(f"{ending(code)} while it was starting", self.last_words())

    def check_alive(self) -> None:
        """Does nothing while the server runs.

        Raises:
            ServerEndedError: it has ended, with what it ended of.
        """
        # A connection may break a moment before the kernel has the process's end.
        for _ in range(20):
            code = self.process.poll()
            if code is not None:
                raise ServerEndedError(ending(code), self.last_words())
            time.sleep(0.01)

    def last_words(self) -> str:
        """The mistake that its log ends with, or else the log's last line that says anything."""
        text = self._log_end()
        mistake = _MISTAKE.search(text)
        if mistake:
            return mistake[1].strip()
        lines = [line for line in text.splitlines() if line.strip() and not _NO_WORDS.match(line)]
        return lines[-1].strip() if lines else ""

    def _log_end(self) -> str:
        with self._log.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - _LAST_BYTES, 0))
            return file.read().decode("utf-8", "replace")

    def end(self, patience_s: float = 0) -> None:
        """Asks it to end, waits so long, and then kills it; without patience at once."""
        if patience_s > 0:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(patience_s)
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def ending(code: int) -> str:
    """Words an exit code: `crashed with SIGSEGV`."""
    if code >= 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name
    if name == "SIGALRM":
        return "had used up its time and was ended"
    if name == "SIGKILL":
        return "was killed with SIGKILL, as the system does when memory runs out"
    if name in ("SIGTERM", "SIGINT"):
        return f"was ended with {name}"
    return f"crashed with {name}"


@dataclass(frozen=True)
class ChildServer:
    """A server process that answers."""

    process: "subprocess.Popen[bytes]"
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
        ServerEndedError: when it ends or is not ready in time, with how and its last words.
    """
    defaults = ServerOptions()
    arguments = [
        f"--{item.name}={getattr(options, item.name)}"
        for item in fields(options)
        if getattr(options, item.name) != getattr(defaults, item.name)
    ]
    server = ServerProcess("serving.server", arguments, log)
    try:
        addresses = server.message(start_timeout_s)
        start_s = time.monotonic() - server.begun
        yield ChildServer(server.process, addresses["grpc"], addresses["rest"], start_s)
    finally:
        server.end(options.drain_timeout_seconds + 10)
