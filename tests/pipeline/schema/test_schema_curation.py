"""A schema kept by people: read off the data, compared, widened no further than needed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from components.gates.column_statistics import ColumnStatistics, SplitStatistics
from components.gates.gate_findings import allowed_missing, domain_values, find_all
from components.gates.gate_policy import GatePolicy
from pipeline.schema import schema_curation
from pipeline.schema.schema_curation import SchemaTerms, accept, differences, infer
from pipeline.schema.schema_lint import lint
from serving.errors import UserError


def split(*columns: ColumnStatistics) -> dict[str, SplitStatistics]:
    return {"train": SplitStatistics(columns[0].rows, {each.name: each for each in columns})}


def text(name: str, *values: str, rows: int = 100, missing: int = 0) -> ColumnStatistics:
    pairs = tuple((value, 1.0) for value in values)
    return ColumnStatistics(name, "text", rows, missing, distinct=len(values), values=pairs)


def number(name: str, low: float, high: float, missing: int = 0) -> ColumnStatistics:
    return ColumnStatistics(
        name, "float", 100, missing, min=low, max=high, finite_min=low, finite_max=high
    )


TERMS = SchemaTerms(absent_at_serving={"tips"}, has_spans=True, with_ranges=True)
BASE = split(
    text("company", "Blue", "Red", missing=30), number("fare", 0, 90), number("tips", 0, 9)
)


def test_inferred_schema_says_what_the_data_and_the_terms_say() -> None:
    schema = infer(BASE, TERMS)
    company, fare, tips = schema.feature
    assert domain_values(schema, company) == frozenset({"Blue", "Red"})
    assert company.presence.min_fraction == pytest.approx(0.69)
    assert not company.value_count.min
    assert (fare.float_domain.min, fare.float_domain.max) == (0, 90)
    assert fare.value_count.min == 1
    assert fare.skew_comparator.jensen_shannon_divergence.threshold == pytest.approx(0.03)
    assert list(tips.not_in_environment) == ["SERVING"]
    assert not tips.HasField("skew_comparator")


def test_written_schema_is_the_same_text_whatever_the_order(tmp_path: Path) -> None:
    schema = infer(BASE, TERMS)
    turned = schema_pb2.Schema()
    turned.CopyFrom(schema)
    features = list(reversed(turned.feature))
    del turned.feature[:]
    turned.feature.extend(features)
    turned.string_domain[0].value.reverse()
    for name, each in (("a", schema), ("b", turned)):
        schema_curation.write(each, tmp_path / name)
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()
    assert schema_curation.read(tmp_path / "a") == schema


def test_same_data_make_no_difference_and_own_schema_has_nothing_to_mend() -> None:
    schema = infer(BASE, TERMS)
    assert differences(schema, infer(BASE, TERMS)) == []
    assert lint(schema, has_spans=True, label="tips") == []


def test_differences_are_told_by_column_and_accepted_ones_are_gone() -> None:
    curated = infer(BASE, TERMS)
    seen = infer(
        split(
            text("company", "Blue", "Green", missing=60),
            number("fare", -5, 80, missing=10),
            text("tips", "none"),
            number("new", 0, 1),
        ),
        TERMS,
    )
    found = [(each.column, each.kind) for each in differences(curated, seen)]
    assert found == [
        ("company", "values"),
        ("company", "values"),
        ("company", "presence"),
        ("fare", "presence"),
        ("fare", "range"),
        ("new", "new"),
        ("tips", "type"),
    ]
    made = accept(curated, seen, {"company", "fare"})
    left = {each.column for each in differences(made, seen) if each.loosens}
    assert left == {"new", "tips"}
    features = {feature.name: feature for feature in made.feature}
    assert domain_values(made, features["company"]) == frozenset({"Blue", "Green", "Red"})
    # Widened, never narrowed: 90 was agreed.
    assert (features["fare"].float_domain.min, features["fare"].float_domain.max) == (-5, 90)
    everything = accept(curated, seen, {"company", "fare", "new", "tips"})
    assert [each for each in differences(everything, seen) if each.loosens] == []
    tips = next(each for each in everything.feature if each.name == "tips")
    assert list(tips.not_in_environment) == ["SERVING"]


def whole(name: str, low: float, high: float) -> ColumnStatistics:
    return dataclasses.replace(number(name, low, high), kind="int")


def test_greatest_and_least_whole_numbers_are_a_range() -> None:
    # 2**63 - 1 is 2**63 as the float64 that statistics keep.
    seen = infer(split(whole("seconds", -(2.0**63), 2.0**63)), TERMS)
    [feature] = seen.feature
    assert (feature.int_domain.min, feature.int_domain.max) == (-(2**63), 2**63 - 1)
    curated = infer(split(whole("seconds", 0, 86_400)), TERMS)
    [found] = differences(curated, seen)
    assert found.kind == "range"
    made = accept(curated, seen, {"seconds"})
    assert differences(made, seen) == []
    facts = split(whole("seconds", -(2.0**63), 2.0**63))
    assert find_all(facts, {}, made, GatePolicy(schema_is_inferred=False)) == []


def test_range_beside_infinities_is_widened_by_the_numbers() -> None:
    curated = infer(split(number("fare", 0, 90)), TERMS)
    odd = dataclasses.replace(number("fare", -5, 95), min=float("-inf"), max=float("inf"))
    seen = infer(split(odd), TERMS)
    [found] = differences(curated, seen)
    assert found.text == "goes from -5 to 95, the schema says 0 to 90"
    assert differences(accept(curated, seen, {"fare"}), seen) == []


@pytest.mark.parametrize(
    ("missing", "needed"),
    [(1, 0.9998), (40, 0.994), (75, 0.99), (149, 0.98), (1501, 0.88), (15_001, 0.01)],
)
def test_room_for_missing_values_fits_what_was_seen(missing: int, needed: float) -> None:
    facts = dataclasses.replace(number("fare", 0, 90), rows=15_002, missing=missing)
    [feature] = infer(split(facts), TERMS).feature
    assert feature.presence.min_fraction == pytest.approx(needed, abs=1e-12)
    assert allowed_missing(feature) >= missing / 15_002 or missing == 15_001


def test_column_accepted_as_empty_is_no_difference_any_more() -> None:
    curated = infer(split(number("fare", 0, 90)), TERMS)
    seen = infer(split(ColumnStatistics("fare", "empty", 100, 100)), TERMS)
    [found] = differences(curated, seen)
    assert found.text == "no row has a value"
    assert differences(accept(curated, seen, {"fare"}), seen) == []


def test_column_that_is_gone_leaves_when_accepted() -> None:
    curated = infer(BASE, TERMS)
    seen = infer(split(text("company", "Blue", "Red", missing=30), number("fare", 0, 90)), TERMS)
    [gone] = differences(curated, seen)
    assert (gone.column, gone.kind) == ("tips", "gone")
    assert differences(accept(curated, seen, {"tips"}), seen) == []


@pytest.mark.parametrize(
    ("feature", "remark"),
    [
        ("type: INT drift_comparator { infinity_norm { threshold: 0.1 } }", "never fires on numb"),
        ("type: BYTES skew_comparator { }", "has no measure"),
        ("type: FLOAT int_domain { min: 0 }", "int_domain is not looked at"),
        ("type: INT domain: 'd'", "domain of texts"),
        ("type: BYTES presence { min_fraction: 1 }", "alone never fires"),
        ("type: INT presence { min_fraction: 0.5 } value_count { min: 1 }", "contradicts"),
        ("type: INT int_domain { min: 5 max: 1 }", "min 5 is above max 1"),
        ("type: INT lifecycle_stage: DEPRECATED", "nothing of it is checked"),
        ("type: INT not_in_environment: 'PROD'", "names the environment PROD"),
    ],
)
def test_what_would_never_fire_is_pointed_at(feature: str, remark: str) -> None:
    domain = (
        "string_domain { name: 'd' value: 'a' } feature { name: 'other' domain: 'd' type: BYTES }"
    )
    schema = text_format.Parse(f"feature {{ name: 'x' {feature} }} {domain}", schema_pb2.Schema())
    assert any(remark in each.text for each in lint(schema, has_spans=True))


def test_drift_without_spans_and_label_at_serving_are_pointed_at() -> None:
    schema = infer(BASE, TERMS)
    texts = [each.text for each in lint(schema, has_spans=False, label="fare")]
    assert any("the data have no spans" in text for text in texts)
    assert any("is the label" in text for text in texts)


def test_broken_schema_is_told_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "schema.pbtxt"
    file.write_text("feature {\n  name: 'x'\n  typo: INT\n}\n")
    with pytest.raises(UserError, match=r"schema.pbtxt line 3"):
        schema_curation.read(file)
    with pytest.raises(UserError, match="can't be read"):
        schema_curation.read(tmp_path / "none.pbtxt")
