"""Merges concurrent requests for the same run into one, by TensorFlow Serving's parameters.

A batch closes when it is full, when its oldest request has waited `batch_timeout_micros`, or,
with the default timeout of 0, as soon as the event loop has taken in everything that had already
arrived; under load it then waits some milliseconds more, if that was seen to bring company. Where
TensorFlow Serving fails a whole batch, the requests in it are run again one by one, so that only
the guilty one fails; and requests of different shapes form different batches instead of failing.
"""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.server.execution import IN_LINE_SECONDS, Workers
from serving.server.saved_model import GraphCall
from serving.server.status import Code, ServingStatus, from_runtime, invalid
from serving.server.tensors import Array

__all__ = ["Batching", "BatchingParameters"]

IN_LINE_REQUESTS = 10
"""A batch of so many requests may hold up the event loop so many times as long as one."""
MAX_QUEUES = 256
"""Kinds of batches (run × shape) kept at once; idle ones beyond are forgotten."""
COMPANY_S = 0.004
"""How long a batch waits for company at most, where that pays."""
LULL_TURNS = 60
"""Turns of the event loop without a new request after which nobody else is on the way.

An idle turn takes about 5 µs; gRPC's own threads need a multiple of that to bring a request in."""
ENOUGH_COMPANY = 3
"""Requests in a batch that make the wait worth another one."""


@dataclass(frozen=True)
class BatchingParameters:
    """The parameters of a batching file; the defaults are TensorFlow Serving's.

    Raises:
        ValueError: when a number cannot be meant.
    """

    max_batch_size: int = 1000
    """Rows."""
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = 0
    """0 means one per processor."""
    allowed_batch_sizes: tuple[int, ...] = ()
    """Batches are padded up to one of these; rising, the last equal to `max_batch_size`."""
    pad_variable_length_inputs: bool = False

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "max_enqueued_batches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive; was {getattr(self, name)}")
        if self.batch_timeout_micros < 0 or self.num_batch_threads < 0:
            raise ValueError("batch_timeout_micros and num_batch_threads must not be negative")
        sizes = self.allowed_batch_sizes
        if sizes and (list(sizes) != sorted(set(sizes)) or sizes[-1] != self.max_batch_size):
            raise ValueError(
                "allowed_batch_sizes entries must be in increasing order and the last must be "
                f"equal to max_batch_size ({self.max_batch_size}); were {list(sizes)}"
            )


@dataclass
class _Task:
    arrays: Sequence[Array]
    rows: int
    done: asyncio.Future[list[Array]]


class Batching:
    """Runs requests in batches; one queue per kind of run."""

    def __init__(self, parameters: BatchingParameters, workers: Workers) -> None:
        self._parameters = parameters
        self._workers = workers
        self._queues: dict[tuple[object, ...], _Queue] = {}
        self.free_threads = parameters.num_batch_threads or workers.count

    async def run(self, call: GraphCall, arrays: Sequence[Array]) -> list[Array]:
        """Runs a call on these arrays, together with others that want the same.

        Raises:
            ServingStatus: INVALID_ARGUMENT when the inputs have no common first dimension or too
                many rows; UNAVAILABLE when too much is waiting.
        """
        rows = self._rows(arrays)
        queue = self._queue(call, arrays)
        queue.check_room(rows)
        task = _Task(arrays, rows, asyncio.get_running_loop().create_future())
        queue.add(task)
        return await task.done

    def _rows(self, arrays: Sequence[Array]) -> int:
        if not arrays:
            raise invalid("Batching Run() must have at least one input tensor")
        if any(array.ndim == 0 for array in arrays):
            raise invalid("Batching Run() input tensors must have at least one dimension")
        rows = int(arrays[0].shape[0])
        if any(array.shape[0] != rows for array in arrays):
            raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
        if rows > self._parameters.max_batch_size:
            raise invalid(
                f"Task size {rows} is larger than maximum input batch size "
                f"{self._parameters.max_batch_size}"
            )
        return rows

    def _queue(self, call: GraphCall, arrays: Sequence[Array]) -> "_Queue":
        if self._parameters.pad_variable_length_inputs:
            kind = tuple(array.ndim for array in arrays)
        else:
            kind = tuple(array.shape[1:] for array in arrays)  # type: ignore[misc]
        key = (id(call), kind)
        queue = self._queues.get(key)
        if queue is None:
            if len(self._queues) >= MAX_QUEUES:
                self._queues = {k: q for k, q in self._queues.items() if q.tasks}
            queue = self._queues[key] = _Queue(call, self, self._parameters, self._workers)
        return queue

    def pump_all(self) -> None:
        """Starts batches that waited for a thread."""
        for queue in list(self._queues.values()):
            queue.pump()


