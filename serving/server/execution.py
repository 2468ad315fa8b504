"""Decides where a run happens: in line, in a worker thread, or merged with others.

A thread hop costs an event loop more than a small graph takes to run, so runs that are known to
be short happen in line. All others go to worker threads, where the graph runs without the
interpreter's lock. `batching` builds on the same two ways.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from serving.server.saved_model import GraphCall
from serving.server.tensors import Array

__all__ = ["Direct", "Execution", "Workers"]

IN_LINE_SECONDS = 0.0002
"""Runs expected to be shorter than this happen on the event loop itself."""

T = TypeVar("T")


class Execution(Protocol):
    """Runs prepared calls for an event loop."""

    async def run(self, call: GraphCall, arrays: Sequence[Array]) -> list[Array]:
        """Runs a call once on these arrays and gives what it fetched."""
        ...


class Workers:
    """The threads beside the event loop: for runs, and for parsing large requests."""

    def __init__(self, count: int = 0) -> None:
        self.count = count or max(2, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self.count, thread_name_prefix="serving-worker")

    async def do(self, work: Callable[[], T]) -> T:
        """Does something that takes long without holding up the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Lets the threads end; runs under way are finished first."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def rows_of(arrays: Sequence[Array]) -> int:
    """Tells how many rows a run has; a scalar input counts as one."""
    return int(arrays[0].shape[0]) if arrays and arrays[0].ndim else 1


class Direct:
    """Runs every request by itself."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    async def run(self, call: GraphCall, arrays: Sequence[Array]) -> list[Array]:
        """Runs a call once, in line when it is short."""
        if call.cost.estimate(rows_of(arrays)) < IN_LINE_SECONDS:
            return call(arrays)
        return await self._workers.do(lambda: call(arrays))
