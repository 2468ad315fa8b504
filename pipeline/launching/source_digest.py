"""Digests of source code, so that a changed function is never answered from a cache."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

__all__ = ["mark", "of_dotted_paths", "of_packages", "with_digests"]

_MARK = "digest-of-trainer-and"

_ROOT = Path(__file__).resolve().parents[2]


@cache
def of_packages(*names: str) -> str:
    """Digests the Python files of packages of ours, by name and content."""
    return _digest(file for name in names for file in sorted((_ROOT / name).rglob("*.py")))


def mark(paths: Iterable[str]) -> str:
    """Makes a mark which `with_digests` turns into the digest of that code, where it will run.

    Args:
        paths: functions of the user's, `package.module.function` each.
    """
    return f"{_MARK}({','.join(paths)})"


def with_digests(text: str) -> str:
    """Replaces every mark by the digest of `trainer` and of the user's code that it names."""

    def digest(found: re.Match[str]) -> str:
        paths = [path for path in found.group(1).split(",") if path]
        return of_packages("trainer") + of_dotted_paths(paths)

    return re.sub(rf"{_MARK}\(([\w.,]*)\)", digest, text)


def of_dotted_paths(paths: Iterable[str], folder: Path | None = None) -> str:
    """Digests the Python files of the top-level packages that hold functions of the user's.

    Args:
        paths: `package.module.function` each.
        folder: where the packages are looked for before Python's own search path.
    """
    files: list[Path] = []
    for top in sorted({path.partition(".")[0] for path in paths}):
        if folder and (folder / top).is_dir():
            files += sorted((folder / top).rglob("*.py"))
        elif folder and (folder / f"{top}.py").exists():
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
