"""What the two wires share: finding a model, running it, counting, refusing when too busy."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from serving.server.capture import Capture, Observation
from serving.server.execution import Execution, Workers
from serving.server.inference import Plan
from serving.server.metrics import Metrics
from serving.server.registry import Registry
from serving.server.served_version import ServedVersion
from serving.server.status import Code, ServingStatus, from_runtime
from serving.server.tensors import Array

__all__ = ["Call", "Core", "Target"]


@dataclass(frozen=True)
class Target:
    """The model that a request asks for."""

    name: str
    version: int | None = None
    label: str = ""


@dataclass
class Call:
    """One request under way."""

    target: Target
    api: str
    entry_point: str
    served: ServedVersion | None = None


@dataclass
class Core:
    """The inside of a server, between the wires and the models."""

    registry: Registry
    execution: Execution
    workers: Workers
    metrics: Metrics
    max_concurrent: int
    max_request_bytes: int
    capture: Capture | None = None
    under_way: int = 0

    @contextmanager
    def call(self, target: Target, api: str, entry_point: str) -> Iterator[Call]:
        """Admits one request, counts it, and turns whatever goes wrong into a status.

        Raises:
            ServingStatus: what the request ended with, unless it ended well.
        """
        call = Call(target, api, entry_point)
        started = time.perf_counter()
        code = Code.CANCELLED
        self.under_way += 1
        try:
            if self.under_way > self.max_concurrent:
                raise ServingStatus(
                    Code.UNAVAILABLE, f"more than {self.max_concurrent} requests are under way"
                )
            yield call
            code = Code.OK
        except Exception as error:
            status = from_runtime(error)
            code = status.code
            if status is error:
                raise
            raise status from error
        finally:
            self.under_way -= 1
            self._count(call, code, time.perf_counter() - started)

    def _count(self, call: Call, code: Code, seconds: float) -> None:
        if self.registry.knows(call.target.name):
            version = call.served.number if call.served else None
            self.metrics.request(
                call.target.name, version, (call.api, call.entry_point), code, seconds
            )

    def find(self, call: Call) -> ServedVersion:
        """Finds the version that a call means; see `Registry.find`."""
        call.served = self.registry.find(call.target.name, call.target.version, call.target.label)
        return call.served

    async def run(self, call: Call, plan: Plan) -> Sequence[Array]:
        """Runs a plan."""
        started = time.perf_counter()
        results = await self.execution.run(plan.call, plan.arrays)
        self.metrics.run(call.target.name, call.api, time.perf_counter() - started)
        if self.capture is not None and self.capture.wants():
            self.capture.offer(_observation(call, plan, results))
        return results


def _observation(call: Call, plan: Plan, results: Sequence[Array]) -> Observation:
    """What is captured of a request: references only, the work is done elsewhere."""
    served = call.served
    signature = served.model.signatures.get(plan.signature) if served and served.model else None
    names = list(signature.inputs) if signature is not None else []
    if len(names) != len(plan.arrays):
        names = [f"input {index}" for index in range(len(plan.arrays))]
    return Observation(
        served.number if served else 0,
        dict(zip(names, plan.arrays, strict=True)),
        {spec.alias: array for spec, array in plan.named(results).items()},
        time.time_ns() // 1_000_000,
    )
