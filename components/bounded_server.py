"""A model server process that can neither outlive its time nor the process that started it.

A candidate may crash the process that loads it, hang in it or eat its memory, so it is loaded in
a process of its own. That process ends

- when the `with` block ends: killed, not asked;
- when its time is up, by an alarm in the kernel that no hanging model can hold back;
- when its parent dies, however that happens (Linux).

`serving.server.child` starts it and words its end. What it runs is the rest of this module,
`python -m components.bounded_server`: the limits, then the embedded server on free loopback ports.
Its start is mostly TensorFlow's import, which takes 2.3 instead of 4.5 s of processor time without
Keras, which serving never needs, and without garbage collection.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from serving.server.child import ServerEndedError, ServerProcess

__all__ = ["BoundedServer", "Ready", "ServerEndedError"]

_PR_SET_PDEATHSIG = 1
_GIB = 2**30


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
        self._server: ServerProcess | None = None

    def __enter__(self) -> BoundedServer:
        self._server = ServerProcess("components.bounded_server", self._arguments, self._log)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._started.end()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._started.process.pid

    @property
    def _started(self) -> ServerProcess:
        if self._server is None:
            raise RuntimeError("the server is used outside of its with block")
        return self._server

    def wait_ready(self, timeout_s: float) -> Ready:
        """Waits until the server answers.

        Args:
            timeout_s: counted from the start of the process. Unit: seconds.

        Raises:
            ServerEndedError: it ended, or it isn't ready in time.
        """
        try:
            imported = self._started.message(timeout_s)
        except ServerEndedError as error:
            raise ServerEndedError(error.what, error.said, has_begun=False) from error
        addresses = self._started.message(timeout_s)
        return Ready(
            addresses["grpc"],
            addresses["rest"],
            start_s=time.monotonic() - self._started.begun,
            load_s=addresses["at"] - imported["at"],
            memory_before_load_gib=imported["memory_gib"],
        )

    def check_alive(self) -> None:
        """Does nothing while the server runs.

        Raises:
            ServerEndedError: it has ended, with what it ended of.
        """
        self._started.check_alive()

    def peak_memory_gib(self) -> float:
        """The most memory that the process has had so far. Unit: GiB."""
        return _peak_memory_gib(self.pid)


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
