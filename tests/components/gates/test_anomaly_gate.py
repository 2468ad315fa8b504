"""What stops a run, what only warns, and how it reads."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from pydantic import ValidationError
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2
from tfx.types import standard_artifacts

from components.gates.anomaly_gate import DataVerdict, Executor, read_verdict
from components.gates.anomaly_kinds import AnomalyKind, Severity, kind_of
from components.gates.column_statistics import SplitStatistics, read_statistics
from components.gates.drift_limits import measure_drift
from components.gates.gate_findings import find_all
from components.gates.gate_policy import DataGate, GatePolicy, GateRule
from components.gates.gate_verdict import Finding, Verdict, told_once
from components.gates.offending_rows import with_places

ROWS = 1000
TODAY = datetime.date(2026, 5, 1)

SCHEMA = """
feature { name: "trip_miles" type: FLOAT value_count { min: 1 max: 1 }
          presence { min_fraction: 0.99 min_count: 1 } float_domain { min: 0 max: 500 } }
feature { name: "company" type: BYTES domain: "company" presence { min_fraction: 1 } }
feature { name: "tract" type: INT presence { min_count: 1 } }
string_domain { name: "company" value: "Blue" value: "Red" }
"""


def number(
    name: str, present: int, low: float = 0, high: float = 10, *, is_int: bool = False
) -> statistics_pb2.FeatureNameStatistics:
    kind = statistics_pb2.FeatureNameStatistics
    feature = kind(type=kind.INT if is_int else kind.FLOAT)
    feature.path.step.append(name)
    common = feature.num_stats.common_stats
    # An empty cell is an empty list: present to TFDV, and without a value.
    common.num_non_missing = ROWS
    common.tot_num_values = present
    common.max_num_values = 1 if present else 0
    feature.num_stats.min, feature.num_stats.max = low, high
    feature.num_stats.median = (low + high) / 2
    for kind_of_histogram in (0, 1):
        histogram = feature.num_stats.histograms.add(type=kind_of_histogram)
        for part in range(10):
            start, end = (low + (high - low) * (part + more) / 10 for more in (0, 1))
            histogram.buckets.add(low_value=start, high_value=end, sample_count=present / 10)
    return feature


def text(name: str, counts: dict[str, int]) -> statistics_pb2.FeatureNameStatistics:
    kind = statistics_pb2.FeatureNameStatistics
    feature = kind(type=kind.STRING)
    feature.path.step.append(name)
    common = feature.string_stats.common_stats
    common.num_non_missing, common.max_num_values = ROWS, 1
    common.tot_num_values = sum(counts.values())
    feature.string_stats.unique = len(counts)
    for value, count in sorted(counts.items(), key=lambda row: -row[1]):
        feature.string_stats.rank_histogram.buckets.add(label=value, sample_count=count)
    return feature


def payload(*features: Any, rows: int = ROWS) -> bytes:
    listed = statistics_pb2.DatasetFeatureStatisticsList()
    listed.datasets.add(num_examples=rows).features.extend(features)
    return bytes(listed.SerializeToString())


def statistics(*features: Any, rows: int = ROWS) -> SplitStatistics:
    return read_statistics(payload(*features, rows=rows))


def sound() -> list[statistics_pb2.FeatureNameStatistics]:
    return [
        number("trip_miles", ROWS),
        text("company", {"Blue": 600, "Red": 400}),
        number("tract", 700, is_int=True),
    ]


def found(facts: SplitStatistics, policy: GatePolicy | None = None) -> list[Finding]:
    schema = text_format.Parse(SCHEMA, schema_pb2.Schema())
    policy = policy or GatePolicy(schema_is_inferred=False)
    return find_all({"eval": facts}, {}, schema, policy)


def test_sound_data_have_no_findings_though_a_sparse_column_is_half_empty() -> None:
    assert found(statistics(*sound())) == []


def test_empty_cells_are_counted_against_what_the_schema_allows() -> None:
    facts = statistics(number("trip_miles", 969), *sound()[1:])
    [finding] = found(facts)
    assert finding.sentence(TODAY) == (
        "eval: 'trip_miles' missing in 3.1 % of rows (31 of 1,000), schema allows 1 %"
    )
    assert finding.severity is Severity.ERROR
    within = statistics(number("trip_miles", 995), *sound()[1:])
    assert found(within) == []


def test_unknown_values_are_counted_and_quoted() -> None:
    facts = statistics(sound()[0], text("company", {"Blue": 950, "<script>": 50}), sound()[2])
    [finding] = found(facts)
    assert finding.kind is AnomalyKind.UNEXPECTED_VALUES
    assert finding.text.endswith("in 5 % of rows: '<script>'")
    assert finding.fraction == pytest.approx(0.05)


def test_unknown_values_beyond_those_that_tfdv_lists_are_counted() -> None:
    # TFDV lists the thousand most frequent values, here of 1,997 that are in one row each.
    column = text("company", {"Blue": 3, **{f"c{index}": 1 for index in range(997)}})
    column.string_stats.unique = 1997
    column.string_stats.common_stats.tot_num_values = 2000
    facts = statistics(*sound()[::2], column, rows=2000)
    texts = {each.column: each.text for each in found(facts)}
    # "Red" may be among those that are not listed.
    assert texts["company"].endswith(
        "in at least 99.8 % of rows: 'c0', 'c1', 'c2' and at least 1,992 more"
    )


def test_infinities_are_one_finding_and_not_beyond_the_range(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("day,trip_miles\n1,1\n1,inf\n1,-Infinity\n1,nan\n1,\n1,+1e400\n1,-3\n1,5\n")
    column = number("trip_miles", ROWS - 2, -3, 10)
    column.num_stats.min, column.num_stats.max = float("-inf"), float("inf")
    for end in (float("-inf"), float("inf")):
        column.num_stats.histograms[0].buckets.add(low_value=end, high_value=end, sample_count=2)
    anomalies = anomalies_pb2.Anomalies()
    info = anomalies.anomaly_info["trip_miles"]
    info.path.step.append("trip_miles")
    for kind in ("FLOAT_TYPE_SMALL_FLOAT", "FLOAT_TYPE_BIG_FLOAT"):
        info.reason.add(type=kind, description="Unexpectedly low values: -inf<0(upto six.")
    schema = text_format.Parse(SCHEMA.replace("0.99", "0.9999"), schema_pb2.Schema())
    policy = GatePolicy(schema_is_inferred=False)
    findings = find_all(
        {"train": statistics(column, *sound()[1:])}, {"train": anomalies}, schema, policy
    )
    settings: dict[str, Any] = {
        "label": None,
        "columns": None,
        "exclude": [],
        "types": {},
        "part_bytes": 1 << 20,
    }
    source = {
        "path": str(file),
        "table_format": '{"format": "csv"}',
        "splits": '{"by": "rows", "ratios": {"train": 1}}',
        "settings": json.dumps(settings),
        "compress": 0,
    }
    placed = with_places(findings, source, schema, None, limit=9)
    told = {each.kind: (each.text, [place.line for place in each.places]) for each in placed}
    assert len(placed) == 3
    assert told[AnomalyKind.NOT_FINITE] == (
        "'trip_miles' holds infinite numbers in 0.4 % of rows (4 of 1,000)",
        [3, 4, 7],
    )
    assert told[AnomalyKind.OUT_OF_RANGE] == (
        "'trip_miles' goes from -3 to 10, schema allows 0 to 500",
        [8],
    )
    assert told[AnomalyKind.MISSING_VALUES][1] == [5, 6]


def test_few_infinities_are_tolerated_as_few_gaps_are() -> None:
    column = number("trip_miles", ROWS)
    column.num_stats.max = float("inf")
    column.num_stats.histograms[0].buckets.add(
        low_value=float("inf"), high_value=float("inf"), sample_count=4
    )
    rule = GateRule(kind=AnomalyKind.NOT_FINITE, column="trip_miles", tolerance=0.005)
    for policy, severity in (
        (GatePolicy(schema_is_inferred=False), Severity.ERROR),
        (GatePolicy(schema_is_inferred=True), Severity.WARNING),
        (GatePolicy(schema_is_inferred=False, data=DataGate(rules=(rule,))), Severity.WARNING),
    ):
        [finding] = found(statistics(column, *sound()[1:]), policy)
        assert (finding.kind, finding.severity) == (AnomalyKind.NOT_FINITE, severity)


def test_demand_for_a_value_in_every_row_that_never_fires_is_told() -> None:
    schema = text_format.Parse(
        "feature { name: 'trip_miles' type: FLOAT presence { min_fraction: 1 } }",
        schema_pb2.Schema(),
    )
    facts = statistics(number("trip_miles", 700))
    policy = GatePolicy(schema_is_inferred=False)
    [finding] = find_all({"eval": facts}, {}, schema, policy)
    assert (finding.kind, finding.severity) == (AnomalyKind.SCHEMA, Severity.WARNING)
    assert "missing in 30 % of rows (300 of 1,000)" in finding.text
    assert "value_count { min: 1 }" in finding.text
    # TFDV infers as much for every column.
    assert find_all({"eval": facts}, {}, schema, GatePolicy()) == []
    assert find_all({"eval": statistics(number("trip_miles", ROWS))}, {}, schema, policy) == []


def test_worst_finding_comes_first() -> None:
    before = statistics(number("dropoff", ROWS), text("payment", {"Cash": 740, "Card": 260}))
    after = statistics(
        number("dropoff", ROWS, 2.2, 12.2), text("payment", {"Card": 260, "Coin": 740})
    )
    schema, policy = schema_pb2.Schema(), GatePolicy()
    drift = {"train": measure_drift(before, after, schema, policy.drift)}
    findings = find_all({"train": after}, {}, schema, policy, drift)
    assert [each.column for each in findings] == ["payment", "dropoff"]
    facts = statistics(number("trip_miles", 980), text("company", {"Blue": 700, "Green": 300}))
    assert [each.column for each in found(facts)][:2] == ["company", "trip_miles"]


def test_what_holds_in_every_split_is_told_once() -> None:
    facts = statistics(*sound(), number("extra", ROWS))
    anomalies = anomalies_pb2.Anomalies()
    info = anomalies.anomaly_info["extra"]
    info.path.step.append("extra")
    info.reason.add(type=anomalies_pb2.AnomalyInfo.SCHEMA_NEW_COLUMN)
    schema = text_format.Parse(SCHEMA, schema_pb2.Schema())
    splits = {"train": facts, "eval": statistics(number("trip_miles", 900), *sound()[1:])}
    splits["eval"].columns["extra"] = facts.columns["extra"]
    policy = GatePolicy(schema_is_inferred=False)
    findings = told_once(find_all(splits, dict.fromkeys(splits, anomalies), schema, policy))
    assert [each.sentence(TODAY) for each in findings] == [
        "eval: 'trip_miles' missing in 10 % of rows (100 of 1,000), schema allows 1 %",
        "train, eval: 'extra' is not in the schema",
    ]


def test_masked_column_shows_counts_and_no_values() -> None:
    policy = GatePolicy(data=DataGate(masked_columns=("company",)), schema_is_inferred=False)
    facts = statistics(sound()[0], text("company", {"Blue": 950, "secret": 50}), sound()[2])
    [finding] = found(facts, policy)
    assert "secret" not in finding.text
    assert "5 %" in finding.text


def test_few_unknown_values_only_warn_when_nobody_has_looked_at_the_schema() -> None:
    facts = statistics(sound()[0], text("company", {"Blue": 995, "New": 5}), sound()[2])
    assert [each.severity for each in found(facts, GatePolicy())] == ["warning"]
    assert [each.severity for each in found(facts)] == ["error"]


def test_what_tfdv_is_silent_about_is_found() -> None:
    facts = statistics(
        number("trip_miles", ROWS, 3, 3),
        text("company", {}),
        number("tract", ROWS, 0, float("inf"), is_int=False),
    )
    kinds = {finding.column: finding.kind for finding in found(facts)}
    assert kinds["trip_miles"] is AnomalyKind.CONSTANT
    assert kinds["company"] is AnomalyKind.ALL_MISSING
    assert kinds["tract"] is AnomalyKind.NOT_FINITE


def test_split_without_rows_is_one_finding_not_one_per_column() -> None:
    assert [finding.kind for finding in found(statistics(rows=0))] == [AnomalyKind.NO_ROWS]


def test_range_is_told_with_both_ends() -> None:
    facts = statistics(number("trip_miles", ROWS, -4, 900), *sound()[1:])
    [finding] = found(facts)
    assert finding.text == "'trip_miles' goes from -4 to 900, schema allows 0 to 500"


def test_column_that_the_model_does_not_use_can_not_stop_the_run() -> None:
    policy = GatePolicy(used_columns=("company",), schema_is_inferred=False)
    facts = statistics(number("trip_miles", 500), *sound()[1:])
    assert [each.severity for each in found(facts, policy)] == ["warning"]


def test_last_rule_that_covers_a_finding_counts() -> None:
    policy = GatePolicy.model_validate(
        {
            "schema_is_inferred": False,
            "data": {
                "rules": [
                    {"kind": "missing_values", "severity": "warning"},
                    {"kind": "missing_values", "split": "eval", "severity": "error"},
                    {"column": "trip_miles", "tolerance": 0.04},
                ]
            },
        }
    )
    assert policy.rule_severity(AnomalyKind.MISSING_VALUES, "fare", "train", 0.5) == "warning"
    assert policy.rule_severity(AnomalyKind.MISSING_VALUES, "fare", "eval", 0.5) == "error"
    assert policy.rule_severity(AnomalyKind.MISSING_VALUES, "trip_miles", "eval", 0.03) == "warning"


def test_rule_that_covers_everything_is_refused() -> None:
    with pytest.raises(ValidationError, match="covers every finding"):
        DataGate.model_validate({"rules": [{"severity": "ignore"}]})


def test_allowance_passes_until_its_day_and_not_after_also_from_a_kept_verdict() -> None:
    policy = GatePolicy.model_validate(
        {
            "schema_is_inferred": False,
            "data": {
                "allow": [
                    {"column": "trip_miles", "until": "2026-05-01", "reason": "meter upgrade"}
                ]
            },
        }
    )
    facts = statistics(number("trip_miles", 900), *sound()[1:])
    kept = Verdict.from_json(Verdict(tuple(found(facts, policy)), schema="s.pbtxt").to_json())
    assert kept.stop(TODAY) is None
    assert "allowed until 2026-05-01: meter upgrade" in kept.findings[0].sentence(TODAY)
    stop = kept.stop(TODAY + datetime.timedelta(days=1))
    assert stop is not None
    assert stop.exit_code == 3
    assert "the allowance ended on 2026-05-01" in stop.what


def test_every_kind_of_anomaly_that_tfdv_knows_has_a_kind_of_ours() -> None:
    kinds = {name: kind_of(name) for name, _ in anomalies_pb2.AnomalyInfo.Type.items()}
    assert kinds["FLOAT_TYPE_BIG_FLOAT"] is AnomalyKind.OUT_OF_RANGE
    assert kinds["COMPARATOR_L_INFTY_HIGH"] is AnomalyKind.DRIFT
    assert kinds["INT_TYPE_NOT_STRING"] is AnomalyKind.WRONG_TYPE
    assert kinds["DATASET_LOW_NUM_EXAMPLES"] is AnomalyKind.ROW_COUNT


def test_schema_is_named_in_the_remedy_only_for_what_it_would_settle() -> None:
    def fault(kind: AnomalyKind, column: str) -> Finding:
        return Finding(kind, "train", column, "…", Severity.ERROR)

    def fix(*findings: Finding) -> str:
        stop = Verdict(findings).stop(TODAY)
        assert stop is not None
        return stop.fix

    infinite, missing = (
        fault(AnomalyKind.NOT_FINITE, "fare"),
        fault(AnomalyKind.MISSING_VALUES, "trip_miles"),
    )
    assert "schema accept" not in fix(infinite)
    assert "schema accept" not in fix(fault(AnomalyKind.ALL_MISSING, "fare"))
    assert "let the schema say so (`kubetfx schema diff`" in fix(missing)
    assert "let the schema say so for 'trip_miles' (" in fix(infinite, missing)


@pytest.fixture
def artifacts(tmp_path: Path) -> dict[str, Any]:
    """Statistics, schema and anomalies as TFX's components leave them."""
    anomalies = anomalies_pb2.Anomalies()
    info = anomalies.anomaly_info["fare"]
    info.path.step.append("fare")
    info.reason.add(type=anomalies_pb2.AnomalyInfo.SCHEMA_NEW_COLUMN, short_description="New")
    made = {}
    for kind, name, content in (
        (standard_artifacts.ExampleStatistics, "FeatureStats.pb", payload(*faulty())),
        (standard_artifacts.ExampleAnomalies, "SchemaDiff.pb", anomalies.SerializeToString()),
    ):
        artifact = kind()
        artifact.uri = str(tmp_path / name)
        artifact.split_names = '["eval"]'
        (tmp_path / name / "Split-eval").mkdir(parents=True)
        (tmp_path / name / "Split-eval" / name).write_bytes(content)
        made[name] = artifact
    schema = standard_artifacts.Schema()
    schema.uri = str(tmp_path / "schema")
    (tmp_path / "schema").mkdir()
    (tmp_path / "schema" / "schema.pbtxt").write_text(SCHEMA)
    verdict = DataVerdict()
    verdict.uri = str(tmp_path / "verdict")
    return {
        "statistics": [made["FeatureStats.pb"]],
        "anomalies": [made["SchemaDiff.pb"]],
        "schema": [schema],
        "verdict": [verdict],
    }