class _Pace:
    """Decides, by what waiting brought so far, whether a batch should wait for company.

    Requests over gRPC reach the event loop one at a time, so that a batch which never waits holds
    one request even when sixty-four are on their way, and each pays for a run of its own. But a
    lone client gains nothing by waiting: it sends its next request after it has the answer. So a
    queue tries it when its runs take a noticeable part of a processor, goes on while batches
    come out of it, and otherwise tries again after ever longer pauses.
    """

    NOTICEABLE = 0.05
    MEMORY_S = 0.05
    FIRST_PAUSE_S = 0.001
    LONGEST_PAUSE_S = 1.0

    def __init__(self) -> None:
        self._requests_per_s = 0.0
        self._pause_s = 0.0
        self._rests_until = 0.0
        self._last = time.monotonic()

    def pays(self, run_s: float) -> bool:
        """Says whether to wait, given what one run takes."""
        share = self._requests_per_s * run_s
        return share > self.NOTICEABLE and time.monotonic() >= self._rests_until

    def closed(self, requests: int, *, waited: bool) -> None:
        """Learns how many requests a batch got, and whether it had waited for them."""
        now = time.monotonic()
        passed = max(now - self._last, 1e-6)
        self._last = now
        weight = min(passed / self.MEMORY_S, 1.0)
        self._requests_per_s += weight * (requests / passed - self._requests_per_s)
        if not waited:
            return
        if requests >= ENOUGH_COMPANY:
            self._pause_s = 0.0
        else:
            self._pause_s = min(max(2 * self._pause_s, self.FIRST_PAUSE_S), self.LONGEST_PAUSE_S)
            self._rests_until = now + self._pause_s


@dataclass
class _Wait:
    """A batch that waits for company."""

    requests: int
    until: float
    idle_turns: int = 0

    def is_over(self, requests: int) -> bool:
        """Takes note of one turn of the event loop."""
        if requests != self.requests:
            self.requests, self.idle_turns = requests, 0
        else:
            self.idle_turns += 1
        return self.idle_turns >= LULL_TURNS or time.monotonic() >= self.until


