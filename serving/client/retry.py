"""When to ask again, and how long to wait before."""

import random
import time
from dataclasses import dataclass

__all__ = ["Deadline", "Retry"]


@dataclass(frozen=True)
class Retry:
    """How to deal with a server that is briefly away, as during a restart.

    Only what says that the request was never worked on is tried again: no connection, or a server
    that calls itself unavailable. A deadline that passed is not: the server may be at it still,
    and more of the same would make it worse.
    """

    attempts: int = 5
    """Tries altogether; 1 means no second one."""
    first_wait_s: float = 0.05
    growth: float = 2.0
    longest_wait_s: float = 2.0

    def wait_s(self, failures: int) -> float:
        """Says how long to wait after so many failures; spread, so that clients don't march."""
        longest = min(self.first_wait_s * self.growth ** (failures - 1), self.longest_wait_s)
        return longest * random.uniform(0.5, 1.0)


class Deadline:
    """A moment by which everything must be done, all attempts included."""

    def __init__(self, timeout_s: float) -> None:
        self._until = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """Says how much time is left; 0 when none is."""
        return max(self._until - time.monotonic(), 0.0)
