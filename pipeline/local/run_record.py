"""What a run is told apart by later: its configuration, its code and its versions."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import BaseModel

from pipeline import __version__
from pipeline.launching import source_digest

if TYPE_CHECKING:
    from pipeline.config import Project

__all__ = ["as_written", "code_state", "describe"]

_LIBRARIES = ("tfx", "tensorflow", "tensorflow-transform", "tensorflow-data-validation", "keras")


def describe(project: Project) -> dict[str, Any]:
    """Turns a project into what is written down with each of its runs."""
    return {
        "config_file": str(project.document.file),
        "config": as_written(project.config),
        "code": code_state(project.folder),
        "versions": {
            "kubetfx": __version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _LIBRARIES},
        },
    }


def as_written(section: BaseModel) -> dict[str, Any]:
    """Turns a section of the configuration into what a YAML says: defaults are left out.

    The key that tells sections of several kinds apart stays, though each kind has it by default.
    """
    kept = section.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for name, field in type(section).model_fields.items():
        key, value = field.alias or name, getattr(section, name)
        if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1:
            kept = {key: value, **kept}
        elif key in kept and isinstance(value, BaseModel):
            kept[key] = as_written(value)
        elif key in kept and isinstance(value, tuple):
            kept[key] = [
                as_written(each) if isinstance(each, BaseModel) else given
                for each, given in zip(value, kept[key], strict=True)
            ]
    return kept


def code_state(folder: Path) -> dict[str, Any]:
    """Names the code: the git commit of a folder, whether it was changed, and our own digest."""
    commit = _git(folder, "rev-parse", "HEAD")
    return {
        "commit": commit,
        "is_changed": bool(_git(folder, "status", "--porcelain", "--untracked-files=no", "."))
        if commit
        else None,
        "digest": source_digest.of_packages("pipeline", "components", "trainer"),
    }


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says; None without git or outside of a repository."""
    try:
        said = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip() if said.returncode == 0 else None
