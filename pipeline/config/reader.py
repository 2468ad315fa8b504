"""From a pipeline.yaml (and overrides) to a typed, checked project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from components.tables.normal_path import normal_path
from pipeline.config.document import Document, KeyPath, read_document, read_value
from pipeline.config.key_tree import known_keys
from pipeline.config.sections import Config
from pipeline.config.validation import check_numbers, user_error
from pipeline.config.wording import nearest_word
from serving.errors import UserError

__all__ = ["CONFIG_FILE", "Project", "read_project"]

CONFIG_FILE = "pipeline.yaml"


@dataclass(frozen=True)
class Project:
    """A configuration and the file it came from.

    Attributes:
        config: the checked configuration, paths as written.
        document: the file with the line of each key, for messages.
    """

    config: Config
    document: Document

    @property
    def folder(self) -> Path:
        """The folder that relative paths and the user's own code start from."""
        return self.document.file.resolve().parent

    def path(self, written: str) -> str:
        """Resolves a path as written in the YAML: relative ones start at the YAML's folder."""
        if "://" in written:
            return written
        return normal_path(self.folder / Path(written).expanduser())

    def place(self, *keys: str | int) -> str:
        """Names file, line and key of a setting, for messages."""
        return self.document.place(keys)


def read_project(file: Path, overrides: Sequence[str] = ()) -> Project:
    """Reads and checks one pipeline configuration.

    Args:
        file: a pipeline.yaml, or a folder that holds one.
        overrides: `key=value` texts, keys dotted as in `training.steps=100`; values are YAML.

    Raises:
        UserError: anything in the file or in an override that can't be used.
    """
    if file.is_dir() and (file / CONFIG_FILE).exists():
        file = file / CONFIG_FILE
    document = read_document(file)
    values: Any = document.values
    for override in overrides:
        values = _overridden(values, override)
    given = frozenset(_numbered(_keys(override)) for override in overrides)
    document = Document(document.file, values, document.lines, given)
    check_numbers(document, Config)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise user_error(error, document, Config) from error
    return Project(config, document)


def _overridden(values: Any, override: str) -> Any:
    """Returns `values` with one `a.b=value` applied; the input stays as it is."""
    _, equals, text = override.partition("=")
    keys = _keys(override)
    if not equals or not keys:
        raise UserError(
            f"--param {override}: not understood.",
            expected="key=value, such as training.steps=500",
            fix="write the key as it stands in the YAML, dots between the levels",
        )
    for depth, part in enumerate(keys):
        known = known_keys(Config, keys[:depth])
        if known and part not in known and not known_keys(Config, keys[: depth + 1]):
            near = nearest_word(part, known)
            raise UserError(
                f"--param {override}: unknown key '{'.'.join(keys[: depth + 1])}'.",
                expected=f"one of {', '.join(known)}",
                fix=f"write '{near}' instead" if near else "leave it out",
            )
    try:
        value = read_value(text, f"--param {override}", _numbered(keys))
    except yaml.YAMLError as error:
        raise UserError(
            f"--param {override}: the value is not valid YAML.",
            expected="a number, a text, true, false, or [a, b]",
            fix="quote the value",
        ) from error
    return _with_value(values, keys, value)


def _keys(override: str) -> tuple[str, ...]:
    return tuple(part for part in override.partition("=")[0].strip().split(".") if part)


def _numbered(keys: tuple[str, ...]) -> KeyPath:
    return tuple(int(part) if part.isdigit() else part for part in keys)


def _with_value(values: Any, keys: tuple[str, ...], value: Any) -> Any:
    if not keys:
        return value
    head, rest = keys[0], keys[1:]
    if isinstance(values, list) and head.isdigit() and int(head) < len(values):
        copy = list(values)
        copy[int(head)] = _with_value(copy[int(head)], rest, value)
        return copy
    base = values if isinstance(values, dict) else {}
    return {**base, head: _with_value(base.get(head, {}), rest, value)}
