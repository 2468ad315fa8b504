"""What a key accepts, and what is wrong with a value, in words instead of JSON schema."""

from __future__ import annotations

import datetime
import difflib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["KNOWN_FAULTS", "PATTERNS", "acceptable", "nearest_word", "remedy", "shown", "trouble"]

Schema = dict[str, Any]

PATTERNS: dict[str, tuple[str, str]] = {
    r"^[A-Za-z][A-Za-z0-9_-]{0,62}$": (
        "a name of letters, digits, '_' and '-' that starts with a letter, 63 at most",
        "my_model",
    ),
    r"^[A-Za-z0-9_-]+$": ("a name of letters, digits, '_' and '-'", "train"),
    r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$": (
        "package.module.function: letters, digits and '_', with dots between",
        "my_package.training.run_fn",
    ),
    r"^([0-9]+(\.[0-9]{1,3})?|[0-9]+m)$": (
        "processors as Kubernetes writes them: 2, 0.5 or 500m",
        "500m",
    ),
    r"^([0-9]{7,}|[0-9]+(M|G|T|Mi|Gi|Ti))$": (
        "memory as Kubernetes writes it: a whole number with Mi, Gi or the like",
        "4Gi",
    ),
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$": (
        "a Kubernetes name: lower case letters, digits, '-' and '.', a letter or digit at each end",
        "my-secret",
    ),
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$": (
        "a volume's name: lower case letters, digits and '-', a letter or digit at each end",
        "my-claim",
    ),
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
    r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$": (
        "a Kubernetes key: a domain and '/' if wanted, then letters, digits, '-', '_' and '.', 63 "
        "at most, a letter or digit at each end",
        "example.com/team",
    ),
    r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$": (
        "a Kubernetes label: letters, digits, '-', '_' and '.', 63 at most, a letter or digit at "
        "each end",
        "birds",
    ),
    r"^[-._A-Za-z0-9]{1,253}$": (
        "a secret's key: letters, digits, '-', '_' and '.'",
        "token",
    ),
    r"^([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$": (
        "an image: registry/name:tag in lower case, or name@sha256: and 64 hexadecimal digits",
        "registry.example.com:5000/team/taxi:1.0",
    ),
    r"^[A-Za-z_][A-Za-z0-9_]*$": (
        "the name of an environment variable: letters, digits and '_'",
        "MY_VARIABLE",
    ),
    r"^/[^:]*$": ("an absolute path without ':'", "/mnt/data"),
}
"""By pattern of the configuration's types: what it means, and a text that it accepts."""

_SYNONYMS = {
    "categorical": ("text", "string", "str", "word", "category", "enum", "object", "class"),
    "numeric": ("number", "float", "double", "real", "decimal", "continuous"),
    "integer": ("int", "int64", "long", "whole", "id", "code"),
    "boolean": ("bool", "flag", "yes_no", "truth"),
    "timestamp": ("date", "datetime", "time", "moment"),
    "bucketized": ("bucket", "bin", "binned", "quantile", "range"),
    "log_numeric": ("log", "logarithm", "log1p"),
    "binary": ("classification", "classifier", "classify", "yes_no", "logistic"),
    "multiclass": ("multi", "categorical", "softmax", "multinomial"),
    "regression": ("regressor", "numeric", "number", "continuous"),
    "csv": ("tsv", "text", "txt"),
    "string": ("text", "str", "object", "category"),
    "int64": ("int", "integer", "long"),
    "float64": ("float", "double", "number", "numeric"),
}

