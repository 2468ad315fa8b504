"""One version of a model: its state, and who holds it."""

import asyncio
import enum
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from serving.server.saved_model import LoadedModel
from serving.server.sources import Found
from serving.server.status import ServingStatus

__all__ = ["ServedVersion", "State"]


class State(enum.Enum):
    """Where a version is in its life; the numbers are those of GetModelStatus."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass
class ServedVersion:
    """One version of one model, from the first attempt to load it until long after its end."""

    model_name: str
    number: int
    found: Found
    state: State = State.START
    error: ServingStatus | None = None
    model: LoadedModel | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the files changed while a retry is waiting."""
    task: asyncio.Task[None] | None = None
    _leases: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def lease(self) -> Iterator[LoadedModel]:
        """Holds the loaded model for one request."""
        if self.model is None:
            raise RuntimeError(f"version {self.number} of {self.model_name} is not loaded")
        self._leases += 1
        try:
            yield self.model
        finally:
            self._leases -= 1
            if self._leases == 0:
                self._idle.set()

    async def wait_idle(self) -> None:
        """Waits until no request holds the model."""
        while self._leases:
            self._idle.clear()
            await self._idle.wait()
