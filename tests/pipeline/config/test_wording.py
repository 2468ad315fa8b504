"""Every key of the configuration, given every kind of wrong value, is told in words of ours."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from pipeline.config import Config
from pipeline.config.document import Document
from pipeline.config.validation import user_error
from pipeline.config.wording import KNOWN_FAULTS, PATTERNS

SCHEMA: dict[str, Any] = Config.model_json_schema()
GOOD: dict[str, Any] = {
    "name": "trips",
    "data": {"path": "trips.csv"},
    "label": {"column": "tip"},
    "task": "binary",
    "features": [{"name": "miles", "kind": "numeric"}],
}
WRONG: list[Any] = [
    *(None, True, -1, 0, 2.5, 10**7, 10**18, float("inf"), float("nan"), "9" * 5000),
    *("", "no such word!", "x" * 600, "2026-13-01", 20261201, [], [[]], {}, {"no such key": 1}),
    *([{}], ["", 3], {"x y": 1}, {"x y": {}}, {"a": -1}),
]
PYDANTIC = re.compile(
    r"[Ii]nput should|[Ss]hould have|[Ss]hould match|valid (string|integer|number|tuple|date|dict)"
    r"|unable to|[Uu]nable|instance of|field required|not permitted|change the value"
)


def plain(schema: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in schema:
        return plain(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    choices = schema.get("anyOf") or schema.get("oneOf")
    return [option for each in choices for option in plain(each)] if choices else [schema]


def with_tags(option: dict[str, Any], values: Any) -> dict[str, Any]:
    """Values that choose an option of a union and lack nothing that it requires."""
    base = dict(values) if isinstance(values, dict) else {}
    for key, field in option["properties"].items():
        if "const" in field:
            base[key] = field["const"]
    for key in option.get("required", []):
        base.setdefault(key, {"claim": "c", "mount": "/m"}.get(key, "x"))
    return base


def cases(schema: dict[str, Any], build: Any, values: Any, depth: int = 0) -> Iterator[Any]:
    """Yields documents which are wrong in one place, for all places below `schema`."""
    for wrong in WRONG:
        yield build(wrong)
    for option in plain(schema):
        if "properties" in option:
            chosen = with_tags(option, values) if depth else values
            for key, field in option["properties"].items():
                yield from cases(
                    field,
                    lambda value, key=key, chosen=chosen: build({**chosen, key: value}),
                    chosen.get(key),
                    depth + 1,
                )
        elif "items" in option:
            yield from cases(option["items"], lambda value: build([value]), None, depth + 1)
        elif isinstance(option.get("additionalProperties"), dict):
            below = option["additionalProperties"]
            yield from cases(below, lambda value: build({"a": value}), None, depth + 1)
        for below in option.get("patternProperties", {}).values():
            yield from cases(below, lambda value: build({"a": value}), None, depth + 1)


def test_every_wrong_value_of_every_key_is_told_with_value_place_and_a_fix() -> None:
    kinds: set[str] = set()
    told: set[str] = set()
    for values in cases(SCHEMA, lambda value: value, GOOD):
        if not isinstance(values, dict):
            continue
        document = Document(Path("pipeline.yaml"), values, {(): 1})
        try:
            Config.model_validate(values)
        except ValidationError as error:
            kinds |= {fault["type"] for fault in error.errors()}
            message = str(user_error(error, document, Config))
            assert message.startswith("pipeline.yaml line 1"), message
            assert not PYDANTIC.search(message), message
            _, expected, fix = message.split("\n")
            assert len(fix) > len("  fix: ") + 5, message
            assert "another value" not in expected, message
            told.add(message)
    ours = {"refused", "problem", "missing", "extra_forbidden"}
    assert kinds - ours - {"union_tag_invalid", "union_tag_not_found"} <= KNOWN_FAULTS
    assert KNOWN_FAULTS - kinds <= {"int_parsing_size"}, "words for faults that can't happen"
    assert len(told) > 500


def test_every_pattern_in_the_types_has_words_and_an_example_that_it_accepts() -> None:
    found: set[str] = set()

    def collect(schema: Any) -> None:
        if isinstance(schema, dict):
            found.update([schema["pattern"]] if isinstance(schema.get("pattern"), str) else [])
            found.update(schema.get("patternProperties", {}))
            for each in schema.values():
                collect(each)
        elif isinstance(schema, list):
            for each in schema:
                collect(each)

    collect(SCHEMA)
    assert found == set(PATTERNS)
    for pattern, (_, example) in PATTERNS.items():
        assert re.search(pattern, example), pattern


# (what stands in the YAML instead, the three clauses)
SENTENCES = [
    (
        "training: {batch_size: 0}",
        "key 'training.batch_size': 0 is too small.",
        "a whole number, 1 or more",
        "write 256, the default, or another such value",
    ),
    (
        "model: {dropout: 1}",
        "key 'model.dropout': 1 is too large.",
        "a number from 0 up to, but not including, 1",
        "write 0.0, the default",
    ),
    (
        "model: {learning_rate: .inf}",
        "key 'model.learning_rate': Infinity is not finite.",
        "a number greater than 0",
        "write 0.001, the default",
    ),
    (
        "push: {label: stabel}",
        "key 'push.label': 'stabel' is not known here.",
        "one of 'stable', 'canary'",
        "write 'stable'",
    ),
    (
        "gates: {data: {allow: [{kind: drift, until: soon, reason: to be mended}]}}",
        "key 'gates.data.allow[0].until': 'soon' is no date.",
        "a date as YYYY-MM-DD",
        "write, for example, 20",
    ),
    (
        "gates: {data: {severity: {drifting: error}}}",
        "key 'gates.data.severity.drifting': 'drifting' is not known here.",
        "one of 'no_rows', ",
        "write 'drift'",
    ),
    (
        "kubernetes: {resources: {memory: lots}}",
        "key 'kubernetes.resources.memory': 'lots' is not accepted here.",
        "memory as Kubernetes writes it",
        "write, for example, 4Gi",
    ),
    (
        "transform: {materialize: maybe}",
        "key 'transform.materialize': 'maybe' is neither true nor false.",
        "true or false",
        "write false, the default",
    ),
    (
        "evaluation: {slices: [3]}",
        "key 'evaluation.slices[0]': 3 is not accepted here.",
        "text that is not empty or a list: one",
        "write it in quotes: '3'",
    ),
]


@pytest.mark.parametrize(
    ("line", "what", "expected", "fix"), SENTENCES, ids=[s[0] for s in SENTENCES]
)
def test_sentence(line: str, what: str, expected: str, fix: str) -> None:
    values = {**GOOD, **yaml.safe_load(line)}
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(values)
    told = user_error(caught.value, Document(Path("p.yaml"), values, {(): 1}), Config)
    assert told.what.endswith(what)
    assert told.expected.startswith(expected)
    assert told.fix.startswith(fix)
