"""Finds the model that the last local run pushed, for commands that are not told which."""

from __future__ import annotations

from pathlib import Path

__all__ = ["last_push"]


def last_push(outputs: Path = Path("outputs")) -> Path | None:
    """Returns the folder of versions in which the newest version lies; None without any.

    Args:
        outputs: the folder of outputs; one output of a run is taken as well.
    """
    newest: tuple[float, Path] | None = None
    for pattern in ("*/serving/*/[0-9]*", "serving/*/[0-9]*"):
        for version in outputs.glob(pattern):
            if version.name.isdigit():
                changed = version.stat().st_mtime
                if newest is None or changed > newest[0]:
                    newest = (changed, version.parent)
    return newest[1] if newest else None
