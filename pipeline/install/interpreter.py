"""Which Python the environment is made with.

This module and `__main__` are read by whatever `python3` the host has, so they keep to
syntax that Python 3.7 understands.
"""

from __future__ import annotations

import shutil
import subprocess
import sys

__all__ = ["OLDEST", "TOO_NEW", "find_supported", "is_supported"]

OLDEST = (3, 11)
TOO_NEW = (3, 14)
_NAMES = ("python3.12", "python3.13", "python3.11", "python3")
_TEST = f"import sys; sys.exit(not {OLDEST} <= sys.version_info[:2] < {TOO_NEW})"


def is_supported(version: tuple[int, ...] = sys.version_info[:2]) -> bool:
    """Tells whether the locked packages exist for a Python version."""
    return OLDEST <= version[:2] < TOO_NEW


def find_supported(path: str | None = None) -> str | None:
    """Looks along a search path (default: PATH) for a Python that runs and is supported."""
    for name in _NAMES:
        found = shutil.which(name, path=path)
        # A name alone proves nothing: pyenv's shims exist for versions that are not active.
        if found and _succeeds([found, "-c", _TEST]):
            return found
    return None


def _succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
