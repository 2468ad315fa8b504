"""Pydantic's validation errors as sentences that name file, line, key and remedy."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.config.document import Document, KeyPath, dotted
from serving.errors import UserError

__all__ = ["known_keys", "user_error"]

_EXPECTED = {
    "missing": "a value: this key is required",
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list: one `- item` per line, or [a, b]",
    "tuple_type": "a list: one `- item` per line, or [a, b]",
    "dict_type": "a mapping of `key: value` lines",
    "model_type": "a mapping of `key: value` lines",
    "model_attributes_type": "a mapping of `key: value` lines",
    "finite_number": "a finite number",
    "string_pattern_mismatch": "letters, digits, '_' and (in names) '-', starting with a letter",
}


def user_error(error: ValidationError, document: Document, model: type[BaseModel]) -> UserError:
    """Turns the first fault of a validation into a UserError and counts the others."""
    faults = error.errors(include_url=False)
    # An unknown key is most often the misspelled form of a missing one: tell that first.
    faults.sort(key=lambda fault: fault["type"] != "extra_forbidden")
    what, expected, fix = _clauses(faults[0], document, model)
    if len(faults) > 1:
        others = sorted({dotted(_written_path(fault, document)) for fault in faults[1:]} - {""})
        if others:
            fix += f" (there is more to mend at: {', '.join(others)})"
    return UserError(what, expected=expected, fix=fix)


def _clauses(
    fault: ErrorDetails, document: Document, model: type[BaseModel]
) -> tuple[str, str, str]:
    path = _written_path(fault, document)
    place = document.place(path)
    given = fault.get("input")
    kind = fault["type"]
    if kind == "extra_forbidden":
        known = known_keys(model, fault["loc"][:-1])
        key = str(path[-1])
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        fix = f"write '{near[0]}' instead" if near else "remove the key"
        return f"{place}: unknown key.", f"one of {', '.join(known)}", fix
    if kind == "missing":
        return f"{place}: the key is missing.", _EXPECTED[kind], f"add `{path[-1]}: …`"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _tag_clauses(fault, path, place)
    if kind in ("literal_error", "enum"):
        expected = str(fault.get("ctx", {}).get("expected", ""))
        near = difflib.get_close_matches(str(given), _quoted(expected), n=1, cutoff=0.5)
        fix = f"write '{near[0]}'" if near else "choose one of these"
        return f"{place}: {given!r} is not known here.", f"one of {expected}", fix
    ctx: dict[str, Any] = fault.get("ctx", {})
    if "what" in ctx:
        if ctx.get("key"):
            place = document.place((*path, *ctx["key"].split(".")))
        return f"{place}: {ctx['what']}.", ctx["expected"], ctx["fix"]
    cause = ctx.get("error")
    message = str(cause) if cause is not None else fault["msg"]
    shown = "" if isinstance(given, dict | list) else f" has the value {given!r}"
    expected = _EXPECTED.get(kind, message[0].lower() + message[1:])
    return f"{place}{shown or ': not accepted'}.", expected, "change the value"


def _tag_clauses(fault: ErrorDetails, path: KeyPath, place: str) -> tuple[str, str, str]:
    """Words a wrong or missing `kind:` of a feature or another choice among sections."""
    ctx: dict[str, Any] = fault.get("ctx", {})
    key = str(ctx.get("discriminator", "'kind'")).strip("'")
    expected = str(ctx.get("expected_tags", "one of the documented kinds"))
    if fault["type"] == "union_tag_not_found":
        return f"{place}: '{key}' is missing.", f"{key}: one of {expected}", f"add `{key}: …`"
    tag = str(ctx.get("tag", ""))
    near = difflib.get_close_matches(tag, _quoted(expected), n=1, cutoff=0.4)
    fix = f"write '{near[0]}'" if near else "choose one of these"
    return f"{place}: unknown {key} '{tag}'.", f"{key}: one of {expected}", fix


def _quoted(choices: str) -> list[str]:
    """Reads the words out of pydantic's "'a', 'b' or 'c'"."""
    return choices.split("'")[1::2]


def _written_path(fault: ErrorDetails, document: Document) -> KeyPath:
    """The fault's path as the user wrote it: without the union tags pydantic puts in between."""
    value: Any = document.values
    path: list[str | int] = []
    parts = list(fault["loc"])
    for index, part in enumerate(parts):
        is_key = isinstance(value, dict) and part in value
        is_index = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if is_key or is_index:
            value = value[part]
        elif index < len(parts) - 1 or fault["type"] != "missing":
            continue
        path.append(part)
    return tuple(path)


def known_keys(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """Lists the keys that the section at `loc` may have, read off the model's JSON schema."""
    root = model.model_json_schema()
    definitions = root.get("$defs", {})
    places = [root]
    for part in loc:
        places = [step for place in places for step in _steps(place, part, definitions)]
    keys: set[str] = set()
    for place in places:
        for option in _options(place, definitions):
            keys.update(option.get("properties", {}))
    return sorted(keys)


def _options(schema: dict[str, Any], definitions: dict[str, Any]) -> list[dict[str, Any]]:
    """The plain schemas behind references and choices."""
    if "$ref" in schema:
        return _options(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    choices = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if choices:
        return [option for choice in choices for option in _options(choice, definitions)]
    return [schema]


def _steps(
    schema: dict[str, Any], part: str | int, definitions: dict[str, Any]
) -> list[dict[str, Any]]:
    """The schemas that one part of a location leads to; a union's tag leads to its option."""
    reached: list[dict[str, Any]] = []
    options = _options(schema, definitions)
    for option in options:
        if isinstance(part, int) and "items" in option:
            reached.append(option["items"])
        elif part in option.get("properties", {}):
            reached.append(option["properties"][part])
        elif isinstance(option.get("additionalProperties"), dict):
            reached.append(option["additionalProperties"])
    if not reached:
        tagged = [
            option
            for option in options
            if any(
                prop.get("const") == part or part in prop.get("enum", ())
                for prop in option.get("properties", {}).values()
            )
        ]
        reached = tagged or options
    return reached
