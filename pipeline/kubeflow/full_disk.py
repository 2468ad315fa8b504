"""A disk that ran full under a step: which one it was, and what makes room on a cluster."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pipeline import failure
from pipeline.staging.object_store import is_remote
from pipeline.staging.stage import SCRATCH, SCRATCH_GIB
from serving.errors import UserError

__all__ = ["explain"]

_TENSORFLOWS = re.compile(r"(/[^\s;]+); No space left")
"""TensorFlow names the file first."""


def explain(error: BaseException, step: str, data_root: str) -> UserError | None:
    """Turns an error into what to do about a full disk; None if it is about something else.

    Where the error names no file, it is the disk that the step's payloads are written to.

    Args:
        error: what a step raised.
        step: the node's name.
        data_root: where the payloads belong.
    """
    full = failure.full_disk(error)
    if full is None:
        return None
    scratch = os.environ.get(SCRATCH)
    if scratch and is_remote(data_root) and _is_on(scratch, full):
        which = f"the scratch disk {scratch}"
        room = f"room for the step's inputs and outputs ({SCRATCH_GIB}={_scratch_gib()})"
        fix = "raise kubernetes.scratch_gib and compile anew"
    elif data_root.startswith("/") and _is_on(data_root, full):
        which = f"the volume of {data_root}"
        room = "room for the run's artifacts (examples are about the size of the data)"
        fix = "enlarge the claim in kubernetes.volumes, or remove old artifacts"
    else:
        which = "the pod's own disk"
        room = "room for temporary files"
        fix = "give the node more local disk, or choose one that has it: kubernetes.node_selector"
    return UserError(
        f"step {step}: {which} is full.",
        expected=room,
        fix=f"{fix}; finished steps are kept, a retry goes on with {step}",
    )


def _is_on(folder: str, error: BaseException) -> bool:
    """Whether the file that could not be written is on the disk of a folder, or not named."""
    named = getattr(error, "filename", None)
    found = os.fsdecode(named) if named else None
    if found is None and (match := _TENSORFLOWS.search(str(error))):
        found = match[1]
    return found is None or _device(found) == _device(folder)


def _device(place: str) -> int:
    """The number of the disk that a file is on, or was to be."""
    path = Path(place)
    while not path.exists() and path != path.parent:
        path = path.parent
    return path.stat().st_dev


def _scratch_gib() -> str:
    return os.environ.get(SCRATCH_GIB, "not set")
