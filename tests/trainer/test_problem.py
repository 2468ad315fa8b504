"""The written-down problem: round trips, names, and what it refuses."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trainer.errors import DataError, ExportMismatch
from trainer.problem import Problem, safe_name

names = st.text(min_size=1, max_size=12)
few = st.integers(1, 1000)
vocabularies = st.fixed_dictionaries(
    {}, optional={"max_size": few, "min_frequency": few, "oov_buckets": few}
)
numbers = st.floats(-1e9, 1e9)
ids: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"vocabulary": vocabularies}),
    st.fixed_dictionaries({"hash_buckets": st.integers(2, 10**6)}),
)
numeric_missing = st.one_of(st.sampled_from(["mean", "zero"]), numbers)
parts = ["year", "quarter", "month", "day", "weekday", "hour", "minute"]
settings_by_kind: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "numeric": st.fixed_dictionaries(
        {}, optional={"missing": numeric_missing, "indicator": st.booleans()}
    ),
    "log_numeric": st.fixed_dictionaries({}, optional={"indicator": st.booleans()}),
    "bucketized": st.one_of(
        st.just({}),
        st.fixed_dictionaries({"buckets": st.integers(2, 100)}),
        st.lists(numbers, min_size=1, max_size=5, unique=True).map(
            lambda borders: {"boundaries": sorted(borders)}
        ),
    ),
    "categorical": ids,
    "integer": st.one_of(ids, st.fixed_dictionaries({"max_value": st.integers(0, 1000)})),
    "boolean": st.fixed_dictionaries(
        {}, optional={"missing": st.sampled_from(["own_token", True, False])}
    ),
    "timestamp": st.fixed_dictionaries(
        {},
        optional={
            "format": st.sampled_from(["epoch_s", "epoch_ms", "iso8601"]),
            "parts": st.lists(st.sampled_from(parts), min_size=1, unique=True),
        },
    ),
}


@st.composite
def features(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(settings_by_kind)))
    return {"kind": kind, "name": draw(names)} | draw(settings_by_kind[kind])


def valid(sections: dict[str, Any]) -> bool:
    try:
        Problem.model_validate(sections)
    except ValidationError:
        return False
    return True


problems = st.fixed_dictionaries(
    {
        "features": st.lists(features(), min_size=1, max_size=8),
        "label": st.just({"column": "label \N{GREEK SMALL LETTER ALPHA}"}),
        "task": st.sampled_from(["binary", "multiclass", "regression"]),
    }
).filter(valid)

TINY: dict[str, Any] = {
    "features": [{"kind": "numeric", "name": "fare"}],
    "label": {"column": "tips"},
    "task": "regression",
}


@settings(max_examples=150, deadline=None)
@given(problems)
def test_a_problem_survives_its_trip_as_json(sections: dict[str, Any]) -> None:
    problem = Problem.model_validate(sections)
    assert Problem.model_validate_json(problem.model_dump_json()) == problem


@settings(max_examples=150, deadline=None)
@given(problems)
def test_transformed_names_are_unique_and_plain_for_any_column_names(
    sections: dict[str, Any],
) -> None:
    problem = Problem.model_validate(sections)
    keys = [row.key for row in problem.transformed_features]
    keys += [problem.transformed_label, problem.transformed_weight]
    folded = [key.casefold() for key in keys]
    assert len(set(folded)) == len(keys)
    assert not set(folded) & {name.casefold() for name in problem.training_columns}
    assert all((key.isascii() and key.isidentifier()) or key[0].isdigit() for key in keys)
    assert all(key.replace("_", "").isalnum() for key in keys)
    assert {row.feature for row in problem.transformed_features} == set(problem.features)


@settings(deadline=None)
@given(st.text(min_size=1))
def test_safe_names_are_never_empty_and_stay_as_they_are(name: str) -> None:
    assert safe_name(safe_name(name)) == safe_name(name) != ""


def test_umlauts_become_letters_and_homonyms_get_numbers() -> None:
    kinds = [
        ("a b", "integer"),
        ("a_b", "integer"),
        ("Größe in cm", "numeric"),
        ("価格", "numeric"),
    ]
    problem = Problem.model_validate(
        TINY | {"features": [{"kind": kind, "name": name} for name, kind in kinds]}
    )
    assert [row.key for row in problem.transformed_features] == [
        "a_b_integer",
        "a_b_integer_2",
        "Grosse_in_cm_numeric",
        "column_numeric",
    ]


def test_a_column_may_be_seen_in_two_ways() -> None:
    twice = [{"kind": "numeric", "name": "fare"}, {"kind": "bucketized", "name": "fare"}]
    problem = Problem.model_validate(TINY | {"features": twice})
    assert problem.raw_columns == ("fare",)
    assert [row.key for row in problem.transformed_features] == ["fare_numeric", "fare_bucketized"]


def test_an_expression_is_known_by_its_name() -> None:
    label = {"expression": "tips > 0.2 * fare", "name": "big tip"}
    problem = Problem.model_validate(TINY | {"label": label, "task": "binary"})
    assert problem.training_columns == ("fare", "big tip")
    assert problem.transformed_label == "label_big_tip"
    assert problem.prediction_key == "probability"


@pytest.mark.parametrize(
    ("feature", "count"),
    [
        ({"kind": "bucketized", "buckets": 4}, 5),
        ({"kind": "bucketized", "boundaries": [0, 1]}, 4),
        ({"kind": "categorical", "vocabulary": {"oov_buckets": 2}}, 103),
        ({"kind": "categorical", "hash_buckets": 8}, 9),
        ({"kind": "integer", "max_value": 23}, 26),
        ({"kind": "boolean"}, 3),
        ({"kind": "timestamp", "parts": ["weekday"]}, 8),
    ],
)
def test_ids_are_counted_with_the_missing_and_the_unseen(
    feature: dict[str, Any], count: int
) -> None:
    problem = Problem.model_validate(TINY | {"features": [{"name": "x"} | feature]})
    (row,) = problem.transformed_features
    assert row.id_count(100 if row.has_vocabulary else None) == count


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"features": []}, "the list of features is empty"),
    ({"features": [{"kind": "numeric", "name": "tips"}]}, "the label 'tips' is also a feature"),
    ({"features": TINY["features"] * 2}, "listed twice"),
    (
        {"features": [{"kind": "integer", "name": "x", "max_value": 3, "hash_buckets": 5}]},
        "gives hash_buckets and max_value",
    ),
    (
        {"features": [{"kind": "bucketized", "name": "x", "boundaries": [3, 1]}]},
        "has boundaries [3.0, 1.0]",
    ),
    (
        {"features": [{"kind": "timestamp", "name": "x", "parts": ["hour", "hour"]}]},
        "repeats a part",
    ),
    ({"label": {"expression": "a > b"}}, "has no name"),
    ({"label": {"column": "a", "expression": "a > b", "name": "a"}}, "both of column and"),
    ({"label": {"name": "a"}}, "neither of column and expression"),
    ({"label": {"column": "tips", "positive": "yes"}}, "has positive: 'yes' in a regression task"),
    ({"training": {"steps": 5, "epochs": 5}}, "gives steps 5 and epochs 5"),
    ({"training": {"early_stopping": {"metric": "auc"}}}, "watches 'auc' in a regression task"),
    ({"training": {"class_weight": "balanced"}}, "class_weight is set in a regression task"),
    (
        {"task": "binary", "training": {"class_weight": {"yes": 2}}},
        "class_weight names 'yes' in a binary task",
    ),
    ({"training": {"weight_column": "tips"}}, "is also the weight column"),
]


@pytest.mark.parametrize(("change", "what"), REFUSALS)
def test_a_refusal_tells_what_happened_what_was_expected_and_the_fix(
    change: dict[str, Any], what: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Problem.model_validate(TINY | change)
    (error,) = caught.value.errors()
    assert what in error["msg"]
    assert set(error["ctx"]) == {"what", "expected", "fix", "key"}


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        Problem.model_validate(TINY | {"trainig": {}})


def test_every_field_is_described_for_the_schema() -> None:
    schema = Problem.model_json_schema()
    for name, section in schema["$defs"].items():
        for field, described in section.get("properties", {}).items():
            assert "description" in described, f"{name}.{field}"


def test_errors_about_data_survive_pickling() -> None:
    import pickle

    error = ExportMismatch("a", expected="b", fix="c")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, ExportMismatch)
    assert isinstance(again, DataError)
    assert str(again) == "a\n  expected: b\n  fix: c"


def test_reading_a_problem_needs_no_tensorflow() -> None:
    code = "import sys, trainer.problem; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
