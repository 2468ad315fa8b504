"""What a user is told when a step fails: a sentence, their own lines, and where the rest is."""

from __future__ import annotations

import errno
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

from serving.errors import UserError
from trainer.errors import DataError

__all__ = ["StepFailure", "explain"]


# As the C library and SQLite put it; TensorFlow and Beam wrap these in errors of their own.
_FULL_DISK_WORDS = ("No space left on device", "database or disk is full")


class StepFailure(UserError):  # noqa: N818  (it is told, not handled)
    """A step failed for a reason that is neither the user's input nor a gate: exit code 1."""

    exit_code = 1


def explain(error: BaseException, step: str, log: Path, user_folder: Path) -> UserError:
    """Turns whatever a step raised into an error that reads well; the traceback is logged.

    Args:
        error: the exception.
        step: the node's name.
        log: where the whole traceback is.
        user_folder: code below it is the user's own.
    """
    logging.getLogger(__name__).error("step %s failed", step, exc_info=error)
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, UserError):
            return link
        if isinstance(link, DataError):
            # The trainer stands alone and has a tree of errors of its own.
            told = UserError(link.what, expected=link.expected, fix=link.fix)
            told.exit_code = link.exit_code
            return told
    for link in chain:
        if isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT):
            return _disk_full(step, link)
    if any(words in str(link) for link in chain for words in _FULL_DISK_WORDS):
        return _disk_full(step, error)
    for link in chain:
        frames = [
            frame
            for frame in traceback.extract_tb(link.__traceback__)
            if Path(frame.filename).is_relative_to(user_folder)
        ]
        if frames:
            lines = "\n".join(
                f"    {frame.filename} line {frame.lineno}, in {frame.name}: {frame.line}"
                for frame in frames
            )
            return UserError(
                f"step {step}: your code raised {type(link).__name__}: "
                f"{_first_line(link)}\n{lines}",
                expected="a function that returns",
                fix=f"mend the last line above; the whole traceback is in {log}",
            )
    return StepFailure(
        f"step {step} failed: {type(error).__name__}: {_first_line(error)}",
        expected="the step to finish",
        fix=f"read the traceback in {log}; a new run continues at this step",
    )


def _disk_full(step: str, error: BaseException) -> UserError:
    place = getattr(error, "filename", None)
    return UserError(
        f"step {step}: the disk is full" + (f", writing {place}." if place else "."),
        expected="room for the run's artifacts (examples are about the size of the data)",
        fix="free some space or choose another disk with --output; a new run continues here",
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Walks an exception and those that caused it, the innermost last."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or "no message").splitlines()[0][:300]
