"""What the configuration's types allow at a place of the YAML, read off their JSON schema."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

__all__ = ["allowed", "allowed_by", "allowed_names", "known_keys"]

Schema = dict[str, Any]
Loc = tuple[str | int, ...]


def known_keys(model: type[BaseModel], loc: Loc) -> list[str]:
    """Lists the keys that the section at `loc` may have.

    Args:
        model: the type of the whole document.
        loc: keys and list indices, with the tags of unions in between as pydantic puts them.
    """
    return sorted({key for option in allowed(model, loc) for key in option.get("properties", {})})


def allowed(model: type[BaseModel], loc: Loc) -> list[Schema]:
    """Lists the plain schemas, one of which the value at `loc` has to fit.

    Returns:
        Each with the key's own `default`, if it has one; none for an unknown place.
    """
    places = _options(_root(model), model)
    for part in loc:
        # Pydantic puts the tag or the type of the chosen option in between, the tag always.
        tagged = [place for place in places if _is_tagged(place, part)]
        reached = [child for place in places for child in _children(place, part)]
        if tagged and len(places) > 1:
            places = tagged
        elif reached:
            places = [option for child in reached for option in _options(child, model)]
    return places


def allowed_names(model: type[BaseModel], loc: Loc) -> list[Schema]:
    """Lists what the keys of the mapping at `loc` have to fit, where they are the user's own."""
    found: list[Schema] = []
    for section in allowed(model, loc):
        if "propertyNames" in section:
            found += _options(section["propertyNames"], model)
        found += [
            {"type": "string", "pattern": pattern}
            for pattern in section.get("patternProperties", {})
        ]
    return found


def allowed_by(model: type[BaseModel], values: Any, path: Loc) -> list[Schema]:
    """Does the same for a path as it is written, whose tags stand in the values (`kind: …`)."""
    places = _options(_root(model), model)
    for part in path:
        places = [
            option
            for place in places
            if _is_chosen(place, values)
            for child in _children(place, part)
            for option in _options(child, model)
        ]
        values = _child(values, part)
    return places


@functools.cache
def _root(model: type[BaseModel]) -> Schema:
    return model.model_json_schema()


def _options(schema: Schema, model: type[BaseModel]) -> list[Schema]:
    """The plain schemas behind references and choices; they keep the key's default."""
    if "$ref" in schema:
        choices = [_root(model)["$defs"][schema["$ref"].rpartition("/")[2]]]
    else:
        choices = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf") or []
    if not choices:
        return [schema]
    own = {"default": schema["default"]} if "default" in schema else {}
    return [{**option, **own} for choice in choices for option in _options(choice, model)]


def _children(schema: Schema, part: str | int) -> Iterator[Schema]:
    """The schemas below a plain one: of a key, or of an item."""
    if isinstance(part, int):
        if "items" in schema:
            yield schema["items"]
    elif part in schema.get("properties", {}):
        yield schema["properties"][part]
    else:
        more = schema.get("additionalProperties")
        if isinstance(more, dict):
            yield more
        yield from schema.get("patternProperties", {}).values()


def _is_tagged(schema: Schema, tag: str | int) -> bool:
    return any(field.get("const") == tag for field in schema.get("properties", {}).values())


def _is_chosen(option: Schema, values: Any) -> bool:
    """Whether the values' own choice (`kind: …`, `by: …`), if they have one, is this option."""
    return not isinstance(values, dict) or all(
        values.get(key, field["const"]) == field["const"]
        for key, field in option.get("properties", {}).items()
        if "const" in field
    )


def _child(values: Any, part: str | int) -> Any:
    if isinstance(values, dict):
        return values.get(part)
    if isinstance(values, list) and isinstance(part, int) and part < len(values):
        return values[part]
    return None