class _Queue:
    """Requests that wait for the same run."""

    def __init__(
        self, call: GraphCall, owner: Batching, parameters: BatchingParameters, workers: Workers
    ) -> None:
        self.tasks: deque[_Task] = deque()
        self._call = call
        self._owner = owner
        self._parameters = parameters
        self._workers = workers
        self._rows = 0
        self._scheduled: asyncio.Handle | None = None
        self._pace = _Pace()
        self._wait: _Wait | None = None
        self._running: set[asyncio.Task[None]] = set()

    def check_room(self, rows: int) -> None:
        limit = self._parameters.max_batch_size * self._parameters.max_enqueued_batches
        if self._rows + rows > limit:
            raise ServingStatus(
                Code.UNAVAILABLE,
                "The batch scheduling queue to which this task was submitted is full",
            )

    def add(self, task: _Task) -> None:
        self.tasks.append(task)
        self._rows += task.rows
        if self._rows >= self._parameters.max_batch_size:
            self.pump()
        elif self._scheduled is None:
            self._schedule()

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        timeout = self._parameters.batch_timeout_micros / 1e6
        if timeout:
            self._scheduled = loop.call_later(timeout, self.pump)
        elif self._pace.pays(self._call.cost.estimate(self._rows)):
            self._wait = _Wait(len(self.tasks), time.monotonic() + COMPANY_S)
            self._scheduled = loop.call_soon(self._look)
        else:
            self._scheduled = loop.call_soon(self.pump)

    def _look(self) -> None:
        """Closes the batch when nobody else is on the way, and looks again at the next turn if not.

        Turns tell more than time does: while the loop is busy taking requests in, each turn has
        something to do, however long it takes; and an idle turn takes some microseconds only.
        """
        wait = self._wait
        assert wait is not None
        if wait.is_over(len(self.tasks)):
            self.pump()
        else:
            self._scheduled = asyncio.get_running_loop().call_soon(self._look)

    def pump(self) -> None:
        """Starts as many batches as there are requests and threads for."""
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
            self._pace.closed(len(self.tasks), waited=self._wait is not None)
            self._wait = None
        while self.tasks and self._owner.free_threads > 0:
            batch = self._take()
            if not batch:
                continue
            rows = sum(task.rows for task in batch)
            # What a thread hop costs is saved once for each request of the batch.
            worth = IN_LINE_SECONDS * min(len(batch), IN_LINE_REQUESTS)
            if self._call.cost.estimate(rows) < worth:
                self._deliver(batch, self._outcomes(batch))
            else:
                self._owner.free_threads -= 1
                running = asyncio.get_running_loop().create_task(self._run_beside(batch))
                self._running.add(running)
                running.add_done_callback(self._running.discard)

    def _take(self) -> list[_Task]:
        """Takes the oldest requests that fit into one batch; forgets those given up."""
        batch: list[_Task] = []
        rows = 0
        while self.tasks and rows + self.tasks[0].rows <= self._parameters.max_batch_size:
            task = self.tasks.popleft()
            self._rows -= task.rows
            if not task.done.done():
                batch.append(task)
                rows += task.rows
        return batch

    async def _run_beside(self, batch: list[_Task]) -> None:
        try:
            outcomes = await self._workers.do(lambda: self._outcomes(batch))
        except Exception as error:  # noqa: BLE001  the pool was shut down
            outcomes = [from_runtime(error)] * len(batch)
        finally:
            self._owner.free_threads += 1
        self._deliver(batch, outcomes)
        self._owner.pump_all()

    @staticmethod
    def _deliver(batch: list[_Task], outcomes: Sequence[list[Array] | ServingStatus]) -> None:
        for task, outcome in zip(batch, outcomes, strict=True):
            if task.done.done():
                continue
            if isinstance(outcome, ServingStatus):
                task.done.set_exception(outcome)
            else:
                task.done.set_result(outcome)

    def _outcomes(self, batch: list[_Task]) -> Sequence[list[Array] | ServingStatus]:
        """Runs a batch; when that fails, each request by itself."""
        if len(batch) == 1 and not self._parameters.allowed_batch_sizes:
            return [self._alone(batch[0])]
        try:
            return self._together(batch)
        except ServingStatus as status:
            return [status] if len(batch) == 1 else [self._alone(task) for task in batch]
        except Exception:  # noqa: BLE001  merging failed, perhaps for want of memory
            return [self._alone(task) for task in batch]

    def _alone(self, task: _Task) -> list[Array] | ServingStatus:
        try:
            return self._call(task.arrays)
        except ServingStatus as status:
            return status

    def _together(self, batch: list[_Task]) -> list[list[Array]]:
        rows = sum(task.rows for task in batch)
        padding = self._allowed_size(rows) - rows
        merged = [
            self._merge([task.arrays[index] for task in batch], padding)
            for index in range(len(batch[0].arrays))
        ]
        results = self._call(merged)
        for array in results:
            if array.ndim == 0:
                raise ServingStatus(
                    Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions"
                )
            if array.shape[0] != rows + padding:
                raise ServingStatus(
                    Code.FAILED_PRECONDITION,
                    "Batched output tensor's 0th dimension does not equal the sum of the 0th "
                    "dimension sizes of the input tensors",
                )
        ends = list(itertools.accumulate(task.rows for task in batch))
        return [
            [array[end - task.rows : end] for array in results]
            for task, end in zip(batch, ends, strict=True)
        ]

    def _allowed_size(self, rows: int) -> int:
        return min(
            (size for size in self._parameters.allowed_batch_sizes if size >= rows), default=rows
        )

    def _merge(self, arrays: list[Array], padding: int) -> Array:
        if self._parameters.pad_variable_length_inputs and arrays[0].ndim > 1:
            arrays = _padded(arrays)
        if padding:
            filler = next((array for array in arrays if array.shape[0]), None)
            if filler is not None:
                arrays = [*arrays, np.repeat(filler[:1], padding, axis=0)]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _padded(arrays: list[Array]) -> list[Array]:
    """Grows arrays to a common shape; like TensorFlow Serving, with each one's first value."""
    shape = [max(sizes) for sizes in zip(*(array.shape[1:] for array in arrays), strict=True)]
    grown = []
    for array in arrays:
        if list(array.shape[1:]) != shape and array.size:
            full = np.full((array.shape[0], *shape), array.flat[0], array.dtype)
            full[tuple(slice(0, size) for size in array.shape)] = array
            grown.append(full)
        elif not array.size:
            grown.append(np.zeros((array.shape[0], *shape), array.dtype))
        else:
            grown.append(array)
    return grown