_TROUBLE = {
    "greater_than": "is too small",
    "greater_than_equal": "is too small",
    "less_than": "is too large",
    "less_than_equal": "is too large",
    "finite_number": "is not finite",
    "int_parsing_size": "has too many digits",
    "string_too_short": "is too short",
    "string_too_long": "is too long",
    "too_short": "is empty",
    "bool_type": "is neither true nor false",
    "bool_parsing": "is neither true nor false",
    "date_type": "is no date",
    "date_from_datetime_parsing": "is no date",
    "date_from_datetime_inexact": "is no date",
    "dict_type": "is no mapping",
    "model_type": "is no mapping",
    "model_attributes_type": "is no mapping",
    "tuple_type": "is no list",
    "string_type": "is not text",
    "string_pattern_mismatch": "is not accepted here",
    "int_type": "is no whole number",
    "int_parsing": "is no whole number",
    "int_from_float": "is no whole number",
    "float_type": "is no number",
    "float_parsing": "is no number",
    "literal_error": "is not known here",
    "enum": "is not known here",
}

_SHOWN = 60

KNOWN_FAULTS = frozenset(_TROUBLE)
"""Kinds of pydantic's errors about a value that can be worded; a test walks all keys for others."""


def trouble(kinds: Sequence[str], given: object) -> str:
    """Says what is wrong with a value, after the value: `is too small`.

    Args:
        kinds: pydantic's names of the faults, several where any one of several types would do.
        given: the value.
    """
    if given is None:
        return "is no value"
    if given == "":
        return "is empty"
    said = list(dict.fromkeys(_TROUBLE.get(kind, "is not accepted here") for kind in kinds))
    return said[0] if len(said) == 1 else "is not accepted here"


