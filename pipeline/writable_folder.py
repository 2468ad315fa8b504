"""A folder of the user's choice in which files can be made."""

from __future__ import annotations

import os
from pathlib import Path

from serving.errors import UserError

__all__ = ["make_writable"]


def make_writable(folder: Path, option: str, what: str = "the folder") -> Path:
    """Makes a folder where there is none, and proves that files can be made in it.

    Args:
        folder: as the user has written it.
        option: the option that names it, for the message.
        what: what the folder is, for the message.

    Returns:
        Its absolute path.

    Raises:
        UserError: it can't be made or written.
    """
    place = folder.expanduser().resolve()
    try:
        place.mkdir(parents=True, exist_ok=True)
        probe = place / f".probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        # Not Path.is_file, which raises where a folder on the way may not be entered.
        file = next((each for each in (place, *place.parents) if os.path.isfile(each)), None)  # noqa: PTH113
        if file is not None:
            raise UserError(
                f"{what} {place} can't be made: {file} is a file.",
                expected="a folder, or a name that is not taken yet",
                fix=f"choose another one with {option}, or move the file away",
            ) from error
        raise UserError(
            f"{what} {place} can't be written: {error.strerror}.",
            expected="a folder in which this user may make files",
            fix=f"choose another one with {option}, or change its owner or mode",
        ) from error
    return place
