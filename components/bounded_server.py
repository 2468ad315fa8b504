"""A model server process that can neither outlive its time nor the process that started it.

A candidate may crash the process that loads it, hang in it or eat its memory, so it is loaded in
a process of its own. That process ends

- when the `with` block ends: killed, not asked;
- when its time is up, by an alarm in the kernel that no hanging model can hold back;
- when its parent dies, however that happens (Linux).

The child is `python -m components.bounded_server`: the embedded server on free loopback ports. Its
start is mostly TensorFlow's import, which takes 2.3 instead of 4.5 s of processor time without
Keras, which serving never needs, and without garbage collection.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import re
import resource
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["BoundedServer", "Ready", "ServerEndedError"]

_PR_SET_PDEATHSIG = 1
_START_FAILED = re.compile(r"Failed to start server\. Error: (.*)", re.DOTALL)
_GIB = 2**30


class ServerEndedError(Exception):
    """The server is not up, or no longer.

    Args:
        what: what it did, as the end of a sentence that begins with "the model server".
        said: what it said of its own accord when it gave up; empty if it crashed or hung.
        has_begun: whether it got as far as to look at a model; else no model is to blame.
    """

    def __init__(self, what: str, said: str = "", *, has_begun: bool = True) -> None:
        super().__init__(what, said)
        self.what = what
        self.said = said
        self.has_begun = has_begun

    def __str__(self) -> str:
        return f"the model server {self.what}" + (f": {self.said}" if self.said else "")


@dataclass(frozen=True)
class Ready:
    """A server that answers. Units: seconds, GiB."""

    grpc_address: str
    rest_address: str
    start_s: float
    """From starting the process to the first possible request."""
    load_s: float
    """The part of it after TensorFlow was there: loading and warming up the models."""
    memory_before_load_gib: float


class BoundedServer:
    """Runs a server from `with` to the end of the block.

    Args:
        base_path: the folder whose numbered folders are the versions.
        model_name: as requests will call it.
        log: the file that gets the server's standard error.
        lifetime_s: after so long the process ends, whatever happens. Unit: seconds.
    """

    def __init__(self, base_path: Path, model_name: str, log: Path, lifetime_s: float) -> None:
        self._arguments = [str(base_path), model_name, str(lifetime_s), str(os.getpid())]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._begun = 0.0
        self._unread = b""

    def __enter__(self) -> BoundedServer:
        environment = dict(os.environ)
        root = str(Path(__file__).resolve().parents[1])
        paths = [root, environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        self._begun = time.monotonic()
        with self._log.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "components.bounded_server", *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._started.pid

    @property
    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the server is used outside of its with block")
        return self._process

    def wait_ready(self, timeout_s: float) -> Ready:
        """Waits until the server answers.

        Args:
            timeout_s: counted from the start of the process. Unit: seconds.

        Raises:
            ServerEndedError: it ended, or it isn't ready in time.
        """
        until = self._begun + timeout_s
        try:
            imported = self._next_message(until, timeout_s)
        except ServerEndedError as error:
            raise ServerEndedError(error.what, error.said, has_begun=False) from error
        addresses = self._next_message(until, timeout_s)
        now = time.monotonic()
        return Ready(
            addresses["grpc"],
            addresses["rest"],
            start_s=now - self._begun,
            load_s=addresses["at"] - imported["at"],
            memory_before_load_gib=imported["memory_gib"],
        )

    def check_alive(self) -> None:
        """Does nothing while the server runs.

        Raises:
            ServerEndedError: it has ended, with what it ended of.
        """
        # A connection may break a moment before the kernel has the process's end.
        for _ in range(20):
            code = self._started.poll()
            if code is not None:
                raise ServerEndedError(_ending(code))
            time.sleep(0.01)

    def peak_memory_gib(self) -> float:
        """The most memory that the process has had so far. Unit: GiB."""
        return _peak_memory_gib(self.pid)

    def _next_message(self, until: float, timeout_s: float) -> Any:
        stdout = self._started.stdout
        assert stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(until - time.monotonic(), 0)):
                    raise ServerEndedError(f"was not ready within {timeout_s:g} s and was ended")
                chunk = os.read(stdout.fileno(), 65536)
                if not chunk:
                    raise self._given_up()
                self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        if not line.startswith(b"{"):  # a model's own print
            return self._next_message(until, timeout_s)
        return json.loads(line)

    def _given_up(self) -> ServerEndedError:
        try:
            code = self._started.wait(5)
        except subprocess.TimeoutExpired:
            return ServerEndedError("closed its output without being ready")
        text = self._log.read_text("utf-8", "replace")
        said = _START_FAILED.search(text)
        if code > 0 and said:
            return ServerEndedError("could not load the model", said[1].strip())
        last = text.strip().splitlines()[-1:] if code > 0 else []
        return ServerEndedError(f"{_ending(code)} while it was starting", *last)


def _ending(code: int) -> str:
    """Words an exit code: `crashed with SIGSEGV`."""
    if code >= 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name
    if name == "SIGALRM":
        return "had used up its time and was ended"
    if name == "SIGKILL":
        return "was killed with SIGKILL, as the system does when memory runs out"
    return f"crashed with {name}"


def _peak_memory_gib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / _GIB
    return 0.0


# ------------------------------------------------------------------------------- the child


def main(arguments: list[str] | None = None) -> int:
    """Serves until it is killed; gives the exit code of a server that could not start."""
    parser = argparse.ArgumentParser("python -m components.bounded_server", description=__doc__)
    parser.add_argument("base_path")
    parser.add_argument("model_name")
    parser.add_argument("lifetime_s", type=float)
    parser.add_argument("parent", type=int)
    given = parser.parse_args(arguments)
    _bind_to_parent(given.parent)
    signal.setitimer(signal.ITIMER_REAL, given.lifetime_s)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.modules["keras"] = None  # type: ignore[assignment]  # an import then fails at once
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    gc.disable()  # which would look through TensorFlow's modules again and again
    import serving.server.server  # noqa: F401  (TensorFlow's import is not the model's load)

    gc.enable()
    from serving.server.options import ServerOptions
    from serving.server.process import run

    _tell(at=time.monotonic(), memory_gib=_peak_memory_gib(os.getpid()))
    options = ServerOptions(
        port=0,
        rest_api_port=-1,
        model_name=given.model_name,
        model_base_path=given.base_path,
        file_system_poll_wait_seconds=0,
        max_num_load_retries=0,
        drain_timeout_seconds=1,
    )
    return run(options, lambda grpc, rest: _tell(at=time.monotonic(), grpc=grpc, rest=rest))


def _bind_to_parent(parent: int) -> None:
    """Asks the kernel to kill this process when its parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has died meanwhile
        os._exit(1)


def _tell(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    sys.exit(main())
