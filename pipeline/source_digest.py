"""Digests of source code, so that a changed function is never answered from a cache."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable
from functools import cache
from pathlib import Path

__all__ = ["of_dotted_paths", "of_packages"]

_ROOT = Path(__file__).resolve().parent.parent


@cache
def of_packages(*names: str) -> str:
    """Digests the Python files of packages of ours, by name and content."""
    return _digest(file for name in names for file in sorted((_ROOT / name).rglob("*.py")))


def of_dotted_paths(folder: Path, paths: Iterable[str]) -> str:
    """Digests the Python files of the top-level packages that hold functions of the user's.

    Args:
        folder: where the packages are looked for first.
        paths: `package.module.function` each.
    """
    files: list[Path] = []
    for top in sorted({path.partition(".")[0] for path in paths}):
        if (folder / top).is_dir():
            files += sorted((folder / top).rglob("*.py"))
        elif (folder / f"{top}.py").exists():
            files.append(folder / f"{top}.py")
        else:
            spec = importlib.util.find_spec(top)
            for location in (spec.submodule_search_locations or []) if spec else []:
                files += sorted(Path(location).rglob("*.py"))
            if spec and spec.origin and not files:
                files.append(Path(spec.origin))
    return _digest(files)


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0")
        digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
