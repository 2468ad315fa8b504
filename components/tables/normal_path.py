"""A path without detours: what messages show and files are opened by."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["normal_path"]


def normal_path(path: Path) -> str:
    """Drops `.`, `..` and doubled slashes, unless a link on the way makes `..` lead elsewhere."""
    short = os.path.normpath(path)
    return short if os.path.realpath(short) == os.path.realpath(path) else str(path)
