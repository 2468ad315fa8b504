"""Pydantic's validation errors as sentences that name file, line, key and remedy."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.config import wording
from pipeline.config.document import Document, KeyPath, dotted
from pipeline.config.key_tree import allowed, allowed_by, allowed_names, known_keys
from serving.errors import UserError

__all__ = ["check_numbers", "user_error"]


def user_error(error: ValidationError, document: Document, model: type[BaseModel]) -> UserError:
    """Turns the first fault of a validation into a UserError and counts the others."""
    faults = error.errors(include_url=False)
    # An unknown key is most often the misspelled form of a missing one: tell that first.
    faults.sort(key=lambda fault: fault["type"] != "extra_forbidden")
    first = _deepest(faults, document)
    place = _written_path(first, document)
    about_key = _is_about_key(first)
    same = [
        fault
        for fault in faults
        if _written_path(fault, document) == place and _is_about_key(fault) == about_key
    ]
    what, expected, fix = _clauses(first, same, document, model)
    others = {_written_path(fault, document) for fault in faults} - {place, ()}
    # Of a choice among types each has its own complaint, on the way to the fault as well.
    others -= {place[:length] for length in range(len(place))}
    if others:
        fix += f" (there is more to mend at: {', '.join(sorted(map(dotted, others)))})"
    return UserError(what, expected=expected, fix=fix)


def check_numbers(document: Document, model: type[BaseModel]) -> None:
    """Refuses what pydantic takes for numbers and nobody means: true, and more than 64 bits.

    Raises:
        UserError: the first such value.
    """
    for path, value in _leaves(document.values, ()):
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise UserError(
                f"{document.place(path)}: {wording.shown(value)} has more than 64 bits.",
                expected="whole numbers of at most 64 bits",
                fix="write a smaller number, or put it in quotes if it is text",
            )
        options = allowed_by(model, document.values, path) if isinstance(value, bool) else []
        kinds = {option.get("type") for option in options}
        if kinds & {"integer", "number"} and "boolean" not in kinds:
            raise UserError(
                f"{document.place(path)}: {wording.shown(value)} is no number.",
                expected=wording.acceptable(options),
                fix=wording.remedy(options, ["int_type"], value),
            )


def _deepest(faults: list[ErrorDetails], document: Document) -> ErrorDetails:
    """The first fault, or one below it: where one of several types fits but for a detail."""
    first = faults[0]
    for fault in faults[1:]:
        path, other = _written_path(first, document), _written_path(fault, document)
        if path and len(other) > len(path) and other[: len(path)] == path:
            first = fault
    return first


def _clauses(
    fault: ErrorDetails, same: list[ErrorDetails], document: Document, model: type[BaseModel]
) -> tuple[str, str, str]:
    path = _written_path(fault, document)
    place = document.place(path)
    kind = fault["type"]
    ctx: dict[str, Any] = fault.get("ctx", {})
    if "what" in ctx:
        if ctx.get("key"):
            place = document.place((*path, *_parts(ctx["key"])))
        return f"{place}: {ctx['what']}.", ctx["expected"], ctx["fix"]
    if kind == "extra_forbidden":
        known = known_keys(model, fault["loc"][:-1])
        near = wording.nearest_word(str(path[-1]), known)
        fix = f"write '{near}' instead" if near else "remove the key"
        return f"{place}: unknown key.", f"one of {', '.join(known)}", fix
    if kind == "missing":
        options = allowed(model, fault["loc"])
        example = wording.remedy(options, [kind], "").rpartition("write, for example, ")[2]
        return (
            f"{place}: the key is missing.",
            f"{path[-1]}: {wording.acceptable(options)}",
            f"add `{path[-1]}: …`, for example `{path[-1]}: {example}`",
        )
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _tag_clauses(fault, path, document, model)
    return _value_clauses(fault, [each["type"] for each in same], place, model)


def _value_clauses(
    fault: ErrorDetails, kinds: list[str], place: str, model: type[BaseModel]
) -> tuple[str, str, str]:
    """Words a value (or a key of the user's own) that is of a wrong type or out of range."""
    given = fault.get("input")
    what = f"{place}: {wording.shown(given)} {wording.trouble(kinds, given)}."
    if _is_about_key(fault):
        options = allowed_names(model, fault["loc"][:-2])
    else:
        options = allowed(model, fault["loc"])
    return what, wording.acceptable(options), wording.remedy(options, kinds, given)


def _tag_clauses(
    fault: ErrorDetails, path: KeyPath, document: Document, model: type[BaseModel]
) -> tuple[str, str, str]:
    """Words a wrong or missing `kind:` of a feature or another choice among sections."""
    ctx: dict[str, Any] = fault.get("ctx", {})
    key = str(ctx.get("discriminator", "'kind'")).strip("'")
    given = fault.get("input")
    fields = [option.get("properties", {}) for option in allowed(model, fault["loc"])]
    known = [each[key]["const"] for each in fields if key in each]
    place = document.place((*path, key))
    expected = f"{key}: one of {', '.join(map(repr, known))}"
    if fault["type"] == "union_tag_not_found":
        return f"{place}: the key is missing.", expected, f"add, for example, `{key}: {known[0]}`"
    tag = given.get(key) if isinstance(given, dict) else ctx.get("tag", "")
    near = wording.nearest_word(str(tag), known)
    return (
        f"{place}: unknown {key} {wording.shown(tag)}.",
        expected,
        f"write '{near}'" if near else f"write, for example, `{key}: {known[0]}`",
    )


def _is_about_key(fault: ErrorDetails) -> bool:
    return bool(fault["loc"]) and fault["loc"][-1] == "[key]"


def _parts(key: str) -> KeyPath:
    return tuple(int(part) if part.isdigit() else part for part in key.split("."))


def _leaves(value: Any, path: KeyPath) -> list[tuple[KeyPath, Any]]:
    if isinstance(value, dict):
        return [leaf for key, each in value.items() for leaf in _leaves(each, (*path, key))]
    if isinstance(value, list):
        return [leaf for at, each in enumerate(value) for leaf in _leaves(each, (*path, at))]
    return [(path, value)]


def _written_path(fault: ErrorDetails, document: Document) -> KeyPath:
    """The fault's path as the user wrote it: without the union tags pydantic puts in between."""
    value: Any = document.values
    path: list[str | int] = []
    parts = list(fault["loc"])
    tag = None
    for index, part in enumerate(parts):
        if tag is not None and part == tag:
            tag = None
            continue
        is_key = isinstance(value, dict) and part in value
        is_index = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if is_key or is_index:
            value = value[part]
            tag = (value.get("by") or value.get("kind")) if isinstance(value, dict) else None
        elif index < len(parts) - 1 or fault["type"] != "missing":
            continue
        path.append(part)
    return tuple(path)
