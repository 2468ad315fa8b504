"""Writes docs/configuration.md from the configuration's types and docstrings.

Run it with `python -m pipeline.config.reference docs/configuration.md`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pipeline.config.sections import Config

__all__ = ["markdown"]

_HEAD = """\
# Configuration

Every key of `pipeline.yaml`. This page is written from the types in `pipeline/config/` and
`trainer/` by `make docs`. Keys without a default are required; `kubetfx run -p key=value` overrides
any of them for one run (`-p training.steps=500`).
"""


def markdown() -> str:
    """Returns the page: a table for the top level and one for each section, in order of use."""
    schema = Config.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = schema.get("$defs", {})
    parts = [_HEAD, _table(schema, definitions)]
    queue, seen = _references(schema), set[str]()
    while queue:
        name = queue.pop(0)
        if name in seen:
            continue
        seen.add(name)
        section = definitions[name]
        queue = _references(section) + queue
        if "properties" not in section:
            continue
        text = " ".join(section.get("description", "").split())
        parts.append(f"## {name}\n\n{text}\n\n{_table(section, definitions)}")
    return "\n".join(parts)


def _table(section: dict[str, Any], definitions: dict[str, Any]) -> str:
    rows = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    required = section.get("required", [])
    for key, field in section["properties"].items():
        default = "" if key in required else _default(field)
        # Pydantic leaves a description out that repeats the section's own.
        target = definitions.get(field.get("$ref", "").rpartition("/")[2], {})
        meaning = " ".join(field.get("description", target.get("description", "")).split())
        cells = (f"`{key}`", _type(field, definitions), default, meaning)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _default(field: dict[str, Any]) -> str:
    if "const" in field or "default" not in field or field["default"] is None:
        return "–"
    default = field["default"]
    if isinstance(default, dict) and len(json.dumps(default)) > 40:
        return "see the section"
    return f"`{json.dumps(default, ensure_ascii=False)}`"


def _type(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Words a JSON schema type for people."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        target = definitions[name]
        if "enum" in target:
            return _choices(target["enum"])
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf"):
        if key in field:
            options = [_type(option, definitions) for option in field[key]]
            return " or ".join(dict.fromkeys(option for option in options if option != "null"))
    if "enum" in field:
        return _choices(field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    kind = field.get("type", "any")
    if kind == "array":
        items: dict[str, Any] = field.get("items") or next(iter(field.get("prefixItems", [])), {})
        return f"list of {_type(items, definitions)}"
    if kind == "object":
        values = field.get("additionalProperties")
        return f"mapping to {_type(values, definitions)}" if isinstance(values, dict) else "mapping"
    words = {"string": "text", "integer": "whole number", "boolean": "true or false"}
    return words.get(kind, str(kind))


def _choices(values: list[Any]) -> str:
    return " or ".join(f"`{value}`" for value in values)


def _references(schema: Any) -> list[str]:
    """Names of the sections that a schema points at, in order."""
    if isinstance(schema, dict):
        own = [schema["$ref"].rpartition("/")[2]] if "$ref" in schema else []
        return own + [
            name
            for key, value in schema.items()
            if key not in ("$defs", "discriminator")
            for name in _references(value)
        ]
    if isinstance(schema, list):
        return [name for item in schema for name in _references(item)]
    return []


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(markdown(), encoding="utf-8")