def faulty() -> list[Any]:
    return [
        number("trip_miles", 900),
        text("company", {"Blue": 900, "Green": 100}),
        number("tract", 700, is_int=True),
        number("fare", ROWS),
    ]


def test_verdict_quotes_file_and_line_of_rows_in_the_split_they_are_in(
    artifacts: dict[str, Any], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.csv").write_text(
        "trip_miles,company,tract,fare,when\n"
        "1,Green,,1,2015\n"  # train, so not among the rows of eval
        "2,Blue,,1,2017\n"
        ",Green,,1,2017\n"
        "+7.5,Green,,,2017\n"
    )
    source = {
        "table_format": '{"format": "csv"}',
        "splits": '{"by": "time", "column": "when", "starts": {"eval": 2016}, "first": "train"}',
        "settings": json.dumps(
            {
                "label": {"name": "fare", "expression": None},
                "columns": None,
                "exclude": [],
                "types": {},
                "part_bytes": 1 << 20,
            }
        ),
        "compress": 0,
    }
    policy = GatePolicy(data=DataGate(masked_columns=("tract",)), schema_is_inferred=False)
    output = artifacts["verdict"]
    Executor().Do(
        {key: value for key, value in artifacts.items() if key != "verdict"},
        {"verdict": output},
        {
            "policy": policy.model_dump_json(),
            "source": json.dumps(source),
            "path": str(data / "a.csv"),
        },
    )
    verdict = read_verdict(output[0].uri)
    places = {finding.column: finding.places for finding in verdict.findings}
    # The row on line 5 has no label, so it never became an example.
    assert [place.line for place in places["company"]] == [4]
    assert [place.line for place in places["trip_miles"]] == [4]
    assert places["trip_miles"][0].value is None
    assert places["trip_miles"][0].row["company"] == "Green"
    assert (output[0].errors, output[0].warnings) == (2, 1)
    stop = verdict.stop()
    assert stop is not None
    assert "first seen in" in stop.what
    assert "kubetfx schema accept" in stop.fix


