"""A YAML file as plain values that remember the line they came from."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from serving.errors import UserError

__all__ = ["Document", "KeyPath", "dotted", "read_document", "read_value"]

KeyPath = tuple[str | int, ...]
"""Where a value stands: keys and list indices from the root, such as `("features", 2, "kind")`."""


@dataclass(frozen=True)
class Document:
    """The values of one YAML file and the line (1-based) on which each of them stands."""

    file: Path
    values: dict[str, Any]
    lines: Mapping[KeyPath, int] = field(repr=False)
    overridden: frozenset[KeyPath] = frozenset()
    """Values that an override put in the place of the file's."""

    def place(self, path: KeyPath) -> str:
        """Names file, line and key of a value; a missing value stands at its nearest parent."""
        key = dotted(path)
        for given in self.overridden:
            is_below = path[: len(given)] == given
            if is_below or (path and path not in self.lines and given[: len(path)] == path):
                return f"--param {'.'.join(map(str, path))}"
        for length in range(len(path), -1, -1):
            line = self.lines.get(path[:length])
            if line is not None:
                return f"{self.file} line {line}" + (f", key '{key}'" if key else "")
        return str(self.file)


def dotted(path: KeyPath) -> str:
    """Writes a path the way a person would: `features[2].kind`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.lstrip(".")


def read_document(file: Path) -> Document:
    """Reads one YAML mapping with the lines of its keys.

    Raises:
        UserError: the file is missing, not UTF-8, not YAML, not a mapping, or repeats a key.
    """
    root = _parse(file, _read_text(file))
    reader = _NodeReader(str(file))
    return Document(file, reader.mapping(root, ()), reader.lines)


def read_value(text: str, place: str, path: KeyPath) -> Any:
    """Reads one value that stands outside of a file, as it would be read in the file.

    Args:
        text: YAML.
        place: what the text is, for messages.
        path: the key whose value it is.

    Raises:
        yaml.YAMLError: the text is not YAML.
        UserError: a key is repeated, or a value is not what its tag says.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    return None if root is None else _NodeReader(place, has_lines=False).value(root, path)


_DATA_SUFFIXES = (".csv", ".tsv", ".parquet", ".gz", ".zip", ".zst", ".bz2")


def _read_text(file: Path) -> str:
    if file.suffix.lower() in _DATA_SUFFIXES and file.is_file():
        raise UserError(
            f"{file} looks like data.",
            expected="the path of a pipeline.yaml",
            fix=f"make one for these data: kubetfx init {shlex.quote(str(file))} --label COLUMN",
        )
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(
            f"{file}: there is no such configuration file.",
            expected="the path of a pipeline.yaml",
            fix="check the path, or make a project with `kubetfx init data.csv --label COLUMN`",
        ) from error
    except IsADirectoryError as error:
        raise UserError(
            f"{file} is a folder.",
            expected="the path of a pipeline.yaml, or a folder that holds one",
            fix=f"put a pipeline.yaml into {file}, or name the file",
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file}: byte {error.start} is not UTF-8.",
            expected="a YAML file in UTF-8",
            fix=f"convert it: iconv -f cp1252 -t utf-8 {file}",
        ) from error
    except OSError as error:
        raise UserError(
            f"{file} can't be read: {error.strerror}.",
            expected="a file that this user may read",
            fix=f"check the path, or give the right to read it: chmod u+r {file}",
        ) from error


def _parse(file: Path, text: str) -> yaml.MappingNode:
    """Turns YAML text into a tree whose root is a mapping."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(
            f"{file}{line}: not valid YAML: {error.problem or error.context}.",
            expected="YAML: `key: value` lines, indented with spaces",
            fix="quote values that contain ': ', '#', '%' or braces, and check the indentation",
        ) from error
    except yaml.YAMLError as error:
        raise UserError(
            f"{file}: not valid YAML: {error}.",
            expected="YAML text without control characters",
            fix="remove the character named above",
        ) from error
    if root is None:
        raise UserError(
            f"{file} is empty.",
            expected="a pipeline configuration",
            fix="start from `kubetfx init data.csv --label COLUMN`",
        )
    if not isinstance(root, yaml.MappingNode):
        raise UserError(
            f"{file} line {root.start_mark.line + 1}: the file holds a {root.id}.",
            expected="a mapping with keys such as name, data, features, label",
            fix="write `key: value` lines at the left margin",
        )
    return root


class _NodeReader:
    """Turns composed YAML nodes into values and notes the line of each."""

    def __init__(self, source: str, *, has_lines: bool = True) -> None:
        self.source = source
        self.has_lines = has_lines
        self.lines: dict[KeyPath, int] = {}
        self._scalars = yaml.SafeLoader("")
        self._open: list[yaml.CollectionNode] = []

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        if isinstance(node, yaml.CollectionNode):
            return self._collection(node, path)
        self.lines.setdefault(path, node.start_mark.line + 1)
        if node.tag == "tag:yaml.org,2002:timestamp":
            # A date is wanted as the text it is, to be compared with the cells of the data.
            return node.value
        try:
            return self._scalars.construct_object(node, deep=True)
        except (ValueError, yaml.YAMLError) as error:
            raise UserError(
                f"{self._place(node)}, key '{dotted(path)}': "
                f"{node.value!r} can't be read as {node.tag.rpartition(':')[2]}.",
                expected="a plain value: text, number, true or false",
                fix=f"quote it if it is text: '{node.value}'",
            ) from error

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        self.lines.setdefault(path, node.start_mark.line + 1)
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in values:
                before = f"on line {self.lines[(*path, key)]}" if self.has_lines else "there"
                raise UserError(
                    f"{self._place(key_node)}: the key '{dotted((*path, key))}' "
                    f"stands {before} already.",
                    expected="each key once",
                    fix="keep one of the two",
                )
            self.lines[(*path, key)] = line
            values[key] = self.value(value_node, (*path, key))
        return values

    def _collection(self, node: yaml.CollectionNode, path: KeyPath) -> Any:
        if node in self._open:
            raise UserError(
                f"{self._place(node)}, key '{dotted(path)}': the value holds itself.",
                expected="an alias (*name) of something that does not hold the alias",
                fix="write the value out",
            )
        self._open.append(node)
        if isinstance(node, yaml.MappingNode):
            values: Any = self.mapping(node, path)
        else:
            self.lines.setdefault(path, node.start_mark.line + 1)
            values = [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        self._open.pop()
        return values

    def _place(self, node: yaml.Node) -> str:
        return f"{self.source} line {node.start_mark.line + 1}" if self.has_lines else self.source