def shown(given: object) -> str:
    """Writes a value as YAML has it, cut where it is long."""
    if isinstance(given, str):
        return repr(given if len(given) <= _SHOWN else given[:_SHOWN] + "…")
    text = "nothing" if given is None else json.dumps(given, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def acceptable(options: Iterable[Schema]) -> str:
    """Words what a key accepts: `a whole number from 2 to 10,000`."""
    options = list(options)
    key, tags = _choice(options)
    if key:
        return f"a mapping with {key}: one of {', '.join(map(repr, tags))}"
    words = [_words_of(option) for option in options if option.get("type") != "null"]
    return " or ".join(dict.fromkeys(words)) or "another value"


def remedy(options: Sequence[Schema], kinds: Sequence[str], given: object) -> str:
    """Says what to write instead of a value."""
    choices = [word for option in options for word in _choices(option)]
    near = nearest_word(str(given), choices) if isinstance(given, str) else None
    if near is not None:
        return f"write {near!r}"
    if given is None:
        return f"give the key a value such as {_example(options)}, or remove it"
    if set(kinds) & {"string_type", "literal_error"} and _takes_text(options, given):
        return f"write it in quotes: '{_yaml(given)}'"
    if isinstance(given, str) and given and (mapping := _as_mapping(options, given)):
        return f"write {mapping}"
    if "tuple_type" in kinds and _is_plain(given) and given != "":
        return f"write it as a list: [{_yaml(given)}]"
    if kinds == ["string_too_long"]:
        single = any(option.get("maxLength") == 1 for option in options)
        return r"""write one character: ",", ";" or "\t" """.strip() if single else "shorten it"
    default = next((each["default"] for each in options if _has_plain_default(each)), None)
    if default is not None:
        return f"write {_yaml(default)}, the default, or another such value"
    return f"write, for example, {_example(options)}"


def nearest_word(given: str, known: Sequence[str]) -> str | None:
    """Finds the word that was probably meant: a synonym of it, or one that is spelt alike."""
    folded = given.strip().casefold().replace("-", "_").replace(" ", "_")
    for word in known:
        if folded in _SYNONYMS.get(word, ()):
            return word
    by_fold = {word.casefold(): word for word in known}
    near = difflib.get_close_matches(folded, by_fold, n=1, cutoff=0.55)
    return by_fold[near[0]] if near else None


def _words_of(option: Schema) -> str:
    choices = _choices(option)
    if choices:
        return ("one of " if len(choices) > 1 else "") + ", ".join(map(repr, choices))
    match option.get("type"):
        case "integer":
            return "a whole number" + _range(option, whole=True)
        case "number":
            return "a number" + _range(option, whole=False)
        case "boolean":
            return "true or false"
        case "array":
            return "a list: one `- item` per line, or [a, b]"
        case "object":
            keys = sorted(option.get("properties", {}))
            return f"a mapping with keys out of {', '.join(keys)}" if keys else "a mapping"
    return _text_words(option)


def _text_words(option: Schema) -> str:
    if option.get("format") == "date":
        return "a date as YYYY-MM-DD"
    if "pattern" in option:
        known = PATTERNS.get(option["pattern"])
        return known[0] if known else f"text that matches {option['pattern']}"
    low, high = option.get("minLength", 0), option.get("maxLength")
    if high is not None and low == high:
        return f"text of {low} character{'s' if low > 1 else ''}"
    return (
        "text"
        + (f" of at least {low} characters" if low > 1 else " that is not empty" * (low == 1))
        + (f", {high:,} characters at most" if high is not None else "")
    )


def _range(option: Schema, *, whole: bool) -> str:
    low, high = option.get("minimum"), option.get("maximum")
    if whole and "exclusiveMinimum" in option:
        low = option["exclusiveMinimum"] + 1
    if low is not None and high is not None:
        return f" from {low:,} to {high:,}"
    if low is not None and "exclusiveMaximum" in option:
        return f" from {low:,} up to, but not including, {option['exclusiveMaximum']:,}"
    if low is not None:
        return f", {low:,} or more"
    if "exclusiveMinimum" in option:
        return f" greater than {option['exclusiveMinimum']:,}"
    return ""


def _choices(option: Schema) -> list[str]:
    if "const" in option:
        return [str(option["const"])]
    return [str(word) for word in option.get("enum", ())]


def _example(options: Sequence[Schema]) -> str:
    """A value that fits one of the options, as YAML."""
    key, tags = _choice(options)
    if key:
        return f"{{{key}: {tags[0]}, …}}"
    for option in options:
        if _has_plain_default(option):
            return _yaml(option["default"])
        if _choices(option):
            return repr(_choices(option)[0])
        match option.get("type"):
            case "integer":
                low = option.get("minimum", option.get("exclusiveMinimum", -1) + 1)
                return str(max(low, min(10, option.get("maximum", 10))))
            case "number":
                return "0.1"
            case "boolean":
                return "true"
            case "array":
                return f"[{_example([option.get('items', {})])}]"
            case "object":
                keys = option.get("required") or list(option.get("properties", {})) or ["key"]
                return f"{{{keys[0]}: …}}"
            case "string":
                return _text_example(option)
    return "text"


def _text_example(option: Schema) -> str:
    if option.get("format") == "date":
        return str(datetime.date.today() + datetime.timedelta(days=30))
    if "pattern" in option:
        return PATTERNS.get(option["pattern"], ("", "text"))[1]
    return "';'" if option.get("maxLength") == 1 else "'some text'"


def _has_plain_default(option: Schema) -> bool:
    default = option.get("default")
    return _is_plain(default) and default != ""


def _choice(options: Sequence[Schema]) -> tuple[str, list[str]]:
    """The key whose value chooses one of several sections, and its values; "" if there is none."""
    fields: list[Schema] = [option["properties"] for option in options if "properties" in option]
    for key in fields[0] if len(fields) > 1 else ():
        values = [each.get(key, {}).get("const") for each in fields]
        if None not in values and len(set(values)) == len(values):
            return key, values
    return "", []


def _as_mapping(options: Sequence[Schema], given: str) -> str:
    """Turns a bare name into the mapping that was meant: `label: tips`; "" if none is obvious."""
    keys = {key for option in options for key in option.get("properties", {})}
    if "column" in keys and "expression" in keys:
        return f"{{column: {given}}}"
    key, tags = _choice(options)
    return f"{{name: {given}, {key}: {tags[0]}}}" if key and "name" in keys else ""


def _takes_text(options: Sequence[Schema], given: object) -> bool:
    return _is_plain(given) and any(
        each.get("type") == "string"
        and not _choices(each)
        and re.search(each.get("pattern", ""), _yaml(given)) is not None
        for each in options
    )


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool)


def _yaml(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
