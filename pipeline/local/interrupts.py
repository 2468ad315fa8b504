"""Ctrl-C that is heeded even where Python drops it."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interrupts"]


class Interrupts:
    """Remembers SIGINT while it is entered, besides raising KeyboardInterrupt as ever.

    Python drops an exception that is raised in a destructor or in a callback of the garbage
    collector, also this one. Whoever goes from step to step asks `check` in between.
    """

    def __init__(self) -> None:
        self._pressed = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        is_main = threading.current_thread() is threading.main_thread()
        # Somebody else's handler, or SIG_IGN under nohup, stays.
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._pressed = True
        signal.default_int_handler(number, frame)

    def check(self) -> None:
        """Raises KeyboardInterrupt if there was one, whatever became of it."""
        if self._pressed:
            raise KeyboardInterrupt
