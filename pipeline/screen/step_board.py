"""The lines a person watches while a pipeline runs: one per step, the running one alive."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

__all__ = ["PROGRESS_LOGGER", "StepBoard"]

PROGRESS_LOGGER = "kubetfx.progress"
"""Executors report progress here: `info(…, extra={"done": 3, "total": 9, "unit": "steps"})`."""

_MARKS = {
    "done": ("✓", "green"),
    "cached": ("✓", "cyan"),
    "skipped": ("–", "yellow"),
    "failed": ("✗", "red"),
    "stopped": ("■", "yellow"),
}
_PLAIN_PROGRESS_EVERY_S = 20.0


@dataclass
class _Running:
    name: str
    started: float = field(default_factory=time.monotonic)
    detail: str = ""

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started


class StepBoard(logging.Handler):
    """Shows steps on a console; on anything but a terminal as plain lines.

    Use it as a context manager around the run: it listens to the progress logger meanwhile.
    """

    def __init__(self, console: Console, names: list[str]) -> None:
        super().__init__(logging.INFO)
        self.console = console
        self._width = max((len(name) for name in names), default=0)
        self._running: _Running | None = None
        self._live: Live | None = None
        self._last_plain = 0.0

    def __enter__(self) -> StepBoard:
        logger = logging.getLogger(PROGRESS_LOGGER)
        logger.setLevel(logging.INFO)
        logger.addHandler(self)
        if self.console.is_terminal:
            # Live would show what libraries print; that belongs into the log.
            self._live = Live(
                self,
                console=self.console,
                refresh_per_second=8,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger(PROGRESS_LOGGER).removeHandler(self)
        if self._live is not None:
            self._running = None
            self._live.stop()

    @property
    def is_running(self) -> bool:
        """Whether a step has begun and not ended."""
        return self._running is not None

    def start(self, name: str, detail: str = "") -> None:
        """Begins a step."""
        self._running = _Running(name, detail=detail)
        self._last_plain = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        """Takes a progress report of the running step."""
        running = self._running
        if running is None:
            return
        running.detail = _progress_text(vars(record)) or record.getMessage()
        if self._live is None and time.monotonic() - self._last_plain > _PLAIN_PROGRESS_EVERY_S:
            self._last_plain = time.monotonic()
            self._print(self._line("…", "", running.name, running.elapsed_s, running.detail))

    def finish(self, state: str, detail: str = "", *, refused: bool = False) -> float:
        """Ends the running step and leaves its line on the screen.

        Args:
            state: done, cached, skipped, failed or stopped.
            detail: a few words beside it.
            refused: the step did its work and decided against the model.

        Returns:
            The step's time. Units: seconds.
        """
        assert self._running is not None
        running, self._running = self._running, None
        elapsed_s = running.elapsed_s
        mark, style = _MARKS["stopped" if refused else state]
        shown = f"{state}  {detail}" if state in ("cached", "skipped") and detail else detail
        self._print(self._line(mark, style, running.name, elapsed_s, shown or state))
        return elapsed_s

    def _print(self, line: Text) -> None:
        terminal = self.console.is_terminal
        self.console.print(
            line, overflow="ellipsis" if terminal else "ignore", no_wrap=True, crop=terminal
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        running = self._running
        if running is None:
            return
        row = Table.grid(padding=(0, 1))
        row.add_row(
            Spinner("dots"),
            Text(f"{running.name:<{self._width}}", style="bold"),
            Text(f"{running.elapsed_s:6.1f} s"),
            Text(f" {running.detail}", style="dim", overflow="ellipsis", no_wrap=True),
        )
        yield row

    def _line(self, mark: str, style: str, name: str, elapsed_s: float, detail: str) -> Text:
        return Text.assemble(
            (f"{mark} ", style),
            (f"{name:<{self._width}}", "bold"),
            f" {elapsed_s:6.1f} s  ",
            (detail, "dim" if style == "cyan" else ""),
        )


def _progress_text(report: dict[str, Any]) -> str:
    """Words a progress report: `350 of 1,000 steps`."""
    done, total, unit = report.get("done"), report.get("total"), report.get("unit", "")
    if done is None:
        return ""
    of = f" of {total:,}" if total else ""
    return f"{done:,}{of} {unit}".rstrip()
