"""Keeps what TFX, TensorFlow and Beam print off the screen, and in a log file."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

__all__ = ["hushed", "redirected_to"]


@contextmanager
def redirected_to(log: Path) -> Iterator[TextIO]:
    """Sends everything written to stdout and stderr to `log`, C++ code's lines included.

    Yields:
        A stream to the real stdout, for what the user is meant to see.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    sys.stdout.flush()
    sys.stderr.flush()
    log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    real_out, real_err = os.dup(1), os.dup(2)
    screen = os.fdopen(os.dup(real_out), "w", encoding="utf-8", errors="replace", buffering=1)
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    handler = logging.StreamHandler(os.fdopen(log_fd, "a", encoding="utf-8", buffering=1))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s"))
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    root.setLevel(logging.INFO)
    root.handlers[:] = [handler]
    try:
        yield screen
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        root.handlers[:] = before[1]
        root.setLevel(before[0])
        os.dup2(real_out, 1)
        os.dup2(real_err, 2)
        os.close(real_out)
        os.close(real_err)
        screen.flush()
        screen.close()
        handler.close()
        handler.stream.close()


@contextmanager
def hushed() -> Iterator[None]:
    """Drops what libraries print, for commands that only load them; errors are raised as ever."""
    with redirected_to(Path(os.devnull)):
        yield