def test_lost_source_costs_the_quotes_and_not_the_verdict(artifacts: dict[str, Any]) -> None:
    output = artifacts.pop("verdict")
    Executor().Do(
        artifacts,
        {"verdict": output},
        {"policy": GatePolicy().model_dump_json(), "source": '{"splits": "{}"}', "path": "/no"},
    )
    verdict = read_verdict(output[0].uri)
    assert len(verdict.findings) == 3
    assert not any(finding.places for finding in verdict.findings)


def test_gate_that_is_off_looks_at_nothing(artifacts: dict[str, Any]) -> None:
    output = artifacts.pop("verdict")
    policy = GatePolicy(data=DataGate(mode="off"))
    Executor().Do(
        {}, {"verdict": output}, {"policy": policy.model_dump_json(), "source": "null", "path": ""}
    )
    assert read_verdict(output[0].uri) == Verdict(mode="off")


def test_drift_is_held_against_configuration_then_schema_then_default() -> None:
    schema = text_format.Parse(
        SCHEMA.replace(
            'name: "company" type',
            'name: "company" drift_comparator { infinity_norm { threshold: 0.5 } } type',
        ),
        schema_pb2.Schema(),
    )
    before = statistics(*sound())
    after = statistics(number("trip_miles", ROWS, 5, 15), text("company", {"Blue": 1000}))

    def drifted(columns: dict[str, Any]) -> list[str]:
        policy = GatePolicy.model_validate({"drift": {"columns": columns}})
        drift = {"eval": measure_drift(before, after, schema, policy.drift)}
        findings = find_all({"eval": after}, {}, schema, policy, drift)
        return [each.column for each in findings if each.kind is AnomalyKind.DRIFT]

    assert drifted({}) == ["trip_miles"]
    assert drifted({"company": 0.3}) == ["trip_miles", "company"]
    assert drifted({"trip_miles": None}) == []
