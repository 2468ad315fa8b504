"""What a user is told when a step fails: a sentence, their own lines, and where the rest is."""

from __future__ import annotations

import errno
import logging
import re
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from serving.errors import UserError
from trainer.errors import DataError

if TYPE_CHECKING:
    from pipeline.config import Project

__all__ = ["Contract", "StepFailure", "contracts", "explain", "full_disk"]


# As the C library and SQLite put it; TensorFlow and Beam wrap these in errors of their own.
_FULL_DISK_WORDS = ("No space left on device", "Disk quota exceeded", "database or disk is full")

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_FRAME = re.compile(r'^\s*File "([^"]+)", line (\d+), in (\S+)')
# Of an operation's error the lines about where TensorFlow was in its own graph.
_GRAPH_NOISE = ("Detected at node", "<stack traces", "File ", "[[", "Original stack trace")
_ITERATOR = re.compile(r"^Error in user-defined function passed to .* Iterator::[\w:\[\]]+: ")
_MAX_WORDS = 300


class StepFailure(UserError):  # noqa: N818  (it is told, not handled)
    """A step failed for a reason that is neither the user's input nor a gate: exit code 1."""

    exit_code = 1


@dataclass(frozen=True)
class Contract:
    """What a step asks of the user's own code.

    Attributes:
        code: the function and where it is written.
        expected: what it has to do.
        fix: where to look when it doesn't.
    """

    code: str
    expected: str
    fix: str


@dataclass(frozen=True)
class _Line:
    """A line of the user's code on the way to an error."""

    file: str
    line: int
    function: str
    code: str

    def __str__(self) -> str:
        return f"    {self.file} line {self.line}, in {self.function}: {self.code}"


def contracts(project: Project) -> dict[str, Contract]:
    """Says for each step in which the user's code or its model is at work what is asked of it."""
    from pipeline import own_code

    found: dict[str, Contract] = {}
    for function in own_code.find(project):
        if function.key == "preprocessing_fn":
            found["transform"] = Contract(
                function.written_at(),
                "a function that takes a dict of tensors by column and returns a dict of tensors "
                "(dense, sparse or ragged) by name",
                f"look at what {function.name} returns",
            )
        else:
            found["trainer"] = Contract(
                function.written_at(),
                "a function that takes fn_args, trains, and writes a SavedModel to "
                "fn_args.serving_model_dir",
                f"look at how {function.name} ends",
            )
            evaluation = project.config.evaluation
            keys = ("preprocessing_signature", "label_key", "prediction_key")
            named = ", ".join(f"{key}: {getattr(evaluation, key)}" for key in keys)
            found["evaluator"] = Contract(
                f"the model of {function.written_at()}",
                f"a model with the signatures and outputs that `evaluation:` names ({named})",
                "correct these keys, or the signatures that the model is saved with",
            )
    return found


def explain(
    error: BaseException,
    step: str,
    log: Path,
    user_folder: Path,
    asked: Mapping[str, Contract] | None = None,
) -> UserError:
    """Turns whatever a step raised into an error that reads well; the traceback is logged.

    Args:
        error: the exception.
        step: the node's name.
        log: where the whole traceback is.
        user_folder: code below it is the user's own.
        asked: by step, what is asked of the user's own code there.
    """
    logging.getLogger(__name__).error("step %s failed", step, exc_info=error)
    chain = list(_chain(error))
    told = _told_already(chain)
    if told is not None:
        return told
    full = full_disk(error)
    if full is not None:
        return _disk_full(step, full)
    for link in chain:
        lines = [*_frames(link, user_folder), *_quoted_frames(link, user_folder)]
        if lines:
            return _their_error(link, lines, step, log)
    contract = (asked or {}).get(step)
    if contract is not None:
        return UserError(
            f"step {step}: {contract.code}: {type(error).__name__}: {_words(error)}",
            expected=contract.expected,
            fix=f"{contract.fix}; the whole traceback is in {log}",
        )
    return StepFailure(
        f"step {step} failed: {type(error).__name__}: {_words(error)}",
        expected="the step to finish",
        fix=f"read the traceback in {log}; a new run continues at this step",
    )


def _told_already(chain: list[BaseException]) -> UserError | None:
    """An error on the way that was meant to be read."""
    for link in chain:
        if isinstance(link, UserError):
            return link
        if isinstance(link, DataError):
            # The trainer stands alone and has a tree of errors of its own.
            told = UserError(link.what, expected=link.expected, fix=link.fix)
            told.exit_code = link.exit_code
            return told
    return None


def full_disk(error: BaseException) -> BaseException | None:
    """Finds what in an error tells of a disk that is full; the system's own word before others."""
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT):
            return link
    return next((each for each in chain if any(map(str(each).count, _FULL_DISK_WORDS))), None)


def _disk_full(step: str, error: BaseException) -> UserError:
    place = getattr(error, "filename", None)
    return UserError(
        f"step {step}: the disk is full" + (f", writing {place}." if place else "."),
        expected="room for the run's artifacts (examples are about the size of the data)",
        fix="free some space or choose another disk with --output; a new run continues here",
    )


def _their_error(error: BaseException, lines: list[_Line], step: str, log: Path) -> UserError:
    shown = "\n".join(map(str, dict.fromkeys(lines)))
    if isinstance(error, ImportError):
        expected, fix = "modules that are installed, or lie below the YAML's folder", "install it, "
        fix += "or correct the import in the last line above"
    else:
        expected, fix = "code that runs to its end", "mend the last line above"
    return UserError(
        f"step {step}: your code raised {_named(error)}\n{shown}",
        expected=expected,
        fix=f"{fix}; the whole traceback is in {log}",
    )


def _frames(error: BaseException, folder: Path) -> list[_Line]:
    """The user's lines in a traceback."""
    return [
        _Line(frame.filename, frame.lineno or 0, frame.name, frame.line or "")
        for frame in traceback.extract_tb(error.__traceback__)
        if _is_theirs(frame.filename, folder)
    ]


def _quoted_frames(error: BaseException, folder: Path) -> list[_Line]:
    """The user's lines in a message: TensorFlow runs a rewritten copy of them and says so there."""
    lines = str(error).splitlines()
    found = []
    for line, code in zip(lines, [*lines[1:], ""], strict=True):
        frame = _FRAME.match(line)
        if frame and _is_theirs(frame[1], folder):
            name = "<lambda>" if frame[3] == "None" else frame[3]
            found.append(_Line(frame[1], int(frame[2]), name, code.strip()))
    return found


def _is_theirs(file: str, folder: Path) -> bool:
    """Whether a file is the user's; what is installed below their folder is not."""
    path = Path(file)
    return path.is_relative_to(folder) and "site-packages" not in path.parts


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Walks an exception and those that caused it, the innermost last."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _named(error: BaseException) -> str:
    """An error as Python would print it, but in one line and without TensorFlow's wrapping."""
    if str(error).startswith("in user code:"):
        return _words(error)
    return f"{type(error).__name__}: {_words(error)}"


def _words(error: BaseException) -> str:
    """The part of a message that says what is wrong, in one line."""
    text = _COLOURS.sub("", str(error)).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no message"]
    words = lines[0]
    if words == "in user code:":
        words = lines[-1]
    elif words.startswith("Graph execution error"):
        telling = [line for line in lines[1:] if not line.startswith(_GRAPH_NOISE)]
        words = _ITERATOR.sub("", telling[0]) if telling else words
    elif words.startswith("Exception encountered when calling") and len(lines) > 1:
        words = f"{words} {lines[1]}"
    return words if len(words) <= _MAX_WORDS else words[:_MAX_WORDS] + "…"
